"""The verbs that show what is installed: ``methods``, ``info`` and ``doctor``."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight import tasks
from safelight.cli.method_flags import complete_method, complete_task, extent
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
from safelight.core.task import Task

if TYPE_CHECKING:
    from safelight.checkpoints.weights_manifest import Weights
    from safelight.core.card import OptionalPackage


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=Verb)(methods)
    app.command(cls=Verb)(info)
    app.command(cls=Verb)(doctor)


# --- methods and info -------------------------------------------------------------------------------------------------


def methods(
    task: Annotated[
        str | None,
        typer.Argument(help="List the methods of this task only.", autocompletion=complete_task, show_default=False),
    ] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """List the methods, with their cost and their measured quality.

    Multiply-adds are per pixel of the result. dB is the measured PSNR, of upscale on Set5 at scale 4, of denoise on
    BSD68 at sigma 25, of deblock on classic5 at quality 10.
    """
    chosen: Task | None = next((known for known in tasks.names() if known == task), None)
    if task is not None and chosen is None:
        raise UsageError(f"expected a task out of {', '.join(tasks.names())}, got {task!r}; choose one of them")
    from safelight import catalog
    from safelight.inference import describe

    facts = [describe.facts(card) for card in (catalog.CARDS if chosen is None else catalog.of_task(chosen))]
    if json:
        for fact in facts:
            say_json(fact)
        return 0
    usual = {
        card.id for name in tasks.names() if chosen in (None, name) and (card := catalog.default(name)) is not None
    }
    rows: list[list[str]] = []
    for fact in facts:
        cost, paper = fact["cost"], fact["paper"]
        psnr = fact["psnr"].get(fact["task"] if chosen is None else chosen)
        rows.append(
            [
                f"{fact['id']}{' *' if fact['id'] in usual else ''}",
                _zooms(fact),
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
    method: Annotated[
        str, typer.Argument(help="The name of a method, such as upscale/vdsr.", autocompletion=complete_method)
    ],
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Show the details of one method: paper, options, cost, weights, published scores."""
    from safelight.core.options import option_facts
    from safelight.inference import describe

    card = the_card(method, None)
    facts = describe.facts(card, whole=True)
    if json:
        say_json(facts)
        return 0
    say(f"{card.id}: {card.title}")
    say(card.summary)
    if card.paper is not None:
        say(f'paper: {card.paper.authors}, "{card.paper.title}", {card.paper.venue}, {card.paper.link}')
    say(f"tasks: {', '.join(card.tasks)}; {facts['kind']}")
    if _scaled(card.tasks):
        shared = ", one network for all" if facts["scale_agnostic"] else ""
        say(f"scales: {_zooms(facts)}{shared}; others follow by a resize")
    if card.accepts:
        say(f"can be told: {', '.join(facts['accepts'])}")
    if facts["extra"] is not None:
        there = "installed" if facts["extra"]["installed"] else "not installed"
        say(f"needs: pip install 'safelight[{facts['extra']['name']}]' ({there})")
    if facts["cost"] is not None:
        cost = facts["cost"]
        at = f" at scale {cost['scale']}" if cost["scale"] > 1 else ""
        say(
            f"cost{at}: {cost['parameters']:,} parameters ({cost['weights']:,} weights), "
            f"{cost['multiply_adds']:,.0f} multiply-adds per pixel of the result"
        )
        say(f"receptive field: {2 * cost['receptive_radius'] + 1} pixels; input: {facts['input']}, {facts['channels']}")
    for option in option_facts(card.options):
        say(f"option --{option.name.replace('_', '-')}: {option.help} ({extent(option)})")
    for weights in facts["weights"]:
        serves = " ".join(f"x{scale}" for scale in weights["scales"] if scale > 1)
        fits = ", ".join(f"{name} {value}" for name, value in weights["options"].items())
        what = "; ".join(part for part in (serves, fits) if part)
        say(f"weights {weights['file']}: {what or 'all'}, {weights['bytes'] / 1e6:.2f} MB, {_header(weights)}")
    if facts["recipe"] is not None:
        recipe = facts["recipe"]
        crops = f"{recipe['batch']} crops of {recipe['patch']}x{recipe['patch']}"
        say(f"recipe: {recipe['steps']:,} steps of {crops}; {recipe['time'] or 'its time is not measured yet'}")
        for promise in recipe["promises"]:
            aim = f"{promise['psnr']:.2f} dB, and at least {promise['floor']:.2f}"
            if promise["metric"] != "psnr":
                aim = f"{promise['metric']} {promise['psnr']:g}, and not worse than {promise['floor']:g}"
            say(f"promised: {_measured_on(promise)}: {aim}{_by_options(promise)}")
    for row in facts["published"]:
        numbers = [] if row["psnr"] is None else [f"{row['psnr']:.2f} dB"]
        numbers += [] if row["ssim"] is None else [f"SSIM {row['ssim']:.4f}"]
        numbers += [f"{name} {value:g}" for name, value in row["metrics"].items()]
        say(f"published: {_measured_on(row)}: {', '.join(numbers)}{_by_options(row)}")
    return 0


