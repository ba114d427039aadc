"""What the guides say of each task: the best method and the default as measured, and the examples of the gallery."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from parts.common import NONE, decibels, missing, no_results, stored, table
from parts.results import measured_on
from safelight import tasks
from safelight.catalog import default
from safelight.evaluation import bench
from safelight.evaluation.bench.records import MetricFacts, label

_GUIDES = "guides.json", "python tools/make_guides.py"


def choice(task: str) -> str:
    """The best measured method of a task beside its default, on each test set at its middle level."""
    if stored(f"{task}.json") is None:
        return no_results(task)
    return table(["measured on", "before", "the best", "the default"], _choices(task))


def overview() -> str:
    """The same of all measured tasks, and on what it was measured."""
    found = [task for task in bench.benchmarks() if stored(f"{task}.json") is not None]
    lines = [[task, *line] for task in found for line in _choices(task)]
    runs = [run for task in found for run in (stored(f"{task}.json") or {})["runs"]]
    heads = ["task", "measured on", "before", "the best", "the default"]
    return (
        f"{table(heads, lines)}\n\nPSNR in dB, of the luma for upscale; before is the bicubic enlargement, or the "
        f"spoilt picture itself. s/MP: seconds for a megapixel of the result. {measured_on(runs)}"
    )


def _choices(task: str) -> list[list[str]]:
    """A line for each test set of a task: what it is, before, the best, the default."""
    results = stored(f"{task}.json")
    assert results is not None
    benchmark = bench.find(task)
    level = benchmark.levels[len(benchmark.levels) // 2]
    first = MetricFacts(**results["metrics"][0])
    sign = 1 if first.higher_is_better else -1
    chosen = default(task)
    assert chosen is not None
    lines: list[list[str]] = []
    for spec in benchmark.sets:
        rows = [row for row in results["rows"] if (row["set"], row["level"]) == (spec.name, level)]
        usual = next((row for row in rows if (row["method"], row["options"]) == (chosen.id, {})), None)
        anchor = next(
            (
                known["measured"]
                for known in results["anchors"]
                if (known["set"], known["level"], known["metric"]) == (spec.name, level, first.name)
            ),
            None,
        )
        if rows:
            best = max(rows, key=lambda row: sign * row["metrics"][first.name])
            name = ", ".join(part for part in (spec.name, benchmark.label(level)) if part)
            lines.append([name, decibels(anchor), _said(first, best), NONE if usual is None else _said(first, usual)])
    return lines


def _said(first: MetricFacts, row: dict[str, Any]) -> str:
    """A method with its first metric and its time."""
    value = f"{row['metrics'][first.name]:.{first.digits}f}{first.suffix}"
    return f"{label(row['method'], row['options'])}: {value}, {row['seconds_per_megapixel']:.2g} s/MP"


def example(task: str) -> str:
    """What was measured on the picture of a guide."""
    results = stored(_GUIDES[0])
    if results is None:
        return missing(*_GUIDES)
    lines = [
        [row["method"], row["options"] or "default", f"{row['before']:.2f}", f"{row['after']:.2f}"]
        for row in results["rows"]
        if row["task"] == task
    ]
    return f"{table(['method', 'options', 'before, dB', 'after, dB'], lines, right=(2, 3))}\n\n{results['what']}"


def fix_estimates() -> str:
    """How much noise `safelight fix` sees in clean and in spoilt photographs, and how many it denoises."""
    results = stored("fix.json")
    if results is None:
        return missing("fix.json", "python tools/measure_fix.py --data DIR")
    lines: list[list[str]] = []
    for state, row in results["rows"].items():
        kind, _, amount = state.partition(" ")
        words = {"clean": "as they are", "jpeg": f"JPEG of quality {amount}", "sigma": f"noise of {amount} added"}[kind]
        lines.append(
            [words, f"{row['median']:.1f}", f"{row['highest']:.1f}", f"{row['denoised']} of {row['pictures']}"]
        )
    heads = ["state", "median estimate", "highest", "get denoised"]
    return table(heads, lines, right=(1, 2, 3))


CHOICES: dict[str, Callable[[], str]] = {f"choice-{task}": partial(choice, task) for task in bench.benchmarks()}
EXAMPLES: dict[str, Callable[[], str]] = {
    f"example-{task}": partial(example, task) for task in (*(t for t in tasks.names() if t != "stylize"), "fix")
}
