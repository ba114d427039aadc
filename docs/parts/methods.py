"""What the cards say: the methods of a task, their options, what the networks cost, the file formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from parts.common import NONE, called, table, trained
from safelight import tasks
from safelight.catalog import default as default_of
from safelight.catalog import of_task
from safelight.core.card import Card, Trained, channels_of
from safelight.core.options import make_options, option_facts
from safelight.core.task import Task
from safelight.engine.cost import Cost
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.records import label
from safelight.inference.model import Model
from safelight.media.image.formats import CAPABILITIES
from safelight.methods.upscale import espcn


def cost(card: Card, method: Trained, options: Any, scale: int) -> Cost:  # noqa: ANN401 - each method has its own
    """Count without memory or arithmetic."""
    with torch.device("meta"):
        network = method.network.build(options, scale)
    return Model(card, options, scale, network).cost


def methods(task: Task) -> str:
    """The methods of a task: what each is, its paper, its kind. One that serves several tasks stands under each."""
    default = default_of(task)
    rows: list[list[str]] = []
    for card in of_task(task):
        paper = NONE if card.paper is None else f"[{card.paper.venue}]({_address(card.paper.link)})"
        mark = " (default)" if default is not None and card.id == default.id else ""
        rows.append([f"[{card.name}](../{_file(card)}){mark}", card.summary, paper, kind(card, task)])
    return table(["method", "what it does", "paper", "kind"], rows)


def kind(card: Card, task: Task) -> str:
    """Say of what kind a method is, which scales it is for, and what it needs beside Safelight."""
    scales = card.scales or () if card.network is not None and tasks.find(task).output.size == "scaled" else ()
    zooms = " ".join(f"x{scale}" for scale in scales if scale > 1)
    text = card.method.kind + (f", {zooms}" if zooms else "")
    return text if card.extra is None else f"{text}; needs `[{card.extra.name}]`"


def _file(card: Card) -> str:
    """The method's file, or its folder where there are several."""
    place = f"src/safelight/{'/'.join(card.module.split('.')[1:])}"
    module = Path(inspect.getfile(espcn)).parents[2] / "/".join(card.module.split(".")[1:])
    return place if module.is_dir() else f"{place}.py"


def _address(link: str) -> str:
    """Escape what ends an address in Markdown: an old DOI holds brackets of both kinds."""
    return quote(link, safe=":/.-_;")


def options(task: Task) -> str:
    """The options of a task's methods."""
    rows: list[list[str]] = []
    for card in of_task(task):
        for fact in option_facts(card.options):
            flag = f"`--{fact.name.replace('_', '-')}`"
            rows.append(
                [card.name, flag, fact.help, fact.extent, "auto" if fact.default is None else str(fact.default)]
            )
    return table(["method", "flag", "what it does", "values", "default"], rows)


def costs() -> str:
    """Size and work of the networks at every scale; networks that cost the same share a line."""
    found: dict[tuple[str, ...], list[str]] = {}
    for card, method in trained():
        every = (values for task in card.tasks for values in quality.variants(card, task))
        for values in {label(card.id, values): values for values in every}.values():
            made = make_options(card, values)
            for scale in quality.trained_scales(card, made):
                counted = cost(card, method, made, scale)
                looks = "enlarged" if method.network.input == "interpolated" else "small"
                cells = (
                    called(card), NONE if scale == 1 else f"x{scale}",
                    f"{counted.parameters:,}", f"{counted.weights:,}",
                    f"{counted.multiply_adds:,.0f}", str(2 * method.network.receptive_radius(made, scale) + 1),
                    "as it is" if scale == 1 else looks, channels_of(method.network, made).upper(),
                )  # fmt: skip
                found.setdefault(cells, []).append(" ".join(map(str, values.values())))
    rows = [[f"{name} {', '.join(variants)}".strip(), *rest] for (name, *rest), variants in found.items()]
    heads = ["method", "scale", "parameters", "weights alone", "multiply-adds per output pixel"]
    heads += ["receptive field, input pixels", "input", "channels"]
    return table(heads, rows, right=(2, 3, 4, 5))


def formats() -> str:
    """What each file format holds."""
    rows: list[list[str]] = []
    for name, able in CAPABILITIES.items():
        depth = f"{'8' if able.bits == 8 else f'8, {able.bits}'} bits{', float' if able.floats else ''}"
        alpha = "no" if not able.alpha else "clear or opaque" if name == "gif" else "yes"
        kept = "ICC, EXIF, XMP, DPI" if able.metadata else "nothing"
        side = f"{able.max_side:,}"
        loss = "lossless" if able.quality is None else str(able.quality)
        if name == "gif":
            loss = "256 colours"
        rows.append([name.upper(), " ".join(able.suffixes), depth, alpha, kept, side, loss])
    return table(
        ["format", "suffixes", "depth", "alpha", "metadata", "most pixels a side", "quality"], rows, right=(5,)
    )


def method_file() -> str:
    """The file of a real method, whole."""
    path = Path(inspect.getfile(espcn))
    return f"```python\n{path.read_text(encoding='utf-8').rstrip()}\n```"


METHODS: dict[str, Callable[[], str]] = {f"methods-{task}": partial(methods, task) for task in tasks.names()}
OPTIONS: dict[str, Callable[[], str]] = {f"options-{task}": partial(options, task) for task in tasks.names()}
