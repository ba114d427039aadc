"""What a picture needs, and doing it in the right order: first what JPEG left, then the noise, or both at once.

What is needed is read off the picture as it came: the quality that a JPEG file was saved with stands in its
quantisation tables, and the noise is estimated from the pixels. The steps run on floating-point pixels, one after the
other, and only the last result is rounded to the picture's own depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from safelight import catalog
from safelight.core.options import CardError
from safelight.core.task import Task
from safelight.engine.samples import to_tensor
from safelight.inference.runner import InferenceRequest, Runner, prepare
from safelight.media.image import ImageSpec, Picture, Rows, picture_of, spec_of, to_depth
from safelight.ops import noise

QUALITY: Final = 70
"""A JPEG below this quality gets its artefacts removed (docs/fix.md)."""

SIGMA: Final = 6.0
"""A picture with more noise than this, of 255, gets it removed. Of clean photographs, fine texture such as fur is taken
for up to 5 (docs/fix.md)."""

_STEPS: Final[tuple[Task, ...]] = ("deblock", "denoise")
_PIECE = 16 << 20  # bytes of rows that are handed over at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FixStep:
    """One step, and why: a few words to follow its name."""

    task: Task
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a picture looks like.

    Attributes:
        quality: That it was saved with as a JPEG file; ``None`` for other formats.
        sigma: The estimated standard deviation of its noise, of 255.
        needs: What is to be done, in this order.
    """

    quality: int | None
    sigma: float
    needs: tuple[FixStep, ...]

    def describe(self) -> str:
        """Say in a few words what was found.

        Example:
            >>> Diagnosis(quality=92, sigma=1.234, needs=()).describe()
            'JPEG quality 92, noise of about 1.2'
        """
        found = f"noise of about {self.sigma:.1f}"
        return found if self.quality is None else f"JPEG quality {self.quality}, {found}"


def diagnose(picture: Picture) -> Diagnosis:
    """Find out what a picture needs; nothing is changed.

    Example:
        >>> gray = Picture(pixels=np.full((64, 64, 1), 128, np.uint8))
        >>> diagnose(gray).needs
        ()
    """
    sigma = 255 * noise.estimate(to_tensor(picture.pixels)).sigma
    needs: list[FixStep] = []
    if picture.jpeg_quality is not None and picture.jpeg_quality < QUALITY:
        needs.append(FixStep(task="deblock", why=f"a JPEG of quality {picture.jpeg_quality}, below {QUALITY}"))
    if sigma > SIGMA:
        needs.append(FixStep(task="denoise", why=f"noise of about {sigma:.1f} of 255, above {SIGMA:g}"))
    return Diagnosis(quality=picture.jpeg_quality, sigma=sigma, needs=tuple(needs))


def _nothing(fraction: float) -> None:
    """Tell nobody."""


def _silence(text: str) -> None:
    """Tell nobody."""


class AutoFix:
    """Does what each picture needs, by the default methods. It is used as a ``Runner`` is.

    Args:
        settings: Where and in how much memory it runs; its ``task`` and what belongs to one task are not used.

    Raises:
        CardError: A step has no method, or its weights are not shipped.
        DeviceError: This machine has no such device.
    """

    def __init__(self, settings: InferenceRequest) -> None:
        self.settings = settings
        self.runners: Mapping[Task, Runner] = MappingProxyType({task: _runner(task, settings) for task in _STEPS})

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result, which is that of the picture."""
        return width, height

    def foresee(self, rows: Rows) -> tuple[Diagnosis, tuple[str, ...]]:
        """Look at a picture without doing anything; with one line for each step, what and why."""
        found = diagnose(_gather(rows))
        return found, tuple(self._lines(found))

    def _lines(self, found: Diagnosis) -> Iterator[str]:
        for need in found.needs:
            yield f"{need.task}: {need.why} ({self.runners[need.task].card.id})"
        if not found.needs:
            yield f"nothing to do: {found.describe()}"

    def __call__(self, picture: Picture, progress: Callable[[float], None] = _nothing) -> Picture:
        """Do what one picture in memory needs; what and why are among the warnings of the result."""
        warnings: list[str] = []
        found = diagnose(picture)
        warnings += self._lines(found)
        made = self._restored(picture, found, progress, warnings.append)
        return replace(made, warnings=(*made.warnings, *warnings))

    def stream(
        self, source: Rows, progress: Callable[[float], None] = _nothing, warn: Callable[[str], None] = _silence
    ) -> tuple[ImageSpec, Iterator[NDArray[Any]]]:
        """Do what a picture needs; as ``Runner.stream``, but that the whole picture is read first.

        The spec is the very one of the source where nothing is to be done.
        """
        picture = _gather(source)
        found = diagnose(picture)
        for line in self._lines(found):
            warn(line)
        if not found.needs:
            return source.spec, _rows(picture)
        return replace(source.spec, jpeg_quality=None), self._later(picture, found, progress, warn)

    def _later(
        self, picture: Picture, found: Diagnosis, progress: Callable[[float], None], warn: Callable[[str], None]
    ) -> Iterator[NDArray[Any]]:
        yield from _rows(self._restored(picture, found, progress, warn))

    def _restored(
        self, picture: Picture, found: Diagnosis, progress: Callable[[float], None], warn: Callable[[str], None]
    ) -> Picture:
        if not found.needs:
            return picture
        # The quality is told already, and no longer true after the first step.
        made = to_depth(replace(picture, jpeg_quality=None, warnings=()), "float")
        runners = [self.runners[need.task] for need in found.needs]
        steps = list({runner.card.id: runner for runner in runners}.values())  # what does both, does both at once
        for i, runner in enumerate(steps):
            made = runner(made, partial(_part, progress, i, len(steps)))
        for warning in made.warnings:
            warn(warning)
        return to_depth(replace(made, warnings=picture.warnings), picture.depth)


def _runner(task: Task, settings: InferenceRequest) -> Runner:
    card = catalog.default(task)
    if card is None:
        raise CardError(f"fix: expected a usual method of {task}, got none; see: safelight methods {task}")
    return prepare(card, replace(settings, task=task))


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
