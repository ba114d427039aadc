"""Several pictures of one scene make one larger picture: each frame samples the scene between the others' pixels.

Farsiu et al. 2004 (``CARD.paper``). Frame k is seen through y_k = S B W_k x + noise: the scene x shifted by W_k,
blurred by B (the ``SolverInput``'s kernel, or the field's bicubic) and sampled by S. What is solved is::

    x = argmin  1/2 sum_k |S B W_k x - y_k|^2 + strength * TV(x)           TV: the slopes of all channels together

1. Registration. Phase correlation against the first frame, refined to a small part of a pixel on a fine grid around
   the peak (``registration``); then least-squares steps against the fused picture, which explains the frames' aliases
   (``alignment``). The motion is a translation, the same for the whole picture. Frames that another motion, another
   scene or a strong change makes unlike the others are left out, and a note says which. Changes of brightness (a gain
   and an offset) are estimated and undone.
2. The inverse problem, by ADMM. With v for the slopes of x and u for the scaled multipliers::

       v = shrink(D x + u, strength / rho)        u = u + D x - v
       x = (sum_k A_k' A_k + rho D'D)^-1 (sum_k A_k' y_k + rho D'(v - u))

   The matrix falls into blocks of scale^2 unknowns for each frequency and is inverted exactly (``fusion``). The canvas
   is larger than the picture and periodic; what a frame did not see of it is filled in with A_k x, again and again.
   The iteration makes 40 steps: more gain nothing in the score.

The first frame is the reference: the result shows what it shows. By itself, strength is 0.2 sqrt(C) sigma^2 / b, with b
half the mean slope of a picture of C channels: the weight of a prior exp(-slope / b), lowered. sigma is what was told,
or estimated from what a fit leaves.

Differs from the paper: squares instead of absolute errors, with whole frames left out; TV instead of bilateral TV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight import ops
from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.methods.upscale.multiframe.alignment import LEAST, Aligned, Canvas, align, refine, typical_slope
from safelight.methods.upscale.multiframe.fusion import Joint
from safelight.ops import noise
from safelight.ops.color import rgb_to_ycbcr
from safelight.solvers.linear_inverse import ROUNDING

_STEPS = 40
_EVERY = 3  # steps between two completions of what frames did not see
_WEIGHT = 0.2  # of sigma^2 / b: between 0.1 and 0.3, Set5's PSNR changes by 0.1 dB
_LUMA_NOISE = 0.574  # of the channels' sigma: the root of BT.601's squared weights
_MANY = 4  # frames whose differences tell the noise better than flat patches of one of them
_THRESHOLD = 0.3  # of b: strength / rho, which sets how fast the iteration comes near


@dataclass(frozen=True, slots=True)
class Options:
    """How smooth the result is."""

    strength: float | None = option(
        None, "weight of the total variation; auto follows the noise and the picture", low=1e-7, high=10
    )


def fuse(
    problem: SolverInput, options: Options, report: ProgressCallback, shifts: Tensor | None = None
) -> SolverResult:
    """Make one picture of the frames.

    Args:
        problem: With any number of frames, or none.
        options: The method's.
        report: Told the picture so far after each step.
        shifts: (1 + frames, 2) in pixels, down and right, where they are known: pixel i of frame k sees the
            reference's place i + shift; the first is 0. ``None``: find them.

    Raises:
        CardError: There are frames, but too small to be registered.
    """
    y, scale = problem.y, problem.scale
    h, w = y.shape[-2:]
    if problem.frames and min(h, w) < LEAST:
        raise CardError(
            f"expected frames of at least {LEAST}x{LEAST} pixels, got {w}x{h}; smaller ones can't be aligned"
        )
    frames = [frame[0].float() for frame in (y, *problem.frames)]
    planes = [rgb_to_ycbcr(frame[None])[0, :1] if len(frame) == 3 else frame for frame in frames]
    sigma = problem.sigma
    luma_sigma = sigma if sigma is None or len(frames[0]) == 1 else _LUMA_NOISE * sigma
    aligned = align(planes, scale, problem.blur, luma_sigma, shifts)
    kept = [
        (frames[k] - offset) / gain
        for k, gain, offset in zip(aligned.numbers, aligned.gains, aligned.offsets, strict=True)
    ]
    if sigma is None:
        sigma = _noise(kept, aligned, problem)
    x = _minimise(kept, aligned.shifts, max(sigma, ROUNDING), problem, options, report)
    return SolverResult(x=x, notes=_notes(aligned, sigma, problem))


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Make one picture of the frames, their shifts unknown."""
    return fuse(problem, options, report)


