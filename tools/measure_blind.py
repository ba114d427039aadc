"""Measure how well blind networks clean photographs of any noise and any JPEG quality, and how long they take.

    python tools/measure_blind.py --data TEST_SETS [--every 5]

Writes ``results/blind.json`` for docs/fix.md. The middle of each picture gets noise, clipped and rounded to 8 bits as
in a camera, and is then compressed or not; every other one with its chroma at half the size. PSNR is of the three
channels of RGB together, of results rounded to 8 bits. Seconds per megapixel are medians of rounds in which the methods
take turns. Ten minutes on two cores, most of them DnCNN's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import harness
import torch
from harness import Row, mean
from torch import Tensor

from safelight import catalog, degrade, inference, ops
from safelight.evaluation.bench import speed
from safelight.media.image import Picture
from safelight.metrics import psnr
from safelight.tasks import Task

SIDE: Final = 128  # pixels
SIGMAS: Final = (0, 10, 25, 50)
QUALITIES: Final = (None, 90, 60, 30)
METHODS: Final[tuple[tuple[str, Task], ...]] = (
    ("denoise/lamp", "denoise"),
    ("denoise/dncnn", "denoise"),
    ("deblock/dncnn3", "denoise"),
    ("deblock/dncnn3", "deblock"),
)
CELLS: Final = {
    f"sigma {sigma}, {'no JPEG' if quality is None else f'quality {quality}'}": (sigma, quality)
    for sigma in SIGMAS
    for quality in QUALITIES
}
CLEAN: Final = next(iter(CELLS))
WHAT: Final = "PSNR in dB of RGB; the mean is that of all cells but the clean one. A clean picture as it is: 100"


def spoiled(x: Tensor, sigma: float, quality: int | None, number: int) -> Tensor:
    """Spoil a picture, (1, 3, H, W) in [0, 1]; its noise is the same at each level but for its strength."""
    x = degrade.add_noise(x, sigma, torch.Generator().manual_seed(number))
    x = ops.round_half_up(x * 255).clamp(0, 255) / 255
    return x if quality is None else degrade.jpeg(x, torch.tensor([quality]), halved=number % 2 == 1)


def score(runner: Callable[[Picture], Picture] | None, clean: Tensor, given: Tensor) -> float:
    """PSNR in dB of what a method makes of a picture; of the picture as it is without one."""
    made = given if runner is None else harness.as_tensor(runner(harness.as_picture(given)))
    return min(100.0, float(psnr(made, clean, channel="rgb", rounding="8-bit")))


def measure(runner: Callable[[Picture], Picture] | None, seconds: float, pictures: Sequence[Tensor]) -> Row:
    """Measure one method at all levels."""
    table = {
        cell: round(mean([score(runner, x, spoiled(x, *level, number)) for number, x in enumerate(pictures)]), 2)
        for cell, level in CELLS.items()
    }
    return {
        "mean": round(mean([value for cell, value in table.items() if cell != CLEAN]), 2),
        "seconds_per_megapixel": round(seconds, 3),
        "psnr": table,
    }


def main() -> None:
    """Measure, print and write."""
    parser = harness.parser(__doc__, data="BSD100", out="blind.json")
    parser.add_argument("--every", type=int, default=5, help="take each n-th picture of BSD100")
    arguments = parser.parse_args()
    found = harness.read_set(arguments.data, "BSD100", every=arguments.every, rgb=True)
    pictures = [harness.middle(x, SIDE) for x in found.values()]
    runners = [inference.Runner(catalog.find(name), inference.InferenceRequest(task=task)) for name, task in METHODS]
    timed = speed.drawn(768, 512, 3)
    taken = speed.medians([partial(runner, timed) for runner in runners], speed.Clock(rounds=3))
    area = speed.megapixels(timed, 1)
    rows = {"as it is": measure(None, 0.0, pictures)}
    for (name, task), runner, seconds in zip(METHODS, runners, taken, strict=True):
        rows[f"{name} {task}"] = harness.show(measure(runner, seconds / area, pictures))
    about = f"The middle {SIDE}x{SIDE} pixels of every {arguments.every}th picture of BSD100, {len(pictures)} pictures"
    harness.write(arguments.out, harness.record(WHAT, set=about, threads=torch.get_num_threads(), rows=rows))


if __name__ == "__main__":
    main()
