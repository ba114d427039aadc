"""Total variation: the picture with the least sum of slopes that explains the small one; flat areas, sharp edges.

L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992, solved
by A. Chambolle, T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems with Applications to Imaging",
Journal of Mathematical Imaging and Vision 2011::

    x = argmin P(x) = 1/2 |H x - y|^2 + strength * sum over pixels of |(D x)(pixel)|         H = S B: blur, then sample

|.| takes the differences of all channels and of both directions together, so that the channels share their edges. The
dual variable p has the slopes' shape, |p| <= strength at each pixel::

    x~ = prox(x - tau D'p)                                  prox(v) = v + H'(1 / tau + H H')^-1 (y - H v)
    p~ = project(p + sigma D (2 x~ - x)),                   tau sigma |D|^2 <= 1, |D|^2 <= 8
    (x, p) <- (x, p) + 1.9 ((x~, p~) - (x, p))              over-relaxed, as Condat 2013 proves it right

The prox is exact in the basis of ``safelight.solvers.linear_inverse``, where H H' is diagonal. The iteration starts at
Tikhonov's solution.

It stops at a relative duality gap. For every r and every p of slopes with H'r + D'p = 0 and |p| <= strength, P(x) is at
least ``-1/2 |r|^2 - <r, y>`` for all x. Such a pair is made of r = H x~ - y without its mean and of p~, corrected by
the gradient of a Poisson equation's solution, and both are scaled until the bound holds: so the gap is a true one.

An automatic strength is that at which x explains y as well as Tikhonov's solution of automatic strength does: by the
discrepancy principle where the noise is told, and by generalised cross-validation where it is not. It follows the
residual during the iteration, and then stays.

Differs from the papers: channels are coupled, and H is inverted in the prox.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.solvers import linear_inverse
from safelight.solvers.linear_inverse import Spectrum

RELAX = 1.9
CHECK = 10  # iterations between two looks at the gap and the residual
STEP = 0.06  # tau * strength: how far, in units of [0, 1], the picture moves against the slopes' force


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


# --- slopes -----------------------------------------------------------------------------------------------------------


def slopes(x: Tensor, mirrored: bool) -> Tensor:
    """D: differences to the next pixel below and to the right, (1, C, H, W) to (2, C, H, W)."""
    out = torch.zeros((2, *x.shape[1:]), dtype=x.dtype, device=x.device)
    torch.sub(x[0, :, 1:], x[0, :, :-1], out=out[0, :, :-1])
    torch.sub(x[0, :, :, 1:], x[0, :, :, :-1], out=out[1, :, :, :-1])
    if not mirrored:
        out[0, :, -1] = x[0, :, 0] - x[0, :, -1]
        out[1, :, :, -1] = x[0, :, :, 0] - x[0, :, :, -1]
    return out


def slopes_adjoint(p: Tensor, mirrored: bool) -> Tensor:
    """D', the negative divergence: (2, C, H, W) to (1, C, H, W)."""
    out = torch.zeros((1, *p.shape[1:]), dtype=p.dtype, device=p.device)
    out[0, :, 1:] += p[0, :, :-1]
    out[0, :, :-1] -= p[0, :, :-1]
    out[0, :, :, 1:] += p[1, :, :, :-1]
    out[0, :, :, :-1] -= p[1, :, :, :-1]
    if not mirrored:
        out[0, :, 0] += p[0, :, -1]
        out[0, :, -1] -= p[0, :, -1]
        out[0, :, :, 0] += p[1, :, :, -1]
        out[0, :, :, -1] -= p[1, :, :, -1]
    return out


def lengths(p: Tensor) -> Tensor:
    """|p| of each pixel, over directions and channels: (2, C, H, W) to (H, W)."""
    return p.square().sum(dim=(0, 1)).sqrt_()


# --- the iteration ----------------------------------------------------------------------------------------------------


