"""What follows from the rows: whether the anchors hold, what the recipes promised, and what falls short."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from safelight import catalog
from safelight.core.benchmark import INPUT, Benchmark, Level
from safelight.core.card import Card
from safelight.core.options import CardError, make_options
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.measures import Numbers, kept
from safelight.evaluation.bench.records import (
    AnchorResult,
    MetricFacts,
    Missing,
    PromiseOutcome,
    Row,
    Shortfall,
    SpeedComparison,
    label,
)


def known_numbers(benchmark: Benchmark, name: str, level: Level) -> Numbers:
    """Tell what the anchor must come to on a set at a level: by the benchmark, or by the method's paper."""
    anchor = benchmark.anchor
    if anchor is None:
        return {}
    if anchor.known is not None or anchor.method == INPUT:
        return {} if anchor.known is None else anchor.known(name, level)
    try:
        published = catalog.find(anchor.method).published
    except CardError:
        return {}
    found = (row for row in published if (row.task, row.data, row.level) == (benchmark.task, name, level))
    return next((row.values for row in found), dict[str, float]())


def check_anchors(
    benchmark: Benchmark, facts: Sequence[MetricFacts], measured: Mapping[tuple[str, Level], Numbers]
) -> tuple[AnchorResult, ...]:
    """Compare what was measured of the benchmark's anchor, by set and level, with what is known of it."""
    anchor = benchmark.anchor
    found: list[AnchorResult] = []
    for (name, level), numbers in measured.items() if anchor is not None else ():
        assert anchor is not None
        known = known_numbers(benchmark, name, level)
        tolerances = anchor.tolerances.get(name, {})
        for metric in facts:
            if metric.name in known and metric.name in tolerances and metric.name in numbers:
                value, published, tolerance = (
                    kept(metric, numbers[metric.name]),
                    known[metric.name],
                    tolerances[metric.name],
                )
                found.append(
                    AnchorResult(
                        method=anchor.method,
                        set=name,
                        level=level,
                        metric=metric.name,
                        published=published,
                        measured=value,
                        tolerance=tolerance,
                        passed=abs(value - published) <= tolerance,
                    )
                )
    return tuple(found)


def check_promises(
    benchmark: Benchmark, facts: Sequence[MetricFacts], card: Card, rows: Sequence[Row]
) -> list[PromiseOutcome]:
    """Compare a method's rows with what its recipe promises of the same set, level, options and metric."""
    if card.training is None:
        return []
    mine = {(label("", row.options), row.set, row.level): row.metrics for row in rows if row.method == card.id}
    by_name = {metric.name: metric for metric in facts}
    found: list[PromiseOutcome] = []
    for promise in card.training.recipe.promises:
        if promise.task != benchmark.task or promise.metric not in by_name:
            continue
        options = quality.differing(card, make_options(card, promise.options))
        numbers = mine.get((label("", options), promise.data, promise.level), {})
        measured = numbers.get(promise.metric)
        found.append(
            PromiseOutcome(
                method=card.id,
                options=options,
                set=promise.data,
                level=promise.level,
                metric=promise.metric,
                promised=promise.value,
                floor=promise.floor,
                measured=measured,
                short=None if measured is None else lacking(by_name[promise.metric], promise.value, measured),
            )
        )
    return found


def lacking(metric: MetricFacts, wanted: float, measured: float) -> float:
    """How much worse a number is than a wanted one, to the digits that papers print (36.655 is 36.66); or 0."""
    sign = 1 if metric.higher_is_better else -1
    return max(0.0, round(sign * (wanted - round(measured, metric.digits)), metric.digits))


