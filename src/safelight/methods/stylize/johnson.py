"""Johnson's transform network: one pass of a network that was trained for one style gives a picture that style.

Johnson et al. 2016 (``CARD.paper``).

Gatys et al. change a picture's pixels for hundreds of iterations until a backbone phi finds the content of one picture
and the style of another in it. Here a network f_W is trained once to give such a picture at once (equations 1 to 5)::

    x -> c9s1-32 -> d64 -> d128 -> 5 x R128 -> u64 -> u32 -> c9s1-3 -> y = f_W(x)
    W = argmin E_x [ lambda_c |phi_c(y) - phi_c(x)|^2 / C h w + lambda_s sum_l |G_l(y) - G_l(s)|^2 + lambda_TV TV(y) ]

c9s1-k is a 9x9 convolution of k channels, dk a 3x3 one that halves the size, uk one that doubles it, and Rk a residual
block of two 3x3 ones, all but the last with instance normalisation and ReLU, as in the authors' code.

A network of ``width`` 32 is the paper's, with 1.68 million numbers. The shipped ones have 16, a quarter of them.

Differs from the paper: instance normalisation (the authors' later choice) for batch normalisation. Up by bilinear
interpolation and a convolution by 3x3 of the reflected border, where a transposed one leaves checkerboards (Odena et
al., "Deconvolution and Checkerboard Artifacts", Distill 2016) and repeated pixels leave a weave. Residual blocks
reflect their border too, in place of 40 pixels around the picture that they use up. Each style loss is divided by
|G_l(s)|^2 and the content's by the mean of phi_c(x)^2, so that the weights mean the same for each backbone. Pixels
count as one more layer of style, and style is looked for in the picture and in its half. Style begins with a quarter of
its weight: a network that learns it first forgets the picture. A little noise is added to the picture, as Ulyanov et
al. give noise to their networks of textures (ICML 2016): where it is flat, the grid of the layers would be all that a
texture can be made of. Trained by SOAP, and for further styles from the first's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight import losses, ops
from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Paper, Trained, TrainingSpec
from safelight.core.options import option
from safelight.core.task import Task
from safelight.core.training import (
    PICTURES_ROLE,
    STYLE_ROLE,
    Perceptual,
    PictureBatch,
    Recipe,
    ValidationScore,
    descend,
    score_of_terms,
)
from safelight.features.backbone import Backbone
from safelight.nn.blocks import InstanceNorm, fixed_noise
from safelight.nn.soap import Soap

STYLE = ("relu1_2", "relu2_2", "relu3_3", "relu4_1")  # of lens and of VGG
CONTENT = "relu3_2"
STYLE_WEIGHT, RESTLESS_WEIGHT = 2.0, 20.0  # lambda_s and lambda_TV, for a lambda_c of 1
FIRST = 0.25  # of lambda_s, with which training begins; it is whole after a third of the steps
NOISE = 0.08  # standard deviation of the grain in what the network is given
MARGIN = 16  # pixels around the picture that are cut off the result
SIZES = (1, 2)  # style is looked for in the picture and in its half
SIDE = 384  # pixels: what the shorter side of a picture of the style is reduced to


@dataclass(frozen=True, slots=True)
class Options:
    """Which style, and how wide a network."""

    look: Literal["auto", "starry-night", "wave", "composition-vii", "scream"] = option(
        "auto", "a shipped style; auto: the first, or that of a file of weights"
    )
    width: int = option(16, "channels of the first layer; the paper has 32", low=4, high=64)


class Block(nn.Module):
    """R: two convolutions by 3x3 whose result is added to the maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(channels, channels, 3), InstanceNorm(channels)
        self.conv2, self.norm2 = conv(channels, channels, 3), InstanceNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """No ReLU behind the sum (Gross and Wilber, "Training and investigating residual nets", 2016)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(y))


class Johnson(nn.Module):
    """(B, 3, H, W) to the same in the style; H and W are multiples of 4, and 8 at least."""

    def __init__(self, options: Options, scale: int) -> None:  # noqa: ARG002 - the size stays
        super().__init__()
        n = options.width
        self.c9, self.norm_c9 = conv(3, n, 9), InstanceNorm(n)
        self.d1, self.norm_d1 = conv(n, 2 * n, 3, stride=2), InstanceNorm(2 * n)
        self.d2, self.norm_d2 = conv(2 * n, 4 * n, 3, stride=2), InstanceNorm(4 * n)
        self.blocks = nn.ModuleList(Block(4 * n) for _ in range(5))
        self.twice = nn.Upsample(scale_factor=2, mode="bilinear")
        self.u1, self.norm_u1 = conv(4 * n, 2 * n, 3), InstanceNorm(2 * n)
        self.u2, self.norm_u2 = conv(2 * n, n, 3), InstanceNorm(n)
        self.last = conv(n, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        """Down to a quarter, five blocks, and up again."""
        x = F.relu(self.norm_c9(self.c9(x - 0.5)))
        x = F.relu(self.norm_d1(self.d1(x)))
        x = F.relu(self.norm_d2(self.d2(x)))
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.norm_u1(self.u1(self.twice(x))))
        x = F.relu(self.norm_u2(self.u2(self.twice(x))))
        return torch.sigmoid(self.last(x))


def conv(n_in: int, n_out: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution whose border reflects the picture."""
    return nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, padding_mode="reflect")