def _measured_on(row: Mapping[str, Any]) -> str:
    level = "" if row["level"] is None else tasks.find(row["task"]).level.format(f"{row['level']:g}")
    return f"{row['task']}, {row['data']} {level}".rstrip()


def _by_options(row: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{name} {value}" for name, value in row["options"].items())
    return f" ({chosen})" if chosen else ""


def _header(weights: Mapping[str, Any]) -> str:
    header = weights["header"]
    if header is None:
        return weights["problem"]
    scores = ", ".join(f"{name} {value:.2f}" for name, value in header["scores"].items()) or "no scores"
    data = ", ".join(header["trained_on"]) or "unknown pictures"
    return f"trained on {data}; licence {header['licence'] or 'not stated'}; {scores}"


def _scaled(served: Sequence[str]) -> bool:
    return any(tasks.find(name).output.size == "scaled" for name in served)


def _zooms(facts: Mapping[str, Any]) -> str:
    if not _scaled(facts["tasks"]):
        return ""
    scales: tuple[int, ...] | None = facts["scales"]
    return "any" if scales is None else " ".join(f"x{scale}" for scale in scales if scale > 1)


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
    from safelight.media.image import FORMATS

    for name in FORMATS:
        check(f"format {name}", lambda name=name: _format(name))
    from safelight.catalog import CARDS
    from safelight.checkpoints import weights_manifest

    check("weights", lambda: f"{len(weights_manifest.read(weights_manifest.SHIPPED))} files are listed")
    for card in CARDS if checks[-1]["ok"] else ():
        for i, weights in enumerate(weights_manifest.shipped_weights(card.id)):
            check(f"weights {card.id} {i + 1}", lambda weights=weights: _shipped(weights))
    for extra in dict.fromkeys(card.extra for card in CARDS if card.extra is not None):
        check(f"extra {extra.name}", lambda extra=extra: _extra(extra))
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
    from safelight.media.image.vips import libvips

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

    from safelight.media import image

    pixels = np.full((16, 16, 3), 128, np.uint8)
    back = image.read(image.encode(image.Picture(pixels=pixels), name))
    if back.pixels.shape != pixels.shape:
        raise ValueError(f"expected to read back 16 x 16 pixels, got {back.width} x {back.height}")
    return "reads and writes"


def _extra(extra: OptionalPackage) -> str:
    if importlib.util.find_spec(extra.module) is not None:
        return f"{extra.module} is installed"
    return f"{extra.module} is not installed; if you want it: pip install 'safelight[{extra.name}]'"


def _shipped(weights: Weights) -> str:
    from safelight.checkpoints import weights_manifest

    content = (weights_manifest.SHIPPED / weights.file).read_bytes()
    if len(content) != weights.bytes or hashlib.sha256(content).hexdigest() != weights.sha256:
        raise ValueError(f"{weights.file}: expected the shipped bytes, got others")
    serves = " ".join(f"x{scale}" for scale in weights.scales if scale > 1)
    return ", ".join(part for part in (weights.file, serves, "checksum right") if part)