def list_shortfalls(
    benchmark: Benchmark,
    facts: Sequence[MetricFacts],
    *,
    anchors: Sequence[AnchorResult] = (),
    missing: Sequence[Missing] = (),
    outdated: Sequence[Row] = (),
    promises: Sequence[PromiseOutcome] = (),
    comparisons: Sequence[SpeedComparison] = (),
) -> tuple[Shortfall, ...]:
    """Say in sentences what is less than it should be."""
    by_name = {metric.name: metric for metric in facts}
    found: list[Shortfall] = []
    for anchor in anchors:
        if not anchor.passed:
            text = (
                f"{_words(anchor.method, benchmark.label(anchor.level), anchor.set)}: {by_name[anchor.metric].title} "
                f"{anchor.measured:g}, where {anchor.published:g} is known and {anchor.tolerance:g} of difference is "
                "allowed"
            )
            found.append(Shortfall(kind="anchor", method=anchor.method, levels=(anchor.level,), text=text))
    # One line a method, not one a level: what is not there is mostly not there for any.
    grouped: dict[tuple[str, str, str, Literal["missing", "stale"]], set[Level]] = {}
    for item in missing:
        key = label(item.method, item.options), item.method, f"not measured, {item.reason}", "missing"
        grouped.setdefault(key, set()).add(item.level)
    for row in outdated:
        text = "measured with weights that are no longer shipped; benchmark it again"
        grouped.setdefault((label(row.method, row.options), row.method, text, "stale"), set()).add(row.level)
    for (name, method, reason, kind), levels in grouped.items():
        ordered = tuple(level for level in benchmark.levels if level in levels)
        text = f"{_words(name, benchmark.labels(ordered))}: {reason}"
        found.append(Shortfall(kind=kind, method=method, levels=ordered, text=text))
    for promise in promises:
        if promise.measured is None or not promise.short:
            continue
        metric = by_name[promise.metric]
        below = lacking(metric, promise.floor, promise.measured)
        side, worst = ("under", "floor") if metric.higher_is_better else ("over", "limit")
        short, promised, floor, over = (
            format(value, f".{metric.digits}f") for value in (promise.short, promise.promised, promise.floor, below)
        )
        text = (
            f"{_words(label(promise.method, promise.options), benchmark.label(promise.level), promise.set)}: "
            f"{promise.measured:.{metric.digits}f}{metric.suffix}, {short} {side} the {promised} that the recipe "
            f"promises, {f'{over} {side}' if below > 0 else f'not {side}'} the {worst} of {floor}"
        )
        kind = "floor" if below > 0 else "promise"
        found.append(Shortfall(kind=kind, method=promise.method, levels=(promise.level,), text=text))
    for comparison in comparisons:
        if comparison.network.ratio < comparison.published_ratio:
            text = (
                f"{_words(label(comparison.fast, {}), benchmark.label(comparison.level))}: its network is "
                f"{comparison.network.ratio:g} times as fast as {label(comparison.slow, {})}'s, where the paper has "
                f"{comparison.published_ratio:g}"
            )
            found.append(Shortfall(kind="speed", method=comparison.fast, levels=(comparison.level,), text=text))
    return tuple(found)


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def list_missing(benchmark: Benchmark, cards: Sequence[Card], rows: Sequence[Row]) -> tuple[Missing, ...]:
    """List what can't be measured, and what a run leaves out unless it is named and has no rows of an earlier one."""
    found: list[Missing] = []
    there = {row.method for row in rows}
    for card in cards:
        for options in quality.variants(card, benchmark.task):
            for level in quality.levels(benchmark, card, options):
                weights = quality.find_weights(benchmark, card, options, level)
                if isinstance(weights, Missing):
                    found.append(weights)
                elif card.id in benchmark.left_out and card.id not in there:
                    reason = benchmark.left_out[card.id]
                    found.append(Missing(method=card.id, options=options, level=level, reason=reason))
    return tuple(found)


def list_outdated(benchmark: Benchmark, cards: Sequence[Card], rows: Sequence[Row]) -> list[Row]:
    """List rows that were measured with other weights than those that are shipped now."""
    shipped: dict[tuple[str, str, Level], str | None] = {}
    for card in cards:
        for options in quality.variants(card, benchmark.task):
            for level in quality.levels(benchmark, card, options):
                path = quality.find_weights(benchmark, card, options, level)
                if not isinstance(path, Missing):
                    key = card.id, label("", options), level
                    shipped[key] = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    keys = [(row.method, label("", row.options), row.level) for row in rows]
    return [
        row for row, key in zip(rows, keys, strict=True) if key not in shipped or shipped[key] != row.weights_sha256
    ]
