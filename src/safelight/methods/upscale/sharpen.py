"""Interpolation and sharpening: bicubic, then an unsharp mask; what a photo editor does.

The detail that a Gaussian blur removes is added back once more::

    y = x + amount (x - G_sigma * x),    sigma = radius * zoom

The radius is measured in pixels of the small picture, so that the same options fit every zoom. Differs from the
textbook's unsharp mask in nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from safelight.core.card import Card, Interpolation
from safelight.core.options import option
from safelight.ops.resampling import CUBIC, gaussian_blur, gaussian_radius


@dataclass(frozen=True, slots=True)
class Options:
    """Strength and radius of the unsharp mask."""

    amount: float = option(0.5, "how much detail is added back; 0 leaves the bicubic picture", low=0, high=10)
    radius: float = option(0.6, "size of the detail, in pixels of the small picture", low=0.1, high=20)


def unsharp_mask(x: Tensor, zoom: float, options: Options) -> Tensor:
    """Add the high frequencies of (B, C, H, W) to it."""
    return x + options.amount * (x - gaussian_blur(x, options.radius * zoom))


CARD = Card(
    module=__name__,
    title="Bicubic and unsharp mask",
    summary="Bicubic, then sharpened: crisper to the eye, with halos when overdone.",
    options=Options,
    method=Interpolation(
        kernel=CUBIC,
        after=unsharp_mask,
        after_radius=lambda zoom, options: gaussian_radius(options.radius * zoom),
    ),
)
