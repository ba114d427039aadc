"""What follows from the rows: whether the anchors hold, what the recipes promised, and what falls short."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from safelight.bench import quality
from safelight.bench.records import Anchor, Comparison, Missing, Promise, Row, Shortfall, label
from safelight.card import Card, Trained

ANCHOR = "upscale/bicubic"
# In dB and in SSIM. With Set14's gray picture used as Y, the published SSIM of the set does not come out (0.7736 for
# 0.7742 at x3) though its PSNR does, so SSIM is claimed on Set5 alone.
TOLERANCES: Mapping[str, tuple[float, float | None]] = {
    "Set5": (0.01, 0.0005),
    "Set14": (0.015, None),
    "BSD100": (0.015, None),
}


def anchors(rows: Sequence[Row]) -> tuple[Anchor, ...]:
    """Hold bicubic's rows against the literature."""
    found: list[Anchor] = []
    for row in rows:
        if row.method != ANCHOR:
            continue
        psnr, ssim = TOLERANCES[row.set]
        known: list[tuple[Literal["psnr", "ssim"], float | None, float, float | None]] = [
            ("psnr", row.published_psnr, row.psnr, psnr),
            ("ssim", row.published_ssim, row.ssim, ssim),
        ]
        for metric, published, measured, tolerance in known:
            if published is not None and tolerance is not None:
                found.append(
                    Anchor(
                        method=row.method,
                        set=row.set,
                        scale=row.scale,
                        metric=metric,
                        published=published,
                        measured=measured,
                        tolerance=tolerance,
                        passed=abs(measured - published) <= tolerance,
                    )
                )
    return tuple(found)


def promises(card: Card, rows: Sequence[Row]) -> list[Promise]:
    """Hold a method's rows, those of its default options, against what its recipe promises."""
    if not isinstance(card.method, Trained):
        return []
    recipe = card.method.recipe
    mine = {row.scale: row.psnr for row in rows if row.method == card.id and row.set == "Set5" and not row.options}
    found: list[Promise] = []
    for scale, promised in sorted(recipe.expected.items()):
        measured = mine.get(scale)
        found.append(
            Promise(
                method=card.id,
                scale=scale,
                promised=promised,
                floor=recipe.floor[scale],
                measured=measured,
                # To the two digits that papers print: 36.655 is 36.66.
                short=None if measured is None else max(0.0, round(promised - round(measured, 2), 2)),
            )
        )
    return found


def shortfalls(
    checked: Sequence[Anchor],
    absent: Sequence[Missing],
    outdated: Sequence[Row],
    promised: Sequence[Promise],
    comparison: Comparison | None,
) -> tuple[Shortfall, ...]:
    """Say in sentences what is less than it should be."""
    found: list[Shortfall] = []
    for anchor in checked:
        if not anchor.passed:
            text = (
                f"{anchor.method} x{anchor.scale} {anchor.set}: {anchor.metric.upper()} {anchor.measured:g}, where the "
                f"literature has {anchor.published:g} and {anchor.tolerance:g} of difference is allowed"
            )
            found.append(Shortfall(kind="anchor", method=anchor.method, scales=(anchor.scale,), text=text))
    # One line a method, not one a scale: what is not there is mostly not there for any.
    grouped: dict[tuple[str, str, str, Literal["weights", "stale"]], set[int]] = {}
    for item in absent:
        key = label(item.method, item.options), item.method, f"not measured, {item.reason}", "weights"
        grouped.setdefault(key, set()).add(item.scale)
    for row in outdated:
        text = "measured with weights that are no longer shipped; benchmark it again"
        grouped.setdefault((label(row.method, row.options), row.method, text, "stale"), set()).add(row.scale)
    for (name, method, reason, kind), scales in grouped.items():
        text = f"{name} {' '.join(f'x{scale}' for scale in sorted(scales))}: {reason}"
        found.append(Shortfall(kind=kind, method=method, scales=tuple(sorted(scales)), text=text))
    for promise in promised:
        if promise.measured is None or not promise.short:
            continue
        below = round(promise.floor - round(promise.measured, 2), 2)
        text = (
            f"{label(promise.method, {})} x{promise.scale} Set5: {promise.measured:.2f} dB, {promise.short:.2f} under "
            f"the {promise.promised:.2f} that the recipe promises, "
            f"{f'{below:.2f} under' if below > 0 else 'not under'} the floor of {promise.floor:.2f}"
        )
        kind = "floor" if below > 0 else "promise"
        found.append(Shortfall(kind=kind, method=promise.method, scales=(promise.scale,), text=text))
    if comparison is not None and comparison.network.ratio < comparison.published_ratio:
        text = (
            f"{label(comparison.fast, {})} x{comparison.scale}: its network is {comparison.network.ratio:g} times as "
            f"fast as {label(comparison.slow, {})}'s, where the paper has {comparison.published_ratio:g}"
        )
        found.append(Shortfall(kind="speed", method=comparison.fast, scales=(comparison.scale,), text=text))
    return tuple(found)


def missing(cards: Sequence[Card]) -> tuple[Missing, ...]:
    """List what can't be measured, since no weights are shipped or the method has no such scale."""
    found = (
        quality.locate(card, options, scale)
        for card in cards
        for options in quality.variants(card)
        for scale in quality.SCALES
    )
    return tuple(item for item in found if isinstance(item, Missing))


def stale(cards: Sequence[Card], rows: Sequence[Row]) -> list[Row]:
    """List rows that were measured with other weights than those that are shipped now."""
    shipped: dict[tuple[str, str, int], str | None] = {}
    for card in cards:
        for options in quality.variants(card):
            for scale in quality.SCALES:
                path = quality.locate(card, options, scale)
                if not isinstance(path, Missing):
                    key = card.id, label("", options), scale
                    shipped[key] = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    keys = [(row.method, label("", row.options), row.scale) for row in rows]
    return [
        row for row, key in zip(rows, keys, strict=True) if key not in shipped or shipped[key] != row.weights_sha256
    ]
