"""SqueezeNet 1.0 and 1.1: AlexNet's accuracy with a fiftieth of its weights, by squeezing channels between layers.

F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x
fewer parameters and <0.5MB model size", arXiv:1602.07360, 2016. 1.1 is the authors' later version: the first layer by
3x3, earlier pools, and less than half the work.

A fire module squeezes its maps to few channels, and expands them by convolutions of two sizes side by side::

    x --> squeeze 1x1 --> ReLU --+--> expand 1x1 --> ReLU --+--> concatenated
                                 +--> expand 3x3 --> ReLU --+

Its weights of five megabytes make it the smallest of those that others have published. The tensors are named as in
torchvision, whose weights it takes. The last convolution, which tells classes, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.features.backbone import Backbone, BackboneLayer, Pooling
from safelight.features.pooling import pool
from safelight.features.published import Facts, Published

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision has them


class Fire(nn.Module):
    """(B, n_in, H, W) to (B, 2 n_out, H, W), by way of (B, n_squeeze, H, W)."""

    def __init__(self, n_in: int, n_squeeze: int, n_out: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n_in, n_squeeze, 1)
        self.expand1x1 = nn.Conv2d(n_squeeze, n_out, 1)
        self.expand3x3 = nn.Conv2d(n_squeeze, n_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, and expand in two ways."""
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


# Of fire2 to fire9: channels between, and of each of the two ways out.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def build_squeezenet(pooling: Pooling) -> Backbone:
    """Make SqueezeNet 1.1 with random weights."""
    return _build("squeezenet", nn.Conv2d(3, 64, 3, stride=2), (1, 3, 5), pooling)


def build_squeezenet1_0(pooling: Pooling) -> Backbone:
    """Make SqueezeNet 1.0 with random weights."""
    return _build("squeezenet1_0", nn.Conv2d(3, 96, 7, stride=2), (1, 4, 8), pooling)


def _build(name: str, conv: nn.Conv2d, pools: Sequence[int], pooling: Pooling) -> Backbone:
    """Make the network; ``pools`` are the numbers of the layers that a pool follows, the convolution's being 1."""
    n, side = conv.out_channels, conv.kernel_size[0]
    steps = [
        BackboneLayer(name="conv1", module=conv, channels=n, kernel=side, stride=2, least=side),
        BackboneLayer(name="relu1", module=nn.ReLU(), channels=n),
    ]
    for number, (n_squeeze, n_out) in enumerate(((0, 0), *FIRES), 1):
        if number > 1:
            steps.append(
                BackboneLayer(name=f"fire{number}", module=Fire(n, n_squeeze, n_out), channels=2 * n_out, kernel=3)
            )
            n = 2 * n_out
        if number in pools:
            # A square that the border cuts off counts, so a side of 2 still has one.
            module = pool(pooling, 3, up=True)
            steps.append(BackboneLayer(name=f"pool{number}", module=module, channels=n, kernel=3, stride=2))
    network = nn.ModuleDict({"features": nn.Sequential(*(step.module for step in steps))})
    return Backbone(name, network, steps, mean=MEAN, std=STD)


_PAPER = (
    "F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer, SqueezeNet: AlexNet-level accuracy "
    "with 50x fewer parameters and <0.5MB model size, arXiv 2016"
)
_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for research"

SQUEEZENET = Facts(
    name="squeezenet",
    title="SqueezeNet 1.1",
    summary="Eight fire modules; the smallest download",
    build=build_squeezenet,
    paper=_PAPER,
    link="https://arxiv.org/abs/1602.07360",
    parameters=722_496,
    style=("relu1", "fire3", "fire4", "fire5"),
    content=("fire3",),
    perceptual=("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
    published=Published(
        url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        sha256="b8a52dc0",
        size=4_959_000,
        licence=_LICENCE,
    ),
    ignored=("classifier.*",),
)
SQUEEZENET1_0 = Facts(
    name="squeezenet1_0",
    title="SqueezeNet 1.0",
    summary="As in the paper: twice the work of 1.1",
    build=build_squeezenet1_0,
    paper=_PAPER,
    link="https://arxiv.org/abs/1602.07360",
    parameters=735_424,
    style=("relu1", "fire3", "fire5", "fire7"),
    content=("fire4",),
    perceptual=("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
    published=Published(
        url="https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
        sha256="b66bff10",
        size=5_010_000,
        licence=_LICENCE,
    ),
    ignored=("classifier.*",),
)
