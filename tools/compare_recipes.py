"""Measure what the recipes' choices are worth: each network as it is trained, and with one thing otherwise.

    python tools/compare_recipes.py --data TRAINING_SETS

Writes ``results/recipes.json``: the PSNR of each variant on the validation pictures, its parameters and steps. The time
of a variant's steps is measured first, and gives their number, so that those of a network train for the same seconds
on one thread: deep ones for longer.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import torch
import torch.nn.functional as F
from harness import Row
from measure_training import Ours
from torch import Tensor, nn

from safelight.checkpoints import weights_manifest
from safelight.core.card import Card, Trained
from safelight.core.options import make_options
from safelight.core.training import Recipe, Regression, Trainer
from safelight.engine import device as devices
from safelight.methods.upscale import edsr, espcn, fsrcnn, lamp, srcnn, vdsr
from safelight.nn.soap import Soap
from safelight.training import loop, session

WHAT = "equal seconds of training on one thread, mean Y-PSNR in dB on the validation pictures"


@dataclass(frozen=True)
class Variant:
    """A recipe with changes: its fields, the network it begins with, the loss and optimiser, the arithmetic.

    ``trained``: it goes on from the shipped weights, at a rate that leaves them what they have learned.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    network: Callable[[Any, int], nn.Module] | None = None
    training: Callable[[Any, Recipe], Trainer] | None = None
    precision: session.TrainPrecision = "auto"
    trained: bool = False


# --- other networks, and other beginnings -----------------------------------------------------------------------------


def he(network: nn.Module) -> nn.Module:
    """Begin with weights as He et al. draw them, and biases of zero."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        elif parameter.ndim == 1:
            nn.init.zeros_(parameter)
    return network


def he_srcnn(options: srcnn.Options, scale: int) -> nn.Module:  # noqa: ARG001 - one architecture for every scale
    """SRCNN begun by He's weights."""
    return he(srcnn.SRCNN(options))


def he_fsrcnn(options: fsrcnn.Options, scale: int) -> nn.Module:
    """FSRCNN begun by He's weights and a small deconvolution, as its paper does."""
    network = fsrcnn.FSRCNN(options, scale)
    for layer in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(layer.weight, a=0.25)
    nn.init.normal_(network.deconv.weight, std=0.001)
    return network


def straight_espcn(options: espcn.NoOptions, scale: int) -> nn.Module:
    """ESPCN begun by torch's own weights, for which tanh is a straight line."""
    network = espcn.ESPCN(options, scale)
    for layer in (network.conv1, network.conv2):
        layer.reset_parameters()
    return network


class Sized(lamp.Lamp):
    """Lamp of another size."""

    def __init__(self, layers: int, channels: int) -> None:
        lamp.SIZES["base"], kept = lamp.LampSize(N=layers, C=channels), lamp.SIZES["base"]
        super().__init__(lamp.Options(), 4)
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


def sized(kind: type[Sized], layers: int, channels: int) -> Callable[[Any, int], nn.Module]:
    """Make a variant of Lamp that is built as a method's networks are."""
    return lambda options, scale: kind(layers, channels)  # noqa: ARG005 - it is for x4


# --- other steps ------------------------------------------------------------------------------------------------------


def squared(network: lamp.Lamp, recipe: Recipe) -> Regression:
    """Lamp's step with another loss."""
    return Regression(
        network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss, forward=lamp.LampInTraining(network)
    )


def lamp_by_adam(network: lamp.Lamp, recipe: Recipe) -> Regression:
    """Lamp's step with the field's optimiser."""
    adam = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=(0.9, 0.99))
    return Regression(network, adam, F.l1_loss, forward=lamp.LampInTraining(network))


def fsrcnn_by_adam(network: fsrcnn.FSRCNN, recipe: Recipe) -> Regression:
    """FSRCNN's step with the field's optimiser."""
    return Regression(
        network,
        torch.optim.Adam(network.parameters(), lr=recipe.lr),
        F.mse_loss,
        forward=fsrcnn.FSRCNNInTraining(network),
    )


