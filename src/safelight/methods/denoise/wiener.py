"""The local Wiener filter: each pixel goes towards the mean of its neighbourhood, the more the flatter it is there.

Lee 1980 (``CARD.paper``); in J. S. Lim, "Two-Dimensional Signal and Image Processing", 1990, and ``wiener2`` of MATLAB,
it is the adaptive Wiener filter, and this is what the field calls the Wiener denoiser. N. Wiener's own needs the
spectrum of the clean picture.

With the mean m and the variance v of the window around a pixel, the best linear estimate from the noisy y is::

    x = m + max(v - sigma^2, 0) / v (y - m)

Colour is filtered as opponent colours, an orthonormal mix of RGB, in which the chroma bears a larger window.

Differs from the paper: the window grows with the noise; the border is mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import Card, ClosedForm, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.ops import color, noise

RADII = ((8, 1), (20, 2), (40, 3))  # below so much noise, of 255, such a radius
LARGEST = 4
CHROMA = 2  # pixels of radius more for the chroma


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the local Wiener filter."""

    radius: int | None = option(
        None, "radius of the window in pixels; auto: 1 to 4, by the noise, and 2 more for chroma", low=1, high=50
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Filter each channel."""
    y = problem.y
    sigma, notes = noise.given_or_estimated(y, problem.sigma)
    if sigma == 0:
        return SolverResult(x=y, notes=notes)
    radius, chroma = options.radius, options.radius
    if radius is None or chroma is None:
        radius = next((radius for level, radius in RADII if 255 * sigma < level), LARGEST)
        chroma = radius + CHROMA
    if y.shape[1] == 1:
        return SolverResult(x=local_wiener(y, sigma, radius), notes=notes)
    o = color.rgb_to_opponent(y)
    parts = (local_wiener(o[:, :1], sigma, radius), local_wiener(o[:, 1:], sigma, chroma))
    return SolverResult(x=color.opponent_to_rgb(torch.cat(parts, dim=1)), notes=notes)


def local_wiener(y: Tensor, sigma: float, radius: int) -> Tensor:
    """The equation above on every channel of (1, C, H, W)."""
    shift = y.mean(dim=(-2, -1), keepdim=True)  # the variance of small numbers loses fewer digits
    y = y - shift
    m = box(y, radius)
    v = (box(y * y, radius) - m * m).clamp_min(sigma**2)
    return m + (1 - sigma**2 / v) * (y - m) + shift


def box(x: Tensor, radius: int) -> Tensor:
    """The mean over windows of 2 radius + 1 pixels, the border mirrored with the edge repeated."""
    for dim in (-2, -1):
        n = x.shape[dim]
        at = torch.remainder(torch.arange(-radius, n + radius, device=x.device), 2 * n)
        x = x.index_select(dim, torch.where(at < n, at, 2 * n - 1 - at))
        x = F.avg_pool2d(x, (2 * radius + 1, 1) if dim == -2 else (1, 2 * radius + 1), stride=1)
    return x


CARD = Card(
    module=__name__,
    title="Local Wiener filter",
    summary="Towards the local mean where a picture is flat, untouched where it is not; the fastest, grainy (1980).",
    paper=Paper(
        title="Digital Image Enhancement and Noise Filtering by Use of Local Statistics",
        authors="J.-S. Lee",
        venue="IEEE TPAMI 1980",
        link="https://doi.org/10.1109/TPAMI.1980.4766994",
    ),
    method=ClosedForm(solve=solve, bytes=36),
    options=Options,
    accepts=frozenset({"sigma"}),
)
