"""Measure the blind estimate of noise on pictures whose noise is known, because it was added.

    python tools/measure_noise.py --data TEST_SETS

Writes ``results/noise.json``: for each set and each true sigma (of 255) the mean of the estimates minus it, and the
worst. The pictures' own noise is in the estimates, most of all at sigma 0. ``clipped`` noise was clipped and rounded to
8 bits, as it is in files; the other is as in the denoising papers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import harness
import torch
from harness import Row, mean
from torch import Tensor

from safelight.degrade import add_noise
from safelight.ops import noise

WHAT = "Estimates minus the true sigma, in units of 255; sigma is that of the noise that was added."
LEVELS = (0, 2, 5, 10, 15, 25, 50)


def measure(name: str, pictures: Sequence[Tensor], sigma: int, *, clipped: bool) -> Row:
    """Estimate the noise of each picture of a set."""
    errors: list[float] = []
    start = time.process_time()
    for seed, clean in enumerate(pictures):
        noisy = add_noise(clean, float(sigma), torch.Generator().manual_seed(seed))
        if clipped:
            noisy = (noisy.clamp(0, 1) * 255).round() / 255
        errors.append(255 * noise.estimate(noisy).sigma - sigma)
    return {
        "data": name,
        "pictures": len(pictures),
        "sigma": sigma,
        "clipped": clipped,
        "mean_error": round(mean(errors), 3),
        "mean_absolute_error": round(mean([abs(error) for error in errors]), 3),
        "worst_error": round(max(errors, key=abs), 3),
        "seconds_per_picture": round((time.process_time() - start) / len(errors), 3),
    }


def main() -> None:
    """Measure every set that is named, and write the JSON."""
    parser = harness.parser(__doc__, data="BSD68_gray, Set12, t91, ...", out="noise.json")
    parser.add_argument("--sets", type=harness.words, default="BSD68_gray,Set12", help="folders in it, or other paths")
    parser.add_argument("--every", type=int, default=1, help="take each n-th picture of a set")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.sets:
        pictures = list(harness.read_set(arguments.data, name, every=arguments.every).values())
        rows += [
            harness.show(measure(Path(name).name, pictures, sigma, clipped=clipped))
            for sigma in LEVELS
            for clipped in (False, True)
        ]
    harness.write(arguments.out, harness.record(WHAT, rows=rows))


if __name__ == "__main__":
    main()