AS_IT_IS = "as it is"
DEEP = {vdsr.CARD.id: 4, edsr.CARD.id: 4}  # how many times longer they train
WHOLE = Variant(recipe={"stages": ()})
N, C = lamp.SIZES["base"].N, lamp.SIZES["base"].C
GROUPS: list[tuple[Card, tuple[int, ...], dict[str, Variant]]] = [
    (srcnn.CARD, (3,), {AS_IT_IS: Variant(), "begun as He et al.": Variant(network=he_srcnn)}),
    (
        fsrcnn.CARD,
        (3,),
        {
            AS_IT_IS: Variant(),
            "begun as in the paper": Variant(network=he_fsrcnn),
            "in bfloat16": Variant(precision="bfloat16"),
            "trained on": Variant(recipe={"lr": 2e-3}, trained=True),
            "trained on in bfloat16": Variant(recipe={"lr": 2e-3}, trained=True, precision="bfloat16"),
            **{
                f"Adam, rate {rate:g}": Variant(recipe={"lr": rate}, training=fsrcnn_by_adam)
                for rate in (2e-3, 4e-3, 8e-3)
            },
        },
    ),
    (espcn.CARD, (3,), {AS_IT_IS: Variant(), "begun as torch does": Variant(network=straight_espcn)}),
    (vdsr.CARD, (2, 3, 4), {AS_IT_IS: Variant(), "whole from the start": WHOLE}),
    (edsr.CARD, (2,), {AS_IT_IS: Variant(), "whole from the start": WHOLE}),
    (
        lamp.CARD,
        (4,),
        {
            AS_IT_IS: Variant(),
            "begun as He et al.": Variant(network=sized(HeStart, N, C)),
            "residual blocks": Variant(network=sized(Residual, N, C)),
            "9 layers": Variant(network=sized(Sized, 9, C)),  # a multiple of three, for the attention
            "9 layers, attention": Variant(network=sized(Attention, 9, C)),
            "PReLU": Variant(network=sized(Parametric, N, C)),
            "without the enlargement": Variant(network=sized(Alone, N, C)),
            "4 layers of 48": Variant(network=sized(Sized, 4, 48)),
            "14 layers of 24": Variant(network=sized(Sized, 14, 24)),
            "Adam, rate 1e-3": Variant(recipe={"lr": 1e-3}, training=lamp_by_adam),
            "rate doubled": Variant(recipe={"lr": 6e-3}),
            "rate halved": Variant(recipe={"lr": 1.5e-3}),
            "squared error": Variant(training=squared),
            "4 crops of 64x64": Variant(recipe={"patch": 64, "batch": 4}),
        },
    ),
]


def run(card: Card, scales: tuple[int, ...], variant: Variant, folder: Path, seconds: float) -> Row:
    """Train a variant and say how far it came."""
    method = card.method
    assert isinstance(method, Trained)
    recipe = dataclasses.replace(method.training.recipe, **variant.recipe)
    changed = dataclasses.replace(
        method,
        network=dataclasses.replace(method.network, build=variant.network or method.network.build),
        training=dataclasses.replace(
            method.training, algorithm=variant.training or method.training.algorithm, recipe=recipe
        ),
    )
    with tempfile.TemporaryDirectory() as place:
        plan = session.TrainConfig(
            card=dataclasses.replace(card, method=changed), options=make_options(card, {}), scales=scales,
            recipe=recipe, data={"data": tuple(folder / name for name in recipe.data)},
            out=Path(place) / "w.safetensors",
            device="cpu", precision=variant.precision, validate_every=1 << 30,
            start=weights_manifest.SHIPPED / f"{card.name}-x{scales[0]}.safetensors" if variant.trained else None,
        )  # fmt: skip
        ours = Ours(plan, session.load(plan))
        plan = dataclasses.replace(
            plan, recipe=dataclasses.replace(recipe, steps=max(1, int(seconds / ours.seconds()[1])))
        )
        header = loop.train(plan, lambda progress: None)  # noqa: ARG005 - nobody watches
    return {
        "parameters": sum(parameter.numel() for parameter in ours.network.parameters() if parameter.requires_grad),
        "steps": plan.recipe.steps,
        "seconds": header.seconds,
        "validation_psnr": round(header.scores["validation PSNR"], 3),
    }


def main() -> None:
    """Train every variant."""
    parser = harness.parser(__doc__, data="the training sets of the recipes", out="recipes.json")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--methods", type=harness.words, default="", help="only these; what the file has stays")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    groups: dict[str, Row] = harness.read(asked.out).get("groups", {}) if asked.methods else {}
    facts = harness.record(WHAT, device=devices.describe(devices.choose("cpu")), groups=groups)
    for card, scales, variants in GROUPS:
        if asked.methods and card.name not in asked.methods:
            continue
        rows = groups[f"{card.name} {' '.join(f'x{scale}' for scale in scales)}"] = Row()
        for name, variant in variants.items():
            rows[name] = run(card, scales, variant, asked.data, asked.seconds * DEEP.get(card.id, 1))
            harness.show({"method": card.name, "variant": name, **rows[name]})
            harness.write(asked.out, facts)


if __name__ == "__main__":
    main()
