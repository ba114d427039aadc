"""What stylize takes: its networks, and the iterations of gatys."""

from __future__ import annotations

from typing import Any

from parts.common import missing, stored, table


def section(name: str) -> dict[str, Any] | None:
    """A part of the measurements, where it was measured."""
    return (stored("stylize.json") or {}).get(name)


def networks() -> str:
    """Time and memory of each network at each size, and how exact its tiles are."""
    found = section("networks")
    if found is None:
        return missing("stylize.json", "python tools/measure_stylize.py")
    rows = [
        (
            row["method"],
            f"{row['width']} x {row['height']}",
            f"{row['seconds']:g} s",
            f"{row['mib'] / 1024:.2f} GiB",
            f"{row['difference']:.0e}",
        )
        for row in found["rows"]
    ]
    threads = sorted({row["threads"] for row in found["rows"]})
    head = ("method", "pixels", "processor's time", "whole program at its most", "tiles against the whole")
    return (
        table(head, rows)
        + f"\n\nOn {', '.join(map(str, threads))} thread of an {found['processor']}; the last column is "
        "the largest difference of samples in [0, 1]."
    )


def race() -> str:
    """One pass of a network against the iterations of gatys, as the lectures have it."""
    found = section("race")
    if found is None:
        return missing("stylize.json", "python tools/measure_stylize.py")
    rows = [
        (
            f"{row['side']} x {row['side']}",
            f"{row['pass_s']:.2f} s",
            f"{row['iteration_s']:.2f} s",
            f"{row['all_s']:,.0f} s",
            f"{row['times']:,}",
            f"{row['paper']:,}",
        )
        for row in found["rows"]
    ]
    head = ("pixels", "one pass", "one iteration", "500 iterations", "times", "the paper's times")
    return table(head, rows, right=(1, 2, 3, 4, 5)) + f"\n\n{found['what']}"


def runs() -> str:
    """How long a picture by gatys takes."""
    found = section("runs")
    if found is None:
        return missing("stylize.json", "python tools/measure_stylize.py")
    rows = [
        (
            row["backbone"],
            f"{row['side']} x {row['side']}",
            f"{row['threads']} of an {row['device']}",
            f"{row['iteration_s']:.2f} s",
            f"{row['minutes']:.1f} minutes",
        )
        for row in found["rows"]
    ]
    head = ("backbone", "pixels", "threads", "one iteration", "500 iterations")
    return table(head, rows, right=(3, 4)) + f"\n\n{found['what'][0].upper()}{found['what'][1:]}"
