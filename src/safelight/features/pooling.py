"""The pools between the layers of a backbone."""

from __future__ import annotations

from typing import assert_never

from torch import nn

from safelight.features.backbone import Pooling


def pool(kind: Pooling, kernel: int = 2, *, up: bool = False) -> nn.Module:
    """Make a pool that halves the sides of maps.

    Args:
        kind: Whether it takes the greatest value or the mean: Gatys et al. found that pictures come out smoother by
            the mean.
        kernel: The side of the square that it takes.
        up: Whether a last square that is cut off by the border counts, as in SqueezeNet.
    """
    match kind:
        case "max":
            return nn.MaxPool2d(kernel, 2, ceil_mode=up)
        case "average":
            return nn.AvgPool2d(kernel, 2, ceil_mode=up)
        case _:
            assert_never(kind)
