"""Back-projection: results that shrink exactly to their input.

The result x of a network may not shrink to its input. It is projected, with the least change, onto the pictures that
the bicubic kernel D shrinks to the input y::

    x + D' (D D')^-1 (y - D x)

D is ``ops.resize`` from the result's size to the input's. It works on the axes one after the other, and so does
D'(D D')^-1: a resampling, as an enlarging kernel is, whose weights fall by a factor of three for each pixel of the
input. So it has a finite radius, and tiles stay exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from safelight import ops
from safelight.core.options import CardError
from safelight.engine.tiles import Region, Stage, Tick, compute
from safelight.ops.resampling import Taps

RADIUS = 16  # pixels of the input: the weights beyond sum to 1e-7
LEAST_ZOOM = 1.05  # below, D D' is nearly singular: rounding errors of the input would become stripes

_BLOCK = 256  # rows of D'(D D')^-1 that are solved for at once


@lru_cache(maxsize=64)
def inverse_taps(n_in: int, n_out: int) -> Taps:
    """Compute D'(D D')^-1 of one axis: the taps that enlarge ``n_in`` to ``n_out`` samples.

    Shrinking the enlarged samples with the bicubic kernel restores them to 1e-7. The systems are solved for a part of
    the axis at a time, with enough margin that the rest has no influence.
    """
    shrink = ops.taps(n_out, n_in)
    width = min(n_in, 2 * RADIUS + 1)
    starts = torch.floor((torch.arange(n_out) + 0.5) * n_in / n_out).long() - width // 2
    starts = starts.clamp(0, n_in - width)
    weights: list[Tensor] = []
    for first, last in ops.chunk_ranges(n_out, _BLOCK):
        low, high = max(0, int(starts[first]) - 8), min(n_in, int(starts[last - 1]) + width + 8)
        part, left, right = shrink.part(low, high)
        d = part.matrix()  # (high - low, right - left)
        wanted = torch.zeros(high - low, last - first, dtype=torch.float64)
        a, b = max(first, left), min(last, right)
        wanted[:, a - first : b - first] = d[:, a - left : b - left]
        solved = cast(Tensor, torch.linalg.solve(d @ d.T, wanted))  # (high - low, last - first)
        weights.append(solved.T.gather(1, starts[first:last, None] - low + torch.arange(width)))
    return Taps(starts[:, None] + torch.arange(width), torch.cat(weights), n_in)


class ConsistencyStage:
    """The last stage of a chain: wraps the stages before, and measures how far their result was from the input.

    Args:
        size_in: (H, W) of the input.
        inner: The stages that compute the result.

    Attributes:
        written: The clipping and rounding that writing to a file applies.

    Raises:
        CardError: The result is not larger than the input on both axes.
    """

    def __init__(self, size_in: tuple[int, int], inner: Sequence[Stage]) -> None:
        self.size_in, self.inner, self.size = size_in, tuple(inner), inner[-1].size
        if min(new / old for new, old in zip(self.size, size_in, strict=True)) < LEAST_ZOOM:
            raise CardError(
                f"expected a size at least {LEAST_ZOOM} times {size_in[1]}x{size_in[0]} on both sides for a consistent "
                f"result, got {self.size[1]}x{self.size[0]}; enlarge more, or leave --consistent out"
            )
        self.written: Callable[[Tensor], Tensor] = _clipped
        axes = list(zip(size_in, self.size, strict=True))
        self._down = [ops.taps(new, old) for old, new in axes]
        self._up = [inverse_taps(old, new) for old, new in axes]
        self._before, self._after = ErrorStatistics(), ErrorStatistics()

    @property
    def margin(self) -> tuple[int, int]:
        """Pixels of the result that are also computed around a tile, vertically and horizontally."""
        return tuple(  # pyright: ignore[reportReturnType]
            min(new, math.ceil((RADIUS + 6) * new / old)) for old, new in zip(self.size_in, self.size, strict=True)
        )

    def input_region(self, region: Region) -> Region:
        """Return the input region of the inner stages for the correction, joined with the input that is compared."""
        _, compared, made = self._around(region)
        read = made
        for stage in reversed(self.inner):
            read = stage.input_region(read)
        return Region(
            min(read.top, compared.top), max(read.bottom, compared.bottom),
            min(read.left, compared.left), max(read.right, compared.right),
        )  # fmt: skip

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:
        """Run the inner stages and project their result."""
        source = self.input_region(region)
        corrected, compared, made = self._around(region)

        def read(part: Region) -> Tensor:
            return _cut(x, source, part)

        whole = compute(self.inner, made, read, tick)
        difference = read(compared) - _resampled(self._down, whole, made, compared)
        result = _cut(whole, made, corrected) + _resampled(self._up, difference, compared, corrected)
        own = self._own(region)
        if own.height > 0 and own.width > 0:
            self._before.add(_cut(difference, compared, own))
            self._after.add(read(own) - _resampled(self._down, self.written(result), corrected, own))
        return _cut(result, corrected, region)

    def summary(self) -> str:
        """Return a sentence on how far the network's result and the written result are from the input."""
        return (
            f"consistent: shrunk to the input's size, the network's result was {self._before} levels of 255 from the "
            f"input, the written one is {self._after}"
        )

    # Regions: a tile's correction, the part of the input that it is compared with, and the part of the network's result
    # that this needs. The correction extends a little beyond the tile, so that the written result can be shrunk and
    # compared too.

    def _around(self, region: Region) -> tuple[Region, Region, Region]:
        corrected = _hull(region, _seen(self._down, self._near(region)))
        compared = _seen(self._up, corrected)
        return corrected, compared, _hull(_seen(self._down, compared), corrected)

    def _near(self, region: Region) -> Region:
        """Return the input's pixels under a region and one more on each side; never empty."""
        (height, width), (down, across) = self.size_in, self.size
        return Region(
            max(0, region.top * height // down - 1), min(height, -(-region.bottom * height // down) + 1),
            max(0, region.left * width // across - 1), min(width, -(-region.right * width // across) + 1),
        )  # fmt: skip

    def _own(self, region: Region) -> Region:
        """Return the input's pixels whose centres lie in a region of the result: each pixel belongs to one tile."""
        sides = [
            math.ceil(edge * old / new - 0.5)
            for edge, old, new in (
                (region.top, self.size_in[0], self.size[0]), (region.bottom, self.size_in[0], self.size[0]),
                (region.left, self.size_in[1], self.size[1]), (region.right, self.size_in[1], self.size[1]),
            )
        ]  # fmt: skip
        return Region(*sides)


class ErrorStatistics:
    """Root mean square and maximum of differences in levels of 255, accumulated over tiles."""

    def __init__(self) -> None:
        self.squares, self.count, self.largest = 0.0, 0, 0.0

    def add(self, difference: Tensor) -> None:
        """Add differences in units of [0, 1]."""
        levels = difference.double() * 255
        self.squares += float(levels.square().sum())
        self.count += levels.numel()
        self.largest = max(self.largest, float(levels.abs().max()))

    @property
    def rms(self) -> float:
        """Root mean square; 0 if nothing was added."""
        return math.sqrt(self.squares / max(1, self.count))

    def __str__(self) -> str:
        return f"{self.rms:.2f} (RMS; {self.largest:.1f} at most)"


def _clipped(x: Tensor) -> Tensor:
    return x.clamp(0, 1)


def _seen(axes: Sequence[Taps], region: Region) -> Region:
    """Return the input region of two axes' taps for a region."""
    _, top, bottom = axes[0].part(region.top, region.bottom)
    _, left, right = axes[1].part(region.left, region.right)
    return Region(top, bottom, left, right)


def _resampled(axes: Sequence[Taps], x: Tensor, where: Region, wanted: Region) -> Tensor:
    """Resample to the region ``wanted`` from ``x``, the region ``where`` of the picture before."""
    rows, top, bottom = axes[0].part(wanted.top, wanted.bottom)
    columns, left, right = axes[1].part(wanted.left, wanted.right)
    x = _cut(x, where, Region(top, bottom, left, right))
    return ops.resample(ops.resample(x, rows, -2), columns, -1)


def _hull(a: Region, b: Region) -> Region:
    return Region(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))


def _cut(x: Tensor, where: Region, part: Region) -> Tensor:
    top, left = part.top - where.top, part.left - where.left
    return x[..., top : top + part.height, left : left + part.width]
