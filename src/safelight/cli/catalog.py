"""The verbs that tell what there is: ``methods``, ``info`` and ``doctor``."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.options import complete_method, complete_task
from safelight.cli.shell import (
    ENVIRONMENT,
    Debug,
    Json,
    UsageError,
    Verb,
    say,
    say_json,
    table,
    the_card,
)
from safelight.tasks import TASKS

if TYPE_CHECKING:
    from safelight.card import Card, Trained
    from safelight.engine.cost import Cost


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=Verb)(methods)
    app.command(cls=Verb)(info)
    app.command(cls=Verb)(doctor)


# --- methods and info -------------------------------------------------------------------------------------------------


def methods(
    task: Annotated[
        str | None, typer.Argument(help="One task only.", autocompletion=complete_task, show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """List the methods: what they are, what they cost, how good they are.

    Multiply-adds are per pixel of the result; dB is the measured PSNR on Set5 at scale 4.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"expected a task out of {', '.join(TASKS)}, got {task!r}; choose one of them")
    from safelight import catalog

    facts = [_facts(card) for card in catalog.CARDS if task in (None, card.task)]
    if json:
        for fact in facts:
            say_json(fact)
        return 0
    defaults = {card.id for card in catalog.DEFAULTS.values()}
    rows: list[list[str]] = []
    for fact in facts:
        cost, paper, psnr = fact["cost"], fact["paper"], fact["set5_x4_psnr"]
        rows.append(
            [
                f"{fact['id']}{' *' if fact['id'] in defaults else ''}",
                _scales(fact["scales"]),
                "" if cost is None else f"{cost['parameters']:,}",
                "" if cost is None else f"{cost['multiply_adds']:,.0f}",
                "" if psnr is None else f"{psnr:.2f}",
                fact["summary"] + ("" if paper is None else f" [{paper['venue']}]"),
            ]
        )
    table(["method", "scales", "parameters", "mult-adds", "dB", "what"], rows, left=(0, 1, 5), wrap=(5,))
    say("* is what runs when no method is named")
    return 0


