"""Measure the deep image prior: Set5 enlarged by 4, the protocol of its paper, picture by picture.

    python tools/measure_dip.py --data TEST_SETS [--pictures butterfly,bird] [--iterations 2000] [--seconds 1200]

Without more it does the whole protocol: five pictures, 2000 iterations of the paper's network each. That is minutes
on a GPU and hours on a processor, so ``results/dip.json`` is written as it goes, and a picture that is in it with as
many iterations is not done again; ``--seconds`` ends a picture early, with what it has reached by then. The curve of a
row is what a user who stops there would get. On a processor with one thread (``OMP_NUM_THREADS=1``) the seconds are
those of the program itself, whatever else runs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
import torch
from harness import Row
from torch import Tensor

from safelight import ops
from safelight.core.card import Optimised
from safelight.core.solver_input import SolverInput, SolverProgress
from safelight.degrade import Downsample
from safelight.engine import device as devices
from safelight.media import image
from safelight.methods.denoise import dip

WHAT = (
    "Set5 x4 by MATLAB's bicubic, 8-bit input and result; PSNR of Y in dB, 4 pixels shaved. curve: iterations done, "
    "and the PSNR of the averaged output by then."
)
SCALE = 4
EVERY = 25  # iterations between two points of the curve
KEY = ("picture", "network", "arithmetic")


def measure(
    name: str, original: Tensor, options: dip.Options, seconds: float, device: torch.device, save: Callable[[Row], None]
) -> None:
    """Enlarge one picture, watch it, and save the row as it grows."""
    target = ops.crop_to_multiple(original, SCALE)
    small = harness.in_8_bits(Downsample(SCALE)(target))
    clock = harness.clock_of(device)
    curve: list[tuple[int, float]] = []
    times = [clock()]

    def score(x: Tensor) -> float:
        return round(harness.y_psnr(harness.in_8_bits(x.cpu()), target, SCALE), 3)

    def row(x: Tensor) -> Row:
        return {
            "picture": name,
            "width": target.shape[-1],
            "height": target.shape[-2],
            "network": options.network,
            "arithmetic": options.arithmetic,
            "iterations": len(times) - 1,
            "psnr": score(x),
            "bicubic": bicubic,
            "seconds_per_iteration": round(statistics.median(np.diff(times).tolist()), 4),
            "seconds": round(times[-1] - times[0], 1),
            **harness.where(device),
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
    made = method.run(SolverInput(task="upscale", y=small.to(device), scale=SCALE), options, watch)
    save(row(made.x))


def iterations_of(path: Path, key: tuple[str, ...]) -> int:
    """How many iterations of a picture are in the file already."""
    rows: list[Row] = harness.read(path).get("rows", [])
    return max((row["iterations"] for row in rows if tuple(row[name] for name in KEY) == key), default=0)


def save(path: Path, row: Row) -> None:
    """Put a row into the file, unless a longer one of the same picture is there."""
    harness.show({**row, "curve": None})
    if iterations_of(path, tuple(row[name] for name in KEY)) > row["iterations"]:
        return
    rows = harness.replaced(harness.read(path).get("rows", []), row, KEY)
    lines = ",\n".join(json.dumps(row) for row in rows)  # a row a line, since curves are long
    image.write_bytes(f'{{"what": {json.dumps(WHAT)}, "rows": [\n{lines}\n]}}\n'.encode(), path, overwrite=True)


def main() -> None:
    """Measure what is not measured yet."""
    parser = harness.parser(__doc__, data="Set5", out="dip.json", device="auto")
    parser.add_argument("--pictures", type=harness.words, default="", help="only these, by their names")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so many for a picture, in all")
    parser.add_argument("--network", choices=("paper", "light"), default="paper")
    parser.add_argument("--arithmetic", choices=("float32", "bfloat16"), default="float32")
    asked = parser.parse_args()
    options = dip.Options(iterations=asked.iterations, network=asked.network, arithmetic=asked.arithmetic, stop="never")
    device = devices.choose(asked.device)
    for name, picture in harness.read_set(asked.data, "Set5").items():
        wanted = not asked.pictures or any(part in name for part in asked.pictures)
        if wanted and iterations_of(asked.out, (name, options.network, options.arithmetic)) < asked.iterations:
            measure(name, picture, options, asked.seconds, device, lambda row: save(asked.out, row))


if __name__ == "__main__":
    main()
