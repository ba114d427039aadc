"""Tikhonov regularisation: the picture that explains the small one with the least steep slopes, in closed form.

A. N. Tikhonov, "Solution of incorrectly formulated problems and the regularization method", Soviet Mathematics Doklady
1963. For pictures, with a penalty of slopes and by Fourier transforms: Hunt 1973 (``CARD.paper``)::

    x = argmin 1/2 |H x - y|^2 + tau/2 |D x|^2  =  (H'H + tau D'D)^-1 H'y         H = S B: blur, then sample

Where B is circular, or its border a mirror, the matrix is block diagonal in the Fourier or cosine basis, with one small
system for each frequency of y: the s * s frequencies of x that alias to it. Woodbury's formula solves each in closed
form (``safelight.solvers.linear_inverse``)::

    X = conj(b) / l * unfold(Y / (g + tau)),       l = |D|^2,   g = fold_squared(|b|^2 / l)

It removes noise and unwanted oscillations, and stays soft at edges. The strength tau is chosen by the discrepancy
principle, |H x - y|^2 = sigma^2 trace(1 - A) with A = dHx / dy, where the noise is told, and by generalised
cross-validation where it is not.

Differs from Hunt's paper: the picture may be larger than what is given, its border is a mirror, and the residual that
is aimed at counts the degrees of freedom that the solution takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from safelight.core.card import Card, ClosedForm, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.solvers import linear_inverse


@dataclass(frozen=True, slots=True)
class Options:
    """The strength of the smoothness penalty."""

    strength: float | None = option(
        None,
        "weight of the squared gradient; auto finds it from the noise",
        low=linear_inverse.WEAKEST,
        high=linear_inverse.STRONGEST,
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Restore the whole picture, each channel alone with the same strength."""
    y = problem.y
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    mean = y.mean(dim=(-2, -1), keepdim=True)
    Y = model.analyse(linear_inverse.extrapolate_margin(model, y - mean))
    tau, notes = options.strength, ()
    if tau is None:
        fit = linear_inverse.fit(model, Y, problem.sigma)
        tau, notes = fit.strength, (f"strength {fit.strength:.3g}, {fit.why}",)
    x = model.crop(model.synthesise(linear_inverse.tikhonov(model, Y, tau))) + mean
    return SolverResult(x=x.contiguous(), notes=notes)


CARD = Card(
    module=__name__,
    title="Tikhonov regularisation",
    summary="The smoothest picture that explains the small one, in closed form: deblurs and calms noise, soft edges.",
    paper=Paper(
        title="The Application of Constrained Least Squares Estimation to Image Restoration by Digital Computer",
        authors="B. R. Hunt",
        venue="IEEE Transactions on Computers 1973",
        link="https://doi.org/10.1109/TC.1973.5009169",
    ),
    options=Options,
    accepts=frozenset({"sigma", "blur"}),
    method=ClosedForm(solve=solve, bytes=100),
)
