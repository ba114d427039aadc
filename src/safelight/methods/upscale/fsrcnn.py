"""FSRCNN: an hourglass on the small picture, enlarged by one last deconvolution; SRCNN at forty times the speed.

Dong et al. 2016 (``CARD.paper``).

The picture is not interpolated first: all layers but the last work at the low resolution, and the mapping layers on
few channels, between a layer that shrinks them and one that expands them again (section 3.2; every convolution is
followed by a PReLU)::

    Y (B, 1, h, w) -> Conv(5, d, 1)    feature extraction
                   -> Conv(1, s, d)    shrinking
                   -> m x Conv(3, s, s)  mapping
                   -> Conv(1, d, s)    expanding
                   -> DeConv(9, 1, d), stride = scale      (B, 1, h * scale, w * scale)

Differs from the paper: trained on 91 images and BSDS500 pictures (not General-100), by SOAP in float32 with a cosine
schedule and averaged weights, and one learning rate for all layers, where the deconvolution of the paper learns ten
times slower; one channel of each layer begins by passing the picture on, and the deconvolution by enlarging that with
as much of the bicubic kernel as it holds; the scales other than 3 start from the weights for 3 and then train whole,
where the paper trains only their deconvolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.core.card import (
    Card,
    ConvertedWeights,
    ExecutionSpec,
    ForeignLayout,
    NetworkSpec,
    Paper,
    Score,
    Trained,
    TrainingSpec,
    promised,
)
from safelight.core.key_maps import channels, count, rename
from safelight.core.options import option
from safelight.core.training import Recipe, Regression
from safelight.nn.blocks import bicubic_impulse_response, init_pass_through, transposed_as_convolution
from safelight.nn.soap import Soap


@dataclass(frozen=True, slots=True)
class Options:
    """The three numbers of FSRCNN(d, s, m); (56, 12, 4) is the paper's, (32, 5, 1) its FSRCNN-s."""

    d: int = option(56, "channels of the feature extraction", low=1, high=256)
    s: int = option(12, "channels of the mapping, after shrinking", low=1, high=256)
    m: int = option(4, "number of mapping layers", low=0, high=32)


PADDING = 4  # of the deconvolution of 9x9


class FSRCNN(nn.Module):
    """(B, 1, h, w) luma to (B, 1, h * scale, w * scale)."""

    def __init__(self, options: Options, scale: int) -> None:
        super().__init__()
        d, s, m = options.d, options.s, options.m
        self.extract = nn.Sequential(nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d))
        self.shrink = nn.Sequential(nn.Conv2d(d, s, 1), nn.PReLU(s))
        self.map = nn.Sequential(*(nn.Sequential(nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)) for _ in range(m)))
        self.expand = nn.Sequential(nn.Conv2d(s, d, 1), nn.PReLU(d))
        self.deconv = nn.ConvTranspose2d(d, 1, 9, stride=scale, padding=PADDING, output_padding=scale - 1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name == "deconv.weight":
                nn.init.normal_(parameter, std=0.001)
            elif parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, a=0.25)  # He et al. for PReLU, as the paper does
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                init_pass_through(layer)
        with torch.no_grad():
            middle = slice(4 * scale - 4, 4 * scale + 5)
            self.deconv.weight[0, 0] = bicubic_impulse_response(scale).view(9 * scale, 9 * scale)[middle, middle]

    def forward(self, Y: Tensor) -> Tensor:
        """Enlarge the luma."""
        x = self.extract(Y)
        x = self.shrink(x)
        x = self.map(x)
        x = self.expand(x)
        return self.deconv(x)


class FSRCNNInTraining(nn.Module):
    """The same function of the same weights, in operations that a processor differentiates faster.

    A PReLU of slopes a is x + (a - 1) min(0, x), and the deconvolution is a convolution to cells.
    """

    def __init__(self, network: FSRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, Y: Tensor) -> Tensor:
        """Enlarge the luma."""
        network, x = self.network, Y
        for layer in (network.extract, network.shrink, network.map, network.expand):
            for step in layer.modules():
                match step:
                    case nn.Conv2d():
                        x = step(x)
                    case nn.PReLU():
                        a = step.weight.view(1, -1, 1, 1).to(x.dtype)
                        x = torch.addcmul(x, x.clamp(max=0), a - 1)
                    case _:
                        pass
        s = network.deconv.stride[0]
        weight, above, below, shift = transposed_as_convolution(network.deconv.weight, s, PADDING)
        x = F.pad(x, (above, below + (shift > 0)) * 2)
        x = F.pixel_shuffle(F.conv2d(x, weight), s)
        if network.deconv.bias is not None:
            x = x + network.deconv.bias
        return x[..., shift : shift + s * Y.shape[-2], shift : shift + s * Y.shape[-1]]


