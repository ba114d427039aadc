"""Measure the recipes' choice of optimiser: FSRCNN x3 by SOAP and by Adam, in equal numbers of steps.

    python tools/compare_optimisers.py --data TRAINING_SETS

Writes ``results/optimisers.json``: the validation PSNR and the seconds of each run. ``TRAINING_SETS`` holds the
folders t91 and bsds399.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from safelight import provenance, train
from safelight.card import Recipe, Trained
from safelight.engine import device as devices
from safelight.methods.upscale.fsrcnn import CARD
from safelight.optim import Soap
from safelight.steps import Regression

RESULTS = Path(__file__).parent.parent / "results" / "optimisers.json"
SCALE = 3


def adam(network: nn.Module, rate: float) -> Optimizer:
    """Adam as the field uses it."""
    return torch.optim.Adam(network.parameters(), lr=rate)


def soap(network: nn.Module, rate: float) -> Optimizer:
    """The recipes' optimiser."""
    return Soap(network.parameters(), lr=rate)


def run(
    make: Callable[[nn.Module, float], Optimizer], rate: float, steps: int, folders: tuple[Path, ...]
) -> dict[str, Any]:
    """Train once and say how far it came."""
    method = CARD.method
    assert isinstance(method, Trained)

    def training(network: nn.Module, recipe: Recipe) -> Regression:
        return Regression(network, make(network, recipe.rate), F.mse_loss)

    card = dataclasses.replace(CARD, method=dataclasses.replace(method, training=training))
    recipe = dataclasses.replace(method.recipe, rate=rate, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        plan = train.Plan(
            card=card, options=CARD.options(), scales=(SCALE,), recipe=recipe, folders=folders,
            out=Path(folder) / "w.safetensors", validate_every=steps,
        )  # fmt: skip
        header = train.train(plan, lambda progress: None)  # noqa: ARG005 - nobody watches
    return {
        "optimiser": make.__name__,
        "rate": rate,
        "steps": steps,
        "validation_psnr": header.scores["validation PSNR"],
        "seconds": header.seconds,
    }


def main() -> None:
    """Run both at several rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    folders = (arguments.data / "t91", arguments.data / "bsds399")
    runs: list[dict[str, Any]] = []
    for make, rates in ((adam, (2e-3, 4e-3, 8e-3)), (soap, (3e-3, 6e-3, 1.2e-2))):
        for rate in rates:
            runs.append(run(make, rate, arguments.steps, folders))
            print(runs[-1])
    found = {
        "what": f"{CARD.id} x{SCALE}, mean Y-PSNR in dB on the validation split of t91 and bsds399",
        "device": devices.describe(devices.choose()),
        "torch": torch.__version__,
        "commit": provenance.code_version(),
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
