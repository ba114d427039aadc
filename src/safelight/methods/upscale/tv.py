"""Total variation: the picture with the least sum of slopes that explains the small one; flat areas, sharp edges.

Rudin et al. 1992 (``CARD.paper``), solved by A. Chambolle, T. Pock, "A First-Order Primal-Dual Algorithm for Convex
Problems with Applications to Imaging", Journal of Mathematical Imaging and Vision 2011::

    x = argmin P(x) = 1/2 |H x - y|^2 + strength * sum over pixels of |(D x)(pixel)|         H = S B: blur, then sample

|.| takes the differences of all channels and of both directions together, so that the channels share their edges. The
iteration is that of ``safelight.solvers.total_variation``, in the basis of ``safelight.solvers.linear_inverse``; it
starts at Tikhonov's solution and stops at a relative duality gap.

An automatic strength is that at which x explains y as well as Tikhonov's solution of automatic strength does: by the
discrepancy principle where the noise is told, and by generalised cross-validation where it is not. It follows the
residual during the iteration, and then stays.

Differs from the papers: channels are coupled, and H is inverted in the prox.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.solvers import linear_inverse
from safelight.solvers.total_variation import CHECK, FLAT, Sampling, start


@dataclass(frozen=True, slots=True)
class Options:
    """The strength of the penalty and the accuracy of the iteration."""

    strength: float | None = option(
        None,
        "weight of the variation; auto finds it from the noise",
        low=linear_inverse.WEAKEST,
        high=linear_inverse.STRONGEST,
    )
    tolerance: float = option(1e-3, "relative duality gap at which it stops", low=1e-9, high=1)
    steps: int = option(1000, "most iterations", low=1, high=1_000_000)


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Iterate on the whole picture, all channels together."""
    y = problem.y
    mean = y.mean(dim=(-2, -1), keepdim=True)
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    Y = model.analyse(linear_inverse.extrapolate_margin(model, y - mean))
    if float(linear_inverse.power_spectrum(Y).mean()) < FLAT:
        x = mean.expand(*y.shape[:2], y.shape[-2] * problem.scale, y.shape[-1] * problem.scale)
        return SolverResult(x=x.clone(), notes=("the picture is flat, and stays so",))
    fit = linear_inverse.fit(model, Y, problem.sigma, least=linear_inverse.ROUNDING)
    iteration = start(Sampling(model), Y, fit.strength, options.strength)
    settled = options.strength is not None

    best, upper, lower, k = iteration.x, math.inf, -math.inf, 0
    reason, state = "", ""
    while k < options.steps and not reason:
        for _ in range(min(CHECK, options.steps - k)):
            iteration.step()
            k += 1
        wanted = math.sqrt(fit.residual / max(iteration.residual(), 1e-30))  # of the strength, in proportion
        if not settled and k < options.steps / 2:
            settled = abs(wanted - 1) < 0.01 and k > 4 * CHECK
            iteration.strengthen(min(max(wanted, 0.5), 2.0))
            best, upper, lower = iteration.x_next, math.inf, -math.inf
            state = "gap unknown"
        else:
            primal = iteration.primal()
            if primal < upper:
                best, upper = iteration.x_next, primal
            lower = max(lower, iteration.dual())
            gap = (upper - lower) / upper if upper > 0 else 0.0
            state = f"relative gap {gap:.1e}"
            if gap <= options.tolerance:
                settled = options.strength is not None or abs(wanted - 1) < 0.02
                if settled or k >= options.steps / 2:
                    reason = "converged"
        remark = f"strength {iteration.strength:.3g}, {state}"
        if not report(SolverProgress(fraction=k / options.steps, x=model.crop(best) + mean, remark=remark)):
            reason = reason or "stopped when told to"
    notes = (f"{reason or 'stopped'}, at {state} after {k} iterations",)
    if options.strength is None:
        notes = (f"strength {iteration.strength:.3g}, with the residual of Tikhonov's solution {fit.why}", *notes)
    return SolverResult(x=(model.crop(best) + mean).contiguous(), notes=notes)


CARD = Card(
    module=__name__,
    title="Total variation",
    summary="Flat areas and sharp edges that explain the small picture, to a proven accuracy; textures are lost.",
    paper=Paper(
        title="Nonlinear total variation based noise removal algorithms",
        authors="L. I. Rudin, S. Osher, E. Fatemi",
        venue="Physica D 1992",
        link="https://doi.org/10.1016/0167-2789(92)90242-F",
    ),
    options=Options,
    accepts=frozenset({"sigma", "blur"}),
    method=Optimised(run=run, bytes=240),
)
