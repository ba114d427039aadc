"""Measure what Lamp's choices are worth: variants of it, trained for equal seconds on one thread, at x4.

    python tools/compare_chains.py --data TRAINING_SETS

Writes ``results/chains.json``: the PSNR of each variant on the validation pictures, its parameters and steps. The time
of a variant's step is measured first, and gives the number of its steps, so that each has the same seconds whatever
else the machine does later.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from safelight import data, lessons, provenance, train
from safelight.card import Recipe, Trained
from safelight.engine import device as devices
from safelight.methods.upscale import lamp
from safelight.optim import Soap
from safelight.steps import Regression

RESULTS = Path(__file__).parent.parent / "results" / "chains.json"
SCALE = 4
CARD = lamp.CARD
WARM, TIMED = 5, 15  # steps before and in the measurement of a step's time
Loss = Callable[[Tensor, Tensor], Tensor]


class Sized(lamp.Lamp):
    """Lamp of another size."""

    def __init__(self, layers: int, channels: int) -> None:
        lamp.SIZES["base"], kept = lamp.Size(N=layers, C=channels), lamp.SIZES["base"]
        super().__init__(lamp.Options(), SCALE)
        lamp.SIZES["base"] = kept
        self.setup(channels)

    def setup(self, channels: int) -> None:
        """Change what the variant has otherwise."""


class HeStart(Sized):
    """The chain as He et al. begin it, not as the identity."""

    def setup(self, channels: int) -> None:  # noqa: ARG002 - of another variant
        """Draw the weights."""
        for parameter in self.body.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")


class Residual(HeStart):
    """The same layers in pairs, as residual blocks whose second layer begins near zero."""

    def setup(self, channels: int) -> None:
        """Draw the weights."""
        super().setup(channels)
        for parameter in self.body[1::2].parameters():
            if parameter.ndim == 4:
                nn.init.normal_(parameter, std=1e-2 / channels**0.5)

    def correction(self, x: Tensor) -> Tensor:
        """Compute what the enlarged picture lacks."""
        features = self.head(x)
        for first, second in zip(self.body[::2], self.body[1::2], strict=True):
            features = features + second(F.relu(first(features)))
        return self.tail(features)


class Attention(Sized):
    """The layers in threes, whose result is multiplied by a function of itself without parameters.

    C. Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", arXiv:2311.12770.
    """

    def correction(self, x: Tensor) -> Tensor:
        """Compute what the enlarged picture lacks."""
        features = first = self.head(x)
        for a, b, c in zip(self.body[::3], self.body[1::3], self.body[2::3], strict=True):
            y = c(F.silu(b(F.silu(a(features)))))
            features = (y + features) * (torch.sigmoid(y) - 0.5) * 2
        return self.tail(features + first)


class Parametric(Sized):
    """PReLU in place of ReLU."""

    def setup(self, channels: int) -> None:
        """Add the slopes."""
        self.slopes = nn.ModuleList(nn.PReLU(channels) for _ in range(len(self.body) + 1))

    def correction(self, x: Tensor) -> Tensor:
        """Compute what the enlarged picture lacks."""
        features = x
        for layer, prelu in zip((self.head, *self.body), self.slopes, strict=True):
            features = prelu(layer(features))
        return self.tail(features)


class Alone(Sized):
    """Without the enlargement of the input, which is zero and stays so: the chain makes the whole picture."""

    def setup(self, channels: int) -> None:  # noqa: ARG002 - of another variant
        """Leave it out."""
        nn.init.kaiming_normal_(self.tail.weight)
        nn.init.zeros_(self.enlarge.weight)
        self.enlarge.requires_grad_(requires_grad=False)


def soap(network: nn.Module, rate: float) -> Optimizer:
    """The recipe's."""
    return Soap(network.parameters(), lr=rate)


def adam(network: nn.Module, rate: float) -> Optimizer:
    """The field's."""
    return torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))


@dataclass(frozen=True)
class Variant:
    """A network and how it is trained."""

    network: Callable[[], lamp.Lamp]
    rate: float = lamp.RECIPE.rate
    loss: Loss = F.l1_loss
    optimizer: Callable[[nn.Module, float], Optimizer] = soap
    patch: int = lamp.RECIPE.patch
    batch: int = lamp.RECIPE.batch


