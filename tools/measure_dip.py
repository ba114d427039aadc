"""Measure the deep image prior: Set5 enlarged by 4, the protocol of its paper, picture by picture.

    python tools/measure_dip.py --data TEST_SETS [--pictures butterfly,bird] [--iterations 2000] [--seconds 1200]

Without more it does the whole protocol: five pictures, 2000 iterations of the paper's network each. That is minutes
on a GPU and hours on a processor, so ``results/dip.json`` is written as it goes, and a picture that is in it with as
many iterations is not done again; ``--seconds`` ends a picture early, with what it has reached by then. The curve of a
row is what a user who stops there would get. On a processor with one thread (``OMP_NUM_THREADS=1``) the seconds are
those of the program itself, whatever else runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from safelight import ops
from safelight.checkpoints import provenance
from safelight.core.card import Optimised
from safelight.core.solver_input import SolverInput, SolverProgress
from safelight.degrade import Downsample
from safelight.engine import device as devices
from safelight.engine.samples import to_samples, to_tensor
from safelight.media import image
from safelight.methods.denoise import dip
from safelight.metrics.psnr import psnr

Row: TypeAlias = dict[str, Any]

OUT = Path(__file__).parent.parent / "results" / "dip.json"
WHAT = (
    "Set5 x4 by MATLAB's bicubic, 8-bit input and result; PSNR of Y in dB, 4 pixels shaved. curve: iterations done, "
    "and the PSNR of the averaged output by then."
)
PAPER = 29.90  # dB, the mean over Set5
ITERATIONS = 2000
PIXELS = {"baby": 512 * 512, "bird": 288 * 288, "butterfly": 256 * 256, "head": 280 * 280, "woman": 228 * 344}
EVERY = 25  # iterations between two points of the curve


def measure(
    file: Path, options: dip.Options, scale: int, seconds: float, device: torch.device, save: Callable[[Row], None]
) -> Row:
    """Enlarge one picture, watch it, and save the row as it grows."""
    target = ops.crop_to_multiple(to_tensor(image.read(file).pixels), scale)
    small = to_tensor(to_samples(Downsample(scale)(target), np.dtype(np.uint8)))
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    curve: list[tuple[int, float]] = []
    times = [clock()]

    def score(x: torch.Tensor) -> float:
        result = to_tensor(to_samples(x.cpu(), np.dtype(np.uint8)))
        return round(float(psnr(result, target, channel="y", shave=scale, rounding="8-bit-y")), 3)

    def row(x: torch.Tensor) -> Row:
        return {
            "picture": file.stem,
            "width": target.shape[-1],
            "height": target.shape[-2],
            "network": options.network,
            "arithmetic": options.arithmetic,
            "iterations": len(times) - 1,
            "psnr": score(x),
            "bicubic": bicubic,
            "seconds_per_iteration": round(statistics.median(np.diff(times).tolist()), 4),
            "seconds": round(times[-1] - times[0], 1),
            "device": provenance.processor() if device.type == "cpu" else devices.describe(device),
            "threads": torch.get_num_threads(),
            "commit": provenance.code_version(),
            "curve": curve,
        }

    def watch(step: SolverProgress) -> bool:
        times.append(clock())
        if len(times) % EVERY == 1:
            curve.append((len(times) - 1, score(step.x)))
            save(row(step.x))
        return times[-1] - times[0] < seconds

    bicubic = score(ops.resize(small, (target.shape[-2], target.shape[-1])))
    method = dip.CARD.method
    assert isinstance(method, Optimised)
    made = method.run(SolverInput(task="upscale", y=small.to(device), scale=scale), options, watch)
    return row(made.x)


def known() -> list[Row]:
    """Read the rows that are there."""
    return json.loads(OUT.read_text())["rows"] if OUT.is_file() else []


def key(row: Row) -> tuple[str, ...]:
    """Tell what a row is about."""
    return row["picture"], row["network"], row["arithmetic"]


def save(row: Row) -> None:
    """Put a row into the file, unless a longer one of the same picture is there."""
    rows = known()
    print(json.dumps({**row, "curve": None}), flush=True)
    if any(key(old) == key(row) and old["iterations"] > row["iterations"] for old in rows):
        return
    rows = sorted([*(old for old in rows if key(old) != key(row)), row], key=key)
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"what": {json.dumps(WHAT)}, "rows": [\n{lines}\n]}}\n'
    image.write_bytes(text.encode(), OUT, overwrite=True)


def tables(results: dict[str, Any]) -> str:
    """Write what was reached and how long the whole protocol takes, in Markdown."""
    rows: list[Row] = results["rows"]
    lines = ["| picture | network | arithmetic | iterations | PSNR, dB | bicubic, dB | seconds an iteration |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        cells = [row["picture"], row["network"], row["arithmetic"], str(row["iterations"]), f"{row['psnr']:.2f}"]
        cells += [f"{row['bicubic']:.2f}", f"{row['seconds_per_iteration']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    whole = [row for row in rows if row["network"] == "paper" and row["iterations"] >= ITERATIONS]
    if len({row["picture"] for row in whole}) == len(PIXELS):
        best = {name: max(row["psnr"] for row in whole if row["picture"] == name) for name in PIXELS}
        mean = sum(best.values()) / len(best)
        told = f"The mean of the five pictures is {mean:.2f} dB; the paper prints {PAPER:.2f} dB."
    else:
        told = (
            f"The paper's {PAPER:.2f} dB is the mean of five pictures after {ITERATIONS} iterations of its network "
            f"each. {len({row['picture'] for row in whole})} of them are measured so far."
        )
    for row in rows:
        if row["network"] == "paper":
            pixel = row["seconds_per_iteration"] / (row["width"] * row["height"])
            hours = pixel * sum(PIXELS.values()) * ITERATIONS / 3600
            told += (
                f" At the rate of {row['picture']} in {row['arithmetic']} ({row['device']}, {row['threads']} "
                f"thread{'s' if row['threads'] > 1 else ''}) all five would take {hours:.1f} hours."
            )
    return "\n".join(lines) + f"\n\n{results['what']} {told}"


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set5")
    parser.add_argument("--pictures", default="", help="only these, by their names")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so many for a picture, in all")
    parser.add_argument("--network", choices=("paper", "light"), default="paper")
    parser.add_argument("--arithmetic", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    arguments = parser.parse_args()
    options = dip.Options(
        iterations=arguments.iterations, network=arguments.network, arithmetic=arguments.arithmetic, stop="never"
    )
    wanted = {name for name in arguments.pictures.split(",") if name}
    for file in sorted((arguments.data / "Set5").glob("*.png")):
        if wanted and not any(name in file.stem for name in wanted):
            continue
        about = (file.stem, options.network, options.arithmetic)
        if any(key(row) == about and row["iterations"] >= arguments.iterations for row in known()):
            continue
        save(measure(file, options, 4, arguments.seconds, devices.choose(arguments.device), save))


if __name__ == "__main__":
    main()
