"""Noise estimation: a blind estimate of the standard deviation of white Gaussian noise.

G. Chen, F. Zhu, P. A. Heng, "An Efficient Statistical Method for Image Noise Level Estimation", ICCV 2015, on patches
that are chosen as in X. Liu, M. Tanaka, M. Okutomi, "Single-Image Noise Level Estimation for Blind Denoising", IEEE
TIP 2013.

A clean patch lies in a few directions of the space of patches, and noise in all of them. So the small eigenvalues of
the patches' covariance are those of the noise, sigma^2; the large ones are put aside one by one, until those that are
left lie around their mean as evenly as noise would. On a picture of texture none is of noise alone. Therefore only
patches whose gradients are as small as noise of the present estimate would have them are kept, and the estimate is made
again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

SIDES = (7, 5, 4, 3)  # of a patch, the first that the picture has enough of
ENOUGH = 3  # times the dimension of a patch: fewer patches have no covariance worth the name
MOST = 30_000  # patches, drawn at random: more change nothing in the second digit
ROUNDS = 6  # of choosing patches
QUANTILE = 2.326  # standard deviations: 99 of 100 patches of noise alone are kept


@dataclass(frozen=True, slots=True)
class Estimate:
    """The noise of a picture, in units of [0, 1].

    ``sigma`` is the standard deviation over all channels, ``channels`` that of each. ``patches`` says how many patches
    they rest upon; 0: the picture is too small, and they are 0.
    """

    sigma: float
    channels: tuple[float, ...]
    patches: int

    def describe(self) -> str:
        """Describe the estimate in a sentence, on the scale of [0, 255]."""
        if not self.patches:
            return "the picture is too small to estimate its noise, which was taken as 0; say it by --sigma"
        return f"the noise was estimated as about {255 * self.sigma:.2g} (of 255)"


def estimate(x: Tensor) -> Estimate:
    """Estimate the standard deviation of a picture's white Gaussian noise.

    Samples that are exactly 0 or 1 may have been clipped, and noise beside them too; such patches are left out as long
    as there are others. The same picture gives the same estimate.

    Args:
        x: (1, C, H, W) in [0, 1], or beyond it where noise was not clipped.

    Example:
        >>> noisy = 0.5 + 0.1 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(estimate(noisy).sigma, 2)
        0.1
    """
    height, width = x.shape[-2:]
    for side in SIDES:
        places = max(0, height - side + 1) * max(0, width - side + 1)
        if places >= ENOUGH * side**2:
            break
    else:
        return Estimate(0.0, (0.0,) * x.shape[1], 0)
    at = torch.arange(places)
    if places > MOST:
        at = torch.randint(places, (MOST,), generator=torch.Generator().manual_seed(0))
    corner = at // (width - side + 1) * width + at % (width - side + 1)
    inside = (torch.arange(side)[:, None] * width + torch.arange(side)).flatten()
    index = (corner[:, None] + inside).to(x.device)
    found = [_of_patches(channel.flatten()[index], side) for channel in x[0]]
    sigmas = tuple(sigma for sigma, _ in found)
    return Estimate(math.sqrt(sum(sigma**2 for sigma in sigmas) / len(sigmas)), sigmas, min(n for _, n in found))


def given_or_estimated(x: Tensor, told: float | None) -> tuple[float, tuple[str, ...]]:
    """Return the given sigma, or else an estimate and the note that says so.

    Args:
        x: (1, C, H, W) in [0, 1].
        told: The standard deviation in units of [0, 1], or ``None`` to estimate it.

    Returns:
        The standard deviation, and the notes for the user.
    """
    if told is not None:
        return told, ()
    found = estimate(x)
    return found.sigma, (found.describe(),)


def _of_patches(patches: Tensor, side: int) -> tuple[float, int]:
    """Estimate sigma of (N, side * side) patches; also how many were used."""
    least = ENOUGH * side**2
    clipped = ((patches == 0) | (patches == 1)).any(dim=1)
    may_be_clipped = bool(clipped.any())
    if may_be_clipped and int((~clipped).sum()) >= least:
        patches = patches[~clipped]
    gradients, mean = _gradients(patches, side), patches.mean(dim=1)
    limit = _limit(side)
    chosen = patches
    sigma = _smallest(chosen)
    for _ in range(ROUNDS):
        kept = gradients <= limit * sigma**2
        if may_be_clipped:
            inner = kept & (mean >= 2 * sigma) & (mean <= 1 - 2 * sigma)
            kept = inner if int(inner.sum()) >= least else kept
        if int(kept.sum()) < least:
            break
        before, chosen = sigma, patches[kept]
        sigma = _smallest(chosen)
        if abs(sigma - before) <= 1e-3 * before:
            break
    return sigma, len(chosen)


def _smallest(patches: Tensor) -> float:
    """Chen, Zhu and Heng: the mean of the eigenvalues of noise, those whose mean is also their median; its root."""
    centred = patches.double() - patches.double().mean(dim=0)
    # torch's stubs lack the type of what it returns.
    values = cast("Tensor", torch.linalg.eigvalsh(centred.T @ centred / len(patches))).flip(0)
    for start in range(len(values)):
        rest = values[start:]
        mean = rest.mean()
        if int((rest > mean).sum()) >= int((rest < mean).sum()):
            return math.sqrt(max(0.0, float(mean)))
    raise AssertionError("one value is its own mean")


def _gradients(patches: Tensor, side: int) -> Tensor:
    """The sum of squared differences of neighbours in each patch, (N,)."""
    square = patches.view(-1, side, side)
    return square.diff(dim=1).square().sum(dim=(1, 2)) + square.diff(dim=2).square().sum(dim=(1, 2))


def _limit(side: int) -> float:
    """The quantile of ``_gradients`` for patches of noise with sigma 1.

    They are a quadratic form n' A n, near to a multiple g of a chi-squared variable of k degrees of freedom with the
    same mean, tr A, and variance, 2 tr A^2. Its quantile is Wilson's and Hilferty's.
    """
    basis = torch.eye(side**2, dtype=torch.float64).view(-1, side, side)
    differences = torch.cat((basis.diff(dim=1).flatten(1), basis.diff(dim=2).flatten(1)), dim=1)
    form = differences @ differences.T
    trace, square = float(form.trace()), float((form @ form).trace())
    g, k = square / trace, trace**2 / square
    return g * k * (1 - 2 / (9 * k) + QUANTILE * math.sqrt(2 / (9 * k))) ** 3
