"""Finds out which tasks a picture needs, and applies them in order. Each task declares when it is needed (``Repair``).

The decision rests on the picture as it was read: the quality of a JPEG file is derived from its quantisation tables,
and the noise is estimated from the pixels. The steps run on floating-point pixels, one after the other; only the final
result is rounded to the depth of the picture. Steps that share a method run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight import catalog, tasks
from safelight.core.options import CardError
from safelight.core.progress import ignore_progress, ignore_warning
from safelight.core.task import Findings, Task, TaskSpec
from safelight.engine.samples import to_tensor
from safelight.inference.runner import InferenceRequest, Runner, prepare
from safelight.media.image import ImageSpec, Picture, Rows, picture_of, spec_of, to_depth
from safelight.ops import noise

_PIECE = 16 << 20  # bytes of rows that are handed over at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FixStep:
    """One task to apply, and why: a few words to follow its name."""

    task: Task
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was measured on a picture, and what follows from it.

    Attributes:
        quality: The quality that it was saved with as a JPEG file, 1 to 100; ``None`` for other formats.
        sigma: The estimated standard deviation of its noise, in units of 0 to 255.
        needs: The tasks to apply, in this order; empty if the picture needs nothing.
    """

    quality: int | None
    sigma: float
    needs: tuple[FixStep, ...]

    def describe(self) -> str:
        """Describe in a few words what was measured.

        Example:
            >>> Diagnosis(quality=92, sigma=1.234, needs=()).describe()
            'JPEG quality 92, noise of about 1.2'
        """
        text = f"noise of about {self.sigma:.1f}"
        return text if self.quality is None else f"JPEG quality {self.quality}, {text}"


def diagnose(picture: Picture) -> Diagnosis:
    """Find out what a picture needs. The picture is not changed.

    Example:
        >>> gray = Picture(pixels=np.full((64, 64, 1), 128, np.uint8))
        >>> diagnose(gray).needs
        ()
    """
    sigma = 255 * noise.estimate(to_tensor(picture.pixels)).sigma
    findings = Findings(jpeg_quality=picture.jpeg_quality, sigma=sigma)
    needs: list[FixStep] = []
    for task in repairs():
        reason = "" if task.repair is None else task.repair.reason(findings)
        if reason:
            needs.append(FixStep(task=task.name, why=reason))
    return Diagnosis(quality=picture.jpeg_quality, sigma=sigma, needs=tuple(needs))


def repairs() -> tuple[TaskSpec, ...]:
    """List the tasks that ``fix`` may apply, in the order in which it applies them."""
    found = [(task.repair.order, task) for task in tasks.TASKS if task.repair is not None]
    return tuple(task for _, task in sorted(found, key=lambda pair: pair[0]))


def limits() -> dict[str, float]:
    """Return the thresholds of all repairs, by the names under which a manifest records them.

    Example:
        >>> limits()
        {'below': 70, 'above': 6.0}
    """
    return {name: limit for task in repairs() if task.repair is not None for name, limit in task.repair.limits.items()}


class AutoFix:
    """Applies to each picture the tasks that it needs, by their default methods. It is used as a ``Runner`` is.

    Args:
        request: The device, the precision and the memory limit; its task, inputs and options are not used.

    Attributes:
        request: As above.
        runners: The default method of each task, ready to run, by the name of the task and in the order of application.

    Raises:
        CardError: A task has no default method, or the weights of the method are not shipped.
        DeviceError: This machine has no such device.
    """

    def __init__(self, request: InferenceRequest) -> None:
        self.request = request
        self.runners: Mapping[Task, Runner] = MappingProxyType(
            {task.name: _runner(task.name, request) for task in repairs()}
        )

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (W, H) of the result, which is that of the picture."""
        return width, height

    def foresee(self, rows: Rows) -> tuple[Diagnosis, tuple[str, ...]]:
        """Diagnose a picture without changing it; also returns one line for each step, with its reason."""
        diagnosis = diagnose(_gather(rows))
        return diagnosis, tuple(self._lines(diagnosis))

    def _lines(self, diagnosis: Diagnosis) -> Iterator[str]:
        for need in diagnosis.needs:
            yield f"{need.task}: {need.why} ({self.runners[need.task].card.id})"
        if not diagnosis.needs:
            yield f"nothing to do: {diagnosis.describe()}"

    def __call__(self, picture: Picture, progress: Callable[[float], None] = ignore_progress) -> Picture:
        """Repair one picture in memory; the steps and their reasons are among the warnings of the result."""
        warnings: list[str] = []
        diagnosis = diagnose(picture)
        warnings += self._lines(diagnosis)
        result = self._restored(picture, diagnosis, progress, warnings.append)
        return replace(result, warnings=(*result.warnings, *warnings))

    def stream(
        self,
        source: Rows,
        progress: Callable[[float], None] = ignore_progress,
        warn: Callable[[str], None] = ignore_warning,
    ) -> tuple[ImageSpec, Iterator[NDArray[Any]]]:
        """Apply to a picture what it needs, as ``Runner.stream`` does; but the whole picture is read first.

        If the picture needs nothing, the returned spec is the same object as that of the source.
        """
        picture = _gather(source)
        diagnosis = diagnose(picture)
        for line in self._lines(diagnosis):
            warn(line)
        if not diagnosis.needs:
            return source.spec, _rows(picture)
        return replace(source.spec, jpeg_quality=None), self._later(picture, diagnosis, progress, warn)

    def _later(
        self, picture: Picture, diagnosis: Diagnosis, progress: Callable[[float], None], warn: Callable[[str], None]
    ) -> Iterator[NDArray[Any]]:
        yield from _rows(self._restored(picture, diagnosis, progress, warn))

    def _restored(
        self, picture: Picture, diagnosis: Diagnosis, progress: Callable[[float], None], warn: Callable[[str], None]
    ) -> Picture:
        if not diagnosis.needs:
            return picture
        # The quality was reported with the diagnosis, and no longer holds after the first step.
        result = to_depth(replace(picture, jpeg_quality=None, warnings=()), "float")
        runners = [self.runners[need.task] for need in diagnosis.needs]
        steps = list({runner.card.id: runner for runner in runners}.values())  # a method of several tasks runs once
        for i, runner in enumerate(steps):
            result = runner(result, partial(_part, progress, i, len(steps)))
        for warning in result.warnings:
            warn(warning)
        return to_depth(replace(result, warnings=picture.warnings), picture.depth)


def _runner(task: Task, request: InferenceRequest) -> Runner:
    card = catalog.default(task)
    if card is None:
        raise CardError(f"fix: expected a default method of {task}, got none; see: safelight methods {task}")
    return prepare(card, replace(request, task=task))


def _part(progress: Callable[[float], None], step: int, steps: int, fraction: float) -> None:
    progress((step + fraction) / steps)


def _gather(rows: Rows) -> Picture:
    return picture_of(rows.spec, rows.read(rows.spec.height))


def _rows(picture: Picture) -> Iterator[NDArray[Any]]:
    spec = spec_of(picture)
    step = max(1, _PIECE // (spec.width * spec.bands * spec.dtype.itemsize))
    for top in range(0, spec.height, step):
        rows = picture.pixels[top : top + step]
        yield rows if picture.alpha is None else np.dstack([rows, picture.alpha[top : top + step]])
