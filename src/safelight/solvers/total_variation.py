"""Total variation: the picture with the least sum of slopes that explains a blurred, sampled or noisy one.

The problem of Rudin, Osher and Fatemi (1992), solved by the primal-dual algorithm of Chambolle and Pock (2011)::

    x = argmin P(x) = 1/2 |H x - y|^2 + strength * sum over pixels of |(D x)(pixel)|

|.| takes the differences of all channels and of both directions together. The dual variable p has the slopes' shape,
|p| <= strength at each pixel::

    x~ = prox(x - tau D'p)                                  prox(v) = v + H'(1 / tau + H H')^-1 (y - H v)
    p~ = project(p + sigma D (2 x~ - x)),                   tau sigma |D|^2 <= 1, |D|^2 <= 8
    (x, p) <- (x, p) + 1.9 ((x~, p~) - (x, p))              over-relaxed, as Condat 2013 proves it right

The prox is exact, in a basis where H H' is diagonal: that of ``safelight.solvers.linear_inverse`` where H blurs and
samples, and the pixels themselves where H is the identity.

A duality gap tells how far the objective is from its least value. For every r and every p of slopes with
H'r + D'p = 0 and |p| <= strength, P(x) is at least ``-1/2 |r|^2 - <r, y>`` for all x. Such a pair is made from H x~ - y
and p~ by the model's ``balance``, and scaled until the bound holds: so the gap is a true one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from safelight.solvers import linear_inverse
from safelight.solvers.linear_inverse import Spectrum

RELAX = 1.9
CHECK = 10  # iterations between two looks at the gap and the residual
FLAT = 1e-12  # mean square about the mean: no gap is small against an objective of nothing
STEP = 0.06  # tau * strength: how far, in units of [0, 1], the picture moves against the slopes' force
STEP_DENOISING = 0.03  # the same where H is the identity, found on drawn pictures with noise of sigma 5 to 50


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


# --- the models -------------------------------------------------------------------------------------------------------


class ObservationModel(Protocol):
    """H in a basis where H H' is diagonal."""

    @property
    def mirrored(self) -> bool:
        """Whether the picture's border is a mirror; otherwise its canvas repeats."""
        ...

    def analyse(self, x: Tensor) -> Tensor:
        """Coefficients of a picture."""
        ...

    def synthesise(self, z: Tensor) -> Tensor:
        """Undo ``analyse``."""
        ...

    def forward(self, z: Tensor) -> Tensor:
        """H on coefficients."""
        ...

    def adjoint(self, z: Tensor) -> Tensor:
        """H' on coefficients."""
        ...

    def gram(self) -> Tensor:
        """The diagonal of H H'."""
        ...

    def balance(self, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Find a pair near coefficients r and slopes p with H'r + D'p = 0."""
        ...


class Sampling:
    """H blurs and samples, in the basis of ``linear_inverse``."""

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        self.mirrored = spectrum.mirrored
        self.analyse, self.synthesise = spectrum.analyse, spectrum.synthesise
        self.forward, self.adjoint = spectrum.forward, spectrum.adjoint

    def gram(self) -> Tensor:
        """The diagonal of H H', float64."""
        return self.spectrum.gram(1.0)

    def balance(self, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Take the mean out of r, and correct p by the gradient of a Poisson equation's solution."""
        r = r.clone()
        r[..., 0, 0] = 0  # so that H'r has no mean, as no D'p has
        e = self.adjoint(r) + self.analyse(slopes_adjoint(p, self.mirrored))
        e = e * torch.where(self.spectrum.rough > 0, 1 / self.spectrum.rough, 0.0).to(e.real.dtype)
        return r, p - slopes(self.synthesise(e), self.mirrored)


class Identity:
    """H changes nothing; the coefficients are the pixels."""

    @property
    def mirrored(self) -> bool:
        """Always: forward differences stop at the border."""
        return True

    def analyse(self, x: Tensor) -> Tensor:
        """Give the pixels."""
        return x

    def synthesise(self, z: Tensor) -> Tensor:
        """Give the pixels."""
        return z

    forward = adjoint = synthesise

    def gram(self) -> Tensor:
        """One, for each pixel."""
        return torch.ones(())

    def balance(self, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - p alone tells r
        """Take the residual that belongs to p."""
        return -slopes_adjoint(p, self.mirrored), p


# --- the iteration ----------------------------------------------------------------------------------------------------


class Iteration:
    """The state of the primal-dual iteration: x and p, and the strength.

    ``x`` and ``p`` lie on the large canvas of ``model``; ``Y`` are the coefficients of y without its mean; ``step`` is
    tau * strength.
    """

    def __init__(
        self, model: ObservationModel, Y: Tensor, x: Tensor, p: Tensor, strength: float, step: float = STEP
    ) -> None:
        self.model, self.Y, self.length = model, Y, step
        self.x, self.p, self.strength = x, p, strength
        self.gram = model.gram().to(Y.device, Y.real.dtype)
        self.r = model.forward(model.analyse(x)) - Y  # H x~ - y, as coefficients
        self.x_next, self.p_next = x, p

    def step(self) -> None:
        """Iterate once, as the head of this file says."""
        model, tau = self.model, self.length / self.strength
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
        r, p = self.model.balance(self.r, self.p_next)
        fits = self.strength / max(float(lengths(p).max()), 1e-30)
        size = float(linear_inverse.power_spectrum(r).sum())
        along = float((r.conj() * self.Y).real.double().sum())
        scale = min(max(-along / max(size, 1e-30), -fits), fits)
        return -scale * scale * size / 2 - scale * along

    def strengthen(self, factor: float) -> None:
        """Change the strength; p keeps its share of it."""
        self.strength = min(max(self.strength * factor, linear_inverse.WEAKEST), linear_inverse.STRONGEST)
        self.p = self.p * factor


def start(model: Sampling, Y: Tensor, tau: float, strength: float | None) -> Iteration:
    """Start at Tikhonov's solution, whose slopes, times its strength tau, are a dual variable but for their bound."""
    x = model.synthesise(linear_inverse.tikhonov(model.spectrum, Y, tau))
    p = tau * slopes(x, model.mirrored)
    size = lengths(p)
    if strength is None:
        strength = max(float(size.double().mean()), linear_inverse.WEAKEST)
    return Iteration(model, Y, x, p / (size / strength).clamp(min=1), strength)


def denoise(y: Tensor, strength: float, tolerance: float = 1e-3, steps: int = 1000) -> Tensor:
    """Minimise 1/2 |x - y|^2 + strength * sum |D x|, the channels together.

    Args:
        y: (1, C, H, W) in [0, 1], noisy.
        strength: Weight of the total variation, above 0.
        tolerance: The relative duality gap at which it stops.
        steps: The most iterations.

    Returns:
        x, of the same shape.
    """
    mean = y.mean(dim=(-2, -1), keepdim=True)
    Y = y - mean
    if float(Y.square().mean()) < FLAT:
        return y
    p = torch.zeros((2, *y.shape[1:]), dtype=y.dtype, device=y.device)
    iteration = Iteration(Identity(), Y, Y, p, strength, STEP_DENOISING)
    for k in range(1, steps + 1):
        iteration.step()
        if k % CHECK == 0:
            primal = iteration.primal()
            if primal - iteration.dual() <= tolerance * primal:
                break
    return iteration.x_next + mean
