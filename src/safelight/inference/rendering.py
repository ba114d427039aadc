"""Computes the rows of a result from the rows of a picture: tile by tile, or the whole picture at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight import ops
from safelight.engine.consistent import ConsistencyStage
from safelight.engine.row_buffer import RowBuffer
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.tiles import Region, Renderer, ResampleStage, Stage, Tick, first_input_row
from safelight.media.image import ImageSpec, Rows
from safelight.ops import CUBIC

_PIECE = 16 << 20  # bytes of rows that are handed over at once


class NumericError(ArithmeticError):
    """A method computed values that are NaN or infinite. Such a result is never written to a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One picture and what is needed to compute its result.

    Attributes:
        source: The picture; its rows are read as they are needed.
        spec: Size, channels, depth, alpha and metadata of the result.
        device: The device that the method computes on.
        memory: The most bytes that the computation of a tile may hold.
        blame: The message of the error if the result is not finite.
        progress: Called with the fraction that is done, in (0, 1].
        warn: Called with each warning about the result.
    """

    source: Rows
    spec: ImageSpec
    device: torch.device
    memory: int
    blame: str
    progress: Tick
    warn: Callable[[str], None]

    def tiles(
        self, lay_out: Callable[[Callable[[Region], Tensor]], tuple[list[Stage], tuple[int, int], float]], *, hold: bool
    ) -> Iterator[NDArray[Any]]:
        """Render the result tile by tile.

        Args:
            lay_out: Gets a function that reads a region of the picture, (1, C, h, w) in [0, 1], and gives the stages
                to the result, the (H, W) of a tile of it, and which part of the whole work it has done itself.
            hold: Keep the whole picture in memory, since ``lay_out`` reads it before the first tile.

        Returns:
            Rows of the result, (h, width, bands), from top to bottom, computed as they are asked for.
        """
        before, spec = self.source.spec, self.spec
        buffer = RowBuffer(self.source, self.warn)
        read = partial(self._read, buffer)
        if hold:
            buffer.hold()
        with torch.inference_mode():
            stages, tile, ahead = lay_out(read)
        # Two bands may be there: one is computed while the other is encoded.
        most = self.memory // (10 * spec.width * spec.bands * spec.dtype.itemsize)
        tile = (min(tile[0], max(16, most)), tile[1])
        coverage: list[Stage] = [ResampleStage((before.height, before.width), (spec.height, spec.width), CUBIC)]
        for stage in stages:
            if isinstance(stage, ConsistencyStage):
                stage.written = partial(_as_written, spec.dtype)
        renderer = Renderer(tile, behind=0 if self.device.type == "cpu" else 1)
        for top, bottom in ops.chunk_ranges(spec.height, tile[0]):
            whole = Region(top, bottom, 0, spec.width)
            band = np.empty((whole.height, whole.width, spec.bands), spec.dtype)
            with torch.inference_mode():
                renderer.render(
                    stages,
                    whole,
                    read,
                    partial(self._write, band[..., : spec.channels], top),
                    lambda fraction, top=top, rows=whole.height: self.progress(
                        ahead + (1 - ahead) * (top + fraction * rows) / spec.height
                    ),
                )
                if spec.alpha:
                    # Coverage is not a picture, and networks ring on it: the bicubic kernel enlarges it.
                    Renderer((1024, 1024)).render(
                        coverage, whole, buffer.coverage, partial(_put, band[..., spec.channels :], top)
                    )
            buffer.forget(min(first_input_row(stages, bottom), first_input_row(coverage, bottom)))
            rows = max(1, _PIECE // band[0].nbytes)
            for start, end in ops.chunk_ranges(len(band), rows):
                yield band[start:end]
        for stage in stages:
            if isinstance(stage, ConsistencyStage):
                self.warn(stage.summary())

    def whole(self, solve: Callable[[Tensor], Tensor]) -> Iterator[NDArray[Any]]:
        """Read the whole picture, (1, C, h, w), turn it into the result, (1, C, H, W), and give that in rows."""
        before, spec = self.source.spec, self.spec
        buffer = RowBuffer(self.source, self.warn)
        with torch.inference_mode(False):  # an iteration may need gradients
            x = solve(self._read(buffer, Region(0, before.height, 0, before.width)).clone())
        rows = np.empty((spec.height, spec.width, spec.bands), spec.dtype)
        result = Region(0, spec.height, 0, spec.width)
        self._write(rows[..., : spec.channels], 0, result, x.detach())
        if spec.alpha:
            axes: list[Stage] = [ResampleStage((before.height, before.width), (spec.height, spec.width), CUBIC)]
            Renderer((1024, 1024)).render(axes, result, buffer.coverage, partial(_put, rows[..., spec.channels :], 0))
        self.progress(1.0)
        for start, end in ops.chunk_ranges(spec.height, max(1, _PIECE // rows[0].nbytes)):
            yield rows[start:end]

    def _read(self, buffer: RowBuffer, region: Region) -> Tensor:
        return buffer.colors(region).expand(-1, self.spec.channels, -1, -1).to(self.device)

    def _write(self, band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
        check_finite(x, self.blame)
        _put(band, top, region, x)


def check_finite(x: Tensor, blame: str) -> None:
    """Check that all values of a result are finite.

    Args:
        x: The result, (B, C, H, W).
        blame: The message of the error: which method computed it, in which precision, and what to do.

    Raises:
        NumericError: A value is NaN or infinite.
    """
    inner = x.movedim(1, -1)  # as strips lie in memory: aminmax copies what does not
    if not torch.isfinite(torch.stack(torch.aminmax(inner))).all():  # a NaN is both the least and the largest
        raise NumericError(blame)


def _as_written(dtype: np.dtype[Any], x: Tensor) -> Tensor:
    return to_tensor(to_samples(x, dtype)).to(x.device)


def _put(band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
    band[region.top - top : region.bottom - top, region.left : region.right] = to_samples(x, band.dtype)
