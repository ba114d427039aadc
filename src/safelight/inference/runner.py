"""The one path from what a user asks for to the result: check, choose device and precision, run, put together.

The command line, the Python functions, the server and the benchmark all come through here, so the same input gives
the same output on each. Methods know nothing of files, depths, devices or tiles; this file knows no method by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight import tasks
from safelight.core.card import Card
from safelight.core.options import make_options
from safelight.core.outputs import Image, Output
from safelight.core.progress import ignore_progress, ignore_warning, never_stop
from safelight.core.solver_input import ProgressCallback
from safelight.core.task import TaskSpec
from safelight.engine import device as devices
from safelight.engine.row_buffer import PictureRows
from safelight.engine.sizes import target_size
from safelight.engine.tiles import Stage, Tick
from safelight.inference.executors import Call, InterpolationExecutor, Job, NetworkExecutor, executor_for
from safelight.inference.model import Model
from safelight.inference.rendering import NumericError
from safelight.inference.request import InferenceRequest, check
from safelight.media.image import ImageSpec, Picture, Rows, picture_of

__all__ = ["NumericError", "Runner", "apply", "prepare", "size_of"]


def size_of(
    card: Card, task: TaskSpec, request: InferenceRequest, width: int, height: int, scales: tuple[int, ...] = ()
) -> tuple[int, int]:
    """Tell the (W, H) of a result before its method is made ready.

    Args:
        card: The method.
        task: What is asked of it.
        request: The scale or the size.
        width: Of the picture, in pixels.
        height: Likewise.
        scales: Those that the method has weights for, where they are the user's own.

    Raises:
        SizeError: The size asked for does not suit the picture.
    """
    scale, size = request.inputs.get("scale"), request.inputs.get("size")
    if task.output.size != "scaled":
        own = "size" in card.accepts and size is not None
        return target_size(None, size, width, height) if own else (width, height)
    if scale is None and size is None and scales and 4 not in scales:
        scale = max(scales)  # a user's own weights for x3 are for enlarging by 3
    return target_size(scale, size, width, height)


class Runner:
    """A method made ready for any number of pictures. A network is loaded once, when it is first needed.

    Args:
        card: The method.
        request: What the user asks for.
        models: Networks that are there already, by scale, instead of shipped ones: one in training, say.

    Attributes:
        observer: Told where an iterative method stands, with the picture so far; it may ask it to stop.
        options: The method's own record of options.

    Raises:
        CardError: An unknown option, an input that the method does not take, weights that are not shipped, or a
            scale out of range.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
    """

    def __init__(self, card: Card, request: InferenceRequest, models: Mapping[int, Model] | None = None) -> None:
        self.card, self.request = card, request
        self.task = tasks.find(card.task if request.task is None else request.task)
        self.observer: ProgressCallback = never_stop
        self.device = devices.choose(request.device)
        inputs = check(card, self.task, request)
        self.options = make_options(card, request.options)
        for spec in self.task.conditions:
            if spec.prepare is not None and (not spec.optional or spec.name in card.accepts):
                inputs[spec.name] = spec.prepare(inputs[spec.name], self.device)
        self._executor = executor_for(
            Job(
                card=card, task=self.task, inputs=inputs, options=self.options, request=request, device=self.device,
                models=models,
            )
        )  # fmt: skip
        given = request.inputs
        if self.task.output.size == "scaled" and (given.get("size") is None or given.get("scale") is not None):
            self.size(64, 64)  # refuses a scale out of range now, not at the first picture

    def describe(self) -> str:
        """Say in one line what runs, where and how."""
        plus = "+" if self.request.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self._executor.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result for a picture of ``width`` x ``height``."""
        return size_of(self.card, self.task, self.request, width, height, self._executor.scales)

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], tuple[int, int]]:
        """Lay out the way from a picture to its result, and choose the (H, W) of a tile, where the method has tiles."""
        w, h = self.size(width, height)
        assert isinstance(self._executor, InterpolationExecutor | NetworkExecutor)
        return self._executor.stages((height, width), (h, w), channels)

    def run(self, source: Picture | bytes | None = None, progress: Tick = ignore_progress) -> Output:
        """Do the task once.

        Args:
            source: What is worked on: a picture, or the bytes of a file; ``None`` where nothing goes in.
            progress: Told the fraction that is done, in (0, 1].

        Raises:
            SizeError: The size asked for does not suit the picture.
            NumericError: The result is not a number somewhere.
            OutOfMemoryError: Even the smallest tile does not fit.
        """
        if isinstance(source, Picture):
            output = self.execute(PictureRows(source), progress)
        else:
            output = self.execute(source, progress)
        return output

    def execute(
        self,
        source: Rows | bytes | None,
        progress: Tick = ignore_progress,
        warn: Callable[[str], None] = ignore_warning,
    ) -> Output:
        """Do the task once, on a picture that comes in rows, on bytes, or on nothing; the output is whole."""
        if source is not None and not isinstance(source, bytes) and self.task.output.kind == "image":
            warnings: list[str] = []
            spec, bands = self.stream(source, progress, warnings.append)
            picture = _gathered(spec, bands)
            return Image(replace(picture, warnings=(*picture.warnings, *warnings)))
        call = Call(source=source, spec=None, progress=progress, warn=warn, observer=self.observer)
        output = self._executor.execute(call)
        assert not isinstance(output, Iterator)
        return output

    def __call__(self, picture: Picture, progress: Tick = ignore_progress) -> Picture:
        """Make one picture of one. Depth, alpha, profile and metadata are kept.

        Args:
            picture: Of any size, depth and number of channels.
            progress: Told the fraction that is done, in (0, 1].

        Raises:
            SizeError, NumericError, OutOfMemoryError: As ``run``.
        """
        output = self.run(picture, progress)
        assert isinstance(output, Image)
        return output.picture

    def stream(
        self, source: Rows, progress: Tick = ignore_progress, warn: Callable[[str], None] = ignore_warning
    ) -> tuple[ImageSpec, Iterator[NDArray[Any]]]:
        """Make a picture of one that comes in rows and goes in rows, so that neither lies in memory whole.

        Args:
            source: The picture. Its rows are read as they are needed.
            progress: Told the fraction that is done, in (0, 1].
            warn: Told what the user should know and what shows only on the way; the spec has the rest.

        Returns:
            What the result is, and its rows (h, width, bands) in bands from top to bottom, computed as they are asked
            for. The iterator raises NumericError, OutOfMemoryError and whatever reading the source raises.

        Raises:
            SizeError: The size asked for does not suit the picture.
        """
        before, output = source.spec, self.task.output
        w, h = self.size(before.width, before.height)
        notes = [*before.warnings]
        if (
            output.size == "scaled"
            and abs(w / before.width - h / before.height) > 0.01 * max(w / before.width, h / before.height)
            and min(w, h) > 8
        ):
            notes.append(f"{w}x{h} changes the shape of a {before.width}x{before.height} picture; --size {w}x keeps it")
        notes += () if output.remarks is None else output.remarks(before)
        spec = replace(before, width=w, height=h, jpeg_quality=None, warnings=())
        if output.channels == "rgb" and before.channels == 1:
            spec = replace(spec, channels=3, icc=None)  # a profile of gray fits no colours
        tell: Callable[[str], None] = notes.append  # what shows before the first row belongs to the spec
        call = Call(
            source=source, spec=spec, progress=progress, warn=lambda text: tell(text), observer=self.observer
        )  # fmt: skip
        bands = self._executor.execute(call)
        assert isinstance(bands, Iterator)
        tell = warn
        return replace(spec, warnings=tuple(notes)), bands


def _gathered(spec: ImageSpec, bands: Iterator[NDArray[Any]]) -> Picture:
    rows = np.empty((spec.height, spec.width, spec.bands), spec.dtype)
    top = 0
    for band in bands:
        rows[top : top + len(band)] = band
        top += len(band)
    return picture_of(spec, rows)


def prepare(card: Card, request: InferenceRequest) -> Runner:
    """Make a method ready, checking all that can be checked without a picture; raises what ``Runner`` raises."""
    return Runner(card, request)


def apply(card: Card, picture: Picture, request: InferenceRequest, progress: Tick = ignore_progress) -> Picture:
    """Run a method on one picture: ``prepare(card, request)(picture)``."""
    return prepare(card, request)(picture, progress)
