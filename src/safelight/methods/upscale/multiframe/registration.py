"""Where a frame lies against the reference: phase correlation, refined to a small part of a pixel.

The frames may differ by a translation only. Their spectra then differ by a phase that grows linearly with frequency
(Kuglin and Hines 1975), and the inverse transform of the phase is a peak at the translation. The transform is evaluated
on a fine grid around the peak as a product of two small matrices (Guizar-Sicairos, Thurman and Fienup 2008,
doi:10.1364/OL.33.000156), and a parabola through the best three values of each axis goes below the grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FINE = 50  # grid points a pixel
_PASS = 0.5 * math.pi  # frequencies above hold aliases, which move otherwise than the scene: they do not vote


def register(reference: Tensor, frame: Tensor) -> tuple[Tensor, float]:
    """Find the shift (down, right), in pixels, such that frame(i) is about reference(i + shift).

    A shift of more than a third of a side is not found.

    Returns:
        The shift, (2,) float64, and how alike the two are there: the correlation, in [-1, 1], of their slopes at
        the low frequencies that registration looks at.

    Args:
        reference: (h, w), any unit.
        frame: (h, w).
    """
    h, w = reference.shape
    power = _spectrum(reference) * _spectrum(frame).conj()
    phase = power / (power.abs() + 1e-3 * power.abs().mean() + 1e-30)
    surface = torch.fft.irfft2(phase * _lowpass((h, w), phase.device), s=(h, w))
    for axis, side in enumerate((h, w)):  # the other places are wraps
        near = torch.fft.fftfreq(side, 1 / side).abs() <= max(1.0, side / 3)
        surface = surface.masked_fill(~near.to(surface.device).view((-1, 1) if axis == 0 else (1, -1)), -math.inf)
    peak = int(surface.argmax())
    start = [peak // w, peak % w]
    whole = [p - n if p > n // 2 else p for p, n in zip(start, (h, w), strict=True)]
    shift, likeness = torch.tensor(whole, dtype=torch.float64), 0.0
    for _ in range(2):  # the second time on the parts that both see, where the first was whole pixels off
        down, right = (int(v) for v in shift.round())
        a = reference[max(0, down) : h + min(0, down), max(0, right) : w + min(0, right)]
        b = frame[max(0, -down) : h + min(0, -down), max(0, -right) : w + min(0, -right)]
        rest, likeness = _subpixel(a, b)
        shift = torch.tensor([down, right], dtype=torch.float64) + rest
    return shift, likeness


def _window(h: int, w: int, device: torch.device) -> Tensor:
    """A Hann window, so that the borders, which do not continue on the other side, do not correlate."""
    rows, columns = ((torch.arange(n, device=device, dtype=torch.float64) + 0.5) / n for n in (h, w))
    return (torch.sin(math.pi * rows) ** 2)[:, None] * torch.sin(math.pi * columns) ** 2


def _lowpass(size: tuple[int, int], device: torch.device) -> Tensor:
    """Weights of a half spectrum: 1 at the mean, falling to 0 at a part of the sampling frequency."""
    rows = 2 * math.pi * torch.fft.fftfreq(size[0], device=device, dtype=torch.float64)
    columns = 2 * math.pi * torch.fft.rfftfreq(size[1], device=device, dtype=torch.float64)
    radius = (rows[:, None] ** 2 + columns**2).sqrt() / _PASS
    return torch.cos(radius.clamp(max=1) * math.pi / 2) ** 2


def _spectrum(x: Tensor) -> Tensor:
    window = _window(x.shape[0], x.shape[1], x.device)
    return torch.fft.rfft2((x.double() - (x * window).sum() / window.sum()) * window)


def _subpixel(a: Tensor, b: Tensor) -> tuple[Tensor, float]:
    """Find the rest of a shift of less than a pixel or so, and the likeness."""
    h, w = a.shape
    rows = 2 * math.pi * torch.fft.fftfreq(h, device=a.device, dtype=torch.float64)
    columns = 2 * math.pi * torch.fft.rfftfreq(w, device=a.device, dtype=torch.float64)
    weight = _lowpass((h, w), a.device) * (rows[:, None] ** 2 + columns**2)
    weight[:, 1:] *= 2  # the half that is not there
    first, second = _spectrum(a), _spectrum(b)
    power = first * second.conj() * weight
    grid = torch.arange(-_FINE, _FINE + 1, device=a.device, dtype=torch.float64) / _FINE
    left = torch.exp(1j * grid[:, None] * rows)
    right = torch.exp(1j * columns[:, None] * grid)
    surface = (left @ power @ right).real
    peak = int(surface.argmax())
    i, j = peak // len(grid), peak % len(grid)
    energy = float((first.abs() ** 2 * weight).sum() * (second.abs() ** 2 * weight).sum())
    likeness = float(surface[i, j]) / math.sqrt(energy) if energy > 0 else 0.0
    return torch.tensor([float(grid[i]) + _vertex(surface[:, j], i), float(grid[j]) + _vertex(surface[i], j)]), likeness


def _vertex(values: Tensor, at: int) -> float:
    """Where the parabola through a maximum and its neighbours has its top, from the maximum, in pixels."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, top, after = (float(v) for v in values[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend / _FINE
