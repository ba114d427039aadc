"""Non-local means: each pixel becomes the mean of those whose surroundings look like its own.

Buades et al. 2005 (``CARD.paper``), as scikit-image has it (the extra ``classic``), with the integral images of J.
Darbon et al., ISBI 2008::

    x(p) = sum_q w(p, q) y(q) / sum_q w(p, q),    w(p, q) = exp(-max(d^2(p, q) - 2 sigma^2, 0) / h^2)

d^2 is the mean squared difference of the patches around p and q, of all colours together, and q runs over a window of
13 x 13 pixels. Patches are 5 x 5 pixels, and 3 x 3 for colour with little noise, where three channels say enough.

Differs from the paper: the window is smaller than its 21 x 21, which was no better on photographs; the patches are not
weighted by a Gaussian; h is 0.65 sigma (0.6 for colour), since 2 sigma^2 is subtracted from the distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from safelight.core.card import Card, ClosedForm, OptionalPackage, Paper
from safelight.core.options import option
from safelight.core.solver_input import SolverInput, SolverResult
from safelight.ops import noise

DISTANCE = 6  # pixels from p to the farthest q along an axis
LEAST = 8  # pixels of a side: a smaller picture is mirrored
LITTLE = 20  # of 255: less noise than that leaves colour patches of 3 x 3 pixels distinct


@dataclass(frozen=True, slots=True)
class Options:
    """Options of non-local means."""

    smoothing: float | None = option(
        None, "h in units of the noise; auto: 0.65 for gray, 0.6 for colour; more is smoother", low=0.01, high=100
    )


def solve(problem: SolverInput, options: Options) -> SolverResult:
    """Average over the window."""
    from skimage.restoration import denoise_nl_means

    y = problem.y
    sigma, notes = noise.given_or_estimated(y, problem.sigma)
    if sigma == 0:
        return SolverResult(x=y, notes=notes)
    colour = y.shape[1] == 3
    smoothing = (0.6 if colour else 0.65) if options.smoothing is None else options.smoothing
    height, width = y.shape[-2:]
    frame = ((0, max(0, LEAST - height)), (0, max(0, LEAST - width)), (0, 0))
    framed = np.pad(y[0].permute(1, 2, 0).cpu().numpy(), frame, mode="symmetric")
    x = denoise_nl_means(
        framed if colour else framed[..., 0],
        patch_size=3 if colour and 255 * sigma < LITTLE else 5,
        patch_distance=DISTANCE,
        h=smoothing * sigma,
        sigma=sigma,
        channel_axis=-1 if colour else None,
    )
    x = torch.from_numpy(x.astype(np.float32)).to(y.device)
    x = x.permute(2, 0, 1) if colour else x[None]
    return SolverResult(x=x[None, :, :height, :width].contiguous(), notes=notes)


CARD = Card(
    module=__name__,
    title="Non-local means",
    summary="The mean of the pixels whose surroundings look alike: good on repeating texture (2005).",
    paper=Paper(
        title="A non-local algorithm for image denoising",
        authors="A. Buades, B. Coll, J.-M. Morel",
        venue="CVPR 2005",
        link="https://doi.org/10.1109/CVPR.2005.38",
    ),
    method=ClosedForm(solve=solve, bytes=48),
    options=Options,
    accepts=frozenset({"sigma"}),
    extra=OptionalPackage(module="skimage", name="classic"),
)