BASE = (lamp.SIZES["base"].N, lamp.SIZES["base"].C)
NINE = (9, BASE[1])  # layers that are a multiple of three, for the attention
VARIANTS = {
    "as it is": Variant(lambda: Sized(*BASE)),
    "begun as He et al.": Variant(lambda: HeStart(*BASE)),
    "residual blocks": Variant(lambda: Residual(*BASE)),
    "9 layers": Variant(lambda: Sized(*NINE)),
    "9 layers, attention": Variant(lambda: Attention(*NINE)),
    "PReLU": Variant(lambda: Parametric(*BASE)),
    "without the enlargement": Variant(lambda: Alone(*BASE)),
    "4 layers of 48": Variant(lambda: Sized(4, 48)),
    "14 layers of 24": Variant(lambda: Sized(14, 24)),
    "Adam, rate 1e-3": Variant(lambda: Sized(*BASE), rate=1e-3, optimizer=adam),
    "rate doubled": Variant(lambda: Sized(*BASE), rate=6e-3),
    "rate halved": Variant(lambda: Sized(*BASE), rate=1.5e-3),
    "squared error": Variant(lambda: Sized(*BASE), loss=F.mse_loss),
    "4 crops of 64x64": Variant(lambda: Sized(*BASE), patch=64, batch=4),
}


def run(variant: Variant, split: data.Split, folders: tuple[Path, ...], seconds: float) -> dict[str, Any]:
    """Train a variant and say how far it came."""
    method = CARD.method
    assert isinstance(method, Trained)
    recipe = dataclasses.replace(method.recipe, patch=variant.patch, batch=variant.batch)

    def training(network: lamp.Lamp, recipe: Recipe) -> Regression:  # noqa: ARG001 - the variant's rate
        return Regression(lamp.InTraining(network), variant.optimizer(network, variant.rate), variant.loss)

    changed = dataclasses.replace(method, training=training)
    plan = lessons.Plan(
        card=dataclasses.replace(CARD, method=changed), options=lamp.Options(), scales=(SCALE,), recipe=recipe,
        folders=folders, out=Path("w.safetensors"),
    )  # fmt: skip
    device = torch.device("cpu")
    torch.manual_seed(0)
    network = devices.place(variant.network(), device)
    lesson = lessons.Lesson(plan, network, split, device)
    generator = torch.Generator().manual_seed(0)
    average = train.Average(network, recipe.ema)
    (optimizer,) = lesson.training.optimizers

    def step(number: int, factor: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = variant.rate * factor
        batch = lesson.draw(generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=devices.bfloat16_pays()):
            lesson.training.step(batch)
        average.update(network, number)

    for number in range(WARM):
        step(number, 0.0)
    start = time.perf_counter()
    for number in range(TIMED):
        step(WARM + number, 0.0)
    recipe = dataclasses.replace(recipe, steps=max(1, round(seconds * TIMED / (time.perf_counter() - start))))
    for number in range(recipe.steps):
        step(number, train.learning_rate(recipe, number))
    network.load_state_dict(average.tensors)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        "steps": recipe.steps,
        "validation_psnr": round(lessons.validate(plan, network.eval(), split.validation), 3),
    }


def main() -> None:
    """Train every variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    method = CARD.method
    assert isinstance(method, Trained)
    folders = tuple(arguments.data / name for name in method.recipe.data)
    split = data.load(folders, "rgb")
    rows: dict[str, Any] = {}
    for name, variant in VARIANTS.items():
        rows[name] = run(variant, split, folders, arguments.seconds)
        print(name, rows[name], flush=True)
    found = {
        "what": f"{CARD.id} x{SCALE}, {arguments.seconds:g} s of training, mean Y-PSNR in dB on validation pictures",
        "device": devices.describe(devices.choose("cpu")),
        "processor": provenance.processor(),
        "torch": torch.__version__,
        "commit": provenance.code_version(),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
