"""SRCNN: the first convolutional network for super-resolution, three layers on the interpolated luma.

Dong et al. 2016 (``CARD.paper``).

The three steps of sparse coding, patch extraction, non-linear mapping and reconstruction, are three convolutions that
are learned together::

    Y (bicubic)          F1(Y)                  F2(F1)                 F(Y)
    (B, 1, H, W) --W1--> (B, 64, H, W) --W2--> (B, 32, H, W) --W3--> (B, 1, H, W)
                 f1=9    max(0, .)     f2=5    max(0, .)      f3=5

    F1(Y) = max(0, W1 * Y + B1),  F2(Y) = max(0, W2 * F1(Y) + B2),  F(Y) = W3 * F2(Y) + B3          (eqs. 1-3)

Differs from the paper: trained on 91 images and BSDS500 pictures instead of ImageNet, by SOAP in bfloat16 and, at the
end, float32 with a cosine schedule, averaged weights and one rate for all layers instead of 8e8 back-propagations of
SGD with a last layer that learns ten times slower; the scales other than 3 start from the weights for 3; it begins as
the identity, one channel of each layer passing the picture on; the border is repeated in training too, where the paper
trains on valid convolutions and repeats it only at test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Paper, Score, Trained, TrainingSpec, promised
from safelight.core.options import option
from safelight.core.training import Recipe, Regression
from safelight.nn.blocks import init_pass_through
from safelight.nn.soap import Soap

Kernels = Literal["9-1-5", "9-3-5", "9-5-5"]


@dataclass(frozen=True, slots=True)
class Options:
    """The three kernel sizes f1-f2-f3; the widths are n1 = 64 and n2 = 32."""

    kernels: Kernels = option("9-5-5", "kernel sizes f1-f2-f3; larger ones are better and slower")


def sizes(options: Options) -> tuple[int, int, int]:
    """Read f1, f2, f3 from the option."""
    f1, f2, f3 = map(int, options.kernels.split("-"))
    return f1, f2, f3


def conv(n_in: int, n_out: int, f: int) -> nn.Conv2d:
    """An f x f layer that repeats the border, as the authors' test code does."""
    return nn.Conv2d(n_in, n_out, f, padding=f // 2, padding_mode="replicate")


class SRCNN(nn.Module):
    """(B, 1, H, W), the luma enlarged by the bicubic kernel, to (B, 1, H, W)."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        f1, f2, f3 = sizes(options)
        self.conv1 = conv(1, 64, f1)
        self.conv2 = conv(64, 32, f2)
        self.conv3 = conv(32, 1, f3)
        for layer in (self.conv1, self.conv2, self.conv3):
            init_pass_through(layer)

    def forward(self, Y: Tensor) -> Tensor:
        """Map the interpolated luma to the sharp one."""
        F1 = F.relu(self.conv1(Y))
        F2 = F.relu(self.conv2(F1))
        return self.conv3(F2)


def training(network: SRCNN, recipe: Recipe) -> Regression:
    """Mean squared error (eq. 4)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss)


PUBLISHED = (
    Score(data="Set5", level=2, psnr=36.66, ssim=0.9542),
    Score(data="Set5", level=3, psnr=32.75, ssim=0.9090),
    Score(data="Set5", level=4, psnr=30.49, ssim=0.8628),
    Score(data="Set14", level=2, psnr=32.45),
    Score(data="Set14", level=3, psnr=29.30),
    Score(data="Set14", level=4, psnr=27.50),
    Score(data="BSD100", level=2, psnr=31.36),
    Score(data="BSD100", level=3, psnr=28.41),
    Score(data="BSD100", level=4, psnr=26.90),
)

RECIPE = Recipe(
    data=("t91", "bsds399"),
    patch=16,
    batch=16,
    steps=6000,
    lr=3e-3,
    fp32_tail=0.2,
    start=3,
    steps_after_start=3000,
    time="11 minutes for scale 3 and 3 to 10 for each other, on one core of an AMD EPYC, mostly in bfloat16",
    promises=promised(PUBLISHED, floors={2: 36.4, 3: 32.4, 4: 30.2}),
)

CARD = Card(
    module=__name__,
    title="SRCNN",
    summary="Three convolutions on the bicubic picture; the first network to beat sparse coding (2014).",
    options=Options,
    paper=Paper(
        title="Image Super-Resolution Using Deep Convolutional Networks",
        authors="C. Dong, C. C. Loy, K. He, X. Tang",
        venue="TPAMI 2016",
        link="https://arxiv.org/abs/1501.00092",
    ),
    method=Trained(
        network=NetworkSpec(
            build=lambda options, scale: SRCNN(options),  # noqa: ARG005 - one architecture for every scale
            input="interpolated",
            channels="y",
            scales=(2, 3, 4),
            receptive_radius=lambda options, scale: sum(f // 2 for f in sizes(options)),  # noqa: ARG005
        ),
        execution=ExecutionSpec(
            precisions=("float32",),  # bfloat16 costs up to 0.08 dB
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE),
    ),
    published=PUBLISHED,
)
