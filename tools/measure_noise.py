"""Measure the blind estimate of noise on pictures whose noise is known, because it was added.

    python tools/measure_noise.py --data TEST_SETS

Writes ``results/noise.json``: for each set and each true sigma (of 255) the mean of the estimates minus it, and the
worst. The pictures' own noise is in the estimates, most of all at sigma 0. ``clipped`` noise was clipped and rounded to
8 bits, as it is in files; the other is as in the denoising papers.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from safelight.checkpoints import provenance
from safelight.degrade import add_noise
from safelight.engine.samples import to_tensor
from safelight.media import image
from safelight.ops import noise

OUT = Path(__file__).parent.parent / "results" / "noise.json"
LEVELS = (0, 2, 5, 10, 15, 25, 50)


def row(name: str, pictures: list[torch.Tensor], sigma: int, *, clipped: bool) -> dict[str, Any]:
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
        "mean_error": round(sum(errors) / len(errors), 3),
        "mean_absolute_error": round(sum(map(abs, errors)) / len(errors), 3),
        "worst_error": round(max(errors, key=abs), 3),
        "seconds_per_picture": round((time.process_time() - start) / len(errors), 3),
    }


def tables(results: dict[str, Any]) -> str:
    """Write the errors of 8-bit pictures, in Markdown: a row for each sigma, the mean and the worst of each set."""
    rows = [row for row in results["rows"] if row["clipped"]]
    sets = list(dict.fromkeys(row["data"] for row in rows))
    lines = [
        f"| sigma | {' | '.join(f'{name}: mean | worst' for name in sets)} |",
        "| ---: " * (1 + 2 * len(sets)) + "|",
    ]
    for sigma in dict.fromkeys(row["sigma"] for row in rows):
        cells = [str(sigma)]
        for name in sets:
            found = next(row for row in rows if (row["data"], row["sigma"]) == (name, sigma))
            cells += [f"{found['mean_error']:+.2f}", f"{found['worst_error']:+.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{results['what']} Noisy pictures clipped and rounded to 8 bits."


def main() -> None:
    """Measure every set that is there, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds BSD68_gray, Set12, t91, ...")
    parser.add_argument("--sets", default="BSD68_gray,Set12", help="folders in it, or paths of others")
    parser.add_argument("--every", type=int, default=1, help="take each n-th picture of a set")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.sets.split(","):
        files = sorted(f for f in (arguments.data / name).iterdir() if f.suffix in (".png", ".jpg", ".bmp"))
        pictures = [to_tensor(image.read(file).pixels) for file in files[:: arguments.every]]
        for sigma in LEVELS:
            for clipped in (False, True):
                rows.append(row(Path(name).name, pictures, sigma, clipped=clipped))
                print(json.dumps(rows[-1]), flush=True)
    facts = {
        "what": "Estimates minus the true sigma, in units of 255; sigma is that of the noise that was added.",
        "commit": provenance.code_version(),
        "rows": rows,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
