"""Total variation: the picture nearest to the noisy one among those whose gradients add up to little.

Rudin et al. 1992 (``CARD.paper``), solved by the primal-dual iteration of ``safelight.solvers.total_variation`` up to a
relative duality gap of 0.001::

    x* = argmin_x  1/2 || x - y ||^2 + weight * sum |grad x|

Edges stay, since a jump costs its height however steep it is; texture goes first, and ramps become steps. Colour is
treated as opponent colours, an orthonormal mix of RGB, the chroma with more weight.

Differs from the paper: the weight is a function of sigma that was fitted to photographs, rather than searched until
|| x - y ||^2 = N sigma^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from safelight.core.card import Card, ClosedForm, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.ops import color, noise
from safelight.solvers import total_variation

CHROMA = 1.5  # times the weight of the first opponent colour


@dataclass(frozen=True, slots=True)
class Options:
    """Options of total variation denoising."""

    smoothing: float | None = option(
        None, "weight of the total variation, in units of the noise; auto: 0.5 (little noise) to 1", low=0.01, high=100
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Minimise for each channel."""
    y = problem.y
    sigma, notes = noise.given_or_estimated(y, problem.sigma)
    if sigma == 0:
        return SolverResult(x=y, notes=notes)
    smoothing = 0.285 * (255 * sigma) ** 0.3 if options.smoothing is None else options.smoothing
    o = color.rgb_to_opponent(y) if y.shape[1] == 3 else y
    planes = [
        total_variation.denoise(plane, smoothing * sigma * (CHROMA if i else 1))
        for i, plane in enumerate(o.split(1, dim=1))
    ]
    x = torch.cat(planes, dim=1)
    return SolverResult(x=color.opponent_to_rgb(x) if y.shape[1] == 3 else x, notes=notes)


CARD = Card(
    module=__name__,
    title="Total variation",
    summary="The nearest picture with little total variation: keeps edges, paints texture over (Rudin et al. 1992).",
    paper=Paper(
        title="Nonlinear total variation based noise removal algorithms",
        authors="L. I. Rudin, S. Osher, E. Fatemi",
        venue="Physica D 1992",
        link="https://doi.org/10.1016/0167-2789(92)90242-F",
    ),
    method=ClosedForm(solve=solve, bytes=32, pixel_bytes=48),
    options=Options,
    accepts=frozenset({"sigma"}),
)
