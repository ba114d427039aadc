"""Runs a method on pictures: checks the request, chooses device and precision, and runs the executor.

The command line, the Python functions, the server and the benchmark all use ``Runner``, so the same input gives the
same output on each. Methods do not handle files, depths, devices or tiles; this module knows no method by name.
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
    """Return the (W, H) of a result without preparing its method.

    Args:
        card: The method.
        task: The task.
        request: The request, of which the scale or the size is used.
        width: The width of the picture, in pixels.
        height: The height of the picture, in pixels.
        scales: The scales of the user's own weights; empty: the shipped weights are used.

    Raises:
        SizeError: The requested size does not suit the picture.
    """
    scale, size = request.inputs.get("scale"), request.inputs.get("size")
    if task.output.size != "scaled":
        own = "size" in card.accepts and size is not None
        return target_size(None, size, width, height) if own else (width, height)
    if scale is None and size is None and scales and 4 not in scales:
        scale = max(scales)  # a user's own weights for x3 are for enlarging by 3
    return target_size(scale, size, width, height)


class Runner:
    """A method prepared for any number of pictures. A network is loaded once, when it is first needed.

    Args:
        card: The method.
        request: The inputs and settings.
        models: Loaded networks, by scale, to use in place of the shipped ones; for example one in training.

    Attributes:
        card: As above.
        request: As above.
        task: The task that is done.
        device: The device that the method computes on.
        options: The options of the method, an instance of its ``Options`` class.
        observer: Called after each step of an iterative method; if it returns ``False``, the method stops.

    Raises:
        CardError: An unknown option, an input that the method does not take, weights that are not shipped, or a
            scale out of range.
        CheckpointError: A weights file is broken or belongs to another method.
        DeviceError: The requested device is not available.
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
        """Describe the method, the device and the precision in one line."""
        plus = "+" if self.request.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self._executor.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (W, H) of the result for a picture of ``width`` x ``height`` pixels."""
        return size_of(self.card, self.task, self.request, width, height, self._executor.scales)

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], tuple[int, int]]:
        """Build the stages to the result, and choose the (H, W) of a tile; for methods that run in tiles."""
        w, h = self.size(width, height)
        assert isinstance(self._executor, InterpolationExecutor | NetworkExecutor)
        return self._executor.stages((height, width), (h, w), channels)

    def run(self, source: Picture | bytes | None = None, progress: Tick = ignore_progress) -> Output:
        """Run the task once.

        Args:
            source: The picture or the bytes to work on; ``None`` for a task without one.
            progress: Called with the fraction that is done, in (0, 1].

        Raises:
            SizeError: The requested size does not suit the picture.
            NumericError: The result has values that are NaN or infinite.
            OutOfMemoryError: Even the smallest tile does not fit into memory.
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
        """Run the task once, on the rows of a picture, on bytes, or on nothing, and return the complete output."""
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
        """Run the method on one picture. Depth, alpha, colour profile and metadata are kept.

        Args:
            picture: A picture of any size, depth and number of channels.
            progress: Called with the fraction that is done, in (0, 1].

        Raises:
            SizeError, NumericError, OutOfMemoryError: As ``run``.
        """
        output = self.run(picture, progress)
        assert isinstance(output, Image)
        return output.picture

    def stream(
        self, source: Rows, progress: Tick = ignore_progress, warn: Callable[[str], None] = ignore_warning
    ) -> tuple[ImageSpec, Iterator[NDArray[Any]]]:
        """Run the method on the rows of a picture, and return rows, so that neither picture is in memory as a whole.

        Args:
            source: The picture. Its rows are read as they are needed.
            progress: Called with the fraction that is done, in (0, 1].
            warn: Called with each warning that arises while rows are computed; earlier ones are in the spec.

        Returns:
            The spec of the result, and its rows, (h, width, bands) each, from top to bottom, computed as they are asked
            for. The iterator raises NumericError, OutOfMemoryError and whatever reading the source raises.

        Raises:
            SizeError: The requested size does not suit the picture.
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
        tell: Callable[[str], None] = notes.append  # warnings before the first row go into the spec
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
    """Prepare a method, and check what can be checked without a picture. Raises what ``Runner`` raises."""
    return Runner(card, request)


def apply(card: Card, picture: Picture, request: InferenceRequest, progress: Tick = ignore_progress) -> Picture:
    """Run a method on one picture: ``prepare(card, request)(picture)``."""
    return prepare(card, request)(picture, progress)
