"""What a card says, as plain values: for the command line, the server and whoever reads JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from safelight.checkpoints import weights_file, weights_manifest
from safelight.core.card import Card, ClosedForm, Interpolation, Optimised, Trained, channels_of
from safelight.core.options import option_facts
from safelight.engine.cost import Cost
from safelight.inference.model import Model
from safelight.tasks import Task

# The one measurement that stands for a task: words of its name in the headers of weights.
_HEADLINES: Mapping[Task, tuple[str, ...]] = {
    "upscale": ("set5", "x4"),
    "denoise": ("bsd68", "sigma 25"),
    "deblock": ("classic5", "quality 10"),
}


def facts(card: Card, *, whole: bool = False) -> dict[str, Any]:
    """Gather what a card says, as plain values; ``whole`` adds options, weights, recipe and the paper's table."""
    method = card.method
    trained = method if isinstance(method, Trained) else None
    match method:
        case Interpolation():
            kind, scales = "a formula for each pixel", None
        case ClosedForm():
            kind, scales = "a formula for the whole picture", method.scales or None
        case Optimised():
            kind, scales = "an iteration over the whole picture", method.scales or None
        case Trained():
            kind, scales = "a network", method.network.scales
    weights = [] if trained is None else _weights(card)
    found: dict[str, Any] = {
        "id": card.id, "task": card.task, "tasks": card.tasks, "title": card.title, "summary": card.summary,
        "kind": kind, "paper": None if card.paper is None else asdict(card.paper), "scales": scales,
        "accepts": sorted(card.accepts), "cost": None if trained is None else _cost(card, trained),
        "psnr": _headlines([w["header"] for w in weights if w["header"] is not None]),
    }  # fmt: skip
    if whole:
        found["options"] = [{**asdict(fact), "kind": fact.kind.__name__} for fact in option_facts(card.options)]
        found["scale_agnostic"] = trained is not None and trained.network.scale_agnostic
        found["channels"] = None if trained is None else channels_of(trained, card.options())
        found["input"] = None if trained is None else trained.network.input
        found["precisions"] = None if trained is None else trained.execution.precisions
        found["weights"] = weights
        found["recipe"] = None if trained is None else asdict(trained.training.recipe)
        found["published"] = [asdict(row) for row in card.published]
        found["extra"] = None
        if card.extra is not None:
            installed = importlib.util.find_spec(card.extra.module) is not None
            found["extra"] = {**asdict(card.extra), "installed": installed}
    return found


def is_quick(card: Card) -> bool:
    """Say whether a method needs under 10,000 multiply-adds per pixel of the result, as formulas do."""
    if isinstance(card.method, Trained):
        return _cost(card, card.method)["multiply_adds"] < 10_000
    return not isinstance(card.method, Optimised)


def _cost(card: Card, method: Trained) -> dict[str, Any]:
    options, scale = card.options(), max(method.network.scales)
    with torch.device("meta"):  # no memory, and no time for random weights
        network = method.network.build(options, scale)
    cost: Cost = Model(card, options, scale, network).cost
    return {
        "scale": scale, "parameters": cost.parameters, "weights": cost.weights, "multiply_adds": cost.multiply_adds,
        "receptive_radius": method.network.receptive_radius(options, scale),
    }  # fmt: skip


def _weights(card: Card) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for weights in weights_manifest.shipped_weights(card.id):
        header, problem = None, None
        try:
            header = asdict(weights_file.read_header(weights_manifest.SHIPPED / weights.file))
        except weights_file.CheckpointError as error:
            problem = str(error)
        found.append({**asdict(weights), "header": header, "problem": problem})
    return found


def _headlines(headers: list[dict[str, Any]]) -> dict[str, float]:
    """Find the scores that stand for the tasks in the headers of weights, where they are named in words."""
    found: dict[str, float] = {}
    for task, words in _HEADLINES.items():
        for header in headers:
            scores: Mapping[str, float] = header["scores"]
            for name, value in scores.items():
                if all(word in name.lower() for word in (*words, "psnr")):
                    found.setdefault(task, value)
    return found
