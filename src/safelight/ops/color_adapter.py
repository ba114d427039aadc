"""Adapters between pictures of one or three channels and networks of one or three channels.

An adapter is a pure function. It makes the network's input of a picture, runs the network, and makes a picture of what
comes out. Which one a method takes stands on its card (``NetworkSpec.color_adapter``). Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from safelight.ops.color import rgb_to_ycbcr, ycbcr_to_rgb
from safelight.ops.resampling import resize


class ColorAdapter(Protocol):
    """A way of running a network on pictures of one or of three channels.

    Args:
        x: Pictures, (B, 1, h, w) gray or (B, 3, h, w) sRGB, float32 in [0, 1].
        run: The network, from (B', C, h, w) to (B', C, H, W); C is what the adapter is for, B' a multiple of B.
        size: (H, W) of what the network gives.

    Returns:
        (B, 1 or 3, H, W): as many channels as the pictures have.
    """

    def __call__(self, x: Tensor, run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:
        """Run the network."""
        ...


def luma_and_bicubic_chroma(x: Tensor, run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:
    """Run a network of one channel on the Y of BT.601, and enlarge the chroma by the bicubic kernel, as papers do.

    A gray picture is taken as Y as it is.
    """
    if x.shape[1] == 1:
        return run(x)
    ycbcr = rgb_to_ycbcr(x)
    luma = run(ycbcr[:, :1])
    return ycbcr_to_rgb(torch.cat([luma, resize(ycbcr[:, 1:], size)], dim=1))


def rgb_planes(x: Tensor, run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:
    """Run a network of one channel on each of R, G and B; a gray picture is a single channel."""
    return run(x.flatten(0, 1).unsqueeze(1)).view(*x.shape[:2], *size)


def ycbcr_planes(x: Tensor, run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:
    """Run a network of one channel on each of Y, Cb and Cr, as JPEG codes them; a gray picture is the Y."""
    return run(x) if x.shape[1] == 1 else ycbcr_to_rgb(rgb_planes(rgb_to_ycbcr(x), run, size))


def rgb_or_equal_channels(x: Tensor, run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Tensor:  # noqa: ARG001 - the network makes the size
    """Run a network of three channels on RGB; a gray picture has three equal channels, and the result is their mean."""
    y = run(x.expand(-1, 3, -1, -1))
    return y.mean(dim=1, keepdim=True) if x.shape[1] == 1 else y
