"""Lamp: a narrow chain of 3x3 convolutions on the small picture, made for the time that a processor takes.

This project's own network, and its default. It is what efficient networks of the field agree on, as far as
``tools/compare_recipes.py`` agreed too::

    x --> conv 3x3, C + ReLU --> N x (conv 3x3, C + ReLU) --> conv 3x3, 3 s^2 --(+)--> pixel shuffle s --> y
    x --> conv 5x5, 3 s^2, initialised as the bicubic kernel --------------------+

- All layers work on the small picture, and the last one's channels become pixels by a pixel shuffle (W. Shi et al.,
  CVPR 2016, arXiv:1609.05158). The chain is deep and narrow, without branches, so no rows of one wait for another.
- An enlargement of the input is added to the result (X. Zhang, H. Zeng, L. Zhang, "Edge-oriented Convolution Block for
  Real-time Super Resolution on Mobile Devices", ACM Multimedia 2021). Here it is learned, starting from bicubic. So the
  wide layers compute a correction, for which bfloat16 is precise enough; what reads the picture stays in float32.
- Each layer is initialised as the identity plus noise, which is a kernel of X. Ding et al., "RepVGG: Making VGG-style
  ConvNets Great Again", CVPR 2021, arXiv:2101.03697, folded before the training and not after it.

Differs from those networks: three colours in and out, not the luma; no branches in training either, since a step with
three of them takes three times as long; no attention and no residual blocks, which in equal time came less far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import Card, NetworkSpec, Trained, TrainingSpec
from safelight.core.options import option
from safelight.core.training import Promise, Recipe, Regression
from safelight.nn.blocks import bicubic_impulse_response, init_near_identity
from safelight.nn.soap import Soap


@dataclass(frozen=True, slots=True)
class Options:
    """Which of the two networks."""

    variant: Literal["base", "small"] = option(
        "base", "base: 8 layers of 32 channels; small: of 16, a third of the weights"
    )


@dataclass(frozen=True, slots=True)
class LampSize:
    """N layers of C channels."""

    N: int
    C: int


SIZES = {"base": LampSize(N=8, C=32), "small": LampSize(N=8, C=16)}


class Lamp(nn.Module):
    """(B, 3, h, w) to (B, 3, h * s, w * s)."""

    def __init__(self, options: Options, s: int) -> None:
        super().__init__()
        N, C = SIZES[options.variant].N, SIZES[options.variant].C
        body = [nn.Conv2d(C, C, 3, padding=1) for _ in range(N)]
        self.head = nn.Conv2d(3, C, 3, padding=1, padding_mode="replicate")
        self.body = nn.ModuleList(body)
        self.tail = nn.Conv2d(C, 3 * s * s, 3, padding=1)
        self.enlarge = nn.Conv2d(3, 3 * s * s, 5, padding=2, padding_mode="replicate", bias=False)
        self.shuffle = nn.PixelShuffle(s)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        init_near_identity(body)
        with torch.no_grad():
            nn.init.normal_(self.tail.weight, std=1e-3)
            nn.init.zeros_(self.enlarge.weight)
            cells = bicubic_impulse_response(s)[2:7, :, 2:7].flip(0, 2)  # a cell t rows up sees the dot t rows down
            kernels = cells.permute(1, 3, 0, 2).flatten(0, 1)
            for color in range(3):
                self.enlarge.weight[color * s * s : (color + 1) * s * s, color] = kernels

    def correction(self, x: Tensor) -> Tensor:
        """Compute the cells, (B, 3 s^2, h, w), that the enlarged picture lacks."""
        features = F.relu(self.head(x))
        for conv in self.body:
            features = F.relu(conv(features))
        return self.tail(features)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge the picture."""
        return self.shuffle(self.correction(x) + self.enlarge(x))


class LampInTraining(nn.Module):
    """The same function, of which the enlargement computes in float32 where the rest may in bfloat16.

    The chain makes a correction, but this the picture: in bfloat16 it would round each sample to 8 bits or fewer.
    """

    def __init__(self, network: Lamp) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge the picture."""
        with torch.autocast(x.device.type, enabled=False):
            enlarged = self.network.enlarge(x)
        return self.network.shuffle(self.network.correction(x) + enlarged)


def receptive_radius(options: Options, scale: int) -> int:  # noqa: ARG001 - alike at each scale
    """One pixel by each 3x3 layer."""
    return SIZES[options.variant].N + 2


def training(network: Lamp, recipe: Recipe) -> Regression:
    """L1."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.l1_loss, forward=LampInTraining(network))


RECIPE = Recipe(
    data=("t91", "bsds399", "photos_hq", "imagenet"),
    patch=32,
    batch=16,
    steps=40000,
    lr=3e-3,
    start=4,
    steps_after_start=14000,
    time="50 minutes for scale 4 and 12 for each other, on one core of an AMD EPYC in bfloat16; small: a third",
    promises=(Promise(data="Set14", level=4, psnr=28.60, floor=28.0),),  # RLFN's, of five times the weights
)

CARD = Card(
    module=__name__,
    title="Lamp",
    summary="A narrow chain of convolutions on the low-resolution colours, made for processors; this project's own.",
    options=Options,
    method=Trained(
        network=NetworkSpec(
            build=Lamp,
            input="low-resolution",
            channels="rgb",
            scales=(2, 3, 4),
            receptive_radius=receptive_radius,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE),
    ),
)
