"""Measure how often ``safelight fix`` leaves a clean photograph alone, and from which noise and JPEG on it acts.

    python tools/measure_fix.py --data TEST_SETS [--every 3]

Writes ``results/fix.json``, which docs/fix.md quotes: of each picture the estimated noise as it is, saved as JPEG at
several qualities, and with added noise. Two minutes on one core.
"""

from __future__ import annotations

from collections.abc import Mapping

import harness
import numpy as np
import torch
from torch import Tensor

from safelight.inference import autofix
from safelight.media import image
from safelight.media.image import Picture
from safelight.tasks.denoise import MAX_SIGMA

SETS = ("BSD100", "Set14")
QUALITIES = (96, 88, 75)
SIGMAS = (3, 5, 8, 15, 25)
WHAT = "Estimated sigma of the noise, of 255, of photographs as they are, from JPEG files, and with added noise."


def states(x: Tensor, number: int) -> Mapping[str, Picture]:
    """The picture as it is, from JPEG files, and with seeded noise, rounded to 8 bits and clipped as in a file."""
    rng = np.random.default_rng(number)
    picture = harness.as_picture(x)
    found = {"clean": picture}
    for quality in QUALITIES:
        found[f"jpeg {quality}"] = image.read(image.encode(picture, "jpeg", quality=quality))
    for sigma in SIGMAS:
        noisy = picture.pixels + rng.normal(0, sigma, picture.pixels.shape)
        found[f"sigma {sigma}"] = Picture(pixels=np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return found


def main() -> None:
    """Measure, print and write."""
    parser = harness.parser(__doc__, data="BSD100 and Set14", out="fix.json")
    parser.add_argument("--every", type=int, default=3, help="take each n-th picture of BSD100")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    every = (arguments.every, 1)
    pictures = [
        x for name, n in zip(SETS, every, strict=True) for x in harness.read_set(arguments.data, name, every=n).values()
    ]
    estimates: dict[str, list[float]] = {}
    for number, x in enumerate(pictures):
        for state, picture in states(x, number).items():
            estimates.setdefault(state, []).append(round(autofix.diagnose(picture).sigma, 2))
    rows = {
        state: {
            "median": round(float(np.median(values)), 2),
            "highest": max(values),
            "denoised": sum(value > MAX_SIGMA for value in values),
            "pictures": len(values),
        }
        for state, values in estimates.items()
    }
    harness.show(rows)
    facts = harness.record(WHAT, sets=SETS, every=every, above=MAX_SIGMA, rows=rows, estimates=estimates)
    harness.write(arguments.out, facts)


if __name__ == "__main__":
    main()