class PerceptualLoss:
    """The training step: content and style losses through a backbone, and total variation.

    ``styles`` are pictures (1, 3, h, w) of the one style; with several, their Gram matrices' mean is learned.
    """

    def __init__(self, network: Johnson, recipe: Recipe, backbone: Backbone, styles: Sequence[Tensor]) -> None:
        self.network, self.backbone, self.steps = network, backbone, recipe.steps
        self.optimizer = Soap(network.parameters(), lr=recipe.lr)
        self.modules = {"network": network}
        self.optimizers = {"network": self.optimizer}
        with torch.no_grad():
            found = [self._grams(self._look(ops.shrink_to_side(style, SIDE))) for style in styles]
            self.style = [torch.stack(same).mean(dim=0) for same in zip(*found, strict=True)]

    def step(self, batch: PictureBatch) -> dict[str, Tensor]:
        """Take one step of the optimiser."""
        done = next((int(state["step"]) for state in self.optimizer.state.values()), 0)  # also after a stop
        share = FIRST + (1 - FIRST) * min(1.0, 3 * done / self.steps)
        terms = self._terms(self.network, batch.pictures, share=share, row=done * batch.pictures.shape[-2])
        return descend(self.optimizer, terms)

    @torch.no_grad()
    def validate(self, networks: Mapping[str, nn.Module], batches: Sequence[PictureBatch]) -> ValidationScore:
        """The sum of all terms, the mean over the batches."""
        return score_of_terms(self._terms(networks["network"], batch.pictures) for batch in batches)

    def _terms(self, network: nn.Module, x: Tensor, *, share: float = 1.0, row: int = 0) -> dict[str, Tensor]:
        """The terms of the loss, with this share of the style's weight, and with the grain from this row on."""
        with torch.no_grad():
            wanted = self._look(x, SIZES[:1])[0][CONTENT]
        y = network(x + NOISE * fixed_noise(row, 0, x.shape[-2], x.shape[-1]).to(x)).float()
        seen = self._look(y)
        pairs = zip(self._grams(seen), self.style, strict=True)
        style = [losses.gram_loss(mine, target, relative=True) for mine, target in pairs]
        return {
            "content": losses.content_loss(seen[0][CONTENT], wanted, relative=True),
            "style": share * STYLE_WEIGHT * torch.stack(style).mean(),
            "restless": RESTLESS_WEIGHT * losses.total_variation(cut(y, y.shape[-1])),
        }

    def _look(self, y: Tensor, sizes: Sequence[int] = SIZES) -> list[dict[str, Tensor]]:
        """What the backbone sees in pictures at each size, and their pixels, without their margin.

        There both networks see the border, and a frame in the style's colours would be the cheapest way to its style.
        """
        seen: list[dict[str, Tensor]] = []
        for size in sizes:
            small = F.avg_pool2d(y, size)
            maps = {"pixels": small, **self.backbone(small, (*STYLE, CONTENT))}
            seen.append({layer: cut(found.float(), y.shape[-1]) for layer, found in maps.items()})
        return seen

    def _grams(self, seen: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        return [losses.gram(maps[layer]) for maps in seen for layer in ("pixels", *STYLE)]


def cut(maps: Tensor, width: int) -> Tensor:
    """Cut the margin off maps of pictures of this width; nothing of pictures that are hardly more than a margin."""
    n = MARGIN * maps.shape[-1] // width if width >= 4 * MARGIN else 0
    return maps[..., n : maps.shape[-2] - n, n : maps.shape[-1] - n]


def resolve_options(options: Options, task: Task, gray: bool, sigma: float | None) -> Options:  # noqa: ARG001 - for one of colours
    """Settle ``auto``: the first style, whose weights are shipped as the others' are."""
    return replace(options, look="starry-night") if options.look == "auto" else options


RECIPE = Recipe(
    data=("photos_hq", "bsds399", "imagenet"),
    patch=128,
    batch=2,
    steps=2400,
    lr=2e-3,
    warmup=50,
    ema=0.99,
    steps_after_start=1100,
    time="16 minutes, and 9 for a style that begins from another one's weights, on one core of an AMD EPYC in bfloat16",
    promises=(),
)

CARD = Card(
    module=__name__,
    title="Johnson",
    summary="A network for one style, in one pass; four styles are shipped, and your own can be trained (2016).",
    paper=Paper(
        title="Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
        authors="J. Johnson, A. Alahi, L. Fei-Fei",
        venue="ECCV 2016",
        link="https://arxiv.org/abs/1603.08155",
    ),
    method=Trained(
        network=NetworkSpec(
            build=Johnson,
            input="low-resolution",
            channels="rgb",
            scales=(1,),
            receptive_radius=lambda options, scale: 60,  # noqa: ARG005
            scale_agnostic=True,
            resolve_options=resolve_options,
        ),
        execution=ExecutionSpec(
            precisions=("float32",),
            global_statistics=True,
            size_multiple=4,
            padding=MARGIN,
            input_noise=NOISE,
        ),
        training=TrainingSpec(
            algorithm=Perceptual(begin=PerceptualLoss),
            recipe=RECIPE,
            batch=PictureBatch,
            roles=(PICTURES_ROLE, STYLE_ROLE),
            shorter_side=2,  # what a crop shows must be a thing, as in a picture, not a patch of its surface
        ),
    ),
    options=Options,
)
