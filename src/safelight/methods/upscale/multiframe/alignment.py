"""Which frames belong to the scene, where each of them lies on the canvas, and how bright it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops
from safelight.methods.upscale.multiframe.fusion import Joint, smooth_size
from safelight.methods.upscale.multiframe.registration import register
from safelight.solvers.linear_inverse import ROUNDING, point_spread

LEAST = 16  # sides of a frame that can be registered
_ALIKE = 0.6  # other scenes reach 0.4, the same scene under a noise of 20 has 0.8
_ODD = 1.6  # times the median error: what fits worse is left out
_ROUNDS = 3  # of fitting the picture and the shifts in turn
_BLOCK = 8  # sides of the squares whose means tell the brightness, with little noise
_NOT_BRIGHTER = (0.03, 1 / 255)  # smaller gains and changes of the mean are not corrected: they are mostly error


@dataclass(frozen=True, slots=True)
class Canvas:
    """The place of the reference on a periodic canvas, in pixels of a frame.

    ``inner`` is the reference's (h, w), with ``margin`` pixels around it over which the blur and the shifts reach;
    ``size`` is (m, n), with lengths that transform fast. What the other frames see beyond the reference is not used:
    few would see it, and it is not asked for.
    """

    inner: tuple[int, int]
    size: tuple[int, int]
    margin: int

    @staticmethod
    def around(h: int, w: int, scale: int, blur: Tensor | None) -> Canvas:
        """Make the canvas of a reference that is seen through the blur of a ``Problem``."""
        receptive_radius = math.ceil(max(point_spread(scale, blur).shape) / 2 / scale)
        margin = receptive_radius + 4
        return Canvas((h, w), (smooth_size(h + 2 * margin), smooth_size(w + 2 * margin)), margin)

    def crop(self, x: Tensor, scale: int) -> Tensor:
        """Cut the picture out of its canvas enlarged ``scale`` times."""
        (h, w), edge = self.inner, self.margin * scale
        return x[..., edge : edge + h * scale, edge : edge + w * scale]

    def place(self, frame: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Lay a frame, (C, h, w), down moved by whole pixels: its canvas, and (1, m, n) with 1 where it has pixels."""
        (h, w), (m, n) = self.inner, self.size
        top, left = (self.margin + int(v) for v in whole)
        first, bottom = max(top, self.margin), min(top, self.margin) + h
        start, right = max(left, self.margin), min(left, self.margin) + w
        canvas, mask = frame.new_zeros(frame.shape[0], m, n), frame.new_zeros(1, m, n)
        canvas[:, first:bottom, start:right] = frame[:, first - top : bottom - top, start - left : right - left]
        mask[:, first:bottom, start:right] = 1
        return canvas, mask

    def extend(self, frame: Tensor) -> Tensor:
        """Fill a canvas with a picture and its mirror, fading over to the other side's: (C, h, w) to (C, m, n)."""
        for dim, inner, full in ((-2, self.inner[0], self.size[0]), (-1, self.inner[1], self.size[1])):
            place = torch.remainder(torch.arange(full) - self.margin, full)  # from the picture's first pixel
            fade = ((place - inner + 0.5) / (full - inner)).clamp(min=0).to(frame)
            near, far = (frame.index_select(dim, _mirrored(p, inner).to(frame.device)) for p in (place, place - full))
            frame = torch.lerp(near, far, fade.view((-1, 1) if dim == -2 else (1, -1)))
        return frame


def _mirrored(place: Tensor, n: int) -> Tensor:
    place = torch.remainder(place, 2 * n)
    return torch.where(place < n, place, 2 * n - 1 - place)


@dataclass(frozen=True, slots=True)
class Aligned:
    """The frames that belong, the reference first.

    ``numbers`` are their places among all frames, from 0; ``shifts`` (K, 2) in pixels; ``gains`` and ``offsets``,
    one a frame, undo a change of brightness: (y - offset) / gain. ``sigma`` is the estimated noise, and ``left_out``
    says for the others why.
    """

    numbers: tuple[int, ...]
    shifts: Tensor
    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    sigma: float
    left_out: tuple[tuple[int, str], ...]


