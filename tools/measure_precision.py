"""Measure what bfloat16 costs each network in Set14 Y-PSNR, which decides whether its card may list it.

    python tools/measure_precision.py --data TEST_SETS [--methods fsrcnn,espcn]

Writes ``results/precision.json``; with ``--methods`` the rows of the others stay. The pictures take the way
of a user's: ``infer.Runner`` on 8-bit pictures.
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
from safelight.model import Model, load

OUT = Path(__file__).parent.parent / "results" / "precision.json"


def row(card: Card, scale: int, pictures: list[torch.Tensor]) -> dict[str, Any]:
    """Measure one network."""
    exact_model = load(card, scale=scale, device="cpu")
    fast_model = Model(card, exact_model.options, scale, exact_model.network, "bfloat16")
    settings = infer.Settings(scale=scale, device="cpu")
    runners = [infer.Runner(card, settings, {scale: model}) for model in (exact_model, fast_model)]
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
        "listed": "bfloat16" in exact_model.method.precisions,
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
    parser.add_argument("--methods", default="", help="only these, by their names; the other rows stay")
    arguments = parser.parse_args()
    wanted = {name for name in arguments.methods.split(",") if name}
    files = sorted((arguments.data / "Set14").glob("*.png"))
    pictures = [to_tensor(image.read(file).pixels)[0] for file in files]
    old: dict[tuple[str, int], dict[str, Any]] = {}
    if wanted and OUT.is_file():
        old = {(row["method"], row["scale"]): row for row in json.loads(OUT.read_text())["rows"]}
    rows: list[dict[str, Any]] = []
    for card in catalog.CARDS:
        if isinstance(card.method, Trained):
            for scale in card.method.scales:
                kept = old.get((card.id, scale)) if wanted and card.name not in wanted else None
                rows.append(kept or row(card, scale, pictures))
                print(json.dumps(rows[-1]), flush=True)
    facts = {
        "what": f"Set14 ({len(files)} pictures), Y-PSNR in dB, older protocol but for the 8-bit input; samples of the "
        "8-bit RGB result that differ between the two, and by how many steps at most.",
        "commit": provenance.code_version(),
        "rows": rows,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
