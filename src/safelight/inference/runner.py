"""The one path from picture to picture: check, choose device and precision, cut into tiles, run, put together.

The command line, the Python face and the benchmark all come through here, so the same input gives the same picture on
each. Methods know nothing of files, depths, devices or tiles; this file knows no method by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight import ops
from safelight.core.card import Card, ClosedForm, Interpolation, Optimised, Trained
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.engine import device as devices
from safelight.engine.consistent import Consistent
from safelight.engine.row_buffer import PictureRows, RowBuffer
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.sizes import target_size
from safelight.engine.tiles import Region, Renderer, ResampleStage, Stage, Tick, first_row
from safelight.inference.executors import Executor, InterpolationExecutor, NetworkExecutor, SolverExecutor, Tile
from safelight.inference.model import Model
from safelight.inference.request import InferenceRequest, check
from safelight.media.image import ImageSpec, Picture, Rows, picture_of
from safelight.ops.resampling import CUBIC
from safelight.tasks import Task

_PIECE = 16 << 20  # bytes of rows that are handed over at once


class NumericError(ArithmeticError):
    """A method computed something that is not a number. Never written to a file as a black picture."""


def _ignore(fraction: float) -> None:
    """Tell nobody."""


def _ignore_warning(text: str) -> None:
    """Tell nobody."""


# --- a method on pictures ---------------------------------------------------------------------------------------------


def size_of(
    card: Card, task: Task, settings: InferenceRequest, width: int, height: int, scales: tuple[int, ...] = ()
) -> tuple[int, int]:
    """Tell the (W, H) of a result before its method is made ready.

    Args:
        card: The method.
        task: What is asked of it.
        settings: The scale or the size.
        width: Of the picture, in pixels.
        height: Likewise.
        scales: Those that the method has weights for, where they are the user's own.

    Raises:
        SizeError: The size asked for does not suit the picture.
    """
    if task != "upscale":
        own = "size" in card.accepts and settings.size is not None
        return target_size(None, settings.size, width, height) if own else (width, height)
    scale = settings.scale
    if scale is None and settings.size is None and scales and 4 not in scales:
        scale = max(scales)  # a user's own weights for x3 are for enlarging by 3
    return target_size(scale, settings.size, width, height)


class Runner:
    """A method with settings, ready for any number of pictures. A network is loaded once, when it is first needed.

    Args:
        card: The method.
        settings: What the user asks for.
        models: Networks that are there already, by scale, instead of shipped ones: one in training, say.

    Attributes:
        observer: Told where an iterative method stands, with the picture so far; it may ask it to stop.

    Raises:
        CardError: An unknown option, a setting that the method does not have, weights that are not shipped, or a
            scale out of range.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
    """

    def __init__(self, card: Card, settings: InferenceRequest, models: Mapping[int, Model] | None = None) -> None:
        self.card, self.settings = card, settings
        self.task: Task = card.task if settings.task is None else settings.task
        self.observer: ProgressCallback = _go_on
        self.device = devices.choose(settings.device)
        check(card, self.task, settings)
        match card.method:
            case Interpolation() as method:
                self._way: Executor | SolverExecutor = InterpolationExecutor(card, method, settings)
            case ClosedForm() | Optimised() as method:
                self._way = SolverExecutor(card, method, settings)
            case Trained() as method:
                self._way = NetworkExecutor(card, method, settings, models)
            case _ as unknown:
                assert_never(unknown)
        if self.task == "upscale" and (settings.size is None or settings.scale is not None):
            self.size(64, 64)  # refuses a scale out of range now, not at the first picture

    def describe(self) -> str:
        """Say in one line what runs, where and how."""
        plus = "+" if self.settings.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self._way.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result for a picture of ``width`` x ``height``."""
        return size_of(self.card, self.task, self.settings, width, height, self._way.scales)

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], Tile]:
        """Lay out the way from a picture to its result, and choose the (H, W) of a tile of the result."""
        w, h = self.size(width, height)
        assert not isinstance(self._way, SolverExecutor)
        return self._way.stages((height, width), (h, w), channels)

    def __call__(self, picture: Picture, progress: Tick = _ignore) -> Picture:
        """Run the method on one picture. Depth, alpha, profile and metadata are kept.

        Args:
            picture: Of any size, depth and number of channels.
            progress: Told the fraction that is done, in (0, 1].

        Raises:
            SizeError: The size asked for does not suit the picture.
            NumericError: The result is not a number somewhere.
            OutOfMemoryError: Even the smallest tile does not fit.
        """
        warnings: list[str] = []
        frame, bands = self.stream(PictureRows(picture), progress, warnings.append)
        rows = np.empty((frame.height, frame.width, frame.bands), frame.dtype)
        top = 0
        for band in bands:
            rows[top : top + len(band)] = band
            top += len(band)
        result = picture_of(frame, rows)
        return replace(result, warnings=(*result.warnings, *warnings))

    def stream(
        self, source: Rows, progress: Tick = _ignore, warn: Callable[[str], None] = _ignore_warning
    ) -> tuple[ImageSpec, Iterator[NDArray[Any]]]:
        """Run the method on a picture that comes in rows and goes in rows, so that neither lies in memory whole.

        Args:
            source: The picture. Its rows are read as they are needed.
            progress: Told the fraction that is done, in (0, 1].
            warn: Told what the user should know and what shows only on the way; the frame has the rest.

        Returns:
            What the result is, and its rows (h, width, bands) in bands from top to bottom, computed as they are asked
            for. The iterator raises NumericError, OutOfMemoryError and whatever reading the source raises.

        Raises:
            SizeError: The size asked for does not suit the picture.
        """
        before = source.frame
        w, h = self.size(before.width, before.height)
        notes = [*before.warnings]
        if (
            self.task == "upscale"
            and abs(w / before.width - h / before.height) > 0.01 * max(w / before.width, h / before.height)
            and min(w, h) > 8
        ):
            notes.append(f"{w}x{h} changes the shape of a {before.width}x{before.height} picture; --size {w}x keeps it")
        if (
            self.task == "upscale"
            and isinstance(self._way, NetworkExecutor)
            and max(w / before.width, h / before.height) <= 1
        ):
            notes.append(f"{w}x{h} is no larger than the picture, so it was resized by bicubic and no network ran")
        if self.task == "deblock" and before.jpeg_quality is not None:
            notes.append(f"a JPEG file of quality {before.jpeg_quality}, by its quantisation tables")
        frame = replace(before, width=w, height=h, jpeg_quality=None, warnings=tuple(notes))
        if self.task == "stylize" and before.channels == 1:
            frame = replace(frame, channels=3, icc=None)  # a style has colours, and a profile of gray none
        return frame, self._bands(source, frame, progress, warn)

    def _bands(
        self, source: Rows, frame: ImageSpec, progress: Tick, warn: Callable[[str], None]
    ) -> Iterator[NDArray[Any]]:
        if isinstance(self._way, SolverExecutor):
            yield from self._whole(self._way, source, frame, progress, warn)
            return
        before = source.frame
        window = RowBuffer(source, warn)
        read = partial(self._read, window, frame.channels)
        ahead = 0.0  # which part of the work is done before the first tile
        if isinstance(self._way, NetworkExecutor) and self._way.method.execution.global_statistics:
            window.hold()
            with torch.inference_mode():
                stages, tile, ahead = self._way.measure((before.height, before.width), read, progress)
        else:
            stages, tile = self.stages(before.width, before.height, frame.channels)
        # Two bands may be there: one is computed while the other is encoded.
        most = self.settings.memory // (10 * frame.width * frame.bands * frame.dtype.itemsize)
        tile = (min(tile[0], max(16, most)), tile[1])
        coverage: list[Stage] = [ResampleStage((before.height, before.width), (frame.height, frame.width), CUBIC)]
        for stage in stages:
            if isinstance(stage, Consistent):
                stage.written = partial(_as_written, frame.dtype)
        renderer = Renderer(tile, behind=0 if self.device.type == "cpu" else 1)
        for top, bottom in ops.spans(frame.height, tile[0]):
            whole = Region(top, bottom, 0, frame.width)
            band = np.empty((whole.height, whole.width, frame.bands), frame.dtype)
            with torch.inference_mode():
                renderer.render(
                    stages,
                    whole,
                    read,
                    partial(self._write, band[..., : frame.channels], top),
                    lambda fraction, top=top, rows=whole.height: progress(
                        ahead + (1 - ahead) * (top + fraction * rows) / frame.height
                    ),
                )
                if frame.alpha:
                    # Coverage is not a picture, and networks ring on it: the bicubic kernel enlarges it.
                    Renderer((1024, 1024)).render(
                        coverage, whole, window.coverage, partial(_put, band[..., frame.channels :], top)
                    )
            window.forget(min(first_row(stages, bottom), first_row(coverage, bottom)))
            rows = max(1, _PIECE // band[0].nbytes)
            for start, end in ops.spans(len(band), rows):
                yield band[start:end]
        for stage in stages:
            if isinstance(stage, Consistent):
                warn(stage.remark())

    def _whole(
        self, way: SolverExecutor, source: Rows, frame: ImageSpec, progress: Tick, warn: Callable[[str], None]
    ) -> Iterator[NDArray[Any]]:
        """Read the whole picture, restore it, and give it row by row."""
        before = source.frame
        window = RowBuffer(source, warn)
        whole = Region(0, before.height, 0, before.width)

        def report(step: SolverProgress) -> bool:
            progress(min(step.fraction, 1.0))
            return self.observer(step)

        with torch.inference_mode(False):  # an iteration may need gradients
            solution = way.solve(self._read(window, frame.channels, whole).clone(), (frame.height, frame.width), report)
        for note in solution.notes:
            warn(note)
        rows = np.empty((frame.height, frame.width, frame.bands), frame.dtype)
        result = Region(0, frame.height, 0, frame.width)
        self._write(rows[..., : frame.channels], 0, result, solution.x.detach())
        if frame.bands > frame.channels:
            axes: list[Stage] = [ResampleStage((before.height, before.width), (frame.height, frame.width), CUBIC)]
            Renderer((1024, 1024)).render(axes, result, window.coverage, partial(_put, rows[..., frame.channels :], 0))
        progress(1.0)
        for start, end in ops.spans(frame.height, max(1, _PIECE // rows[0].nbytes)):
            yield rows[start:end]

    def _read(self, window: RowBuffer, channels: int, region: Region) -> Tensor:
        return window.colors(region).expand(-1, channels, -1, -1).to(self.device)

    def _write(self, band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
        inner = x.movedim(1, -1)  # as strips lie in memory: aminmax copies what does not
        if not torch.isfinite(torch.stack(torch.aminmax(inner))).all():  # a NaN is both the least and the largest
            raise NumericError(
                f"{self.card.id} computed values that are not numbers in {self._way.precision}; "
                + ("the picture has some" if self._way.precision == "float32" else "try --precision exact")
            )
        _put(band, top, region, x)


def _as_written(dtype: np.dtype[Any], x: Tensor) -> Tensor:
    return to_tensor(to_samples(x, dtype)).to(x.device)


def _put(band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
    band[region.top - top : region.bottom - top, region.left : region.right] = to_samples(x, band.dtype)


def _go_on(step: SolverProgress) -> bool:  # noqa: ARG001 - nobody looks
    return True


def prepare(card: Card, settings: InferenceRequest) -> Runner:
    """Make a method ready, checking all that can be checked without a picture; raises what ``Runner`` raises."""
    return Runner(card, settings)


def apply(card: Card, picture: Picture, settings: InferenceRequest, progress: Tick = _ignore) -> Picture:
    """Run a method on one picture: ``prepare(card, settings)(picture)``."""
    return prepare(card, settings)(picture, progress)
