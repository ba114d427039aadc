"""Quality against time as a picture: the benchmark's JSON drawn by matplotlib, an optional package."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.core.benchmark import Level, level_label
from safelight.evaluation.bench.records import label


@dataclass(frozen=True, slots=True)
class Point:
    """A method in a panel: seconds per output megapixel, and the mean of the first metric."""

    name: str
    seconds: float
    value: float


def points(results: Mapping[str, Any], level: Level) -> list[Point]:
    """Work out a panel's points: the value is the mean over all pictures of the plotted sets together.

    ``--precision fast`` has points of its own. Its value is taken to be that of the exact result: a card allows it only
    if the two differ by at most 0.01 dB.
    """
    metric = results["metrics"][0]["name"]
    counts = {data["name"]: data["pictures"] for data in results["data"] if data["name"] in results["plotted"]}
    rows = [row for row in results["rows"] if row["level"] == level and row["set"] in counts]
    sums: dict[str, float] = {}
    seconds: dict[str, float] = {}
    fast: dict[str, float] = {}
    for row in rows:
        name = label(row["method"], row["options"])
        sums[name] = sums.get(name, 0.0) + row["metrics"][metric] * counts[row["set"]]
        seconds[name] = row["seconds_per_megapixel"]
        if row.get("fast_seconds_per_megapixel") is not None:
            fast[name] = row["fast_seconds_per_megapixel"]
    total = sum(counts.values())
    found = [Point(name, seconds[name], value / total) for name, value in sums.items()]
    return found + [Point(f"{name} fast", taken, sums[name] / total) for name, taken in fast.items()]


def pareto_front(found: list[Point], *, higher_is_better: bool = True) -> list[Point]:
    """Keep the points that no faster one equals: the methods worth choosing from, fastest first.

    Example:
        >>> [p.name for p in pareto_front([Point("a", 1, 30), Point("b", 2, 29), Point("c", 3, 31)])]
        ['a', 'c']
    """
    sign = 1 if higher_is_better else -1
    kept: list[Point] = []
    for point in sorted(found, key=lambda point: (point.seconds, -sign * point.value)):
        if not kept or sign * point.value > sign * kept[-1].value:
            kept.append(point)
    return kept


def label_corners(places: list[tuple[float, float]], lengths: list[int]) -> list[tuple[int, int]]:
    """Choose for each point the corner that its name stands at, where it covers the fewest points and earlier names.

    Args:
        places: (x, y) of the points on the page, in points of 1/72 inch.
        lengths: Letters of the names.

    Returns:
        (1 or -1, 1 or -1) for right or left and above or below.

    Example:
        >>> label_corners([(0, 0), (5, 5)], [6, 6])
        [(-1, 1), (1, 1)]
    """
    boxes = [(x - 2.0, x + 2.0, y - 2.0, y + 2.0) for x, y in places]
    chosen: list[tuple[int, int]] = []
    for (x, y), letters in zip(places, lengths, strict=True):
        options: list[tuple[int, tuple[int, int], tuple[float, float, float, float]]] = []
        for right, up in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            across, over = sorted((x + 4 * right, x + (4 + 5 * letters) * right)), sorted((y + 3 * up, y + 11 * up))
            box = (across[0], across[1], over[0], over[1])
            hits = sum(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in boxes)
            options.append((hits, (right, up), box))
        _, corner, box = min(options, key=lambda option: option[0])
        boxes.append(box)
        chosen.append(corner)
    return chosen


def draw(results: Mapping[str, Any]) -> bytes:
    """Draw one panel a level.

    Args:
        results: The JSON of a benchmark, as ``json.loads`` gives it; it has rows of a plotted set.

    Returns:
        An SVG file, the same bytes for the same results.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    first = results["metrics"][0]
    plotted: list[str] = results["plotted"]
    shown = [data for data in results["data"] if data["name"] in plotted]
    found_levels = {row["level"] for row in results["rows"] if row["set"] in plotted}
    levels: list[Level] = sorted(found_levels, key=lambda level: -math.inf if level is None else level)
    pictures = sum(data["pictures"] for data in shown)
    metric = ("Y-" if all(data["kind"] == "luma" for data in shown) else "") + first["title"]
    unit = f", {first['unit']}" if first["unit"] else ""
    # The salt fixes the names of clip paths, which are random otherwise.
    with matplotlib.rc_context({"svg.hashsalt": "safelight", "font.size": 9}):
        figure = Figure(figsize=(4.2 * len(levels), 4.4), layout="constrained")
        for i, level in enumerate(levels):
            axes = figure.add_subplot(1, len(levels), i + 1)
            found = points(results, level)
            best = pareto_front(found, higher_is_better=first["higher_is_better"])
            axes.step([p.seconds for p in best], [p.value for p in best], where="post", color="0.8", zorder=1)
            axes.scatter([p.seconds for p in found], [p.value for p in found], s=18, color="tab:red", zorder=2)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            low, high = min(p.seconds for p in found), max(p.seconds for p in found)
            span = max(high / low, 10)
            axes.set_xlim(low / span**0.06, high * span**0.22)  # room at the right for the last name
            axes.margins(y=0.08)
            axes.set_title(level_label(results["level"], level))
            axes.set_xlabel("seconds per output megapixel" if results["timed_by_level"] else "seconds per megapixel")
            axes.grid(visible=True, which="major", color="0.93")
            axes.set_axisbelow(True)
        figure.axes[0].set_ylabel(f"mean {metric} over {' and '.join(plotted)} ({pictures} pictures){unit}")
        figure.draw_without_rendering()  # settles the layout, and with it where points lie on the page
        for axes, level in zip(figure.axes, levels, strict=True):
            found = points(results, level)
            places = [axes.transData.transform((p.seconds, p.value)) * 72 / figure.dpi for p in found]
            corners = label_corners([(float(x), float(y)) for x, y in places], [len(p.name) for p in found])
            for point, (right, up) in zip(found, corners, strict=True):
                axes.annotate(
                    point.name,
                    (point.seconds, point.value),
                    xytext=(4 * right, 3 * up),
                    textcoords="offset points",
                    ha="left" if right > 0 else "right",
                    va="bottom" if up > 0 else "top",
                )
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
