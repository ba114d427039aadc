"""How often `safelight fix` leaves a clean photograph alone, and from which noise and JPEG quality on it acts.

Of each picture: the estimated noise as it is, saved as JPEG at several qualities, and with added noise. Writes
results/fix.json, which docs/fix.md quotes.

    python tools/measure_fix.py --data DIR [--out results/fix.json] [--every 3]

``DIR`` holds BSD100 and Set14 (docs/measuring.md). Two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from safelight.inference import autofix
from safelight.media import image
from safelight.media.image import Picture

SETS = ("BSD100", "Set14")
QUALITIES = (96, 88, 75)
SIGMAS = (3, 5, 8, 15, 25)


def states(picture: Picture, number: int) -> Mapping[str, Picture]:
    """The picture as it is, from JPEG files, and with seeded noise, rounded to 8 bits and clipped as in a file."""
    rng = np.random.default_rng(number)
    found = {"clean": picture}
    for quality in QUALITIES:
        found[f"jpeg {quality}"] = image.read(image.encode(picture, "jpeg", quality=quality))
    for sigma in SIGMAS:
        noisy = picture.pixels + rng.normal(0, sigma, picture.pixels.shape)
        found[f"sigma {sigma}"] = Picture(pixels=np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/fix.json"))
    parser.add_argument("--every", type=int, default=3, help="each n-th picture of BSD100")
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = [
        file
        for name, every in zip(SETS, (given.every, 1), strict=True)
        for file in sorted((given.data / name).glob("*.png"))[::every]
    ]
    estimates: dict[str, list[float]] = {}
    for number, file in enumerate(files):
        for state, picture in states(image.read(file), number).items():
            estimates.setdefault(state, []).append(round(autofix.diagnose(picture).sigma, 2))
    rows = {
        state: {
            "median": round(float(np.median(values)), 2), "highest": max(values),
            "denoised": sum(value > autofix.SIGMA for value in values), "pictures": len(values),
        }
        for state, values in estimates.items()
    }  # fmt: skip
    for state, row in rows.items():
        print(f"{state:<10} {row}")
    written = {"sets": SETS, "every": [given.every, 1], "above": autofix.SIGMA, "rows": rows, "estimates": estimates}
    given.out.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
