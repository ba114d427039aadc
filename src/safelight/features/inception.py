"""Inception v3 as the Frechet inception distance has it: eleven blocks of convolutions of several sizes side by side.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception Architecture for Computer Vision",
CVPR 2016 (arXiv:1512.00567). M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017 (arXiv:1706.08500): the distance.

The distance is defined by one file of weights, TensorFlow's graph of 2015-12-05, and by what that graph does, which
differs from the network as usually built: means are taken without the zeros of the padding, the last block takes the
greatest value where the others take means, and pictures are brought to 299x299 by bilinear interpolation without
smoothing. All that is so here::

    resize   Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 pool1   Conv2d_3b_1x1 Conv2d_4a_3x3 pool2
    Mixed_5b Mixed_5c Mixed_5d   Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e   Mixed_7a Mixed_7b Mixed_7c   pool3

What a layer sees is counted in pixels of the picture of 299x299. ``pool3``, 2048 numbers a picture, is what the
distance compares. The tensors are named as in pytorch-fid, whose conversion of the weights it takes; the last layer,
which tells 1008 classes, is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.features.backbone import Backbone, BackboneLayer, Pooling
from safelight.features.pooling import pool
from safelight.features.published import Facts, Published

SIDE = 299
EPSILON = 1e-3  # of the normalisations


class Resize(nn.Module):
    """Bring pictures (B, 3, H, W) to (B, 3, 299, 299): bilinear, without smoothing where they become smaller."""

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate between the four nearest pixels."""
        return F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


class Norm(nn.Module):
    """Normalisation by the means and variances of the training, which nothing changes any more."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        """Take the mean away, divide by the deviation, scale and shift."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON)


class Conv(nn.Module):
    """A convolution, a normalisation and a ReLU: (B, n_in, H, W) to (B, n_out, h, w)."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.bn = Norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return F.relu(self.bn(self.conv(x)))


def mean3(x: Tensor) -> Tensor:
    """Take the mean of each value and its neighbours, as many as there are: the padding does not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def max3(x: Tensor) -> Tensor:
    """Take the greatest of each value and its neighbours."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """At 35x35 (figure 5 of the paper): 1x1, 5x5, twice 3x3, and a mean."""

    def __init__(self, n_in: int, n_pool: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(n_in, 64, 1)
        self.branch5x5_1 = Conv(n_in, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(n_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(n_in, n_pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the four ways."""
        a = self.branch1x1(x)
        b = self.branch5x5_2(self.branch5x5_1(x))
        c = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        d = self.branch_pool(mean3(x))
        return torch.cat([a, b, c, d], 1)


