"""EDSR: residual blocks without batch normalisation, on the small picture in colour.

B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee, "Enhanced Deep Residual Networks for Single Image Super-Resolution",
CVPR Workshops 2017 (arXiv:1707.02921).

::

    x - mean -> conv F -+-> B x [conv - ReLU - conv, x res_scale, +] -> conv -(+)-> upsampler -> conv 3 -> + mean
                        +------------------------------------------------------+
    upsampler: conv F r^2 - pixel shuffle r (r = 2 or 3; scale 4 is twice r = 2)

All convolutions are 3x3; the "baseline" is B = 16, F = 64, the "full" network B = 32, F = 256 with res_scale 0.1.
Inside, pictures go from 0 to 255, as in the authors' code.

Differs from the paper: trained on BSDS500 pictures, the 91 images and other photographs instead of DIV2K, for far
fewer steps, by SOAP with a cosine schedule, in bfloat16 with averaged weights; the second convolution of a
block starts ten times smaller, so that the network starts near the identity, and the network grows: a quarter of its
channels trains for most of the steps, and the others join them then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from safelight.core.key_maps import channels, count, rename
from safelight.core.options import option
from safelight.core.training import GrowthStage, Recipe, Regression
from safelight.nn.blocks import init_decoupled, sliced_convolution
from safelight.nn.soap import Soap

STAGES = (GrowthStage(width=0.25, steps=0.86, time=0.5), GrowthStage(width=1, steps=0.14, time=0.5))
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB mean of the paper's training pictures, in [0, 1]


@dataclass(frozen=True, slots=True)
class Options:
    """Which of the paper's two networks."""

    variant: Literal["baseline", "full"] = option(
        "baseline", "baseline: 16 blocks of 64 channels; full: 32 blocks of 256"
    )


@dataclass(frozen=True, slots=True)
class EDSRSize:
    """B blocks of F channels, whose residual is scaled."""

    B: int
    F: int
    res_scale: float


SIZES = {"baseline": EDSRSize(B=16, F=64, res_scale=1.0), "full": EDSRSize(B=32, F=256, res_scale=0.1)}


class ResBlock(nn.Module):
    """x + res_scale * conv(ReLU(conv(x))), figure 2c."""

    def __init__(self, features: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.res_scale = res_scale
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, F, h, w)."""
        return x + self.conv2(F.relu(self.conv1(x))) * self.res_scale


class EDSR(nn.Module):
    """(B, 3, h, w) to (B, 3, h * scale, w * scale)."""

    mean: Tensor

    def __init__(self, options: Options, scale: int) -> None:
        super().__init__()
        size = SIZES[options.variant]
        features = size.F
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, features, 3, padding=1)
        blocks = [ResBlock(features, size.res_scale) for _ in range(size.B)]
        self.body = nn.Sequential(*blocks)
        self.n = features  # channels that are trained
        self.body_last = nn.Conv2d(features, features, 3, padding=1)
        steps: list[nn.Module] = []
        for r in (2, 2) if scale == 4 else (scale,):
            steps += [nn.Conv2d(features, features * r * r, 3, padding=1), nn.PixelShuffle(r)]
        self.upsample = nn.Sequential(*steps)
        self.tail = nn.Conv2d(features, 3, 3, padding=1)
        for stage in STAGES:
            n = int(features * stage.width)
            for block in blocks:
                init_decoupled(block.conv1, n, n)
                init_decoupled(block.conv2, n, n)
            init_decoupled(self.body_last, n, n)
            for conv, shuffle in self.upsampler():
                init_decoupled(conv, n, n * shuffle.upscale_factor**2)
            init_decoupled(self.tail, n, 3)

    def upsampler(self) -> Iterator[tuple[nn.Conv2d, nn.PixelShuffle]]:
        """Yield each convolution with the pixel shuffle after it."""
        layers = iter(self.upsample)
        for conv, shuffle in zip(layers, layers, strict=True):
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(shuffle, nn.PixelShuffle)
            yield conv, shuffle

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge the picture."""
        x = self.head((x - self.mean) * 255)
        x = x + self.body_last(self.body(x))
        x = self.tail(self.upsample(x))
        return x / 255 + self.mean


class Growing(nn.Module):
    """The network as far as it has grown, ``n`` channels of each layer; what is the picture is computed in float32.

    Those are the layers that read and make it, and the sums that the blocks are added to: in bfloat16 each of them
    would round the picture to 8 bits or fewer.
    """

    def __init__(self, network: EDSR) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge the picture."""
        net, n = self.network, self.network.n
        with torch.autocast(x.device.type, enabled=False):
            x = sliced_convolution(net.head, (x - net.mean) * 255, 3, n)
        body = x
        for block in net.body:
            assert isinstance(block, ResBlock)
            inner = F.relu(sliced_convolution(block.conv1, body, n, n))
            body = body + sliced_convolution(block.conv2, inner, n, n) * block.res_scale
        x = x + sliced_convolution(net.body_last, body, n, n)
        for conv, shuffle in net.upsampler():
            x = shuffle(sliced_convolution(conv, x, n, n * shuffle.upscale_factor**2))
        with torch.autocast(x.device.type, enabled=False):
            return sliced_convolution(net.tail, x.float(), n, 3) / 255 + net.mean


def grow(network: EDSR, width: float) -> None:
    """Train a share of the channels."""
    network.n = int(network.head.out_channels * width)


def receptive_radius(options: Options, scale: int) -> int:  # noqa: ARG001 - the three upsamplers reach equally far
    """One pixel by each 3x3 layer at the low resolution, and two in all by the upsampler and the last layer."""
    return 1 + 2 * SIZES[options.variant].B + 1 + 2


def training(network: EDSR, recipe: Recipe) -> Regression:
    """L1, which the paper found to converge better than L2 (section 4.2)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.l1_loss, forward=Growing(network))


