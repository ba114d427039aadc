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

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import harness
import torch
from distortions import KINDS
from harness import Row
from teacher import TEACHERS, distances, spearman
from torch import Tensor

from safelight.checkpoints import backbones, weights_manifest
from safelight.features import lens
from safelight.metrics import psnr, ssim

WHAT = "Spearman's correlations of distances on Set14: mean and least over the pictures."
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
        for k, kind in enumerate(KINDS):
            for s, strength in enumerate(kind.strengths):
                version = kind.distort(original, strength, torch.Generator().manual_seed(i))
                for name, measure in measures.items():
                    found[name][i, k, s] = measure(version, original)
        print(f"picture {i + 1} of {len(pictures)}", flush=True)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """The mean and the least of some correlations."""
    return {"mean": round(harness.mean(values), 4), "least": round(min(values), 4)}


def within(found: Tensor, other: Tensor) -> dict[str, float]:
    """Correlate (pictures, strengths) with the same of another measure, picture by picture."""
    return summary([spearman(mine, its) for mine, its in zip(found, other.expand_as(found), strict=True)])


def together(found: dict[str, Tensor], kinds: Sequence[int]) -> dict[str, float]:
    """Correlate all versions of some kinds with the teacher, those of all pictures together."""
    reference = found["teacher"][:, kinds].flatten()
    return {n: round(spearman(each[:, kinds].flatten(), reference), 4) for n, each in found.items() if n != "teacher"}


def of_kind(found: dict[str, Tensor], k: int) -> Row:
    """Correlate all measures over one kind with the teacher's and with the strengths."""
    kind, others = KINDS[k], {name: each[:, k] for name, each in found.items() if name != "teacher"}
    return {
        "name": kind.name,
        "unit": kind.unit,
        "strengths": [round(strength, 4) for strength in kind.strengths],
        "trained": kind.trained,
        "with_teacher": {name: within(each, found["teacher"][:, k]) for name, each in others.items()},
        "with_teacher_over_pictures": together(found, [k]),
        "with_strength": {name: within(each[:, k], torch.arange(5.0)) for name, each in found.items()},
    }


def report(found: dict[str, Tensor]) -> Row:
    """Correlate all measures with the teacher's and with the strengths."""

    def over(kinds: Sequence[int]) -> Row:
        reference = found["teacher"][:, kinds].flatten(1)
        others = ((name, each) for name, each in found.items() if name != "teacher")
        return {name: within(each[:, kinds].flatten(1), reference) for name, each in others}

    every = range(len(KINDS))
    kinds = [of_kind(found, k) for k in every]
    return {
        "kinds": kinds,
        "all_kinds": over(list(every)),
        "unseen_kinds": over([k for k in every if not KINDS[k].trained]),
        "all_together": together(found, list(every)),
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
    parser = harness.parser(__doc__, data="Set14", out="lens.json")
    parser.add_argument("--teacher", type=Path, required=True, help="the folder that holds the teachers' weights")
    parser.add_argument("--weights", type=Path, default=weights_manifest.SHIPPED / "lens.safetensors")
    parser.add_argument("--crop", type=int, default=0, help="take the middle of this side only, for a quick look")
    asked = parser.parse_args()
    whole = harness.read_set(asked.data, "Set14", rgb=True).values()
    pictures = [harness.middle(x, asked.crop) if asked.crop else x for x in whole]
    squeezenet, darknet = (load(asked.teacher) for load in TEACHERS.values())
    average, largest = (backbones.load("lens", weights=asked.weights, pooling=kind) for kind in ("average", "max"))
    measures: dict[str, Measure] = {
        "teacher": perceptual(squeezenet.network, squeezenet.perceptual),
        "Tiny Darknet": perceptual(darknet.network, darknet.perceptual),
        "lens": perceptual(average, lens.PERCEPTUAL),
        "lens, max pooling": perceptual(largest, lens.PERCEPTUAL),
        "random weights": perceptual(backbones.load("lens", random=0), lens.PERCEPTUAL),
        "psnr": lambda version, original: -float(psnr(version, original, channel="rgb")),
        "ssim": lambda version, original: -float(ssim(version, original, channel="rgb")),
    }
    found = report(spoil_and_measure(pictures, measures))
    facts = harness.record(
        WHAT,
        pictures=len(pictures),
        crop=asked.crop,
        weights_sha256=hashlib.sha256(asked.weights.read_bytes()).hexdigest(),
        layers=list(lens.PERCEPTUAL),
        teacher="SqueezeNet 1.0",
        teacher_layers=list(squeezenet.perceptual),
        **found,
    )
    harness.write(asked.out, facts)
    harness.show({key: found[key] for key in ("all_kinds", "unseen_kinds", "all_together", "below_floor")})


if __name__ == "__main__":
    main()
