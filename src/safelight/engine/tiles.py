"""Exact tiles: a picture is computed tile by tile, and each tile equals the crop of the whole picture's result.

The computation is a chain of stages. For a region of its output, a stage returns the region of its input that it
needs. So the renderer goes back from a tile of the result to the pixels of the input that influence it, including the
receptive field, and computes only these. Tiles are not blended.

When memory runs out, the tile is split into quarters that are computed one by one; later tiles start at that size.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from safelight import ops
from safelight.core.progress import ignore_progress
from safelight.nn.blocks import pad_reflect
from safelight.ops.resampling import Kernel

Tick = Callable[[float], None]  # called with the fraction of a computation that is done, in [0, 1]

MIN_TILE = 16  # pixels: later tiles never start smaller, as they would be nearly all border


class OutOfMemoryError(MemoryError):
    """Even the smallest tile does not fit into memory."""


@dataclass(frozen=True, slots=True)
class Region:
    """Rows [top, bottom) and columns [left, right) of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    def quarters(self) -> tuple[Region, ...]:
        """Split both sides in half; a side of one pixel is not split."""
        return tuple(self.tiles((self.height + 1) // 2, (self.width + 1) // 2))

    def tiles(self, height: int, width: int) -> list[Region]:
        """Split into tiles of at most this size, row by row."""
        return [
            Region(self.top + top, self.top + bottom, self.left + left, self.left + right)
            for top, bottom in ops.chunk_ranges(self.height, height)
            for left, right in ops.chunk_ranges(self.width, width)
        ]


class Stage(Protocol):
    """One stage of the computation; ``size`` is the (H, W) of its whole output."""

    size: tuple[int, int]

    def input_region(self, region: Region) -> Region:
        """Return the region of the input that influences ``region`` of the output."""
        ...

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:
        """Compute ``region`` of the output from ``x``, the part of the input at ``input_region(region)``."""
        ...


class ResampleStage:
    """Resizes to any size with an interpolation kernel, as ``ops.resize`` does with the whole picture."""

    def __init__(self, size_in: tuple[int, int], size: tuple[int, int], kernel: Kernel) -> None:
        self.size = size
        self.rows = ops.taps(size_in[0], size[0], kernel)
        self.columns = ops.taps(size_in[1], size[1], kernel)
        self.rows_first = size[0] / size_in[0] <= size[1] / size_in[1]

    def input_region(self, region: Region) -> Region:
        """Return the pixels under the kernel."""
        _, top, bottom = self.rows.part(region.top, region.bottom)
        _, left, right = self.columns.part(region.left, region.right)
        return Region(top, bottom, left, right)

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:  # noqa: ARG002 - done at once
        """Resample both axes, in the same order as for the whole picture."""
        rows, _, _ = self.rows.part(region.top, region.bottom)
        columns, _, _ = self.columns.part(region.left, region.right)
        passes = ((rows, -2), (columns, -1)) if self.rows_first else ((columns, -1), (rows, -2))
        for axis, dim in passes:
            x = ops.resample(x, axis, dim)
        return x


class LocalStage:
    """Applies a function that multiplies the size by ``scale`` and has a radius of ``receptive_radius`` input pixels.

    The function gets a part of the picture and a ``Tick`` for its progress. One that works on cells of ``multiple`` x
    ``multiple`` pixels gets whole cells, aligned with the picture's; the last are completed by mirroring.
    """

    def __init__(
        self,
        size_in: tuple[int, int],
        scale: int,
        receptive_radius: int,
        function: Callable[[Tensor, Tick], Tensor],
        multiple: int = 1,
    ) -> None:
        self.size_in = size_in
        self.size = (size_in[0] * scale, size_in[1] * scale)
        self.scale, self.receptive_radius, self.function, self.multiple = scale, receptive_radius, function, multiple

    def input_region(self, region: Region) -> Region:
        """Return the pixels of the region and ``receptive_radius`` around them, clipped to the picture."""
        s, receptive_radius, n = self.scale, self.receptive_radius, self.multiple
        return Region(
            max(0, region.top // s - receptive_radius) // n * n,
            min(self.size_in[0], -(-(-(-region.bottom // s) + receptive_radius) // n) * n),
            max(0, region.left // s - receptive_radius) // n * n,
            min(self.size_in[1], -(-(-(-region.right // s) + receptive_radius) // n) * n),
        )

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:
        """Apply the function and crop the region."""
        source = self.input_region(region)
        top, left = region.top - source.top * self.scale, region.left - source.left * self.scale
        x = pad_reflect(x, self.multiple)
        return self.function(x, tick)[..., top : top + region.height, left : left + region.width]


def first_input_row(stages: Sequence[Stage], row: int) -> int:
    """Return the first row of the input that the rows of the result from ``row`` on depend on."""
    for stage in reversed(stages):
        height, width = stage.size
        if row >= height:
            row = height - 1  # nothing more is needed; the last row's answer is early enough
        row = stage.input_region(Region(row, row + 1, 0, width)).top
    return row


def compute(
    stages: Sequence[Stage], region: Region, read: Callable[[Region], Tensor], tick: Tick = ignore_progress
) -> Tensor:
    """Compute one region of the last stage's output.

    Args:
        stages: From the input to the result; at least one.
        region: Of the result.
        read: Returns a region of the input as (1, C, h, w).
        tick: Called with the fraction that is done; each stage counts the same.
    """
    regions = [region]
    for stage in reversed(stages):
        regions.append(stage.input_region(regions[-1]))
    x = read(regions.pop())
    for n, stage in enumerate(stages):
        x = stage.run(x, regions.pop(), lambda fraction, n=n: tick((n + fraction) / len(stages)))
    return x


class Renderer:
    """Computes results tile by tile, and keeps the tile size that the memory allows.

    Args:
        tile: (H, W) of the largest tile of the result, in pixels.
        behind: How many tiles may wait to be written. One on a GPU, which computes asynchronously: the next tile is
            computed while this one is copied and rounded.
    """

    def __init__(self, tile: tuple[int, int], *, behind: int = 0) -> None:
        self.tile = tile
        self._behind = behind

    def render(
        self,
        stages: Sequence[Stage],
        whole: Region,
        read: Callable[[Region], Tensor],
        write: Callable[[Region, Tensor], None],
        progress: Tick = ignore_progress,
    ) -> None:
        """Compute a region of the result.

        Args:
            stages: From the input to the result.
            whole: The region.
            read: Returns a region of the input.
            write: Gets a part of the result, (1, C, h, w). Every pixel of the region is written once.
            progress: Called with the fraction that is done.

        Raises:
            OutOfMemoryError: Not even a tile of one pixel fits.
        """
        waiting = whole.tiles(*self.tile)[::-1]
        made: list[tuple[Region, Tensor]] = []
        area, done = whole.height * whole.width, 0
        while waiting:
            region = waiting.pop()
            if region.height > self.tile[0] or region.width > self.tile[1]:
                waiting += region.tiles(*self.tile)[::-1]
                continue
            part = region.height * region.width
            result = _try_compute(stages, region, read, lambda f, at=done, part=part: progress((at + f * part) / area))
            if result is None:
                if region.height == region.width == 1:
                    raise OutOfMemoryError(
                        "not enough memory even for the smallest tile; "
                        "close other programs, or choose a smaller method or --device cpu"
                    )
                quarters = region.quarters()
                self.tile = (
                    min(self.tile[0], max(MIN_TILE, quarters[0].height)),
                    min(self.tile[1], max(MIN_TILE, quarters[0].width)),
                )
                waiting += quarters[::-1]
                continue
            made.append((region, result))
            del result
            while len(made) > self._behind:
                write(*made.pop(0))
            done += part
            progress(done / area)
        for region, result in made:
            write(region, result)


def _try_compute(
    stages: Sequence[Stage], region: Region, read: Callable[[Region], Tensor], tick: Tick
) -> Tensor | None:
    """Compute a region, or return ``None`` if memory runs out."""
    try:
        return compute(stages, region, read, tick)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    # Only here are the exception and the tensors in its frames gone, so that their memory can be freed.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out: torch's CPU allocator raises a plain ``RuntimeError``."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