class BlockB(nn.Module):
    """From 35x35 to 17x17 (figure 10): 3x3, twice 3x3, and the greatest, each in steps of two."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(n_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(n_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the three ways."""
        a = self.branch3x3(x)
        b = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([a, b, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """At 17x17 (figure 6): 1x1, 7x7 once and twice, each as a row and a column, and a mean."""

    def __init__(self, n_in: int, n: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(n_in, 192, 1)
        self.branch7x7_1 = Conv(n_in, n, 1)
        self.branch7x7_2 = Conv(n, n, (1, 7), padding=(0, 3))
        self.branch7x7_3 = Conv(n, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = Conv(n_in, n, 1)
        self.branch7x7dbl_2 = Conv(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = Conv(n, n, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = Conv(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = Conv(n, 192, (1, 7), padding=(0, 3))
        self.branch_pool = Conv(n_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the four ways."""
        a = self.branch1x1(x)
        b = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        c = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        c = self.branch7x7dbl_5(self.branch7x7dbl_4(c))
        d = self.branch_pool(mean3(x))
        return torch.cat([a, b, c, d], 1)


class BlockD(nn.Module):
    """From 17x17 to 8x8: 3x3, 7x7 and 3x3, and the greatest, each in steps of two."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(n_in, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(n_in, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the three ways."""
        a = self.branch3x3_2(self.branch3x3_1(x))
        b = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([a, self.branch7x7x3_4(b), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """At 8x8 (figure 7): 1x1, then 3x3 once and twice, whose last step is a row and a column side by side, and a pool.

    Args:
        n_in: Channels that come in.
        greatest: Whether the pool takes the greatest value, as in the last block of that graph, or the mean.
    """

    def __init__(self, n_in: int, *, greatest: bool) -> None:
        super().__init__()
        self.greatest = greatest
        self.branch1x1 = Conv(n_in, 320, 1)
        self.branch3x3_1 = Conv(n_in, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Conv(n_in, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Conv(n_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the six ways."""
        a = self.branch1x1(x)
        b = self.branch3x3_1(x)
        c = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        d = self.branch_pool(max3(x) if self.greatest else mean3(x))
        ways = [a, self.branch3x3_2a(b), self.branch3x3_2b(b), self.branch3x3dbl_3a(c), self.branch3x3dbl_3b(c), d]
        return torch.cat(ways, 1)


def build_inception(pooling: Pooling) -> Backbone:
    """Make the network with random weights; ``pooling`` is of ``pool1`` and ``pool2``, for blocks have their own."""
    steps = [
        BackboneLayer(name="resize", module=Resize(), channels=3),
        BackboneLayer(name="Conv2d_1a_3x3", module=Conv(3, 32, 3, stride=2), channels=32, kernel=3, stride=2),
        BackboneLayer(name="Conv2d_2a_3x3", module=Conv(32, 32, 3), channels=32, kernel=3),
        BackboneLayer(name="Conv2d_2b_3x3", module=Conv(32, 64, 3, padding=1), channels=64, kernel=3),
        BackboneLayer(name="pool1", module=pool(pooling, 3), channels=64, kernel=3, stride=2),
        BackboneLayer(name="Conv2d_3b_1x1", module=Conv(64, 80, 1), channels=80),
        BackboneLayer(name="Conv2d_4a_3x3", module=Conv(80, 192, 3), channels=192, kernel=3),
        BackboneLayer(name="pool2", module=pool(pooling, 3), channels=192, kernel=3, stride=2),
        BackboneLayer(name="Mixed_5b", module=BlockA(192, 32), channels=256, kernel=5),
        BackboneLayer(name="Mixed_5c", module=BlockA(256, 64), channels=288, kernel=5),
        BackboneLayer(name="Mixed_5d", module=BlockA(288, 64), channels=288, kernel=5),
        BackboneLayer(name="Mixed_6a", module=BlockB(288), channels=768, kernel=5, stride=2),
        BackboneLayer(name="Mixed_6b", module=BlockC(768, 128), channels=768, kernel=13),
        BackboneLayer(name="Mixed_6c", module=BlockC(768, 160), channels=768, kernel=13),
        BackboneLayer(name="Mixed_6d", module=BlockC(768, 160), channels=768, kernel=13),
        BackboneLayer(name="Mixed_6e", module=BlockC(768, 192), channels=768, kernel=13),
        BackboneLayer(name="Mixed_7a", module=BlockD(768), channels=1280, kernel=9, stride=2),
        BackboneLayer(name="Mixed_7b", module=BlockE(1280, greatest=False), channels=2048, kernel=5),
        BackboneLayer(name="Mixed_7c", module=BlockE(2048, greatest=True), channels=2048, kernel=5),
        BackboneLayer(name="pool3", module=nn.AdaptiveAvgPool2d(1), channels=2048, kernel=8, stride=8),
    ]
    network = nn.ModuleDict({step.name: step.module for step in steps})
    return Backbone("inception", network, steps, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


INCEPTION = Facts(
    name="inception",
    title="Inception v3 of the FID",
    summary="The network that FID and KID are defined by",
    build=build_inception,
    paper="C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, Rethinking the Inception Architecture for Computer "
    "Vision, CVPR 2016",
    link="https://arxiv.org/abs/1512.00567",
    parameters=21_785_568,
    style=("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e"),
    content=("Mixed_5d",),
    perceptual=("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"),
    published=Published(
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        size=95_628_359,
        licence="Apache-2.0 (TensorFlow, pytorch-fid); trained on ImageNet, whose pictures are for research",
    ),
    ignored=("fc.*", "AuxLogits.*", "*.num_batches_tracked"),
)
