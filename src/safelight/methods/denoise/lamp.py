"""Lamp for photographs: one network against noise and JPEG artefacts in colour, blind to both, made for processors.

This project's own network, and the default for photographs. As in FFDNet (K. Zhang, W. Zuo, L. Zhang, "FFDNet: Toward a
Fast and Flexible Solution for CNN-based Image Denoising", IEEE TIP 2018, arXiv:1710.04026), all layers work on cells of
s x s pixels, a quarter as many places as pixels, and see twice as far::

    x --> cells, 3 s^2 --+--> conv 3x3, C + ReLU --> N x (conv 3x3, C + ReLU) --> conv 3x3, 3 s^2 --> R --(-)--> pixels
                         +---------------------------------------------------------------------------------+

R is what has to go: noise of sigma 0 to 50, what JPEG of quality 30 to 100 leaves, or both.

Differs from FFDNet, which is told sigma: it finds out by itself, as DnCNN-B does (arXiv:1608.03981), and what it is
told changes nothing. It has narrower layers and no batch normalisation, and they begin near the identity, as those of
``upscale/lamp``. The shipped weights come of four runs, of 17,000 steps together, each from those before. The gray
crops were in the last alone: without them it leaves gray pictures noisy.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Trained, TrainingSpec
from safelight.core.options import NoOptions
from safelight.core.training import Recipe, Regression
from safelight.degrade import Degradation, Gray, Jpeg, MixedDegradation, Noise
from safelight.nn.blocks import ResidualChain
from safelight.nn.soap import Soap

s = 2  # the side of a cell, in pixels
N, C = 10, 64


class LampDenoiser(ResidualChain):
    """(B, 3, H, W), of sides that are multiples of s, to (B, 3, H, W)."""

    def __init__(self, options: NoOptions, scale: int) -> None:  # noqa: ARG002 - one network for everything
        super().__init__(3 * s * s, N + 2, C, identity=True)
        self.cells, self.pixels = nn.PixelUnshuffle(s), nn.PixelShuffle(s)

    def forward(self, x: Tensor) -> Tensor:
        """Subtract what has to go."""
        cells = self.cells(x)
        return self.pixels(cells - self.residual(cells))


def degradations(options: NoOptions) -> tuple[Degradation, ...]:  # noqa: ARG001 - it has none
    """Noise, JPEG, and JPEG of a noisy picture, a quarter each, and a quarter that is gray."""
    gray = MixedDegradation((Noise(0, 50), Jpeg(30, 100), Jpeg(30, 100, noise=50)))
    return (
        MixedDegradation((Noise(0, 50), Jpeg(30, 100, halved=True), Jpeg(30, 100, halved=True, noise=50), Gray(gray))),
    )


def training(network: LampDenoiser, recipe: Recipe) -> Regression:
    """L1."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.l1_loss)


RECIPE = Recipe(
    data=("bsds399", "t91", "photos_hq", "imagenet"),
    patch=48,
    batch=16,
    steps=17000,
    lr=3e-3,
    fp32_tail=0.05,
    time="40 minutes on one core of an AMD EPYC in bfloat16",
    promises=(),
)

CARD = Card(
    module=__name__,
    title="LampDenoiser",
    summary="Against noise and JPEG artefacts in colour, blind to both, made for processors; this project's own.",
    method=Trained(
        network=NetworkSpec(
            build=LampDenoiser,
            input="low-resolution",
            channels="rgb",
            scales=(1,),
            receptive_radius=lambda options, scale: s * (N + 2) + s - 1,  # noqa: ARG005 - one cell by each 3x3 layer
            scale_agnostic=True,
        ),
        execution=ExecutionSpec(size_multiple=s),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, degradations=degradations),
    ),
    other_tasks=("deblock",),
    accepts=frozenset({"sigma"}),
)