class Iteration:
    """The state of the primal-dual iteration: x and p, and the two numbers that set its steps.

    ``x`` and ``p`` lie on the large canvas of ``model``; ``Y`` are the coefficients of y without its mean.
    """

    def __init__(self, model: Spectrum, Y: Tensor, x: Tensor, p: Tensor, strength: float) -> None:
        self.model, self.Y = model, Y
        self.x, self.p, self.strength = x, p, strength
        self.gram = model.gram(1.0).to(Y.real.dtype)
        self.r = model.forward(model.analyse(x)) - Y  # H x~ - y, as coefficients
        self.x_next, self.p_next = x, p

    def step(self) -> None:
        """One iteration of the algorithm in the head of this file."""
        model, tau = self.model, STEP / self.strength
        V = model.analyse(self.x - tau * slopes_adjoint(self.p, model.mirrored))
        share = 1 / (1 + tau * self.gram)
        self.r = (model.forward(V) - self.Y) * share
        self.x_next = model.synthesise(V - tau * model.adjoint(self.r))
        p = slopes(2 * self.x_next - self.x, model.mirrored).mul_(1 / (8 * tau)).add_(self.p)
        self.p_next = p.div_((lengths(p) / self.strength).clamp_(min=1))
        self.x = torch.lerp(self.x, self.x_next, RELAX)
        self.p = torch.lerp(self.p, self.p_next, RELAX)

    def residual(self) -> float:
        """|H x~ - y|^2."""
        return float(linear_inverse.power_spectrum(self.r).sum())

    def primal(self) -> float:
        """P(x~)."""
        variation = float(lengths(slopes(self.x_next, self.model.mirrored)).double().sum())
        return self.residual() / 2 + self.strength * variation

    def dual(self) -> float:
        """A lower bound of P, from x~ and p~."""
        model = self.model
        r = self.r.clone()
        r[..., 0, 0] = 0  # so that H'r has no mean, as no D'p has
        e = model.adjoint(r) + model.analyse(slopes_adjoint(self.p_next, model.mirrored))
        e = e * torch.where(model.rough > 0, 1 / model.rough, 0.0).to(e.real.dtype)
        p = self.p_next - slopes(model.synthesise(e), model.mirrored)
        fits = self.strength / max(float(lengths(p).max()), 1e-30)
        size = float(linear_inverse.power_spectrum(r).sum())
        along = float((r.conj() * self.Y).real.double().sum())
        scale = min(max(-along / max(size, 1e-30), -fits), fits)
        return -scale * scale * size / 2 - scale * along

    def strengthen(self, factor: float) -> None:
        """Change the strength; p keeps its share of it."""
        self.strength = min(max(self.strength * factor, linear_inverse.WEAKEST), linear_inverse.STRONGEST)
        self.p = self.p * factor


def start(model: Spectrum, Y: Tensor, tau: float, strength: float | None) -> Iteration:
    """Start at Tikhonov's solution, whose slopes, times its strength tau, are a dual variable but for their bound."""
    x = model.synthesise(linear_inverse.tikhonov(model, Y, tau))
    p = tau * slopes(x, model.mirrored)
    size = lengths(p)
    if strength is None:
        strength = max(float(size.double().mean()), linear_inverse.WEAKEST)
    return Iteration(model, Y, x, p / (size / strength).clamp(min=1), strength)


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Iterate on the whole picture, all channels together."""
    y = problem.y
    mean = y.mean(dim=(-2, -1), keepdim=True)
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    Y = model.analyse(linear_inverse.extrapolate_margin(model, y - mean))
    if float(linear_inverse.power_spectrum(Y).mean()) < 1e-12:  # no gap is small against an objective of nothing
        x = mean.expand(*y.shape[:2], y.shape[-2] * problem.scale, y.shape[-1] * problem.scale)
        return SolverResult(x=x.clone(), notes=("the picture is flat, and stays so",))
    fit = linear_inverse.fit(model, Y, problem.sigma, least=linear_inverse.ROUNDING)
    iteration = start(model, Y, fit.strength, options.strength)
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
