"""Measure training: crops a second of every network's recipe, in float32 and, on a CPU, in bfloat16.

    python tools/measure_training.py --data TRAINING_SETS

Writes ``results/training-DEVICE.json``. Crops, degradation, step, average and optimiser are all in the time. The
arithmetic is counted as 6 floating point operations for each multiply-add: 2 forward, 4 backward.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from safelight import catalog, provenance, train
from safelight.bench import quality
from safelight.bench.records import Values
from safelight.card import Card, Trained, channels_of
from safelight.engine import device as devices
from safelight.engine.cost import measure
from safelight.lessons import TrainPrecision
from safelight.options import make_options

RESULTS = Path(__file__).parent.parent / "results"
SECONDS = 8.0  # of training, about, for each row
WARM_UP = 12  # steps, timed first to choose the number of steps


def timed(card: Card, options: Values, scale: int, precision: TrainPrecision, steps: int, folder: Path) -> float:
    """Train for some steps and return the seconds that they took."""
    method = card.method
    assert isinstance(method, Trained)
    with tempfile.TemporaryDirectory() as place:
        plan = train.Plan(
            card=card, options=make_options(card, options), scales=(scale,), folders=(folder,),
            out=Path(place) / "w.safetensors",
            recipe=dataclasses.replace(method.recipe, steps=steps), precision=precision, validate_every=steps,
        )  # fmt: skip
        return train.train(plan, lambda progress: None).seconds  # noqa: ARG005 - nobody watches


def row(card: Card, options: Values, precision: TrainPrecision, folder: Path) -> dict[str, Any]:
    """Measure one network."""
    method = card.method
    assert isinstance(method, Trained)
    made = make_options(card, options)
    scale = 3 if 3 in quality.trained_scales(method, made) else 1
    warm = timed(card, options, scale, precision, WARM_UP, folder) / WARM_UP
    steps = max(WARM_UP, round(SECONDS / warm))
    seconds = timed(card, options, scale, precision, steps, folder)
    crops = method.recipe.batch * steps / seconds
    cost = measure(method.network(made, scale), 1 if channels_of(method, made) == "y" else 3)
    side = method.recipe.patch * (scale if method.examples is None else 1)  # a shrinking recipe counts small pixels
    return {
        "method": card.id,
        "options": dict(options),
        "scale": scale,
        "precision": precision,
        "batch": method.recipe.batch,
        "patch": method.recipe.patch,
        "steps": steps,
        "crops_per_second": round(crops, 1),
        "gflop_per_second": round(6e-9 * cost.multiply_adds * side**2 * crops, 1),
    }


def main() -> None:
    """Measure every network of the catalog, as its recipe trains it first: at x3 where it enlarges."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", required=True, type=Path)
    folder = parser.parse_args().data / "t91"
    device = devices.choose()
    precisions: tuple[TrainPrecision, ...] = ("float32", "bfloat16")
    rows: list[dict[str, Any]] = []
    for card in catalog.CARDS:
        if isinstance(card.method, Trained):
            for precision in precisions:
                rows.append(row(card, quality.variants(card, card.task)[0], precision, folder))
                print(rows[-1])
    found = {
        "what": "training steps of every recipe, all that they need included",
        "device": devices.describe(device),
        "processor": provenance.processor(),
        "torch": torch.__version__,
        "commit": provenance.code_version(),
        "rows": rows,
    }
    (RESULTS / f"training-{device.type}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
