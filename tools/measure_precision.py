"""Measure what ``--precision fast`` costs: each network's Set14 Y-PSNR in both precisions.

    python tools/measure_precision.py --data TEST_SETS

Writes ``results/precision.json``. The pictures take the way of a user's: ``infer.apply`` on 8-bit files. On a processor
that gains nothing by bfloat16, fast is exact and there is nothing to measure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safelight import catalog, image, infer, ops, provenance
from safelight.card import Card, Trained
from safelight.degrade import Downsample
from safelight.engine.samples import to_samples, to_tensor
from safelight.image import Picture
from safelight.metrics.psnr import psnr

RESULTS = Path(__file__).parent.parent / "results"


def row(card: Card, scale: int, pictures: list[torch.Tensor]) -> dict[str, Any] | None:
    """Measure one network, or return None where its card lists no shorter precision."""
    runners = [
        infer.prepare(card, infer.Settings(scale=scale, device="cpu", precision=precision))
        for precision in ("exact", "fast")
    ]
    name = runners[1].describe().rsplit(", ", 1)[1]
    if name == "float32":
        return None
    scores: list[list[float]] = [[], []]
    changed = samples = largest = 0
    for whole in pictures:
        target = ops.crop_to_multiple(whole, scale)[None]
        small = Picture(pixels=to_samples(Downsample(scale)(target), np.dtype(np.uint8)))
        made = [runner(small).pixels for runner in runners]
        for values, pixels in zip(scores, made, strict=True):
            values.append(float(psnr(to_tensor(pixels), target, channel="y", shave=scale, rounding="8-bit-y")))
        difference = np.abs(made[0].astype(int) - made[1])
        changed += int((difference > 0).sum())
        samples += difference.size
        largest = max(largest, int(difference.max()))
    exact, fast = (sum(values) / len(values) for values in scores)
    return {
        "method": card.id,
        "scale": scale,
        "precision": name,
        "exact_psnr": round(exact, 4),
        "fast_psnr": round(fast, 4),
        "loss": round(exact - fast, 4),
        "pixels_changed": round(changed / samples, 4),
        "largest_change": largest,
    }


def main() -> None:
    """Measure every network and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set14")
    arguments = parser.parse_args()
    files = sorted((arguments.data / "Set14").glob("*.png"))
    pictures = [to_tensor(image.read(file).pixels)[0] for file in files]
    rows: list[dict[str, Any]] = []
    for card in catalog.CARDS:
        if isinstance(card.method, Trained):
            for scale in card.method.scales:
                made = row(card, scale, pictures)
                if made is not None:
                    rows.append(made)
                    print(json.dumps(made), flush=True)
    facts = {
        "what": f"Set14 ({len(files)} pictures), Y-PSNR in dB, older protocol but for the 8-bit input; samples of the "
        "8-bit RGB result that differ between the two, and by how many steps at most.",
        "commit": provenance.code_version(),
        "rows": rows,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), RESULTS / "precision.json", overwrite=True)


if __name__ == "__main__":
    main()
