"""The Wiener filter: the best linear guess of the large picture, given how its power falls with the frequency.

Wiener 1949 (``CARD.paper``). The picture is taken for a random one whose power at the frequency f is S(f), and the
noise is white with variance sigma^2::

    X = conj(b) S / (|b|^2 S + sigma^2) * Y                          where y is as large as x
    X = conj(b) S * unfold(Y / (fold_squared(|b|^2 S) + sigma^2))    where s * s frequencies of x fold onto one of y

Natural pictures have a power that falls about as 1 / f^2 (Field 1987): ``S = A (f^2 + f_0^2)^(-slope / 2)``, with f^2
the eigenvalues of the Laplacian and f_0 the lowest frequency. A and the slope, and sigma where it is not told, are
those under which y is most likely. The strength is the variance of the noise over that of the picture.

Differs from the paper: pictures instead of time series, so the filter looks to all sides; the mean passes as it is; and
folding, which the paper has not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from safelight.core.card import Card, ClosedForm, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.solvers import linear_inverse
from safelight.solvers.linear_inverse import Spectrum

SLOPES = tuple(1.5 + 0.25 * i for i in range(11))
"""The slopes that are tried: half to twice that of natural pictures."""


@dataclass(frozen=True, slots=True)
class Options:
    """The assumed noise and power spectrum."""

    strength: float | None = option(
        None,
        "variance of the noise over that of the picture; auto fits it",
        low=linear_inverse.WEAKEST,
        high=linear_inverse.STRONGEST,
    )
    slope: float | None = option(None, "how fast the power falls with the frequency; auto fits it", low=0, high=6)


def spectrum_of_pictures(model: Spectrum, slope: float) -> Tensor:
    """S for A = 1: the power of each wave, (H, W) float64, 1 in the mean."""
    lowest = (2 * math.sin(math.pi / 2 / max(model.rough.shape))) ** 2
    S = (model.rough + lowest) ** (-slope / 2)
    return S / S.mean()


def unlikelihood(energy: Tensor, g: Tensor, channels: int, A: float, noise: float) -> float:
    """-2 log p(Y) of independent Gaussians of variance A g + noise, but for a constant."""
    variance = A * g + noise
    return float((channels * variance.log() + energy / variance).sum())


def fit(model: Spectrum, Y: Tensor, options: Options, sigma: float | None) -> tuple[float, float]:
    """Find the strength and the slope under which the coefficients (1, C, h, w) are most likely."""
    energy, channels = linear_inverse.power_spectrum(Y), Y.shape[1]
    slopes = SLOPES if options.slope is None else (options.slope,)
    given = options.strength
    if given is None and sigma == 0:
        given = linear_inverse.WEAKEST
    found: list[tuple[float, float, float]] = []
    for slope in slopes:
        g = model.gram(spectrum_of_pictures(model, slope))
        cost = _cost(energy, g, channels, sigma if given is None else None)
        strength = linear_inverse.minimise_over_strengths(cost) if given is None else given
        found.append((cost(strength), strength, slope))
    _, strength, slope = min(found)
    return strength, slope


def _cost(energy: Tensor, g: Tensor, channels: int, sigma: float | None) -> Callable[[float], float]:
    def cost(strength: float) -> float:
        if sigma is not None:
            return unlikelihood(energy, g, channels, sigma**2 / strength, sigma**2)
        # The likeliest A for this strength has a closed form.
        A = max(float((energy / (g + strength)).mean()) / channels, 1e-12)
        return unlikelihood(energy, g, channels, A, A * strength)

    return cost


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Restore the whole picture, each channel alone by the same filter."""
    y = problem.y
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    mean = y.mean(dim=(-2, -1), keepdim=True)
    Y = model.analyse(linear_inverse.extrapolate_margin(model, y - mean))
    strength, slope = fit(model, Y, options, problem.sigma)
    S = spectrum_of_pictures(model, slope)
    X = model.adjoint(Y / (model.gram(S) + strength).to(Y.real.dtype)) * S.to(Y.real.dtype)
    x = model.crop(model.synthesise(X)) + mean
    notes: tuple[str, ...] = ()
    if options.strength is None:
        how = "with the noise fitted" if problem.sigma is None else f"for a noise of {255 * problem.sigma:g}"
        notes = (f"strength {strength:.3g} and slope {slope:g}, the likeliest {how}",)
    return SolverResult(x=x.contiguous(), notes=notes)


CARD = Card(
    module=__name__,
    title="Wiener filter",
    summary="The best linear guess for pictures whose power falls with the frequency: fast deblurring and enlarging.",
    paper=Paper(
        title="Extrapolation, Interpolation, and Smoothing of Stationary Time Series",
        authors="N. Wiener",
        venue="MIT Press 1949",
        link="https://doi.org/10.7551/mitpress/2946.001.0001",
    ),
    options=Options,
    accepts=frozenset({"sigma", "blur"}),
    method=ClosedForm(solve=solve, bytes=130),
)
