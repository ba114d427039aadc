"""What the benchmark found, task by task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from parts import common
from parts.common import NONE, no_results, stored, table
from safelight.evaluation import bench
from safelight.evaluation.bench.records import label
from safelight.evaluation.bench.tracks import TRACKS
from safelight.tasks import Task


def short(task: Task) -> str:
    """One line a method: cost, the first test set measured beside published, time."""
    results = stored(f"{task}.json")
    if results is None:
        return no_results(task)
    failed = sum(not anchor["passed"] for anchor in results["anchors"])
    if failed:
        return f"{failed} of {len(results['anchors'])} anchors fail in `results/{task}.json`: believe no number in it."
    track = TRACKS[task]
    name = track.headline
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for row in results["rows"]:
        if row["set"] == name:
            by_name.setdefault(label(row["method"], row["options"]), {})[row["level"]] = row
    lines: list[list[str]] = []
    for method, rows in by_name.items():
        last = rows[max(rows)]
        work = last["multiply_adds"]
        cells = [method, f"{last['parameters']:,}" if work is not None else NONE]
        cells.append(NONE if work is None else f"{work:,.0f}")
        for level in track.levels:
            row = rows.get(level)
            published = NONE if row is None or row["published_psnr"] is None else f"{row['published_psnr']:.2f}"
            cells.append(NONE if row is None else f"{row['psnr']:.2f} ({published})")
        fast = last.get("fast_seconds_per_megapixel")
        lines.append([*cells, f"{last['seconds_per_megapixel']:.3g}" + ("" if fast is None else f" ({fast:.3g})")])
    heads = ["method", "parameters", "multiply-adds per pixel", *(f"{name} {track.label(o)}" for o in track.levels)]
    heads.append("seconds per megapixel (fast)")
    written = table(heads, lines, right=range(1, len(heads)))
    if task == "upscale":
        notes = [
            "Y-PSNR in dB, measured (published). Parameters, multiply-adds and seconds are those of the largest scale, "
            "for each pixel or megapixel of the result."
        ]
    else:
        notes = ["PSNR in dB, measured (published). Multiply-adds and seconds are for each pixel or megapixel."]
    notes[0] += " Seconds with `--precision fast` stand in brackets, where that differs."
    notes.append(measured_on(results["runs"]))
    return "\n\n".join([written, " ".join(notes)])


def measured_on(runs: list[dict[str, Any]]) -> str:
    """Say once when and on what a table was measured: runs on one machine share their words."""
    days: dict[str, list[str]] = {}
    for run in runs:
        machine = run["machine"]
        days.setdefault(f"{machine['processor']}, {machine['device']}", []).append(run["id"][:10])
    spans = {
        name: min(found) if min(found) == max(found) else f"{min(found)} to {max(found)}"
        for name, found in days.items()
    }
    return f"Measured on {'; on '.join(f'{span}: {name}' for name, span in spans.items())}."


def everything(task: Task) -> str:
    """All that the benchmark found of a task, below a document's own heading."""
    results = stored(f"{task}.json")
    if results is None:
        return no_results(task)
    text = bench.tables(results).split("\n", 1)[1].strip()
    plot = common.RESULTS / f"{task}.svg"
    picture = f"![PSNR against time per megapixel](../results/{plot.name})\n\n" if plot.is_file() else ""
    return picture + text


SHORT: dict[str, Callable[[], str]] = {f"results-short-{task}": partial(short, task) for task in TRACKS}
ALL: dict[str, Callable[[], str]] = {f"results-{task}": partial(everything, task) for task in TRACKS}
