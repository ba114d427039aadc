"""DnCNN-3: one network against noise, JPEG artefacts and the blur of an enlargement.

Zhang et al. 2017 (``CARD.paper``), section III-E.

The three are one problem to a network that learns the residual: y is the clean picture x with noise of sigma 0 to 55,
or compressed at a quality of 5 to 99, or enlarged by the bicubic kernel from a half, a third or a quarter::

    y --+--> conv 3x3, 64 + ReLU --> 18 x (conv 3x3, 64 + ReLU) --> conv 3x3, 1 --> R(y) --+--> x = y - R(y)
        +---------------------------------------------------------------------------------+

It is not told which it is, nor how strong.

Differs from the paper: without batch normalisation, trained by SOAP in bfloat16 with a cosine schedule and averaged
weights (see denoise/dncnn), from the weights of DnCNN-B. Each batch holds the five degradations in equal parts. The
shipped weights come of a second run, of 4,300 steps of 10 crops. Of a colour JPEG, each of Y, Cb and Cr goes through
the network, though it was trained on luma alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import Card, NetworkSpec, Paper, Score, Trained, TrainingSpec, promised
from safelight.core.options import NoOptions
from safelight.core.training import Recipe, Regression
from safelight.degrade import ENLARGED, Degradation, Jpeg, MixedDegradation, Noise
from safelight.nn.blocks import ResidualChain
from safelight.nn.soap import Soap
from safelight.ops.color_adapter import ycbcr_planes

D = 20  # the depth (section IV-A)


class DnCNN3(ResidualChain):
    """(B, 1, H, W), degraded, enlarged by the bicubic kernel if it was small, to (B, 1, H, W)."""

    def __init__(self, options: NoOptions, scale: int) -> None:  # noqa: ARG002 - one network for everything
        super().__init__(1, D)

    def forward(self, y: Tensor) -> Tensor:
        """Subtract the predicted residual."""
        return y - self.residual(y)


def degradations(options: NoOptions) -> tuple[Degradation, ...]:  # noqa: ARG001 - it has none
    """The paper's three, of which enlarging comes at three scales."""
    return (MixedDegradation((Jpeg(5, 99), Noise(0, 55), *ENLARGED)),)


def training(network: DnCNN3, recipe: Recipe) -> Regression:
    """Mean squared error of the residual: equation (1)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss)


PUBLISHED = (
    Score(task="deblock", data="classic5", level=10, psnr=29.40, ssim=0.8026),
    Score(task="deblock", data="classic5", level=20, psnr=31.63, ssim=0.8610),
    Score(task="deblock", data="classic5", level=30, psnr=32.91, ssim=0.8861),
    Score(task="deblock", data="classic5", level=40, psnr=33.77, ssim=0.9003),
    Score(task="denoise", data="BSD68", level=15, psnr=31.46),
    Score(task="denoise", data="BSD68", level=25, psnr=29.02),
    Score(task="denoise", data="BSD68", level=50, psnr=26.10),
    Score(data="Set5", level=2, psnr=37.58),
    Score(data="Set5", level=3, psnr=33.75),
    Score(data="Set5", level=4, psnr=31.40),
)

RECIPE = Recipe(
    data=("bsds399", "t91"),
    patch=36,
    batch=40,
    steps=1000,
    lr=1e-3,
    time="52 minutes from DnCNN-B's weights, on one core of an AMD EPYC in bfloat16",
    promises=promised(
        [row for row in PUBLISHED if row.task != "denoise"], floors={2: 37.43, 3: 33.60, 4: 31.25}, allowed=0.15
    ),
)

CARD = Card(
    module=__name__,
    title="DnCNN-3",
    summary="One deep network against JPEG artefacts, noise and the blur of an enlargement (2017).",
    paper=Paper(
        title="Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
        authors="K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang",
        venue="IEEE TIP 2017",
        link="https://arxiv.org/abs/1608.03981",
    ),
    method=Trained(
        network=NetworkSpec(
            build=DnCNN3,
            input="interpolated",
            channels="y",
            scales=(1, 2, 3, 4),
            receptive_radius=lambda options, scale: D,  # noqa: ARG005 - one pixel by each 3x3 layer
            scale_agnostic=True,
            plane_adapters={"deblock": ycbcr_planes},
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, degradations=degradations),
    ),
    other_tasks=("denoise", "upscale"),
    accepts=frozenset({"sigma"}),
    published=PUBLISHED,
)
