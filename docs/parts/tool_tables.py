"""How the tables of those results are made whose rows are too many to be read: each sums one JSON up, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from parts.common import NONE, table

Row: TypeAlias = dict[str, Any]

DIP_PAPER = 29.90  # dB, the mean over Set5
DIP_ITERATIONS = 2000
DIP_PIXELS = {"baby": 512 * 512, "bird": 288 * 288, "butterfly": 256 * 256, "head": 280 * 280, "woman": 228 * 344}


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""


def inverse(results: Mapping[str, Any]) -> str:
    """The mean over the pictures of each method, a table for each scale."""
    tables: list[str] = []
    for scale in sorted({row["scale"] for row in results["rows"]}, reverse=True):
        part = [row for row in results["rows"] if row["scale"] == scale]
        choices = ["auto, sigma told", "auto, sigma not told"]
        choices += ["oracle"] if any(row["strength"] == "oracle" for row in part) else []
        rows: list[list[str]] = []
        for method in dict.fromkeys(row["method"] for row in part):
            mine = [row for row in part if row["method"] == method]
            scores = {
                choice: [row["psnr"] for row in mine if row["strength"] == choice] for choice in ["none", *choices]
            }
            seconds = _mean([row["seconds"] for row in mine if row["strength"] == "auto, sigma told"])
            none = _mean(scores["none"])
            cells = [none, *[""] * len(choices)] if none else [*(_mean(scores[choice]) for choice in choices), seconds]
            rows.append([method, *cells])
        title = f"Set5 x{scale}" if scale > 1 else "Set5, deblurring (x1)"
        tables.append(table([title, *choices, "seconds"], rows, right=range(1, len(choices) + 2)))
    return "\n\n".join(tables)


def multiframe(results: Mapping[str, Any]) -> str:
    """What frames gain over one, and what was found of their shifts; the photograph below the table."""
    heads = [
        "zoom",
        "frames",
        "sigma",
        "bicubic",
        "shifts told",
        "shifts found",
        "gain",
        "shifts' error, mean (largest)",
    ]
    rows = [
        [
            f"x{row['scale']}", str(row["frames"]), f"{row['sigma']:g}", f"{row['bicubic']:.2f}",
            f"{row['known']:.2f}", f"{row['found']:.2f}", f"{row['gain_found']:+.2f}",
            f"{row['shift_error_mean']:.3f} ({row['shift_error_largest']:.3f})",
        ]
        for row in results["rows"]
    ]  # fmt: skip
    text = f"{table(heads, rows, right=range(len(heads)))}\n\n{results['what']}\n"
    photo = results.get("photograph")
    if photo:
        text += (
            f"\nA photograph beside its mirror (`{photo['file']}`), in colour: {photo['frames']} frames of "
            f"{photo['size']}, moved up to 12 pixels, noise of {photo['sigma']:g}, x{photo['scale']}: "
            f"{photo['found']:.2f} dB, bicubic {photo['bicubic']:.2f} dB; {photo['cpu_seconds']:.0f} seconds of "
            "processor time.\n"
        )
    return text


def noise(results: Mapping[str, Any]) -> str:
    """The errors on 8-bit pictures: a row for each sigma, the mean and the worst of each set."""
    rows = [row for row in results["rows"] if row["clipped"]]
    sets = list(dict.fromkeys(row["data"] for row in rows))
    lines: list[list[str]] = []
    for sigma in dict.fromkeys(row["sigma"] for row in rows):
        found = [next(row for row in rows if (row["data"], row["sigma"]) == (name, sigma)) for name in sets]
        lines.append([str(sigma), *(f"{row[key]:+.2f}" for row in found for key in ("mean_error", "worst_error"))])
    heads = ["sigma", *(head for name in sets for head in (f"{name}: mean", "worst"))]
    written = table(heads, lines, right=range(len(heads)))
    return f"{written}\n\n{results['what']} Noisy pictures clipped and rounded to 8 bits."


def dip(results: Mapping[str, Any]) -> str:
    """What was reached, and how long the whole protocol takes."""
    rows: list[Row] = results["rows"]
    heads = ["picture", "network", "arithmetic", "iterations", "PSNR, dB", "bicubic, dB", "seconds an iteration"]
    lines = [
        [
            row["picture"], row["network"], row["arithmetic"], str(row["iterations"]), f"{row['psnr']:.2f}",
            f"{row['bicubic']:.2f}", f"{row['seconds_per_iteration']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    whole = [row for row in rows if row["network"] == "paper" and row["iterations"] >= DIP_ITERATIONS]
    count = len({row["picture"] for row in whole})
    if count == len(DIP_PIXELS):
        best = [max(row["psnr"] for row in whole if row["picture"] == name) for name in DIP_PIXELS]
        told = f"The mean of the five pictures is {_mean(best)} dB; the paper prints {DIP_PAPER:.2f} dB."
    else:
        told = (
            f"The paper's {DIP_PAPER:.2f} dB is the mean of five pictures after {DIP_ITERATIONS} iterations of its "
            f"network each. {count} of them are measured so far."
        )
    for row in rows:
        if row["network"] == "paper":
            pixel = row["seconds_per_iteration"] / (row["width"] * row["height"])
            hours = pixel * sum(DIP_PIXELS.values()) * DIP_ITERATIONS / 3600
            told += (
                f" At the rate of {row['picture']} in {row['arithmetic']} ({row['device']}, {row['threads']} "
                f"thread{'s' if row['threads'] > 1 else ''}) all five would take {hours:.1f} hours."
            )
    return f"{table(heads, lines, right=range(3, 7))}\n\n{results['what']} {told}"


def metrics(results: Mapping[str, Any]) -> str:
    """Every metric of bicubic beside the published value, and its seconds."""

    def text(value: float | None, like: float) -> str:
        return NONE if value is None else f"{value:.2f}" if abs(like) > 1.5 else f"{value:.4f}"

    seconds = {row["metric"]: row["seconds_per_megapixel"] for row in results["times"]}
    columns = [f"x{scale}{more}" for scale in (2, 3, 4) for more in ("", "_published")]
    rows = [
        [
            f"`{row['metric']}`",
            *(text(row[column], row["x2"] if row["metric"] != "lpips[lens]" else 0) for column in columns),
            f"{seconds[row['metric']]:.2f}",
        ]
        for row in results["rows"]
    ]
    heads = ["metric", *(column.replace("_", ", ") for column in columns), "seconds a megapixel"]
    return f"{table(heads, rows, right=range(1, len(heads)))}\n\n{results['what']}"


SUMMED_UP: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "inverse": inverse, "multiframe": multiframe, "noise": noise, "dip": dip, "metrics": metrics,
}  # fmt: skip
