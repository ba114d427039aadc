"""The pseudo-inverse: of all pictures that explain the small one, that of least norm about a constant.

Hestenes and Stiefel 1952 (``CARD.paper``), section 10, on the normal equations (CGLS)::

    x+ = H+ y = argmin |x - c| subject to |H x - y| least,       H = S B: blur, then sample;  c: the mean of y

Started at c, every iterate lies in c + range(H'), so the limit has the least norm. Since H is ill-conditioned, the
limit is useless where y is noisy: noise in the frequencies that the blur left faint is amplified without bound. The
iteration is the remedy. It meets the strong frequencies first, and stops when the residual has come down to what the
noise leaves: the root mean square of H x - y is at most ``strength``. Where that is not told, it is the residual of
Tikhonov's solution at its automatic strength, for a noise of at least what rounding to 8 bits makes. A strength of 0
asks for the limit: it stops where the gradient |H'(H x - y)| has fallen by 1e-6, or after ``steps``.

Differs from the textbook's pseudo-inverse: the norm is that of x - c, so that brightness is no departure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.degrade import forward_model
from safelight.solvers import linear_inverse
from safelight.solvers.linear_inverse import Spectrum


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the stopping rule."""

    strength: float | None = option(
        None, "residual, of 255, at which it stops; 0 goes to the limit; auto finds it from the noise", low=0, high=255
    )
    steps: int = option(500, "most iterations", low=1, high=100_000)


def stop_at(model: Spectrum, y: Tensor, options: Options, sigma: float | None) -> tuple[float, str]:
    """Find the residual to stop at, in units of [0, 1], and say why; y lies on the canvas, without its mean."""
    if options.strength is not None:
        return options.strength / 255, f"a residual of {options.strength:g}, as told"
    fit = linear_inverse.fit(model, model.analyse(y), sigma, least=linear_inverse.ROUNDING)
    residual = math.sqrt(fit.residual / y.numel())
    return residual, f"a residual of {255 * residual:.2g}, that of Tikhonov's solution {fit.why}"


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Iterate on the whole picture, all channels at once."""
    size = (problem.y.shape[-2], problem.y.shape[-1])
    model = linear_inverse.spectrum(size, problem.scale, problem.blur, problem.y.device)
    H = forward_model(problem.scale, problem.blur, "mirror" if model.mirrored else "circular")
    c = problem.y.mean(dim=(-2, -1), keepdim=True)
    y = linear_inverse.extrapolate_margin(model, problem.y - c)
    enough, why = stop_at(model, y, options, problem.sigma)

    r = y  # y - H x
    s = p = H.adjoint(r)
    x = s * 0
    first = gamma = float(s.square().sum())
    reason = f"stopped at {why}"
    for k in range(options.steps):
        rms = float(r.square().mean().sqrt())
        if rms <= enough or gamma <= 1e-12 * first:
            if rms > enough:
                reason = "reached the solution of least norm, to 1e-6"
            break
        q = H(p)
        alpha = gamma / float(q.square().sum())
        x = x + alpha * p
        r = r - alpha * q
        s = H.adjoint(r)
        before, gamma = gamma, float(s.square().sum())
        p = s + (gamma / before) * p
        remark = f"residual {255 * float(r.square().mean().sqrt()):.3g}"
        if not report(SolverProgress(fraction=(k + 1) / options.steps, x=model.crop(x) + c, remark=remark)):
            reason = f"stopped when told to, at {remark} after {k + 1} iterations"
            break
    else:
        reason = f"stopped after {options.steps} iterations, short of {why}"
    return SolverResult(x=model.crop(x) + c, notes=(reason,))


CARD = Card(
    module=__name__,
    title="Pseudo-inverse",
    summary="The least picture that explains the small one, by conjugate gradients that stop at the noise.",
    paper=Paper(
        title="Methods of Conjugate Gradients for Solving Linear Systems",
        authors="M. R. Hestenes, E. Stiefel",
        venue="Journal of Research of the National Bureau of Standards 1952",
        link="https://doi.org/10.6028/jres.049.044",
    ),
    options=Options,
    accepts=frozenset({"sigma", "blur"}),
    method=Optimised(run=run, bytes=200),
)
