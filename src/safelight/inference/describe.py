"""The facts of a method as plain values, for the command line, the server and JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from safelight import tasks
from safelight.checkpoints import weights_file, weights_manifest
from safelight.core.card import Card, NetworkSpec, channels_of
from safelight.core.options import option_facts
from safelight.engine.cost import Cost
from safelight.inference.model import Model


def facts(card: Card, *, whole: bool = False) -> dict[str, Any]:
    """Return the facts of a method as values that JSON can hold.

    Args:
        card: The method.
        whole: Also return options, weights, recipe and the paper's own scores.
    """
    method = card.method
    network = card.network
    kind, scales = method.label, card.scales
    weights = [] if network is None else _weights(card)
    entry: dict[str, Any] = {
        "id": card.id, "task": card.task, "tasks": card.tasks, "title": card.title, "summary": card.summary,
        "kind": kind, "paper": None if card.paper is None else asdict(card.paper), "scales": scales,
        "accepts": sorted(card.accepts), "cost": None if network is None else _cost(card, network),
        "psnr": _headlines([w["header"] for w in weights if w["header"] is not None]),
    }  # fmt: skip
    if whole:
        entry["options"] = [{**asdict(fact), "kind": fact.kind.__name__} for fact in option_facts(card.options)]
        entry["scale_agnostic"] = network is not None and network.scale_agnostic
        entry["channels"] = None if network is None else channels_of(network, card.options())
        entry["input"] = None if network is None else network.input
        entry["precisions"] = None if network is None else card.execution.precisions
        entry["weights"] = weights
        entry["recipe"] = None if card.training is None else asdict(card.training.recipe)
        entry["published"] = [asdict(row) for row in card.published]
        entry["extra"] = None
        if card.extra is not None:
            installed = importlib.util.find_spec(card.extra.module) is not None
            entry["extra"] = {**asdict(card.extra), "installed": installed}
    return entry


def is_quick(card: Card) -> bool:
    """Return whether a method needs fewer than 10,000 multiply-adds per pixel of the result, or is a formula."""
    if card.network is not None:
        return _cost(card, card.network)["multiply_adds"] < 10_000
    return not card.method.iterates


def _cost(card: Card, spec: NetworkSpec) -> dict[str, Any]:
    options, scale = card.options(), max(spec.scales)
    with torch.device("meta"):  # no memory, and no time for random weights
        network = spec.build(options, scale)
    cost: Cost = Model(card, options, scale, network).cost
    return {
        "scale": scale, "parameters": cost.parameters, "weights": cost.weights, "multiply_adds": cost.multiply_adds,
        "receptive_radius": spec.receptive_radius(options, scale),
    }  # fmt: skip


def _weights(card: Card) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for weights in weights_manifest.shipped_weights(card.id):
        header, problem = None, None
        try:
            header = asdict(weights_file.read_header(weights_manifest.SHIPPED / weights.file))
        except weights_file.CheckpointError as error:
            problem = str(error)
        entries.append({**asdict(weights), "header": header, "problem": problem})
    return entries


def _headlines(headers: list[dict[str, Any]]) -> dict[str, float]:
    """Find the main score of each task, in dB, in the headers of weights files."""
    headlines: dict[str, float] = {}
    for task in tasks.TASKS:
        if not task.headline:
            continue
        for header in headers:
            scores: Mapping[str, float] = header["scores"]
            for name, value in scores.items():
                if all(word in name.lower() for word in (*task.headline, "psnr")):
                    headlines.setdefault(task.name, value)
    return headlines