# The paper's table prints the full network; these are the baseline's numbers, from the authors' repository.
PUBLISHED = (
    Score(data="Set5", level=2, psnr=37.99),
    Score(data="Set5", level=3, psnr=34.37),
    Score(data="Set5", level=4, psnr=32.09),
)

RECIPE = Recipe(
    data=("t91", "bsds399", "photos_hq", "imagenet"),
    patch=32,
    batch=8,
    steps=5400,
    lr=2e-3,
    stages=STAGES,
    start=2,
    steps_after_start=1000,
    time="14 minutes for scale 2 and 8 for each other, on one core of an AMD EPYC in bfloat16",
    promises=promised(PUBLISHED, floors={2: 37.5, 3: 33.7, 4: 31.4}),
)


def adopt_authors(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights from the authors' code in PyTorch, whose mean and range are layers of their own."""
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(("sub_mean.", "add_mean."))}
    B = count(tensors, r"body\.\d+\.body\.0\.weight")
    layers = {"head.0": "head", f"body.{B}": "body_last", "tail.1": "tail"}
    layers |= {f"tail.0.{i}": f"upsample.{i}" for i in (0, 2)}
    layers |= {f"body.{n}.body.{i}": f"body.{n}.{conv}" for n in range(B) for i, conv in ((0, "conv1"), (2, "conv2"))}
    ours = rename(rest, layers)
    scale = _range(tensors) / 255  # inside, ours go to 255
    if scale != 1:
        ours["head.weight"] = ours["head.weight"] * scale
        ours["tail.weight"], ours["tail.bias"] = ours["tail.weight"] / scale, ours["tail.bias"] / scale
    return _adopted(ours, B)


def _range(tensors: Mapping[str, Tensor]) -> float:
    """Read the range of sample values, 255 in what is published, from the layers that subtract and add the mean."""
    mean = torch.tensor(DIV2K_MEAN)
    white = tensors["add_mean.bias"].sum() / mean.sum()
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        weight, bias = tensors.get(f"{name}.weight"), tensors[f"{name}.bias"]
        if bias.shape != (3,) or not torch.allclose(bias, sign * white * mean, rtol=1e-4) or not white > 0:
            raise LayoutError("one with another mean than DIV2K's (0.4488, 0.4371, 0.4040), which this network is for")
        if weight is None or weight.shape != (3, 3, 1, 1) or not torch.equal(weight[:, :, 0, 0], torch.eye(3)):
            raise LayoutError("one that also scales or mixes the colours, which this network does not")
    return float(white) if abs(white - 255) > 1e-2 else 255.0


def adopt_basicsr(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights from BasicSR, whose mean and range are those of the paper and not in the file."""
    B = count(tensors, r"body\.\d+\.conv1\.weight")
    layers = {"conv_first": "head", "conv_after_body": "body_last", "conv_last": "tail"}
    layers |= {f"upsample.{i}": f"upsample.{i}" for i in (0, 2)}
    layers |= {f"body.{n}.{conv}": f"body.{n}.{conv}" for n in range(B) for conv in ("conv1", "conv2")}
    return _adopted(rename(tensors, layers), B)


def _adopted(ours: Mapping[str, Tensor], B: int) -> ConvertedWeights:
    features = channels(ours, "head.weight")
    variant = next((name for name, size in SIZES.items() if (B, features) == (size.B, size.F)), None)
    if variant is None:
        known = " and ".join(f"{size.B} of {size.F}" for size in SIZES.values())
        raise LayoutError(f"one of {B} blocks of {features} channels, where the paper has {known}")
    steps = (channels(ours, "upsample.0.weight"), "upsample.2.weight" in ours)
    scale = {(4 * features, False): 2, (9 * features, False): 3, (4 * features, True): 4}.get(steps)
    if scale is None:
        raise LayoutError("one with an upsampler of another scale than 2, 3 and 4")
    return ConvertedWeights(tensors=ours, options={"variant": variant}, scales=(scale,))


FOREIGN = (
    ForeignLayout(
        name="EDSR-PyTorch",
        link="https://github.com/sanghyun-son/EDSR-PyTorch",
        keys=(
            "sub_mean.bias",
            "add_mean.bias",
            "head.0.weight",
            "body.0.body.0.weight",
            "tail.1.weight",
            "tail.1.bias",
        ),
        adopt=adopt_authors,
    ),
    ForeignLayout(
        name="BasicSR",
        link="https://github.com/XPixelGroup/BasicSR",
        keys=("conv_first.weight", "body.0.conv1.weight", "conv_after_body.weight", "conv_last.weight"),
        adopt=adopt_basicsr,
    ),
)

CARD = Card(
    module=__name__,
    title="EDSR",
    summary="Residual blocks without batch normalisation on the low-resolution colours (2017).",
    options=Options,
    paper=Paper(
        title="Enhanced Deep Residual Networks for Single Image Super-Resolution",
        authors="B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee",
        venue="CVPR Workshops 2017",
        link="https://arxiv.org/abs/1707.02921",
    ),
    method=Trained(
        network=NetworkSpec(
            build=EDSR,
            input="low-resolution",
            channels="rgb",
            scales=(2, 3, 4),
            receptive_radius=receptive_radius,
            foreign_layouts=FOREIGN,
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE, grow=grow),
    ),
    published=PUBLISHED,
)
