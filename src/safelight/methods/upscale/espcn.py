"""ESPCN: convolutions on the small picture, and a pixel shuffle of the last channels to the large one.

Shi et al. 2016 (``CARD.paper``).

The last layer makes r^2 channels, and the periodic shuffle PS turns them into one channel r times as large (eqs. 2-4)::

    f1 = tanh(W1 * I_LR + b1)    5x5, 64        I_SR = PS(W3 * f2 + b3)    3x3, r^2
    f2 = tanh(W2 * f1 + b2)      3x3, 32        PS(T)[y, x] = T[r (y mod r) + (x mod r)] at (y div r, x div r)

Differs from the paper: trained on 91 images and BSDS500 pictures instead of ImageNet, by SOAP in float32 with a
cosine schedule and averaged weights; the hidden layers begin with weights so large that tanh bends; the scales other
than 3 start from the weights for 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Paper, Score, Trained, TrainingSpec, promised
from safelight.core.options import NoOptions
from safelight.core.training import Recipe, Regression
from safelight.nn.soap import Soap


class ESPCN(nn.Module):
    """(B, 1, h, w) luma to (B, 1, h * r, w * r)."""

    def __init__(self, options: NoOptions, r: int) -> None:  # noqa: ARG002 - every network is built alike
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, r * r, 3, padding=1)
        self.shuffle = nn.PixelShuffle(r)
        with torch.no_grad():  # torch's own are so small that tanh is a straight line
            self.conv1.weight.mul_(5)
            self.conv2.weight.mul_(2)

    def forward(self, I_LR: Tensor) -> Tensor:
        """Enlarge the luma."""
        f1 = torch.tanh(self.conv1(I_LR))
        f2 = torch.tanh(self.conv2(f1))
        return self.shuffle(self.conv3(f2))


def training(network: ESPCN, recipe: Recipe) -> Regression:
    """Mean squared error (eq. 5)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss)


PUBLISHED = (
    Score(data="Set5", level=3, psnr=33.13),
    Score(data="Set14", level=3, psnr=29.49),
)

RECIPE = Recipe(
    data=("t91", "bsds399"),
    patch=24,
    batch=16,
    steps=24000,
    lr=6e-3,
    fp32_tail=1,
    start=3,
    steps_after_start=6000,
    time="9 minutes for scale 3 and 2 for each other, on one core of an AMD EPYC in float32",
    promises=promised(PUBLISHED, floors={3: 32.5}),
)

CARD = Card(
    module=__name__,
    title="ESPCN",
    summary="Three convolutions on the low-resolution luma and a pixel shuffle (2016).",
    paper=Paper(
        title="Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural "
        "Network",
        authors="W. Shi, J. Caballero, F. Huszar, J. Totz, A. P. Aitken, R. Bishop, D. Rueckert, Z. Wang",
        venue="CVPR 2016",
        link="https://arxiv.org/abs/1609.05158",
    ),
    method=Trained(
        network=NetworkSpec(
            build=ESPCN,
            input="low-resolution",
            channels="y",
            scales=(2, 3, 4),
            receptive_radius=lambda options, scale: 4,  # noqa: ARG005 - 2 by the 5x5 layer and 1 by each 3x3
        ),
        execution=ExecutionSpec(
            precisions=("float32",),  # bfloat16 costs up to 0.2 dB
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE),
    ),
    published=PUBLISHED,
)
