"""Measure what ``--consistent`` does to the score of networks that enlarge, and how far from the input they were.

    python tools/measure_consistent.py --data TEST_SETS

Writes ``results/consistent.json``. The pictures take the way of a user's: ``inference.Runner`` on 8-bit pictures.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safelight import catalog, inference, ops
from safelight.checkpoints import provenance
from safelight.core.card import Card
from safelight.degrade import Downsample
from safelight.engine.samples import to_samples, to_tensor
from safelight.media import image
from safelight.media.image import Picture
from safelight.metrics.psnr import psnr

OUT = Path(__file__).parent.parent / "results" / "consistent.json"
METHODS = ("fsrcnn", "edsr")
SETS = ("Set5", "Set14")


def row(card: Card, scale: int, name: str, pictures: list[torch.Tensor]) -> dict[str, Any]:
    """Measure one network on one set."""
    runners = [
        inference.prepare(
            card, inference.InferenceRequest(inputs={"scale": scale, "consistent": consistent}, device="cpu")
        )
        for consistent in (False, True)
    ]
    scores: list[list[float]] = [[], []]
    told: list[list[float]] = []  # RMS and largest before, RMS and largest after
    for whole in pictures:
        target = ops.crop_to_multiple(whole, scale)[None]
        small = Picture(pixels=to_samples(Downsample(scale)(target), np.dtype(np.uint8)))
        for values, runner in zip(scores, runners, strict=True):
            made = runner(small)
            values.append(float(psnr(to_tensor(made.pixels), target, channel="y", shave=scale, rounding="8-bit-y")))
            told += [
                [float(number) for number in re.findall(r"\d+\.\d+", warning)]
                for warning in made.warnings
                if warning.startswith("consistent:")
            ]
    plain, consistent = (sum(values) / len(values) for values in scores)
    return {
        "method": card.id,
        "scale": scale,
        "data": name,
        "psnr": round(plain, 3),
        "psnr_consistent": round(consistent, 3),
        "gain": round(consistent - plain, 3),
        "rms_before": round(sum(one[0] for one in told) / len(told), 3),
        "largest_before": max(one[1] for one in told),
        "rms_after": round(sum(one[2] for one in told) / len(told), 3),
        "largest_after": max(one[3] for one in told),
    }


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set5 and Set14")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in SETS:
        files = sorted((arguments.data / name).glob("*.png"))
        pictures = [to_tensor(image.read(file).pixels)[0] for file in files]
        for method in METHODS:
            for scale in (2, 3, 4):
                rows.append(row(catalog.find(method, "upscale"), scale, name, pictures))
                print(json.dumps(rows[-1]), flush=True)
    facts = {
        "what": "Mean Y-PSNR in dB, older protocol but for the 8-bit input, without and with --consistent; RMS (mean "
        "over the pictures) and largest difference, in levels of 255, between the input and the result shrunk by the "
        "bicubic kernel: of the network's result, and of the written 8-bit one after the projection.",
        "commit": provenance.code_version(),
        "rows": rows,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
