"""DnCNN: a plain deep network that predicts the noise, of any level, gray or colour.

Zhang et al. 2017 (``CARD.paper``).

The noisy picture is y = x + v, and the network learns the residual R(y), near to v, rather than the clean picture
(section III-A)::

    y --+--> conv 3x3, 64 + ReLU --> (D - 2) x (conv 3x3, 64 + ReLU) --> conv 3x3, C --> R(y) --+--> x = y - R(y)
        +--------------------------------------------------------------------------------------+

    l(Theta) = 1 / (2 N) * sum_i || R(y_i; Theta) - (y_i - x_i) ||^2                                          (1)

``B`` is the blind DnCNN-B, D = 20, for every sigma up to 55; ``CB`` is CDnCNN-B, the same for colour.

Differs from the paper: without the batch normalisation of the inner layers, as in the authors' own later networks. It
is a constant factor and an offset once a network is trained. Trained by SOAP in bfloat16 with a cosine schedule and
averaged weights instead of SGD. CB begins from the layers of B that have their shape. The shipped B comes of a second
run, of 6,300 steps of 10 crops. The paper's networks for one level, DnCNN-S of 17 layers, are left out: in the time
that there was for them they became no better than B at their own levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import (
    Card,
    ConvertedWeights,
    ForeignLayout,
    LayoutError,
    NetworkSpec,
    Paper,
    Score,
    Trained,
    TrainingSpec,
    promised,
)
from safelight.core.options import option
from safelight.core.task import Task
from safelight.core.training import Recipe, Regression
from safelight.degrade import Degradation, Noise
from safelight.nn.blocks import ResidualChain
from safelight.nn.soap import Soap

D = 20
"""The number of layers of a blind network (section IV-A)."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which of the paper's networks. ``auto`` is settled by the picture: see ``resolve_options``."""

    variant: Literal["auto", "B", "CB"] = option("auto", "B: gray; CB: colour; auto: what suits the picture")


class DnCNN(ResidualChain):
    """(B, C, H, W), noisy, to (B, C, H, W); C is 3 for ``CB`` and else 1."""

    def __init__(self, options: Options, scale: int) -> None:  # noqa: ARG002 - the size stays
        super().__init__(3 if options.variant == "CB" else 1, D)

    def forward(self, y: Tensor) -> Tensor:
        """Subtract the predicted noise."""
        return y - self.residual(y)


def resolve_options(options: Options, task: Task, gray: bool, sigma: float | None) -> Options:  # noqa: ARG001 - one task, any noise
    """Settle ``auto``: B for gray pictures, CB for colour."""
    return options if options.variant != "auto" else replace(options, variant="B" if gray else "CB")


def degradations(options: Options) -> tuple[Degradation, ...]:  # noqa: ARG001 - the same for gray and colour
    """Noise of every level up to 55."""
    return (Noise(0, 55),)


def training(network: DnCNN, recipe: Recipe) -> Regression:
    """Equation (1); the target's error is the residual's."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss)


PUBLISHED = (
    Score(task="denoise", data="BSD68", level=15, psnr=31.61, options={"variant": "B"}),
    Score(task="denoise", data="BSD68", level=25, psnr=29.16, options={"variant": "B"}),
    Score(task="denoise", data="BSD68", level=50, psnr=26.23, options={"variant": "B"}),
)

RECIPE = Recipe(
    data=("bsds399", "t91"),
    patch=40,
    batch=32,
    steps=2000,
    lr=2e-3,
    steps_after_start=400,
    time="84 minutes for B, 18 for CB, on one core of an AMD EPYC in bfloat16",
    promises=promised(PUBLISHED, floors={}, allowed=0.15),
)


def adopt(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights of the authors' PyTorch code, whose batch normalisation is merged into the convolutions.

    Their names are numbers in a sequence, after a ``model.`` that is taken off before.
    They compute on [0, 1] and predict the noise, as here. The depth and the channels tell which network it is.
    """
    numbers = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    if not all(number.isdecimal() for number in numbers):
        raise LayoutError(f"a plain sequence of convolutions, {ascii(numbers)[:80]}")
    layers = sorted(map(int, numbers))
    channels = tensors["0.weight"].shape[1]
    variant = {(D, 1): "B", (D, 3): "CB"}.get((len(layers), channels))
    if variant is None:
        raise LayoutError(f"a blind DnCNN, of {D} layers, {len(layers)} layers of {channels} channels")
    names = ["first", *(f"middle.{i}" for i in range(len(layers) - 2)), "last"]
    ours: dict[str, Tensor] = {}
    for place, name in zip(layers, names, strict=True):
        weight = tensors[f"{place}.weight"]
        ours[f"{name}.weight"] = weight
        ours[f"{name}.bias"] = tensors.get(f"{place}.bias", torch.zeros(weight.shape[0]))
    return ConvertedWeights(tensors=ours, options={"variant": variant}, scales=(1,))


FOREIGN = (
    ForeignLayout(
        name="KAIR",
        link="https://github.com/cszn/KAIR",
        keys=("0.weight", "2.weight", "32.weight"),
        adopt=adopt,
    ),
)

CARD = Card(
    module=__name__,
    title="DnCNN",
    summary="A deep network that predicts the noise, whatever its level, in gray or colour (2017).",
    paper=Paper(
        title="Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
        authors="K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang",
        venue="IEEE TIP 2017",
        link="https://arxiv.org/abs/1608.03981",
    ),
    method=Trained(
        network=NetworkSpec(
            build=DnCNN,
            input="low-resolution",
            channels=lambda options: "rgb" if options.variant == "CB" else "y",
            scales=(1,),
            receptive_radius=lambda options, scale: D,  # noqa: ARG005 - one pixel by each 3x3 layer
            scale_agnostic=True,
            resolve_options=resolve_options,
            foreign_layouts=FOREIGN,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, degradations=degradations),
    ),
    options=Options,
    accepts=frozenset({"sigma"}),
    published=PUBLISHED,
)
