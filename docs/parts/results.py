"""What the benchmark found, task by task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from parts import common
from parts.common import NONE, no_results, stored, table
from safelight.core.benchmark import Level
from safelight.evaluation import bench
from safelight.evaluation.bench.records import MetricFacts, label
from safelight.tasks import Task


def short(task: Task) -> str:
    """One line a method: cost, the first test set measured beside published, time."""
    results = stored(f"{task}.json")
    if results is None:
        return no_results(task)
    failed = sum(not anchor["passed"] for anchor in results["anchors"])
    if failed:
        return f"{failed} of {len(results['anchors'])} anchors fail in `results/{task}.json`: believe no number in it."
    benchmark = bench.find(task)
    name = benchmark.headline
    first = MetricFacts(**results["metrics"][0])
    by_name: dict[str, dict[Level, dict[str, Any]]] = {}
    for row in results["rows"]:
        if row["set"] == name:
            by_name.setdefault(label(row["method"], row["options"]), {})[row["level"]] = row
    lines: list[list[str]] = []
    for method, rows in by_name.items():
        last = rows[[level for level in benchmark.levels if level in rows][-1]]
        work = last["multiply_adds"]
        cells = [method, f"{last['parameters']:,}" if work is not None else NONE]
        cells.append(NONE if work is None else f"{work:,.0f}")
        for level in benchmark.levels:
            row = rows.get(level)
            if row is None:
                cells.append(NONE)
                continue
            published = row["published"].get(first.name)
            known = NONE if published is None else f"{published:.{first.digits}f}"
            cells.append(f"{row['metrics'][first.name]:.{first.digits}f} ({known})")
        fast = last.get("fast_seconds_per_megapixel")
        lines.append([*cells, f"{last['seconds_per_megapixel']:.3g}" + ("" if fast is None else f" ({fast:.3g})")])
    heads = [
        "method",
        "parameters",
        "multiply-adds per pixel",
        *(f"{name} {benchmark.label(o)}".strip() for o in benchmark.levels),
    ]
    heads.append("seconds per megapixel (fast)")
    written = table(heads, lines, right=range(1, len(heads)))
    luma = "Y-" if all(spec.kind == "luma" for spec in benchmark.sets) else ""
    what = f"{luma}{first.title}{f' in {first.unit}' if first.unit else ''}"
    if benchmark.timed_by_level:
        notes = [
            f"{what}, measured (published). Parameters, multiply-adds and seconds are those of the largest scale, "
            "for each pixel or megapixel of the result."
        ]
    else:
        notes = [f"{what}, measured (published). Multiply-adds and seconds are for each pixel or megapixel."]
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
    title = results["metrics"][0]["title"]
    picture = f"![{title} against time per megapixel](../results/{plot.name})\n\n" if plot.is_file() else ""
    return picture + text


SHORT: dict[str, Callable[[], str]] = {f"results-short-{task}": partial(short, task) for task in bench.benchmarks()}
ALL: dict[str, Callable[[], str]] = {f"results-{task}": partial(everything, task) for task in bench.benchmarks()}
