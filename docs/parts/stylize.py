"""What the networks of stylize take."""

from __future__ import annotations

from parts.common import missing, stored, table


def networks() -> str:
    """Time and memory of each network at each size, and how exact its tiles are."""
    results = stored("stylize.json")
    found = None if results is None else results.get("networks")
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
