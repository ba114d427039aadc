"""How well blind networks clean photographs of any noise and any JPEG quality, and how long they take.

The middle of each picture gets noise, clipped and rounded to 8 bits as in a camera, and is then compressed or not;
every other one with its chroma at half the size. PSNR is of the three channels of RGB together, of results rounded to
8 bits. Seconds per megapixel are medians of rounds in which the methods take turns. Writes results/blind.json for
docs/fix.md.

    python tools/measure_blind.py --data DIR [--out results/blind.json] [--every 5]

``DIR`` holds BSD100 (docs/measuring.md). Ten minutes on two cores, most of them DnCNN's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safelight import catalog, degrade, inference, ops
from safelight.checkpoints import provenance
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench import speed
from safelight.media.image import Picture
from safelight.metrics import psnr
from safelight.tasks import Task
from safelight.training import datasets

SIDE: Final = 128  # pixels
SIGMAS: Final = (0, 10, 25, 50)
QUALITIES: Final = (None, 90, 60, 30)
METHODS: Final[tuple[tuple[str, Task], ...]] = (
    ("denoise/lamp", "denoise"),
    ("denoise/dncnn", "denoise"),
    ("deblock/dncnn3", "denoise"),
    ("deblock/dncnn3", "deblock"),
)


def middle(x: Tensor) -> Tensor:
    """Cut the middle out of a picture, (3, H, W)."""
    top, left = ((side - SIDE) // 2 for side in x.shape[-2:])
    return x[:, top : top + SIDE, left : left + SIDE]


def spoiled(x: Tensor, sigma: float, quality: int | None, number: int) -> Tensor:
    """Spoil a picture, (1, 3, H, W) in [0, 1]; its noise is the same at each level but for its strength."""
    x = degrade.add_noise(x, sigma, torch.Generator().manual_seed(number))
    x = ops.round_half_up(x * 255).clamp(0, 255) / 255
    return x if quality is None else degrade.jpeg(x, torch.tensor([quality]), halved=number % 2 == 1)


def score(runner: Callable[[Picture], Picture] | None, clean: Tensor, given: Tensor) -> float:
    """PSNR in dB of what a method makes of a picture; of the picture as it is without one."""
    made = given
    if runner is not None:
        pixels = ops.round_half_up(given[0] * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        made = to_tensor(runner(Picture(pixels=pixels)).pixels)
    return min(100.0, float(psnr(made, clean, channel="rgb", rounding="8-bit")))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/blind.json"))
    parser.add_argument("--every", type=int, default=5, help="each n-th picture of BSD100")
    given = parser.parse_args()
    files = datasets.files(given.data / "BSD100")[:: given.every]
    pictures = [middle(datasets.read_tensor(file, "rgb")).unsqueeze(0).float() / 255 for file in files]
    runners = [inference.Runner(catalog.find(name), inference.InferenceRequest(task=task)) for name, task in METHODS]

    timed = speed.drawn(768, 512, 3)
    seconds = speed.medians([partial(runner, timed) for runner in runners], speed.Clock(rounds=3))
    area = speed.megapixels(timed, 1)
    print([round(taken / area, 3) for taken in seconds], flush=True)

    cells = [(sigma, quality) for sigma in SIGMAS for quality in QUALITIES]
    rows: dict[str, dict[str, Any]] = {}
    for (name, task), runner, taken in zip(
        (("as it is", ""), *METHODS), (None, *runners), (0.0, *seconds), strict=True
    ):
        table = {
            f"sigma {sigma}, {'no JPEG' if quality is None else f'quality {quality}'}": round(
                sum(
                    score(runner, clean, spoiled(clean, sigma, quality, number))
                    for number, clean in enumerate(pictures)
                )
                / len(pictures),
                2,
            )
            for sigma, quality in cells
        }
        spoilt = [value for cell, value in table.items() if cell != "sigma 0, no JPEG"]
        rows[f"{name} {task}".strip()] = {
            "mean": round(sum(spoilt) / len(spoilt), 2),
            "seconds_per_megapixel": round(taken / area, 3),
            "psnr": table,
        }
        print(name, task, rows[f"{name} {task}".strip()], flush=True)
    written = {
        "what": "PSNR in dB of RGB; the mean is that of all cells but the clean one. A clean picture as it is: 100",
        "set": f"The middle {SIDE}x{SIDE} pixels of every {given.every}th picture of BSD100, {len(files)} pictures",
        "threads": torch.get_num_threads(),
        **provenance.origin(),
        "rows": rows,
    }
    given.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