def info(
    method: Annotated[str, typer.Argument(help="Such as upscale/vdsr.", autocompletion=complete_method)],
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Tell all about one method: paper, options, cost, weights, published numbers."""
    card = the_card(method, None)
    facts = _facts(card, whole=True)
    if json:
        say_json(facts)
        return 0
    say(f"{card.id}: {card.title}")
    say(card.summary)
    if card.paper is not None:
        say(f'paper: {card.paper.authors}, "{card.paper.title}", {card.paper.venue}, {card.paper.link}')
    shared = ", one network for all" if facts["one_for_all"] else ""
    say(f"scales: {_scales(facts['scales'])}{shared}; others follow by a resize")
    if facts["cost"] is not None:
        cost = facts["cost"]
        say(
            f"cost at scale {cost['scale']}: {cost['parameters']:,} parameters ({cost['weights']:,} weights), "
            f"{cost['multiply_adds']:,.0f} multiply-adds per pixel of the result"
        )
        say(f"receptive field: {2 * cost['reach'] + 1} pixels; input: {facts['input']}, {facts['channels']}")
    for option in facts["options"]:
        extent = ", ".join(option["choices"]) or f"{option['low']} to {option['high']}"
        say(f"option --{option['name'].replace('_', '-')}: {option['help']} ({extent}; default {option['default']})")
    for weights in facts["weights"]:
        megabytes = weights["bytes"] / 1e6
        say(f"weights {weights['file']}: {_scales(weights['scales'])}, {megabytes:.2f} MB, {_header(weights)}")
    if facts["recipe"] is not None:
        recipe = facts["recipe"]
        crops = f"{recipe['batch']} crops of {recipe['patch']}x{recipe['patch']}"
        say(f"recipe: {recipe['steps']:,} steps of {crops}; {recipe['time']}")
    for row in card.published:
        ssim = "" if row.ssim is None else f", SSIM {row.ssim:.4f}"
        say(f"published: {row.data} x{row.scale} {row.psnr:.2f} dB{ssim}")
    return 0


def _header(weights: Mapping[str, Any]) -> str:
    header = weights["header"]
    if header is None:
        return weights["problem"]
    scores = ", ".join(f"{name} {value:.2f}" for name, value in header["scores"].items()) or "no scores"
    data = ", ".join(header["trained_on"]) or "unknown pictures"
    return f"trained on {data}; licence {header['licence'] or 'not stated'}; {scores}"


def _scales(scales: tuple[int, ...] | None) -> str:
    return "any" if scales is None else " ".join(f"x{scale}" for scale in scales)


def _facts(card: Card, *, whole: bool = False) -> dict[str, Any]:
    """Gather what a card says, as plain values; ``whole`` adds options, weights, recipe and the paper's table."""
    from safelight.card import Trained, option_facts

    method = card.method
    network = method if isinstance(method, Trained) else None
    weights = [] if network is None else _weights(network)
    facts: dict[str, Any] = {
        "id": card.id, "task": card.task, "title": card.title, "summary": card.summary,
        "paper": None if card.paper is None else asdict(card.paper),
        "scales": None if network is None else network.scales,
        "cost": None if network is None else _cost(card, network),
        "set5_x4_psnr": _set5([w["header"] for w in weights if w["header"] is not None]),
    }  # fmt: skip
    if whole:
        facts["options"] = [{**asdict(fact), "kind": fact.kind.__name__} for fact in option_facts(card.options)]
        facts["one_for_all"] = network is not None and network.one_for_all
        facts["channels"] = None if network is None else network.channels
        facts["input"] = None if network is None else network.input
        facts["precisions"] = None if network is None else network.precisions
        facts["weights"] = weights
        facts["recipe"] = None if network is None else asdict(network.recipe)
        facts["published"] = [asdict(row) for row in card.published]
    return facts


def is_quick(card: Card) -> bool:
    """Say whether a method needs under 10,000 multiply-adds per pixel of the result, as formulas do."""
    from safelight.card import Trained

    return not isinstance(card.method, Trained) or _cost(card, card.method)["multiply_adds"] < 10_000


def _cost(card: Card, method: Trained) -> dict[str, Any]:
    import torch

    from safelight.engine.cost import measure

    options, scale = card.options(), max(method.scales)
    with torch.device("meta"):  # no memory, and no time for random weights
        network = method.network(options, scale)
    cost: Cost = measure(network, 1 if method.channels == "y" else 3)
    return {
        "scale": scale, "parameters": cost.parameters, "weights": cost.weights, "multiply_adds": cost.multiply_adds,
        "reach": method.reach(options, scale),
    }  # fmt: skip


def _weights(method: Trained) -> list[dict[str, Any]]:
    from safelight import checkpoint, model

    found: list[dict[str, Any]] = []
    for weights in method.weights:
        header, problem = None, None
        try:
            header = asdict(checkpoint.read_header(model.SHIPPED / weights.file))
        except checkpoint.CheckpointError as error:
            problem = str(error)
        found.append({**asdict(weights), "header": header, "problem": problem})
    return found


def _set5(headers: list[dict[str, Any]]) -> float | None:
    """Find the score of Set5 at scale 4 in the headers of weights, whose scores are named in words."""
    for header in headers:
        scores: Mapping[str, float] = header["scores"]
        for name, value in scores.items():
            if all(word in name.lower() for word in ("set5", "x4", "psnr")):
                return value
    return None


# --- doctor -----------------------------------------------------------------------------------------------------------


def doctor(
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Check this installation and this machine. Exit code 0 if all is well, else 3."""
    checks: list[dict[str, Any]] = []

    def check(name: str, look: Callable[[], str]) -> None:
        try:
            text, well = look(), True
        except Exception as error:
            text, well = f"{type(error).__name__}: {' '.join(str(error).split())}", False
        checks.append({"check": name, "ok": well, "found": text})

    check("safelight", _safelight)
    check("python", lambda: f"{platform.python_version()} on {platform.platform()}")
    check("torch", _torch)
    check("libvips", _libvips)
    check("devices", _devices)
    check("bfloat16", _bfloat16)
    check("memory", _memory)
    check("disk", lambda: f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free at {Path.cwd()}")
    from safelight.image import FORMATS

    for name in FORMATS:
        check(f"format {name}", lambda name=name: _format(name))
    from safelight.catalog import CARDS

    for card in CARDS:
        for i in range(len(getattr(card.method, "weights", ()))):
            check(f"weights {card.id} {i + 1}", lambda card=card, i=i: _shipped(card, i))
    for entry in checks:
        if json:
            say_json(entry)
        else:
            say(f"{'ok  ' if entry['ok'] else 'BAD '} {entry['check']:<24} {entry['found']}")
    bad = [entry["check"] for entry in checks if not entry["ok"]]
    if json:
        say_json({"summary": True, "total": len(checks), "failed": len(bad)})
    elif bad:
        say(f"not well: {', '.join(bad)}; installing safelight again repairs most of it")
    return ENVIRONMENT if bad else 0


def _safelight() -> str:
    import safelight

    return f"{safelight.__version__} at {Path(safelight.__file__).parent}"


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _libvips() -> str:
    from safelight.image.vips import libvips

    vips = libvips()
    return f"{vips.version(0)}.{vips.version(1)}.{vips.version(2)}, pyvips {vips.__version__}"


def _devices() -> str:
    import torch

    from safelight.engine import device

    return ", ".join(f"{name} ({device.describe(torch.device(name))})" for name in device.available())


def _bfloat16() -> str:
    from safelight.engine.device import bfloat16_pays

    return f"{'faster' if bfloat16_pays() else 'not faster'} than float32 on this processor"


def _memory() -> str:
    if not hasattr(os, "sysconf") or sys.platform == "darwin":
        return "not told by this system"
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page / 2**30, os.sysconf("SC_AVPHYS_PAGES") * page / 2**30
    return f"{free:.1f} of {total:.1f} GiB unused"


def _format(name: str) -> str:
    import numpy as np

    from safelight import image

    pixels = np.full((16, 16, 3), 128, np.uint8)
    back = image.read(image.encode(image.Picture(pixels=pixels), name))
    if back.pixels.shape != pixels.shape:
        raise ValueError(f"expected to read back 16 x 16 pixels, got {back.width} x {back.height}")
    return "reads and writes"


def _shipped(card: Card, i: int) -> str:
    from safelight import model
    from safelight.card import Trained

    assert isinstance(card.method, Trained)
    weights = card.method.weights[i]
    content = (model.SHIPPED / weights.file).read_bytes()
    if len(content) != weights.bytes or hashlib.sha256(content).hexdigest() != weights.sha256:
        raise ValueError(f"{weights.file}: expected the shipped bytes, got others")
    return f"{weights.file}, {_scales(weights.scales)}, checksum right"