def _noise(frames: list[Tensor], aligned: Aligned, problem: SolverInput) -> float:
    """Estimate sigma from what the smooth fit leaves; few frames leave little, and then flat patches may say less."""
    sigma = aligned.sigma
    if len(frames[0]) == 3:
        sigma = refine(frames, aligned.shifts, problem.scale, problem.blur, None, move=False)[2]
    return sigma if len(frames) >= _MANY else min(sigma, max(ROUNDING, noise.estimate(problem.y).sigma))


def _minimise(
    frames: list[Tensor], shifts: Tensor, sigma: float, problem: SolverInput, options: Options, report: ProgressCallback
) -> Tensor:
    """ADMM, as in the head of this file."""
    scale, reference = problem.scale, frames[0]
    canvas = Canvas.around(reference.shape[-2], reference.shape[-1], scale, problem.blur)
    whole = shifts.round()
    placed = [canvas.place(frame, move) for frame, move in zip(frames, whole, strict=True)]
    joint = Joint(canvas.size, scale, problem.blur, shifts - whole, reference.device)
    b = typical_slope(reference, scale, sigma)
    strength = _WEIGHT * math.sqrt(len(reference)) * sigma**2 / b if options.strength is None else options.strength
    rho = strength / (_THRESHOLD * b)
    inverse = joint.inverse(rho)
    folded = joint.spectrum(ops.resize(canvas.extend(reference)[None], joint.large)[0])
    folded = joint.fit(inverse, joint.fit(inverse, folded, placed), placed)
    x = joint.picture(folded)
    u = torch.zeros(2, *x.shape, device=x.device)
    observed = folded
    for step in range(_STEPS):
        u += _slopes(x)  # D x + u
        v = u * (1 - strength / rho / u.square().sum((0, 1)).sqrt().clamp(min=1e-12)).clamp(min=0)
        u -= v
        if step % _EVERY == 0:
            observed = joint.gather(joint.filled(folded, placed))
        folded = joint.apply(inverse, observed + joint.spectrum(rho * _slopes_adjoint(v - u)))
        x = joint.picture(folded)
        shown = canvas.crop(x, scale)[None]
        if not report(
            SolverProgress(fraction=(step + 1) / _STEPS, x=shown, remark=f"{len(frames)} frames, step {step + 1}")
        ):
            break
    return canvas.crop(x, scale)[None]


def _slopes(x: Tensor) -> Tensor:
    """D: differences to the next pixel below and to the right, around the border: (C, H, W) to (2, C, H, W)."""
    return torch.stack([x.roll(-1, -2) - x, x.roll(-1, -1) - x])


def _slopes_adjoint(v: Tensor) -> Tensor:
    """D': (2, C, H, W) to (C, H, W)."""
    return v[0].roll(1, -2) - v[0] + v[1].roll(1, -1) - v[1]


def _notes(aligned: Aligned, sigma: float, problem: SolverInput) -> tuple[str, ...]:
    notes: list[str] = []
    if not problem.frames:
        notes.append("one picture alone holds no more of the scene: give several, taken by hand")
    for k, why in aligned.left_out:
        notes.append(f"frame {k + 1} of {len(problem.frames) + 1} was left out: {why}")
    changed = [
        f"{k + 1} ({(gain - 1) * 100:+.0f} %, {offset * 255:+.1f})"
        for k, gain, offset in zip(aligned.numbers, aligned.gains, aligned.offsets, strict=True)
        if (gain, offset) != (1.0, 0.0)
    ]
    if changed:
        notes.append(f"brightness was matched to the first frame's in frame {', '.join(changed)}")
    if problem.sigma is None:
        notes.append(f"the noise was estimated at sigma {sigma * 255:.1f} of 255")
    return tuple(notes)


CARD = Card(
    module=__name__,
    title="Multiframe super-resolution",
    summary="Several pictures of one scene, aligned and solved for one larger picture; total variation.",
    method=Optimised(run=run, bytes=250, scales=(1, 2, 3, 4)),
    options=Options,
    paper=Paper(
        title="Fast and Robust Multiframe Super Resolution",
        authors="S. Farsiu, M. D. Robinson, M. Elad, P. Milanfar",
        venue="IEEE Transactions on Image Processing 2004",
        link="https://doi.org/10.1109/TIP.2004.834669",
    ),
    accepts=frozenset({"frames", "sigma", "blur"}),
)
