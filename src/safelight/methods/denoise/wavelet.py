"""Wavelet shrinkage: small coefficients of a wavelet transform are noise, and all are drawn towards zero.

Chang et al. 2000 (``CARD.paper``) (BayesShrink), as scikit-image has it (the extra ``classic``). Each subband, of
variance v, has the soft threshold that is best for coefficients of a Laplacian distribution::

    T = sigma^2 / sqrt(max(v - sigma^2, 0)),    x = W^-1 soft(W y, T)

The result is the mean over shifts of the grid, the "cycle spinning" of R. R. Coifman and D. L. Donoho, 1995, which a
decimated transform needs against its checkered artefacts. Colour is shrunk as opponent colours, an orthonormal mix of
RGB.

Differs from the paper: Daubechies' wavelet with 2 vanishing moments rather than the symmlet with 8; the shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.core.card import Card, ClosedForm, OptionalPackage, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.ops import color, noise

LEVELS = 4
MARGIN = 28  # pixels of mirrored border: room for the shifts, and for the levels however small the picture is


@dataclass(frozen=True, slots=True)
class Options:
    """Options of wavelet thresholding."""

    shifts: int = option(
        4, "shifts of the grid along each axis that are averaged; the time is their square", low=1, high=8
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Shrink the coefficients of each channel."""
    y = problem.y
    sigma, notes = noise.given_or_estimated(y, problem.sigma)
    if sigma == 0:
        return SolverResult(x=y, notes=notes)
    o = color.rgb_to_opponent(y) if y.shape[1] == 3 else y
    planes = [shrink(plane, sigma, options.shifts) for plane in o[0].cpu().numpy()]
    x = torch.from_numpy(np.stack(planes)[None].astype(np.float32)).to(y.device)
    return SolverResult(x=color.opponent_to_rgb(x) if y.shape[1] == 3 else x, notes=notes)


def shrink(y: NDArray[np.float32], sigma: float, shifts: int) -> NDArray[np.float32]:
    """Shrink one plane, (H, W), at each shift of the grid, and average."""
    from skimage.restoration import denoise_wavelet

    height, width = y.shape
    framed = np.pad(y, MARGIN, mode="symmetric")
    total = np.zeros_like(y)
    for down in range(shifts):
        for across in range(shifts):
            x = denoise_wavelet(
                framed[down:, across:], sigma=sigma, wavelet="db2", mode="soft", wavelet_levels=LEVELS,
                method="BayesShrink",
            )  # fmt: skip
            top, left = MARGIN - down, MARGIN - across
            total += x[top : top + height, left : left + width]
    return total / np.float32(shifts**2)


CARD = Card(
    module=__name__,
    title="Wavelet shrinkage",
    summary="Wavelet coefficients drawn towards zero, each band by its threshold: fast and even (BayesShrink, 2000).",
    paper=Paper(
        title="Adaptive Wavelet Thresholding for Image Denoising and Compression",
        authors="S. G. Chang, B. Yu, M. Vetterli",
        venue="IEEE TIP 2000",
        link="https://doi.org/10.1109/83.862633",
    ),
    method=ClosedForm(solve=solve, bytes=40),
    options=Options,
    accepts=frozenset({"sigma"}),
    extra=OptionalPackage(module="pywt", name="classic"),
)
