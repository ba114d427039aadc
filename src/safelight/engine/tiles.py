"""Exact tiles: a picture is made piece by piece, and the pieces are those of the whole.

The way from the input to the result is a chain of stages. Asked for a region of its output, a stage says which region
of its input it reads. So the driver walks back from a tile of the result to the pixels of the input that can influence
it, receptive field included, and computes just these. Nothing is blended and nothing is guessed: a tile is a crop of
the whole picture's result.

When memory runs out, the tile is cut into quarters and they are computed one by one; later tiles start at that size.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from safelight import ops
from safelight.nn.blocks import extended
from safelight.ops.resampling import Kernel

Tick = Callable[[float], None]  # told the fraction of a piece of work that is done, in [0, 1]

SMALLEST = 16  # pixels: later tiles never start smaller than this, which would be nearly all border


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
        """Cut both sides in half; a side of one pixel stays whole."""
        return tuple(self.tiles((self.height + 1) // 2, (self.width + 1) // 2))

    def tiles(self, height: int, width: int) -> list[Region]:
        """Cut into tiles of at most this size, row by row."""
        return [
            Region(self.top + top, self.top + bottom, self.left + left, self.left + right)
            for top, bottom in ops.spans(self.height, height)
            for left, right in ops.spans(self.width, width)
        ]


class Stage(Protocol):
    """One step of the way; ``size`` is the (H, W) of its whole output."""

    size: tuple[int, int]

    def reads(self, region: Region) -> Region:
        """Say which region of the input influences ``region`` of the output."""
        ...

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:
        """Compute ``region`` of the output from ``x``, the part of the input that ``reads(region)`` names."""
        ...


class ResampleStage:
    """Resize to any size with an interpolation kernel, as ``ops.resize`` does to the whole picture."""

    def __init__(self, size_in: tuple[int, int], size: tuple[int, int], kernel: Kernel) -> None:
        self.size = size
        self.rows = ops.taps(size_in[0], size[0], kernel)
        self.columns = ops.taps(size_in[1], size[1], kernel)
        self.rows_first = size[0] / size_in[0] <= size[1] / size_in[1]

    def reads(self, region: Region) -> Region:
        """The pixels under the kernel."""
        _, top, bottom = self.rows.part(region.top, region.bottom)
        _, left, right = self.columns.part(region.left, region.right)
        return Region(top, bottom, left, right)

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:  # noqa: ARG002 - done at once
        """Resample both axes, in the order that the whole picture takes."""
        rows, _, _ = self.rows.part(region.top, region.bottom)
        columns, _, _ = self.columns.part(region.left, region.right)
        passes = ((rows, -2), (columns, -1)) if self.rows_first else ((columns, -1), (rows, -2))
        for axis, dim in passes:
            x = ops.resample(x, axis, dim)
        return x


class LocalStage:
    """Apply a function that multiplies the size by ``scale`` and looks at most ``receptive_radius`` input pixels away.

    The function is given the part of the picture and a ``Tick``, which it may tell how far it is. One that works on
    cells of ``multiple`` x ``multiple`` pixels gets whole ones, those of the picture: its last are filled up by
    mirroring.
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

    def reads(self, region: Region) -> Region:
        """The pixels under the region and ``receptive_radius`` around them, as far as the picture goes."""
        s, receptive_radius, n = self.scale, self.receptive_radius, self.multiple
        return Region(
            max(0, region.top // s - receptive_radius) // n * n,
            min(self.size_in[0], -(-(-(-region.bottom // s) + receptive_radius) // n) * n),
            max(0, region.left // s - receptive_radius) // n * n,
            min(self.size_in[1], -(-(-(-region.right // s) + receptive_radius) // n) * n),
        )

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:
        """Apply the function and cut the region out of its result."""
        source = self.reads(region)
        top, left = region.top - source.top * self.scale, region.left - source.left * self.scale
        x = extended(x, self.multiple)
        return self.function(x, tick)[..., top : top + region.height, left : left + region.width]


def first_row(stages: Sequence[Stage], row: int) -> int:
    """Tell the first row of the input that the result needs from ``row`` on."""
    for stage in reversed(stages):
        height, width = stage.size
        if row >= height:
            row = height - 1  # nothing more is needed; the last row's answer is early enough
        row = stage.reads(Region(row, row + 1, 0, width)).top
    return row


def _ignore(fraction: float) -> None:
    """Tell nobody."""


def compute(stages: Sequence[Stage], region: Region, read: Callable[[Region], Tensor], tick: Tick = _ignore) -> Tensor:
    """Compute one region of the last stage's output.

    Args:
        stages: From the input to the result; at least one.
        region: Of the result.
        read: Gives a region of the input as (1, C, h, w).
        tick: Told how far it is; each stage counts as much as the others.
    """
    regions = [region]
    for stage in reversed(stages):
        regions.append(stage.reads(regions[-1]))
    x = read(regions.pop())
    for n, stage in enumerate(stages):
        x = stage.run(x, regions.pop(), lambda fraction, n=n: tick((n + fraction) / len(stages)))
    return x


class Renderer:
    """Computes results tile by tile, and remembers which size of tile the memory allows.

    Args:
        tile: (H, W) of the largest tile of the result, in pixels.
        behind: How many results may wait to be written. On a GPU, which computes while the program goes on, one: the
            next tile is computed while this one is copied and rounded.
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
        progress: Tick = _ignore,
    ) -> None:
        """Compute a region of the result.

        Args:
            stages: From the input to the result.
            whole: The region.
            read: Gives a region of the input.
            write: Takes a part of the result, (1, C, h, w). Called once for every pixel of the region.
            progress: Told the fraction that is done.

        Raises:
            OutOfMemoryError: A tile of one pixel does not fit either.
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
            result = _attempt(stages, region, read, lambda f, at=done, part=part: progress((at + f * part) / area))
            if result is None:
                if region.height == region.width == 1:
                    raise OutOfMemoryError(
                        "not enough memory even for the smallest tile; "
                        "close other programs, or choose a smaller method or --device cpu"
                    )
                quarters = region.quarters()
                self.tile = (
                    min(self.tile[0], max(SMALLEST, quarters[0].height)),
                    min(self.tile[1], max(SMALLEST, quarters[0].width)),
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


def _attempt(stages: Sequence[Stage], region: Region, read: Callable[[Region], Tensor], tick: Tick) -> Tensor | None:
    """Compute a region, or return ``None`` when memory runs out."""
    try:
        return compute(stages, region, read, tick)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    # Only here, with the exception and the tensors in its frames gone, can their memory be given back.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: torch's CPU allocator raises a plain ``RuntimeError``."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
