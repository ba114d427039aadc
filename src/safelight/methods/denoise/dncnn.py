"""DnCNN: a plain deep network that predicts the noise, for one level (S) or for all (B), gray or colour.

K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
Denoising", IEEE TIP 2017 (arXiv:1608.03981).

The noisy picture is y = x + v, and the network learns the residual R(y), near to v, rather than the clean picture
(section III-A)::

    y --+--> conv 3x3, 64 + ReLU --> (D - 2) x (conv 3x3, 64 + ReLU) --> conv 3x3, C --> R(y) --+--> x = y - R(y)
        +--------------------------------------------------------------------------------------+

    l(Theta) = 1 / (2 N) * sum_i || R(y_i; Theta) - (y_i - x_i) ||^2                                          (1)

``S15``, ``S25`` and ``S50`` are DnCNN-S, D = 17, each for the noise of its name; ``B`` is the blind DnCNN-B, D = 20,
for every sigma up to 55; ``CB`` is CDnCNN-B, the same for colour.

Differs from the paper: without the batch normalisation of the inner layers, as in the authors' own later networks. It
is a constant factor and an offset once a network is trained. Trained by SOAP in bfloat16 with a cosine schedule and
averaged weights instead of SGD. S and CB begin from the layers of B that have their shape. The shipped B, S25 and S50
come of a second run, of 6,300 and 900 steps of 10 crops.
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
    Promise,
    Recipe,
    Score,
    Trained,
    TrainingSpec,
)
from safelight.core.options import option
from safelight.core.task import Task
from safelight.core.training import Regression
from safelight.degrade import Degradation, Noise
from safelight.nn.blocks import ResidualChain
from safelight.nn.soap import Soap

LEVELS: Mapping[Literal["S15", "S25", "S50"], int] = {"S15": 15, "S25": 25, "S50": 50}  # of DnCNN-S, of 255
NEAR = 2.0  # of 255: a told sigma this near to a level is that level
PICKED: frozenset[str] = frozenset()
"""The S that are taken where their level is told: those that are better there than B. A test holds it against the
measurements; at present it is none of them, since B was trained for many times as long."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which of the paper's networks. ``auto`` is settled by the picture: see ``resolve_options``."""

    variant: Literal["auto", "B", "S15", "S25", "S50", "CB"] = option(
        "auto", "B: blind, gray; CB: blind, colour; S15, S25, S50: gray, for one sigma; auto: what suits the picture"
    )


class DnCNN(ResidualChain):
    """(B, C, H, W), noisy, to (B, C, H, W); C is 3 for ``CB`` and else 1."""

    def __init__(self, options: Options, scale: int) -> None:  # noqa: ARG002 - the size stays
        super().__init__(3 if options.variant == "CB" else 1, depth(options))

    def forward(self, y: Tensor) -> Tensor:
        """Subtract the predicted noise."""
        return y - self.residual(y)


def depth(options: Options) -> int:
    """D, the number of layers: 17 for a known level, 20 for a blind network (section IV-A)."""
    return 17 if options.variant in LEVELS else 20


def resolve_options(options: Options, task: Task, gray: bool, sigma: float | None) -> Options:  # noqa: ARG001 - one task
    """Settle ``auto``: CB for colour, the S of a level that was told if it is better, else B; ``sigma`` in [0, 1]."""
    if options.variant != "auto":
        return options
    if not gray:
        return replace(options, variant="CB")
    near = (name for name, level in LEVELS.items() if sigma is not None and abs(255 * sigma - level) <= NEAR)
    return replace(options, variant=next((name for name in near if name in PICKED), "B"))


def degradations(options: Options) -> tuple[Degradation, ...]:
    """Noise of the level, or of all up to 55."""
    level = next((level for name, level in LEVELS.items() if name == options.variant), None)
    return (Noise(0, 55),) if level is None else (Noise(level, level),)


