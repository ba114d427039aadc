"""The record of a task. The command line, the Python functions and the server are all built from these records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from safelight.core.inputs import InputSpec
from safelight.core.outputs import OutputSpec

if TYPE_CHECKING:
    from safelight.core.benchmark import Benchmark

Task: TypeAlias = str
"""The name of a task: a verb of the command line, and the folder of its methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is measured on a picture before ``fix`` decides what to do with it.

    Attributes:
        jpeg_quality: The quality that it was saved with as a JPEG file, 1 to 100; ``None`` for other formats.
        sigma: The estimated standard deviation of its noise, in units of 0 to 255.
    """

    jpeg_quality: int | None
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """When ``fix`` applies a task to a picture.

    Attributes:
        order: Tasks with a smaller number are applied first.
        reason: Returns why a picture with these findings needs the task, as a few words to follow the task's name; an
            empty text if it does not need it.
        limits: The thresholds that ``reason`` compares with, by the names under which a manifest records them.
    """

    order: int
    reason: Callable[[Findings], str]
    limits: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task: its inputs, its output, and how results are measured.

    Attributes:
        name: The name of the verb of the command line, of the Python function, of the route of the HTTP API, and of the
            folder of the methods.
        title: The title on a page, one or two words.
        summary: One line in the imperative, without a full stop, for the HTTP API and for lists.
        help: The first sentence of the help of the command line and of the Python function.
        details: More sentences of that help.
        inputs: The inputs, in the order of the Python function's parameters; the main input comes first.
        output: What a method of the task returns.
        default: The name of the default method, ``NAME`` or ``TASK/NAME``; ``None``: the user has to name a method.
        level: The format of a level of difficulty, with ``{}`` for the number, such as ``x{}`` or ``sigma {}``.
        headline: Words that identify the task's main score among the names of the scores in a weights file.
        benchmark: Returns the record of how methods of the task are measured; a function, since that record needs
            torch. ``None``: the task has no benchmark.
        repair: When ``fix`` applies the task; ``None``: never.
        example: A doctest of the Python function, without indentation.
    """

    name: str
    title: str
    summary: str
    help: str
    details: str = ""
    inputs: tuple[InputSpec, ...] = ()
    output: OutputSpec = field(default_factory=OutputSpec)
    default: str | None = None
    level: str = "{}"
    headline: tuple[str, ...] = ()
    benchmark: Callable[[], Benchmark] | None = None
    repair: Repair | None = None
    example: str = ""

    @property
    def main(self) -> InputSpec | None:
        """The main input: a picture, a clip, or a file of bytes; ``None`` if the task has none."""
        return next((spec for spec in self.inputs if spec.main), None)

    @property
    def conditions(self) -> tuple[InputSpec, ...]:
        """All inputs but the main one."""
        return tuple(spec for spec in self.inputs if not spec.main)

    def input(self, name: str) -> InputSpec | None:
        """Return the input with a name; ``None`` if there is none."""
        return next((spec for spec in self.inputs if spec.name == name), None)