def align(
    planes: Sequence[Tensor], scale: int, blur: Tensor | None, sigma: float | None, known: Tensor | None = None
) -> Aligned:
    """Find the frames that belong to the first one, their shifts, brightness and noise.

    Args:
        planes: The luma of each frame, the reference first, (1, h, w) each, in [0, 1].
        scale: The zoom.
        blur: The kernel, as in ``Problem``.
        sigma: Of the noise, in units of [0, 1]; ``None``: estimate it.
        known: Shifts, (K, 2), that need not be found.
    """
    reference = planes[0]
    shifts = [torch.zeros(2, dtype=torch.float64)]
    left_out: list[tuple[int, str]] = []
    numbers, gains, offsets = [0], [1.0], [0.0]
    for k, frame in enumerate(planes[1:], start=1):
        shift, likeness = register(reference[0], frame[0])
        if known is not None:
            shift = known[k].double()
        elif likeness < _ALIKE:
            left_out.append((k, f"it shows something else, or more than a shift (likeness {likeness:.2f} of 1)"))
            continue
        gain, offset = _brightness(reference, frame, shift)
        numbers.append(k)
        shifts.append(shift)
        gains.append(gain)
        offsets.append(offset)
    while True:
        kept = [(planes[k] - offset) / gain for k, gain, offset in zip(numbers, gains, offsets, strict=True)]
        found, errors, noise = refine(kept, torch.stack(shifts), scale, blur, sigma, move=known is None)
        worst = max(range(1, len(errors)), key=lambda i: errors[i], default=0)
        middle = sorted(errors)[(len(errors) - 1) // 2]
        if errors[worst] < _ODD * middle + ROUNDING or known is not None:
            break
        ratio = errors[worst] / max(middle, ROUNDING)
        left_out.append((numbers[worst], f"a shift does not explain it (error {ratio:.1f} times the others')"))
        for column in (numbers, shifts, gains, offsets):
            del column[worst]
    return Aligned(tuple(numbers), found, tuple(gains), tuple(offsets), noise, tuple(sorted(left_out)))


def _brightness(reference: Tensor, frame: Tensor, shift: Tensor) -> tuple[float, float]:
    """Fit frame = gain * reference + offset to the means of squares where both have pixels."""
    a, b = reference, frame
    for dim in (-2, -1):
        n, whole = a.shape[dim], math.floor(float(shift[dim]))
        first, last = max(0, -whole), min(n, n - 1 - whole)
        if last - first < 2 * _BLOCK:
            return 1.0, 0.0
        near, far = (a.narrow(dim, first + whole + one, last - first) for one in (0, 1))
        a, b = torch.lerp(near, far, float(shift[dim]) - whole), b.narrow(dim, first, last - first)
    x, y = (F.avg_pool2d(v, _BLOCK).flatten().double() for v in (a, b))
    spread = float((x - x.mean()).square().sum())
    gain = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 1.0
    if not 0.2 < gain < 5:
        return 1.0, 0.0
    offset = float(y.mean() - gain * x.mean())
    if abs(gain - 1) < _NOT_BRIGHTER[0] and abs(float(y.mean() - x.mean())) < _NOT_BRIGHTER[1]:
        return 1.0, 0.0
    return gain, offset


def typical_slope(reference: Tensor, scale: int, sigma: float) -> float:
    """Estimate the mean slope of the large picture, halved, from a small one, (C, h, w): the scale of its variation.

    The Gaussian takes most of the noise away, and what noise alone would leave is subtracted. That slopes fall with
    the zoom to the power 0.3 was measured on photographs.
    """
    smooth = ops.gaussian_blur(reference[None], 0.7)[0]
    down, right = smooth[:, 1:, :-1] - smooth[:, :-1, :-1], smooth[:, :-1, 1:] - smooth[:, :-1, :-1]
    if down.numel() == 0:
        return ROUNDING
    mean = float((down.square() + right.square()).sum(0).sqrt().mean()) / 2
    noise = 0.225 * sigma * math.sqrt(len(reference))
    return max(ROUNDING, math.sqrt(max(0.0, mean**2 - noise**2)) / scale**0.3)


def refine(
    planes: Sequence[Tensor], shifts: Tensor, scale: int, blur: Tensor | None, sigma: float | None, *, move: bool
) -> tuple[Tensor, list[float], float]:
    """Fit a smooth large picture to all frames, (C, h, w) each, and the shifts to it in turn, by Gauss-Newton steps.

    Frames hold aliases that spoil the comparison of two; the fit explains the aliases.

    Returns:
        The shifts, each frame's RMS error in the fit, and the noise's sigma (the told one, if it was).
    """
    canvas = Canvas.around(planes[0].shape[-2], planes[0].shape[-1], scale, blur)
    whole = shifts.round()
    placed = [canvas.place(frame, move) for frame, move in zip(planes, whole, strict=True)]
    joint = Joint(canvas.size, scale, blur, shifts - whole, planes[0].device)
    x = joint.spectrum(ops.resize(canvas.extend(planes[0])[None], joint.large)[0])
    noise = 3 / 255 if sigma is None else max(sigma, ROUNDING)
    samples = [max(1.0, float(mask.sum()) * len(frame)) for frame, (_, mask) in zip(planes, placed, strict=True)]
    errors: list[float] = []
    for _ in range(_ROUNDS):
        smoothness = (noise / (2.5 * typical_slope(planes[0], scale, noise))) ** 2
        inverse = joint.inverse(smoothness)
        for _ in range(2):
            x = joint.fit(inverse, x, placed)
        left = [
            float(((y - made) * mask).square().sum()) for made, (y, mask) in zip(joint.observe(x), placed, strict=True)
        ]
        errors = [math.sqrt(one / count) for one, count in zip(left, samples, strict=True)]
        if sigma is None:
            share = 1 - joint.freedom(inverse, smoothness) / (len(planes) * canvas.size[0] * canvas.size[1])
            noise = max(ROUNDING, math.sqrt(sum(left) / (sum(samples) * max(share, 1e-3))))
        if move and len(planes) > 1:
            joint.move(joint.shifts + torch.stack([_step(joint, x, k, *placed[k]) for k in range(len(planes))]))
    return joint.shifts + whole, errors, noise


def _step(joint: Joint, x: Tensor, k: int, y: Tensor, mask: Tensor) -> Tensor:
    """The least-squares change of frame k's shift, (2,) float64; the reference stays."""
    if k == 0:
        return torch.zeros(2, dtype=torch.float64)
    made, down, right = joint.slopes(x, k)
    slopes = torch.stack([(down * mask).flatten(), (right * mask).flatten()]).double()
    matrix = slopes @ slopes.T
    target = slopes @ ((y - made) * mask).flatten().double()
    if float(torch.linalg.det(matrix)) <= 1e-12 * float(matrix.trace()) ** 2:
        return torch.zeros(2, dtype=torch.float64)
    return torch.linalg.solve(matrix, target).clamp(-0.25, 0.25).cpu()