def training(network: DnCNN, recipe: Recipe) -> Regression:
    """Equation (1); the target's error is the residual's."""
    return Regression(network, Soap(network.parameters(), lr=recipe.rate), F.mse_loss)


RECIPE = Recipe(
    data=("bsds399", "t91"),
    patch=40,
    batch=32,
    steps=2000,
    rate=2e-3,
    steps_after_start=400,
    time="84 minutes for B, 18 for CB, 5 for each S, on one core of an AMD EPYC in bfloat16",
    promises=(
        Promise(task="denoise", data="BSD68", level=15, psnr=31.73, floor=31.58, options={"variant": "S15"}),
        Promise(task="denoise", data="BSD68", level=25, psnr=29.23, floor=29.08, options={"variant": "S25"}),
        Promise(task="denoise", data="BSD68", level=50, psnr=26.23, floor=26.08, options={"variant": "S50"}),
        Promise(task="denoise", data="BSD68", level=15, psnr=31.61, floor=31.46, options={"variant": "B"}),
        Promise(task="denoise", data="BSD68", level=25, psnr=29.16, floor=29.01, options={"variant": "B"}),
        Promise(task="denoise", data="BSD68", level=50, psnr=26.23, floor=26.08, options={"variant": "B"}),
        Promise(task="denoise", data="Set12", level=15, psnr=32.86, floor=32.71, options={"variant": "S15"}),
        Promise(task="denoise", data="Set12", level=25, psnr=30.44, floor=30.29, options={"variant": "S25"}),
        Promise(task="denoise", data="Set12", level=50, psnr=27.18, floor=27.03, options={"variant": "S50"}),
    ),
)


def adopt(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights of the authors' PyTorch code, whose batch normalisation is merged into the convolutions.

    Their names are numbers in a sequence, after a ``model.`` that is taken off before.
    They compute on [0, 1] and predict the noise, as here. The depth and the channels tell which network it is; of the
    blind ones that is certain, of one for a single level the tensors do not tell the level, and 25 is taken.
    """
    numbers = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    if not all(number.isdecimal() for number in numbers):
        raise LayoutError(f"a plain sequence of convolutions, {ascii(numbers)[:80]}")
    layers = sorted(map(int, numbers))
    channels = tensors["0.weight"].shape[1]
    known = {(17, 1): "S25", (20, 1): "B", (20, 3): "CB"}
    variant = known.get((len(layers), channels))
    if variant is None:
        raise LayoutError(f"a DnCNN of 17 or 20 layers, {len(layers)} layers of {channels} channels")
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
    summary="A deep network that predicts the noise; blind to its level or made for one, gray or colour (2017).",
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
            receptive_radius=lambda options, scale: depth(options),  # noqa: ARG005 - one pixel by each 3x3 layer
            scale_agnostic=True,
            resolve_options=resolve_options,
            foreign_layouts=FOREIGN,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, degradations=degradations),
    ),
    options=Options,
    accepts=frozenset({"sigma"}),
    published=(
        Score(task="denoise", data="BSD68", level=15, psnr=31.73, options={"variant": "S15"}),
        Score(task="denoise", data="BSD68", level=25, psnr=29.23, options={"variant": "S25"}),
        Score(task="denoise", data="BSD68", level=50, psnr=26.23, options={"variant": "S50"}),
        Score(task="denoise", data="BSD68", level=15, psnr=31.61, options={"variant": "B"}),
        Score(task="denoise", data="BSD68", level=25, psnr=29.16, options={"variant": "B"}),
        Score(task="denoise", data="BSD68", level=50, psnr=26.23, options={"variant": "B"}),
        Score(task="denoise", data="Set12", level=15, psnr=32.86, options={"variant": "S15"}),
        Score(task="denoise", data="Set12", level=25, psnr=30.44, options={"variant": "S25"}),
        Score(task="denoise", data="Set12", level=50, psnr=27.18, options={"variant": "S50"}),
    ),
)