def receptive_radius(options: Options, scale: int) -> int:
    """Two pixels by the 5x5 layer, one by each 3x3, and those on which the 9x9 deconvolution lands."""
    return 2 + options.m + (scale + 3) // scale


def training(network: FSRCNN, recipe: Recipe) -> Regression:
    """Mean squared error (section 3.2)."""
    return Regression(network, Soap(network.parameters(), lr=recipe.lr), F.mse_loss, forward=FSRCNNInTraining(network))


PUBLISHED = (
    Score(data="Set5", level=2, psnr=37.00),
    Score(data="Set5", level=3, psnr=33.16),
    Score(data="Set5", level=4, psnr=30.71),
    Score(data="Set14", level=2, psnr=32.63),
    Score(data="Set14", level=3, psnr=29.43),
    Score(data="Set14", level=4, psnr=27.59),
)

RECIPE = Recipe(
    data=("t91", "bsds399"),
    patch=24,
    batch=16,
    steps=40000,
    lr=6e-3,
    fp32_tail=1,
    start=3,
    steps_after_start=12000,
    time="20 minutes for scale 3 and 6 for each other, on one core of an AMD EPYC",
    promises=promised(PUBLISHED, floors={2: 36.8, 3: 32.8, 4: 30.5}),
)


def adopt_parts(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights from code with three parts, of which the middle one holds all small layers in a row."""
    m = count(tensors, r"mid_part\.\d+\.bias") - 2  # shrinking and expanding are in the row too; a PReLU has no bias
    layers = {f"first_part.{i}": f"extract.{i}" for i in (0, 1)} | {"last_part": "deconv"}
    row = ["shrink", *(f"map.{k}" for k in range(m)), "expand"]
    layers |= {f"mid_part.{2 * k + i}": f"{layer}.{i}" for k, layer in enumerate(row) for i in (0, 1)}
    return _adopted(tensors, layers, d="first_part.0.weight", s="mid_part.0.weight", m=m)


def adopt_layers(tensors: Mapping[str, Tensor]) -> ConvertedWeights:
    """Take weights from code that calls the layers as the paper does."""
    m = count(tensors, r"map\.\d+\.bias")
    names = {"feature_extraction": "extract", "shrink": "shrink", "expand": "expand"}
    layers = {f"{name}.{i}": f"{ours}.{i}" for name, ours in names.items() for i in (0, 1)} | {"deconv": "deconv"}
    layers |= {f"map.{2 * k + i}": f"map.{k}.{i}" for k in range(m) for i in (0, 1)}
    return _adopted(tensors, layers, d="feature_extraction.0.weight", s="shrink.0.weight", m=m)


def _adopted(tensors: Mapping[str, Tensor], layers: Mapping[str, str], d: str, s: str, m: int) -> ConvertedWeights:
    # The luma in [0, 1] and a deconvolution with padding 4 and output padding scale - 1, as here. Its kernel is 9x9 at
    # each scale, so the tensors do not tell the scale.
    options = {"d": channels(tensors, d), "s": channels(tensors, s), "m": m}
    return ConvertedWeights(tensors=rename(tensors, layers), options=options, scales=(2, 3, 4))


FOREIGN = (
    ForeignLayout(
        name="FSRCNN-pytorch",
        link="https://github.com/yjn870/FSRCNN-pytorch",
        keys=("first_part.0.weight", "mid_part.0.weight", "last_part.weight"),
        adopt=adopt_parts,
    ),
    ForeignLayout(
        name="FSRCNN-PyTorch",
        link="https://github.com/Lornatang/FSRCNN-PyTorch",
        keys=("feature_extraction.0.weight", "shrink.0.weight", "expand.0.weight", "deconv.weight"),
        adopt=adopt_layers,
    ),
)

CARD = Card(
    module=__name__,
    title="FSRCNN",
    summary="A small hourglass network on the low-resolution luma; very fast (2016).",
    options=Options,
    paper=Paper(
        title="Accelerating the Super-Resolution Convolutional Neural Network",
        authors="C. Dong, C. C. Loy, X. Tang",
        venue="ECCV 2016",
        link="https://arxiv.org/abs/1608.00367",
    ),
    method=Trained(
        network=NetworkSpec(
            build=FSRCNN,
            input="low-resolution",
            channels="y",
            scales=(2, 3, 4),
            receptive_radius=receptive_radius,
            foreign_layouts=FOREIGN,
        ),
        execution=ExecutionSpec(
            precisions=("float32",),  # bfloat16 costs 0.02 dB and saves no time: the layers are too thin
        ),
        training=TrainingSpec(algorithm=training, recipe=RECIPE),
    ),
    published=PUBLISHED,
)
