"""What follows from the rows: whether the anchors hold, what the recipes promised, and what falls short."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from safelight.core.card import Card, Trained
from safelight.core.options import make_options
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.quality import Quality
from safelight.evaluation.bench.records import Anchor, Comparison, Missing, PromiseOutcome, Row, Shortfall, label
from safelight.evaluation.bench.tracks import Track


def anchors(track: Track, measured: Mapping[tuple[str, int], Quality]) -> tuple[Anchor, ...]:
    """Hold what was measured of the track's anchor, by set and level, against what is known of it."""
    found: list[Anchor] = []
    for (name, level), quality_ in measured.items():
        known = track.known(name, level)
        if known is None:
            continue
        claims: list[tuple[Literal["psnr", "ssim"], float | None, float, float | None]] = [
            ("psnr", known.psnr, round(quality_.psnr, 4), known.psnr_tolerance),
            ("ssim", known.ssim, round(quality_.ssim, 5), known.ssim_tolerance),
        ]
        for metric, published, value, tolerance in claims:
            if published is not None and tolerance is not None:
                found.append(
                    Anchor(
                        method=track.anchor,
                        set=name,
                        level=level,
                        metric=metric,
                        published=published,
                        measured=value,
                        tolerance=tolerance,
                        passed=abs(value - published) <= tolerance,
                    )
                )
    return tuple(found)


def promises(track: Track, card: Card, rows: Sequence[Row]) -> list[PromiseOutcome]:
    """Hold a method's rows against what its recipe promises of the same set, level and options."""
    if not isinstance(card.method, Trained):
        return []
    mine = {(label("", row.options), row.set, row.level): row.psnr for row in rows if row.method == card.id}
    found: list[PromiseOutcome] = []
    for promise in card.method.training.recipe.promises:
        if promise.task != track.task:
            continue
        options = quality.differing(card, make_options(card, promise.options))
        measured = mine.get((label("", options), promise.data, promise.level))
        found.append(
            PromiseOutcome(
                method=card.id,
                options=options,
                set=promise.data,
                level=promise.level,
                promised=promise.psnr,
                floor=promise.floor,
                measured=measured,
                # To the two digits that papers print: 36.655 is 36.66.
                short=None if measured is None else max(0.0, round(promise.psnr - round(measured, 2), 2)),
            )
        )
    return found


def shortfalls(
    track: Track,
    checked: Sequence[Anchor],
    absent: Sequence[Missing],
    outdated: Sequence[Row],
    promised: Sequence[PromiseOutcome],
    comparison: Comparison | None,
) -> tuple[Shortfall, ...]:
    """Say in sentences what is less than it should be."""
    found: list[Shortfall] = []
    for anchor in checked:
        if not anchor.passed:
            text = (
                f"{anchor.method} {track.label(anchor.level)} {anchor.set}: {anchor.metric.upper()} "
                f"{anchor.measured:g}, where {anchor.published:g} is known and {anchor.tolerance:g} of difference is "
                "allowed"
            )
            found.append(Shortfall(kind="anchor", method=anchor.method, levels=(anchor.level,), text=text))
    # One line a method, not one a level: what is not there is mostly not there for any.
    grouped: dict[tuple[str, str, str, Literal["missing", "stale"]], set[int]] = {}
    for item in absent:
        key = label(item.method, item.options), item.method, f"not measured, {item.reason}", "missing"
        grouped.setdefault(key, set()).add(item.level)
    for row in outdated:
        text = "measured with weights that are no longer shipped; benchmark it again"
        grouped.setdefault((label(row.method, row.options), row.method, text, "stale"), set()).add(row.level)
    for (name, method, reason, kind), levels in grouped.items():
        text = f"{name} {track.labels(sorted(levels))}: {reason}"
        found.append(Shortfall(kind=kind, method=method, levels=tuple(sorted(levels)), text=text))
    for promise in promised:
        if promise.measured is None or not promise.short:
            continue
        below = round(promise.floor - round(promise.measured, 2), 2)
        text = (
            f"{label(promise.method, promise.options)} {track.label(promise.level)} {promise.set}: "
            f"{promise.measured:.2f} dB, {promise.short:.2f} under the {promise.promised:.2f} that the recipe "
            f"promises, {f'{below:.2f} under' if below > 0 else 'not under'} the floor of {promise.floor:.2f}"
        )
        kind = "floor" if below > 0 else "promise"
        found.append(Shortfall(kind=kind, method=promise.method, levels=(promise.level,), text=text))
    if comparison is not None and comparison.network.ratio < comparison.published_ratio:
        text = (
            f"{label(comparison.fast, {})} x{comparison.scale}: its network is {comparison.network.ratio:g} times as "
            f"fast as {label(comparison.slow, {})}'s, where the paper has {comparison.published_ratio:g}"
        )
        found.append(Shortfall(kind="speed", method=comparison.fast, levels=(comparison.scale,), text=text))
    return tuple(found)


def missing(track: Track, cards: Sequence[Card], rows: Sequence[Row]) -> tuple[Missing, ...]:
    """List what can't be measured, and what a run leaves out unless it is named and has no rows of an earlier one."""
    found: list[Missing] = []
    there = {row.method for row in rows}
    for card in cards:
        for options in quality.variants(card, track.task):
            for level in quality.levels(track, card, options):
                place = quality.locate(track, card, options, level)
                if isinstance(place, Missing):
                    found.append(place)
                elif card.id in track.left_out and card.id not in there:
                    reason = track.left_out[card.id]
                    found.append(Missing(method=card.id, options=options, level=level, reason=reason))
    return tuple(found)


def stale(track: Track, cards: Sequence[Card], rows: Sequence[Row]) -> list[Row]:
    """List rows that were measured with other weights than those that are shipped now."""
    shipped: dict[tuple[str, str, int], str | None] = {}
    for card in cards:
        for options in quality.variants(card, track.task):
            for level in quality.levels(track, card, options):
                path = quality.locate(track, card, options, level)
                if not isinstance(path, Missing):
                    key = card.id, label("", options), level
                    shipped[key] = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    keys = [(row.method, label("", row.options), row.level) for row in rows]
    return [
        row for row, key in zip(rows, keys, strict=True) if key not in shipped or shipped[key] != row.weights_sha256
    ]
