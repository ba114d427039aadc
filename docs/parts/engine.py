"""What was measured of the engine and of its precision."""

from __future__ import annotations

from parts.common import NONE, missing, stored, table
from safelight.evaluation import bench
from safelight.evaluation.bench.records import label

_NO_ENGINE = missing("engine-cpu.json", "make bench-engine")


def engine_speed() -> str:
    """Each network plainly in torch and by the engine, with the limit of the machine."""
    found = stored("engine-cpu.json")
    if found is None:
        return _NO_ENGINE
    rows: list[list[str]] = []
    for row in found["networks"]:
        cells = [f"{row['method'].split('/')[1]} x{row['scale']}", f"{row['plain']['seconds']:.2f}"]
        for mode in ("exact", "fast"):
            made = row.get(mode)
            cells += (
                [NONE] * 3
                if made is None
                else [f"{made['seconds']:.2f}", f"{made['times_plain']:.2f}", f"{made['of_limit']:.0%}"]
            )
        rows.append(cells)
    heads = [
        "method",
        "plain torch, s",
        "exact, s",
        "times plain",
        "of the limit",
        "fast, s",
        "times plain",
        "of the limit",
    ]
    limits = ", ".join(f"{value['gflop_per_second']:.0f} GFLOP/s in {name}" for name, value in found["limits"].items())
    return (
        f"{table(heads, rows, right=range(1, len(heads)))}\n\nThe network alone, on 1920x1080 pixels of its input "
        f"(those of VDSR and SRCNN are the enlarged picture's). Plain torch is the module on the whole picture. The "
        f"limit is what one 3x3 convolution of 64 channels reaches in the cache, in the same run: {limits}. "
        f"{found['machine']['processor']}, {found['machine']['threads']} threads, torch {found['machine']['torch']}."
    )


def engine_race() -> str:
    """FSRCNN against SRCNN 9-5-5."""
    found = stored("engine-cpu.json")
    if found is None:
        return _NO_ENGINE
    race = found["fsrcnn_against_srcnn_9_5_5"]
    return (
        f"FSRCNN against SRCNN 9-5-5 at scale 3, for each pixel of the result: {race['paper']} times as fast in its "
        f"paper. "
        f"Here {race['both_plain']} times when both run plainly in torch, {race['both_by_the_engine']} times when the "
        f"engine runs both, and {race['engine_against_plain']} times for FSRCNN by the engine against SRCNN plainly. "
        f"41.3 is the ratio of their multiply-adds."
    )


def engine_memory() -> str:
    """The peaks of very large results."""
    found = stored("engine-cpu.json")
    if found is None:
        return _NO_ENGINE
    rows = [
        [f"JPEG, {row['input_megapixels']} megapixels", row["result"], f"{row['peak_mib']:,}", f"{row['seconds']:.0f}"]
        for row in found["memory"]
    ]
    heads = ["input", "result", "peak, MiB", "seconds"]
    return (
        f"{table(heads, rows, right=(2, 3))}\n\nBy FSRCNN x4, on the command line. The peak is the resident memory "
        f"of the "
        f"program and of its decoding worker together, torch itself included."
    )


def engine_start() -> str:
    """What a small picture costs beyond importing torch."""
    found = stored("engine-cpu.json")
    if found is None:
        return _NO_ENGINE
    start = found["start"]
    return (
        f"A 256x256 picture through FSRCNN x4 takes {start['upscale_seconds']:.2f} s from the command line, of which "
        f"`import torch` alone takes {start['import_torch_seconds']:.2f} s: "
        f"{start['more_than_import_torch_seconds']:.2f} s "
        f"more. The least of {start['runs']} runs of each, in turns."
    )


def precision() -> str:
    """What the fast precision costs."""
    found = stored("precision.json")
    if found is None:
        return missing("precision.json", "python tools/measure_precision.py --data DIR")
    rows = [
        [
            f"{label(row['method'], row['options'])}, {row['set']} {bench.find(row['task']).label(row['level'])}",
            "yes" if row["listed"] else "no",
            f"{row['exact_psnr']:.3f}", f"{row['fast_psnr']:.3f}", f"{row['loss']:.4f}", f"{row['pixels_changed']:.1%}",
            str(row["largest_change"]),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    heads = ["method", "bfloat16 listed", "exact, dB", "bfloat16, dB", "loss, dB", "samples changed", "by at most"]
    return f"{table(heads, rows, right=range(2, 7))}\n\n{found['what']}"


def precision_summary() -> str:
    """What bfloat16 costs the methods whose cards list it, and the others, in a sentence each."""
    found = stored("precision.json")
    if found is None:
        return missing("precision.json", "python tools/measure_precision.py --data DIR")
    listed = max(row["loss"] for row in found["rows"] if row["listed"])
    on_set14 = max(row["loss"] for row in found["rows"] if row["listed"] and row["set"] == "Set14")
    others: dict[str, list[float]] = {}
    for row in found["rows"]:
        if not row["listed"]:
            others.setdefault(label(row["method"], row["options"]), []).append(row["loss"])
    ranges = ", ".join(f"{name} {min(losses):.2f} to {max(losses):.2f} dB" for name, losses in others.items())
    return (
        f"The methods whose cards list bfloat16 lose at most {on_set14:.3f} dB on Set14 and at most {listed:.2f} dB on "
        f"any of the sets. The others would lose, from scale to scale: {ranges}. They run in float32 always."
    )
