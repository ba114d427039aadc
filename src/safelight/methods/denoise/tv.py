"""Total variation: the picture nearest to the noisy one among those whose gradients add up to little.

L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992, solved by the
dual projections of A. Chambolle, "An Algorithm for Total Variation Minimization and Applications", JMIV 2004, as
scikit-image has it (the extra ``classic``)::

    x* = argmin_x  1/2 || x - y ||^2 + weight * sum |grad x|

Edges stay, since a jump costs its height however steep it is; texture goes first, and ramps become steps. Colour is
treated as opponent colours, an orthonormal mix of RGB, the chroma with more weight.

Differs from the paper: the weight is a function of sigma that was fitted to photographs, rather than searched until
|| x - y ||^2 = N sigma^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from safelight.core.card import Card, ClosedForm, OptionalPackage, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.ops import color, noise

CHROMA = 1.5  # times the weight of the first opponent colour


@dataclass(frozen=True, slots=True)
class Options:
    """Options of total variation denoising."""

    smoothing: float | None = option(
        None, "weight of the total variation, in units of the noise; auto: 0.5 (little noise) to 1", low=0.01, high=100
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Minimise for each channel."""
    from skimage.restoration import denoise_tv_chambolle

    y = problem.y
    sigma, notes = noise.given_or_estimated(y, problem.sigma)
    if sigma == 0:
        return SolverResult(x=y, notes=notes)
    smoothing = 0.3 * (255 * sigma) ** 0.3 if options.smoothing is None else options.smoothing
    o = color.rgb_to_opponent(y) if y.shape[1] == 3 else y
    planes = [
        denoise_tv_chambolle(plane, weight=smoothing * sigma * (CHROMA if i else 1), eps=1e-5)
        for i, plane in enumerate(o[0].cpu().numpy())
    ]
    x = torch.from_numpy(np.stack(planes)[None].astype(np.float32)).to(y.device)
    return SolverResult(x=color.opponent_to_rgb(x) if y.shape[1] == 3 else x, notes=notes)


CARD = Card(
    module=__name__,
    title="Total variation",
    summary="The nearest picture with little total variation: keeps edges, paints texture over (Chambolle 2004).",
    paper=Paper(
        title="An Algorithm for Total Variation Minimization and Applications",
        authors="A. Chambolle",
        venue="JMIV 2004",
        link="https://doi.org/10.1023/B:JMIV.0000011325.36760.1e",
    ),
    method=ClosedForm(solve=solve, bytes=48),
    options=Options,
    accepts=frozenset({"sigma"}),
    extra=OptionalPackage(module="skimage", name="classic"),
)
