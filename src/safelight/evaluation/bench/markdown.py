"""The benchmark's JSON as tables in Markdown, for people and for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safelight.core.benchmark import Level, level_label
from safelight.evaluation.bench.records import MetricFacts, label

_NONE = "–"  # noqa: RUF001 - the typographer's dash for an empty cell


def tables(results: Mapping[str, Any]) -> str:
    """Write the tables: published beside measured, time, speed, and what falls short.

    Args:
        results: The JSON of a benchmark, as ``json.loads`` gives it.

    Returns:
        Markdown, its headings of the second and third level below one of the first.
    """
    metrics = [MetricFacts(**item) for item in results["metrics"]]
    unit: str = results["level"]
    parts = [f"# Benchmark of `safelight {results['task']}`", _head(results)]
    parts += ["## Quality", results["protocol"]["quality"]]
    for data in results["data"]:
        rows = [row for row in results["rows"] if row["set"] == data["name"]]
        parts += [f"### {data['name']} ({data['pictures']} pictures)", _quality(metrics, unit, rows)]
    parts += [_cell_words(metrics)]
    parts += ["## Time", results["protocol"]["time"], _time(results)]
    if len({row["run"] for row in results["rows"]}) > 1:
        parts += ["**Not all rows are of one run: their times compare only roughly.**"]
    if results["comparisons"]:
        parts += ["## Speed", *(_comparison(unit, comparison) for comparison in results["comparisons"])]
    if results["anchors"]:
        parts += ["## Anchors", _anchors(metrics, unit, results["anchors"])]
    if results["resize"]:
        parts += ["The resize against the low-resolution files that MATLAB wrote:", _resize(results["resize"])]
    parts += ["## Shortfalls", _shortfalls(results["shortfalls"])]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _number(value: float | None, pattern: str) -> str:
    return _NONE if value is None else format(value, pattern)


def _head(results: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for run in results["runs"]:
        machine = run["machine"]
        load = "" if machine["load"] is None else f", load {machine['load']} before the run"
        code = f"safelight {run['safelight']}" + (f" (commit {run['commit']})" if run["commit"] else "")
        lines.append(
            f"Measured {run['id']} with {code} on {machine['processor']}, {machine['threads']} threads, device "
            f"{machine['device']}, torch {machine['torch']}, Python {machine['python']}, {machine['system']}{load}."
        )
    failed = sum(not anchor["passed"] for anchor in results["anchors"])
    if failed:
        lines.insert(0, f"**{failed} of {len(results['anchors'])} anchors fail: no number below is to be believed.**")
    return "\n\n".join(lines)


def _levels(rows: Iterable[Mapping[str, Any]]) -> list[Level]:
    return sorted({row["level"] for row in rows}, key=lambda level: -math.inf if level is None else level)


def _by_method(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[Level, Mapping[str, Any]]]:
    """Sort rows by method and then by level; the order of methods stays."""
    found: dict[str, dict[Level, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(label(row["method"], row["options"]), {})[row["level"]] = row
    return found


def _cell_words(metrics: Sequence[MetricFacts]) -> str:
    """Say what a cell holds."""
    first = metrics[0]
    names = " / ".join(f"{metric.title} in {metric.unit}" if metric.unit else metric.title for metric in metrics)
    lower = [metric.title for metric in metrics if not metric.higher_is_better]
    less = f" Less is better of {', '.join(lower)}." if lower else ""
    of_first = f", in {first.unit}" if first.unit else f", of {first.title}"
    return f"A cell is {names}; the difference is measured minus published{of_first}.{less}"


def _cell(metrics: Sequence[MetricFacts], numbers: Mapping[str, float]) -> str:
    """Write the numbers of a cell; those at its end that are unknown are left out."""
    cells = [_number(numbers.get(metric.name), f".{metric.digits}f") for metric in metrics]
    while len(cells) > 1 and cells[-1] == _NONE:
        cells.pop()
    return " / ".join(cells)


def _quality(metrics: Sequence[MetricFacts], unit: str, rows: Sequence[Mapping[str, Any]]) -> str:
    levels = _levels(rows)
    first = metrics[0]
    names = [level_label(unit, level) for level in levels]
    heads = [
        "method",
        *(f"{name} {what}".strip() for name in names for what in ("measured", "published", "difference")),
    ]
    lines: list[list[str]] = []
    for name, by_level in _by_method(rows).items():
        cells = [name]
        for level in levels:
            row = by_level.get(level)
            if row is None:
                cells += [_NONE] * 3
                continue
            cells += [_cell(metrics, row["metrics"]), _cell(metrics, row["published"])]
            cells.append(_number(row["difference"].get(first.name), f"+z.{first.digits}f"))
        lines.append(cells)
    return _table(heads, lines)


def _time(results: Mapping[str, Any]) -> str:
    """One line a method: at every level that changes the size; else the level changes nothing."""
    rows: Sequence[Mapping[str, Any]] = results["rows"]
    levels: list[Level] = _levels(rows) if results["timed_by_level"] else [None]
    names = ["" if level is None else f"{level_label(results['level'], level)} " for level in levels]
    fields = (
        ("parameters", "parameters", ",d"),
        ("multiply_adds", "multiply-adds per output pixel", ",.0f"),
        ("seconds_per_megapixel", "seconds per megapixel", ".3g"),
        ("fast_seconds_per_megapixel", "seconds with --precision fast", ".3g"),
    )
    heads = ["method", *(f"{name}{title}" for _, title, _ in fields for name in names)]
    lines: list[list[str]] = []
    small: dict[str, list[str]] = {}
    for name, by_level in _by_method(rows).items():
        chosen = [next(iter(by_level.values())) if level is None else by_level.get(level) for level in levels]
        cells = [_NONE if row is None else _number(row.get(field), how) for field, _, how in fields for row in chosen]
        lines.append([name, *cells])
        for row in chosen:
            if row is not None and row["timed_on"] and name not in small.setdefault(row["timed_on"], []):
                small[row["timed_on"]].append(name)
    notes = "".join(f"\n\nTimed on {what}: {', '.join(names)}." for what, names in small.items())
    return _table(heads, lines) + notes


def _comparison(unit: str, race: Mapping[str, Any]) -> str:
    fast, slow = race["fast"].split("/")[-1], race["slow"].split("/")[-1]
    measured = (
        ("multiply-adds per output pixel", "multiply_adds", ",.0f"),
        ("networks alone, seconds per megapixel", "network", ".3g"),
        ("whole path, gray picture", "gray", ".3g"),
        ("whole path, RGB picture", "rgb", ".3g"),
    )
    heads = [level_label(unit, race["level"]), fast, slow, "times faster"]
    lines = [
        [text, *(format(race[key][side], pattern) for side in ("fast", "slow")), f"{race[key]['ratio']:.1f}"]
        for text, key, pattern in measured
    ]
    lines.append(["published", _NONE, _NONE, f"{race['published_ratio']:.1f}"])
    return f"{_table(heads, lines)}\n\n{race['why']}"


def _anchors(metrics: Sequence[MetricFacts], unit: str, anchors: Sequence[Mapping[str, Any]]) -> str:
    by_name = {metric.name: metric for metric in metrics}
    lines = [
        [
            " ".join([label(anchor["method"], {}), anchor["set"], level_label(unit, anchor["level"]), metric.title]),
            f"{anchor['published']:.{metric.digits}f}",
            f"{anchor['measured']:.{metric.digits + 2}f}",
            f"{anchor['tolerance']:g}",
            "met" if anchor["passed"] else "**failed**",
        ]
        for anchor in anchors
        for metric in (by_name[anchor["metric"]],)
    ]
    return _table(["anchor", "known", "measured", "tolerance", ""], lines)


def _resize(proofs: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [f"{p['set']} x{p['scale']}", str(p["pictures"]), f"{p['samples']:,}", f"{p['different']:,}"] for p in proofs
    ]
    return _table(["files", "pictures", "samples", "different"], lines)


def _shortfalls(shortfalls: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"- {item['text']}" for item in shortfalls) or "None."
