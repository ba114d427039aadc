"""Nearest neighbour: every pixel becomes a block. For pixel art and masks, where no new value may appear.

The output sample at position y takes the input sample whose cell it lies in, the box kernel of width 1::

    h(x) = 1  for -1/2 <= x < 1/2,  0 elsewhere

Differs from MATLAB's ``imresize(..., 'nearest')`` in nothing known; it does not average when a picture shrinks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from safelight.core.card import Card, Interpolation
from safelight.ops.resampling import Kernel


def box(x: Tensor) -> Tensor:
    """1 in the sample's own cell, 0 elsewhere."""
    return ((x >= -0.5) & (x < 0.5)).to(torch.float64)


CARD = Card(
    module=__name__,
    title="Nearest neighbour",
    summary="Every pixel becomes a block: no new values, for pixel art and masks.",
    method=Interpolation(kernel=Kernel("box", box, 1, antialias=False)),
)
