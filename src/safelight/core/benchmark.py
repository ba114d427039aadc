"""The record that says how the methods of a task are measured, and what must come out before a number is believed.

A task's file makes one (``TaskSpec.benchmark``); ``safelight bench`` and the documents are made of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor

from safelight import metrics
from safelight.core.outputs import Output
from safelight.core.task import Task
from safelight.media.image import Picture

Kind = Literal["luma", "gray", "rgb"]

Level: TypeAlias = float | None
"""How hard a test is made, such as a zoom or a noise's standard deviation; ``None``: the task knows no levels."""

Source: TypeAlias = Picture | bytes | None
"""What a method works on; ``None``: nothing, the method generates."""

INPUT: Final = "input"
"""Stands for a method in the anchors: the degraded picture itself, against its original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSet:
    """A test set: what tables call it, and the folder that it lies in.

    Attributes:
        name: In tables.
        folder: Below the folder that holds all test sets.
        kind: Of a ``luma`` set, a network of one channel gets the luma and one of RGB the colours, and luma is
            compared. A ``gray`` set is gray to all; of an ``rgb`` set all three channels are given and compared.
        every: Keeps each n-th picture in the order of the names, from the first.
    """

    name: str
    folder: str
    kind: Kind
    every: int = 1


@dataclass(frozen=True, slots=True)
class BenchmarkSample:
    """One test.

    Attributes:
        source: What a method works on.
        reference: The original, (1, C, H, W) float64 in [0, 1], that its result is compared with; ``None``: no metric
            of the benchmark compares two pictures.
    """

    source: Source
    reference: Tensor | None

    @property
    def picture(self) -> Picture:
        """The source, where it is a picture."""
        assert isinstance(self.source, Picture)
        return self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric that is the task's own, such as bits per pixel or an accuracy, which no function of ``metrics`` gives.

    Attributes:
        name: The key in the rows of the JSON.
        title: In tables.
        value: ``value(output, sample, path)`` measures one result; ``path`` is the file of the original, whose name
            may hold a label. A row has the mean over the pictures.
        unit: "dB", "bits", or "" for a pure number.
        higher_is_better: Whether a larger number is a better result.
        digits: After the point, in tables.
    """

    name: str
    title: str
    value: Callable[[Output, BenchmarkSample, Path], float]
    higher_is_better: bool
    unit: str = ""
    digits: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What is known of one method, or of the input itself, and must come out: else no number is to be believed.

    Attributes:
        tolerances: By the name of a set: for each metric that is checked there, how far off it may be.
        method: The method's ``task/name``, or ``INPUT``.
        known: ``known(set, level)`` gives the numbers by metric; ``None``: they are those that the method's card has of
            its paper.
    """

    tolerances: Mapping[str, Mapping[str, float]]
    method: str = INPUT
    known: Callable[[str, Level], Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """A paper's claim that one network is so many times as fast as another one, to be measured.

    Attributes:
        fast: The faster method, ``task/name``, with its default options.
        slow: The other one.
        level: At which level they are compared.
        published: How many times as fast the paper has it.
    """

    fast: str
    slow: str
    level: Level
    published: float


def unscaled(level: Level) -> int:  # noqa: ARG001 - the same at every level
    """Give the zoom of a task that keeps the size: 1."""
    return 1


def no_inputs(level: Level) -> Mapping[str, Any]:  # noqa: ARG001 - the same at every level
    """Tell a method nothing beside the picture."""
    return {}


def whole_picture(kind: Kind, level: Level) -> metrics.Protocol:  # noqa: ARG001 - the same at every level
    """Compare results, rounded to 8 bits, over the whole picture."""
    return metrics.Protocol(channel="rgb" if kind == "rgb" else "y", rounding="8-bit")


def picture_itself(picture: Picture, level: Level) -> Source:  # noqa: ARG001 - the same at every level
    """Time a method on the drawn picture as it is."""
    return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """How the methods of one task are measured.

    Attributes:
        task: The task's name.
        sets: The test sets.
        headline: The set that short tables show.
        metrics: What is measured: names of ``metrics.METRICS``, or the task's own. The first one is what tables show
            first and the plot draws.
        levels: The levels, from easy to hard or as papers list them.
        unit: How a level is written, with ``{}`` for the number.
        protocol: Everything that a number depends on, in words.
        degrade: ``degrade(original, level)`` makes a test of an original, (C, H, W) uint8.
        inputs: What every method is told at a level, by the name of the task's input; a method that does not accept an
            optional one is not told it.
        scale: The zoom at a level, for methods that have some zooms only; 1 where the size stays.
        compare: The protocol of the metrics for a set of some kind at a level.
        anchor: What is known and must come out; ``None``: nothing is.
        plotted: The sets whose pictures the plot's means are taken over.
        clock: What the timed pictures are, in words, with ``{width}`` and ``{height}``.
        timed_in_colour: Time all methods on an RGB picture; else those of one channel on a gray one.
        timed_source: Makes what a method is timed on of a drawn picture.
        left_out: Methods that run only when they are named, and why.
        races: Claims of speed that are measured.
        matlab_files: The folder, below that of the test sets, of files that MATLAB's ``imresize`` wrote, which our
            resize has to reproduce; empty: there is none.
    """

    task: Task
    sets: tuple[BenchmarkSet, ...]
    headline: str
    metrics: tuple[str | Measure, ...]
    protocol: str
    degrade: Callable[[Tensor, Any], BenchmarkSample]
    clock: str
    levels: tuple[Level, ...] = (None,)
    unit: str = "{}"
    inputs: Callable[[Any], Mapping[str, Any]] = no_inputs
    scale: Callable[[Any], int] = unscaled
    compare: Callable[[Kind, Any], metrics.Protocol] = whole_picture
    anchor: Anchor | None = None
    plotted: tuple[str, ...] = ()
    timed_in_colour: bool = False
    timed_source: Callable[[Picture, Level], Source] = picture_itself
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    races: tuple[Race, ...] = ()
    matlab_files: str = ""

    @property
    def timed_by_level(self) -> bool:
        """Whether a level changes the size, and with it the time of a method."""
        return len({self.scale(level) for level in self.levels}) > 1

    def label(self, level: Level) -> str:
        """Write a level, such as ``x2``; empty where there is none."""
        return level_label(self.unit, level)

    def labels(self, levels: Iterable[Level]) -> str:
        """Write several levels, such as ``x2 x3`` or ``sigma 15, 25``."""
        present = [level for level in levels if level is not None]
        if not present:
            return ""
        if " " not in self.unit:
            return " ".join(map(self.label, present))
        return self.unit.format(", ".join(f"{level:g}" for level in present))


def level_label(unit: str, level: Level) -> str:
    """Write a level as a table has it.

    Example:
        >>> level_label("sigma {}", 25), level_label("x{}", 1.5), level_label("x{}", None)
        ('sigma 25', 'x1.5', '')
    """
    return "" if level is None else unit.format(f"{level:g}")


def fingerprint(pixels: Tensor) -> str:
    """The SHA-256 of a picture's shape and samples, (C, H, W) uint8, in hexadecimal: no file name, no format."""
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def to_picture(x: Tensor) -> Picture:
    """Make a float picture of (1, C, H, W), whatever its range."""
    return Picture(pixels=x[0].permute(1, 2, 0).to(torch.float32).contiguous().numpy())
