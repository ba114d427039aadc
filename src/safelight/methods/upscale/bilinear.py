"""Bilinear interpolation: straight lines between the pixels, along each axis in turn.

The triangle kernel of width 2::

    h(x) = 1 - |x|  for |x| <= 1,  0 elsewhere

Differs from MATLAB's ``imresize(..., 'bilinear')`` in nothing known.
"""

from __future__ import annotations

from torch import Tensor

from safelight.core.card import Card, Interpolation
from safelight.ops.resampling import Kernel


def triangle(x: Tensor) -> Tensor:
    """Fall in a straight line from 1 at 0 to 0 at a distance of 1."""
    return (1 - x.abs()).clamp(min=0)


CARD = Card(
    module=__name__,
    title="Bilinear interpolation",
    summary="Straight lines between pixels: soft, free of ringing.",
    method=Interpolation(kernel=Kernel("triangle", triangle, 2)),
)
