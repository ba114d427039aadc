"""Pictures as sums of waves: a way to write them in which a search finds natural ones first.

A. Mordvintsev, N. Pezzotti, L. Schubert, C. Olah, "Differentiable Image Parameterizations", Distill 2018.

A picture that is optimised sample by sample fills with high frequencies before the rest has moved. Written as waves,
each divided by its frequency, it moves at all frequencies alike, as much as natural pictures have of them; and
written in colours that do not vary together, it gets those colours that photographs have::

    x = sigmoid( A  irfft2( s(f) z ) ),    s(f) = 1 / f

The colour axes are those of Ohta, Kanade and Sakai ("Color information for region segmentation", 1980): brightness, red
against blue, green against both. They vary as much as over 100 pictures of BSDS500.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

STRENGTH = (0.396, 0.126, 0.056)
"""Standard deviations along the three colour axes in photographs, of samples in [0, 1]."""
_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 2.0, -1.0))


def draw(channels: int, size: tuple[int, int], deviation: float, generator: torch.Generator) -> Tensor:
    """Draw coefficients z of a picture of (H, W) = ``size`` at random: (2, channels, H, W // 2 + 1)."""
    return deviation * torch.randn(2, channels, size[0], size[1] // 2 + 1, generator=generator)


def picture(z: Tensor, size: tuple[int, int]) -> Tensor:
    """Make the picture that coefficients stand for, (1, C, H, W) in (0, 1); z = 0 is gray.

    Example:
        >>> picture(torch.zeros(2, 3, 4, 3), (4, 4)).unique()
        tensor([0.5000])
    """
    height, width = size
    down = ((torch.arange(height) + height // 2) % height - height // 2) / height  # cycles in a pixel, -1/2 to 1/2
    across = torch.arange(width // 2 + 1) / width
    f = torch.hypot(down[:, None], across[None]).to(z.device)
    s = math.sqrt(height * width) / f.clamp_min(1 / max(size))  # a wave then has the same height at every size
    planes = cast(Tensor, torch.fft.irfft2(s * torch.complex(z[0], z[1]), size))
    return torch.sigmoid(_coloured(planes / 4)).unsqueeze(0)


def _coloured(planes: Tensor) -> Tensor:
    """Mix (3, H, W) along the colour axes to RGB; a single plane stays as it is."""
    if len(planes) == 1:
        return planes
    axes = torch.tensor(_AXES)
    lengths = axes.square().sum(dim=1, keepdim=True).sqrt()
    axes = axes / lengths * torch.tensor(STRENGTH)[:, None] / STRENGTH[0] * math.sqrt(3)
    return torch.einsum("pc,phw->chw", axes.to(planes), planes)
