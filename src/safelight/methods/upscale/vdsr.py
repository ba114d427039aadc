"""VDSR: twenty layers that predict what bicubic interpolation misses, one network for every scale.

Kim et al. 2016 (``CARD.paper``).

The input resembles the output, so the network learns the residual r = y - x alone (section 3.2)::

    x (bicubic) --+--> conv 3x3, 64 + ReLU --> 18 x (conv 3x3, 64 + ReLU) --> conv 3x3, 1 --> r --+--> y = x + r
                  +---------------------------------------------------------------------------------+

Differs from the paper: trained on the 91 images and BSDS500 pictures, by SOAP in bfloat16 with a cosine schedule and
averaged weights instead of SGD at a rate of 0.1, whose gradients had to be clipped; SOAP's steps have a bounded
length. Each step trains one scale, drawn at random. The middle layers begin near the identity, and the network grows:
a quarter of its channels trains for most of the steps, and the others join them then.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import (
    Card,
    ConvertedWeights,
    ForeignLayout,
    NetworkSpec,
    Paper,
    Score,
    Trained,
    TrainingSpec,
    promised,
)
from safelight.core.key_maps import rename
from safelight.core.options import NoOptions
from safelight.core.training import GrowthStage, Recipe, Regression
from safelight.nn.blocks import Narrowed, ResidualChain, grow
from safelight.nn.soap import Soap

D = 20  # the depth: "twenty weight layers"
STAGES = (GrowthStage(width=0.25, steps=0.925, time=0.6), GrowthStage(width=1, steps=0.075, time=0.4))


class VDSR(ResidualChain):
    """(B, 1, H, W), the luma enlarged by the bicubic kernel, to (B, 1, H, W)."""

    def __init__(self, options: NoOptions, scale: int) -> None:  # noqa: ARG002 - one network for every scale
        super().__init__(1, D, shares=[stage.width for stage in STAGES], identity=True)

    def forward(self, x: Tensor) -> Tensor:
        """Add the predicted residual to the interpolated luma."""
        return x + self.residual(x)


def training(network: VDSR, recipe: Recipe) -> Regression:
    """Mean squared error of the residual (section 3.2)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss, forward=Narrowed(network))


PUBLISHED = (
    Score(data="Set5", level=2, psnr=37.53, ssim=0.9587),
    Score(data="Set5", level=3, psnr=33.66, ssim=0.9213),
    Score(data="Set5", level=4, psnr=31.35, ssim=0.8838),
    Score(data="Set14", level=2, psnr=33.03, ssim=0.9124),
    Score(data="Set14", level=3, psnr=29.77, ssim=0.8314),
    Score(data="Set14", level=4, psnr=28.01, ssim=0.7674),
    Score(data="BSD100", level=2, psnr=31.90, ssim=0.8960),
    Score(data="BSD100", level=3, psnr=28.82, ssim=0.7976),
    Score(data="BSD100", level=4, psnr=27.29, ssim=0.7251),
)

RECIPE = Recipe(
    data=("t91", "bsds399"),
    patch=16,
    batch=16,
    steps=9300,
    lr=2e-3,
    stages=STAGES,
    time="25 minutes for all scales, on one core of an AMD EPYC in bfloat16",
    promises=promised(PUBLISHED, floors={2: 37.1, 3: 33.1, 4: 30.9}),
)


def adopt(tensors: Mapping[str, Tensor], first: str, middle: str, last: str) -> ConvertedWeights:
    """Take weights from code that names the layers so; ``middle`` has a ``{}`` for the number, from 0.

    All of them compute on the luma in [0, 1], as here, and most leave the biases out: those are zero.
    """
    layers = {first: "first", last: "last"} | {middle.format(i): f"middle.{i}" for i in range(D - 2)}
    ours = rename(tensors, layers)
    for layer in layers.values():
        ours.setdefault(f"{layer}.bias", torch.zeros(1 if layer == "last" else 64))
    return ConvertedWeights(tensors=ours, options={}, scales=(2, 3, 4))


FOREIGN = (
    ForeignLayout(
        name="pytorch-vdsr",
        link="https://github.com/twtygqyy/pytorch-vdsr",
        keys=("input.weight", "residual_layer.0.conv.weight", "output.weight"),
        adopt=partial(adopt, first="input", middle="residual_layer.{}.conv", last="output"),
    ),
    ForeignLayout(
        name="VDSR-PyTorch",
        link="https://github.com/Lornatang/VDSR-PyTorch",
        keys=("conv1.0.weight", "trunk.0.conv.weight", "conv2.weight"),
        adopt=partial(adopt, first="conv1.0", middle="trunk.{}.conv", last="conv2"),
    ),
)

CARD = Card(
    module=__name__,
    title="VDSR",
    summary="Twenty layers that add detail to the bicubic picture; one network for every scale (2016).",
    paper=Paper(
        title="Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
        authors="J. Kim, J. K. Lee, K. M. Lee",
        venue="CVPR 2016",
        link="https://arxiv.org/abs/1511.04587",
    ),
    method=Trained(
        network=NetworkSpec(
            build=VDSR,
            input="interpolated",
            channels="y",
            scales=(2, 3, 4),
            receptive_radius=lambda options, scale: D,  # noqa: ARG005 - one pixel by each 3x3 layer
            scale_agnostic=True,
            foreign_layouts=FOREIGN,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, grow=grow),
    ),
    published=PUBLISHED,
)
