"""RED: convolutions take a picture apart, transposed convolutions put it together, and skips carry the detail across.

Mao et al. 2016 (``CARD.paper``).

N / 2 convolutions, then N / 2 transposed ones of stride 1, nowhere a pooling: the first keep what belongs to the
picture, the others make up what was lost. After every second convolution, its features X_i go to the mirrored
transposed convolution as well, and are added before the ReLU (section 3.1); the network's input is added at the end::

    y --> conv --> conv -+-> conv --> conv -+-> ... deconv --> deconv --> + --> ReLU --> deconv --> deconv --> + --> x
      |                  |                  +----------> (the next +)     |                                    |
      |                  +------------------------------------------------+                                    |
      +--------------------------------------------------------------------------------------------------------+

RED10, RED20 and RED30 have N = 10, 20 and 30 layers. One network serves several levels of noise, or several scales.

Differs from the paper: 64 channels a layer, as its text says; the parameters counted by others (4.1 million for RED30)
are those of 128, which ``--width 128`` makes. Trained by SOAP in bfloat16 with a cosine schedule and averaged weights
instead of Adam; noise of every sigma up to 70 instead of 10, 30, 50 and 70.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import Card, NetworkSpec, Paper, Score, Trained, TrainingSpec, promised
from safelight.core.options import option
from safelight.core.task import Task
from safelight.core.training import Recipe, Regression
from safelight.degrade import ENLARGED, Degradation, MixedDegradation, Noise
from safelight.nn.blocks import init_small_residual
from safelight.nn.soap import Soap


@dataclass(frozen=True, slots=True)
class Options:
    """Which of the paper's networks, and what for."""

    layers: Literal["10", "20", "30"] = option("10", "RED10, RED20 or RED30; deeper is better and slower")
    width: int = option(64, "channels of each layer", low=1, high=512)
    work: Literal["auto", "noise", "enlarge"] = option("auto", "what the network was trained for; auto: the task's")


class RED(nn.Module):
    """(B, 1, H, W), noisy or enlarged by the bicubic kernel, to (B, 1, H, W)."""

    def __init__(self, options: Options, scale: int) -> None:  # noqa: ARG002 - one network for every scale
        super().__init__()
        half, width = int(options.layers) // 2, options.width
        self.encode = nn.ModuleList(nn.Conv2d(width if i else 1, width, 3, padding=1) for i in range(half))
        self.decode = nn.ModuleList(
            nn.ConvTranspose2d(width, width if i < half - 1 else 1, 3, padding=1) for i in range(half)
        )
        init_small_residual(self, f"decode.{half - 1}")

    def forward(self, y: Tensor) -> Tensor:
        """Add what the mirrored layers make of the picture to it."""
        half = len(self.encode)
        x, kept = y, []
        for i, conv in enumerate(self.encode, start=1):
            x = F.relu(conv(x))
            if i % 2 == 0 and i < half:
                kept.append(x)
        for i, deconv in enumerate(self.decode[:-1], start=1):
            x = deconv(x)
            if (half - i) % 2 == 0:
                x = x + kept.pop()
            x = F.relu(x)
        return y + self.decode[-1](x)


def resolve_options(options: Options, task: Task, gray: bool, sigma: float | None) -> Options:  # noqa: ARG001 - by the task alone
    """Settle ``auto``: the network of the task."""
    if options.work != "auto":
        return options
    return replace(options, work="enlarge" if task == "upscale" else "noise")


def degradations(options: Options) -> tuple[Degradation, ...]:
    """Noise up to 70, or the three scales of the tables."""
    if options.work == "enlarge":
        return (MixedDegradation(ENLARGED),)
    return (Noise(0, 70),)


def training(network: RED, recipe: Recipe) -> Regression:
    """Mean squared error (section 3.3)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss)


PUBLISHED = (
    Score(data="Set5", level=2, psnr=37.43, ssim=0.9590, options={"work": "enlarge"}),
    Score(data="Set5", level=3, psnr=33.43, ssim=0.9197, options={"work": "enlarge"}),
    Score(data="Set5", level=4, psnr=31.12, ssim=0.8794, options={"work": "enlarge"}),
    Score(data="Set5", level=2, psnr=37.62, ssim=0.9597, options={"work": "enlarge", "layers": "20"}),
    Score(data="Set5", level=3, psnr=33.80, ssim=0.9229, options={"work": "enlarge", "layers": "20"}),
    Score(data="Set5", level=4, psnr=31.40, ssim=0.8847, options={"work": "enlarge", "layers": "20"}),
    Score(data="Set5", level=2, psnr=37.66, ssim=0.9599, options={"work": "enlarge", "layers": "30"}),
    Score(data="Set5", level=3, psnr=33.82, ssim=0.9230, options={"work": "enlarge", "layers": "30"}),
    Score(data="Set5", level=4, psnr=31.51, ssim=0.8869, options={"work": "enlarge", "layers": "30"}),
)

RECIPE = Recipe(
    data=("bsds399", "t91"),
    patch=40,
    batch=10,
    steps=1500,
    lr=2e-3,
    time="8 minutes for RED10 and either work, on one core of an AMD EPYC in bfloat16",
    promises=(  # of RED10 and RED30
        *promised(PUBLISHED[:3], floors={2: 37.28, 3: 33.28, 4: 30.97}),
        *promised(PUBLISHED[6:], floors={2: 37.51, 3: 33.67, 4: 31.36}),
    ),
)

CARD = Card(
    module=__name__,
    title="RED",
    summary="An encoder and a decoder of plain layers with mirrored skips, against noise or to enlarge (2016).",
    paper=Paper(
        title="Image Restoration Using Very Deep Convolutional Encoder-Decoder Networks with Symmetric "
        "Skip Connections",
        authors="X.-J. Mao, C. Shen, Y.-B. Yang",
        venue="NIPS 2016",
        link="https://arxiv.org/abs/1603.09056",
    ),
    method=Trained(
        network=NetworkSpec(
            build=RED,
            input="interpolated",
            channels="y",
            scales=(1, 2, 3, 4),
            receptive_radius=lambda options, scale: int(options.layers),  # noqa: ARG005 - one pixel by each 3x3 layer
            scale_agnostic=True,
            resolve_options=resolve_options,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, degradations=degradations),
    ),
    options=Options,
    other_tasks=("upscale",),
    accepts=frozenset({"sigma"}),
    published=PUBLISHED,
)
