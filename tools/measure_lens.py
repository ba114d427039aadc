"""Measure how well the lens ranks distortions: as its teacher does, and as their strength does.

    python tools/measure_lens.py --data TEST_SETS --teacher FOLDER

Writes ``results/lens.json``; whole pictures take half an hour of one core, and --crop 160 five minutes. Each picture of
Set14 is spoiled in twelve ways at five strengths (``distortions.py``, the same random numbers at all strengths of a
kind). Of each version five distances to the original are taken: by the lens with average and with max pooling, by the
same network with random weights, by PSNR and by SSIM. Beside them stands the teacher's own. Spearman's correlation is
taken

- within a kind: over the five strengths of a picture, then the mean and the least over the pictures. Nearly anything
  that grows with the damage passes this;
- within a kind over pictures: over all pictures and strengths together, where it counts how much a picture minds;
- over all kinds: over the sixty versions of a picture, then the mean and the least over the pictures;
- all together: over all versions of all pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from distortions import KINDS
from teacher import TEACHERS, distances, spearman
from torch import Tensor

from safelight.checkpoints import backbones, provenance, weights_manifest
from safelight.features import lens
from safelight.metrics import psnr, ssim
from safelight.training import datasets

OUT = Path(__file__).parent.parent / "results" / "lens.json"
FLOOR = 0.9

Maps = dict[str, Tensor]
Measure = Callable[[Tensor, Tensor], float]


def perceptual(network: Callable[[Tensor, Sequence[str]], Maps], layers: Sequence[str]) -> Measure:
    """Make the distance by a network's layers; the maps of the last original are kept."""
    kept: list[tuple[Tensor, Maps]] = []

    def measure(version: Tensor, original: Tensor) -> float:
        if not kept or kept[0][0] is not original:
            kept[:] = [(original, network(original, layers))]
        return float(distances(network(version, layers), kept[0][1], layers))

    return measure


@torch.no_grad()
def spoil_and_measure(pictures: Sequence[Tensor], measures: dict[str, Measure]) -> dict[str, Tensor]:
    """Take all distances: for each measure (pictures, kinds, strengths), larger for what is further away."""
    found = {name: torch.zeros(len(pictures), len(KINDS), 5, dtype=torch.float64) for name in measures}
    for i, original in enumerate(pictures):
        start = time.perf_counter()
        for k, kind in enumerate(KINDS):
            for s, strength in enumerate(kind.strengths):
                version = kind.distort(original, strength, torch.Generator().manual_seed(i))
                for name, measure in measures.items():
                    found[name][i, k, s] = measure(version, original)
        print(f"picture {i + 1} of {len(pictures)}: {time.perf_counter() - start:.0f} s", flush=True)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """The mean and the least of some correlations."""
    return {"mean": round(sum(values) / len(values), 4), "least": round(min(values), 4)}


def within(found: Tensor, other: Tensor) -> dict[str, float]:
    """Correlate (pictures, strengths) with the same of another measure, picture by picture."""
    return summary([spearman(mine, its) for mine, its in zip(found, other.expand_as(found), strict=True)])


def together(found: dict[str, Tensor], kinds: Sequence[int]) -> dict[str, float]:
    """Correlate all versions of some kinds with the teacher, those of all pictures together."""
    reference = found["teacher"][:, kinds].flatten()
    return {n: round(spearman(each[:, kinds].flatten(), reference), 4) for n, each in found.items() if n != "teacher"}


def report(found: dict[str, Tensor]) -> dict[str, Any]:
    """Correlate all measures with the teacher's and with the strengths."""
    reference = found["teacher"]
    others = {name: each for name, each in found.items() if name != "teacher"}
    order = torch.arange(5.0)
    kinds: list[dict[str, Any]] = [
        {
            "name": kind.name,
            "unit": kind.unit,
            "strengths": [round(strength, 4) for strength in kind.strengths],
            "trained": kind.trained,
            "with_teacher": {
                name: within(each[:, k], reference[:, k]) for name, each in found.items() if name != "teacher"
            },
            "with_teacher_over_pictures": together(found, [k]),
            "with_strength": {name: within(each[:, k], order) for name, each in found.items()},
        }
        for k, kind in enumerate(KINDS)
    ]
    every = list(range(len(KINDS)))
    unseen = [k for k, kind in enumerate(KINDS) if not kind.trained]
    return {
        "kinds": kinds,
        "all_kinds": {name: within(each.flatten(1), reference.flatten(1)) for name, each in others.items()},
        "unseen_kinds": {
            name: within(each[:, unseen].flatten(1), reference[:, unseen].flatten(1)) for name, each in others.items()
        },
        "all_together": together(found, every),
        "floor": FLOOR,
        "below_floor": [
            f"{kind['name']}, {what.replace('_', ' ')}"
            for kind in kinds
            for what, value in (
                ("with_teacher", kind["with_teacher"]["lens"]["mean"]),
                ("with_teacher_over_pictures", kind["with_teacher_over_pictures"]["lens"]),
                ("with_strength", kind["with_strength"]["lens"]["mean"]),
            )
            if value < FLOOR
        ],
    }


def main() -> None:
    """Measure, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set14")
    parser.add_argument("--teacher", type=Path, required=True, help="the folder that holds the teachers' weights")
    parser.add_argument("--weights", type=Path, default=weights_manifest.SHIPPED / "lens.safetensors")
    parser.add_argument("--crop", type=int, default=0, help="take the middle of this side only, for a quick look")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    pictures: list[Tensor] = []
    for file in datasets.files(arguments.data / "Set14"):
        picture = datasets.read_tensor(file, "rgb").float().unsqueeze(0) / 255
        if arguments.crop:
            top, left = (max(0, (length - arguments.crop) // 2) for length in picture.shape[-2:])
            picture = picture[..., top : top + arguments.crop, left : left + arguments.crop]
        pictures.append(picture)
    squeezenet, darknet = (load(arguments.teacher) for load in TEACHERS.values())
    measures: dict[str, Measure] = {
        "teacher": perceptual(squeezenet.network, squeezenet.perceptual),
        "Tiny Darknet": perceptual(darknet.network, darknet.perceptual),
        "lens": perceptual(backbones.load("lens", weights=arguments.weights), lens.PERCEPTUAL),
        "lens, max pooling": perceptual(
            backbones.load("lens", weights=arguments.weights, pooling="max"), lens.PERCEPTUAL
        ),
        "random weights": perceptual(backbones.load("lens", random=0), lens.PERCEPTUAL),
        "psnr": lambda version, original: -float(psnr(version, original, channel="rgb")),
        "ssim": lambda version, original: -float(ssim(version, original, channel="rgb")),
    }
    results = {
        "what": "Spearman's correlations of distances on Set14: mean and least over the pictures.",
        "pictures": len(pictures),
        "crop": arguments.crop,
        "weights_sha256": hashlib.sha256(arguments.weights.read_bytes()).hexdigest(),
        "layers": list(lens.PERCEPTUAL),
        "teacher": "SqueezeNet 1.0",
        "teacher_layers": list(squeezenet.perceptual),
        **provenance.origin(),
        **report(spoil_and_measure(pictures, measures)),
    }
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(
        json.dumps(
            {key: results[key] for key in ("all_kinds", "unseen_kinds", "all_together", "below_floor")}, indent=1
        )
    )


if __name__ == "__main__":
    main()
