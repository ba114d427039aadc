"""The request of a user, and the checks that are made before any work."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from safelight.core.card import Card, MissingPackageError
from safelight.core.inputs import InputSpec
from safelight.core.options import CardError
from safelight.core.task import Task, TaskSpec
from safelight.engine.device import Device
from safelight.inference.model import PrecisionChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """The inputs and settings of a run, beside the method and the picture.

    Attributes:
        task: One of the method's tasks; ``None``: that of its folder.
        inputs: The values of the task's ``InputSpec``s, by name; an input that is left out has its default. Pictures
            are ``Picture``s; a file of weights or of a kernel is a path.
        options: The options of the method, by name; they are checked when the method is prepared.
        weights: A weights file that replaces the shipped weights.
        device: ``"auto"`` is the fastest device that is available.
        precision: ``"exact"`` is float32; ``"fast"`` is a 16-bit format, if the device is faster with it.
        ensemble: Average over the 8 rotations and reflections of the picture, which is 8 times the work.
        memory: The most bytes that the computation of a tile may hold, beside the picture itself.
    """

    task: Task | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    weights: Path | None = None
    device: Device = "auto"
    precision: PrecisionChoice = "exact"
    ensemble: bool = False
    memory: int = 1 << 30


def read_inputs(task: TaskSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values that a caller gives for a task's inputs: pictures of any kind become ``Picture``s.

    Args:
        task: The task.
        values: The values, by the names of the inputs; ``None``: not given.

    Raises:
        CardError: The task has no input of this name, or a value is not a number where one is expected.
        PictureError: A value cannot be read as a picture.
    """
    known = {spec.name: spec for spec in task.conditions}
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
            raise CardError(f"{task.name} takes no {name}; did you mean {', '.join(close)}?")
        if value is not None:
            read[name] = _read(known[name], value)
    return read


def _read(spec: InputSpec, value: Any) -> Any:  # noqa: ANN401 - of any kind
    from safelight.media import image

    match spec.kind:
        case "picture":
            return image.from_any(value)
        case "pictures":
            several: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else (value,)
            return tuple(image.from_any(each) for each in several)
        case "number" | "integer":
            return _number(spec, value)
        case "numbers":
            try:
                return tuple(float(each) for each in value)
            except (TypeError, ValueError):
                raise CardError(f"{spec.name}: expected a sequence of numbers, got {value!r}") from None
        case _:
            return value


def _number(spec: InputSpec, value: Any) -> int | float:  # noqa: ANN401 - of any kind
    """Convert a number, also one of numpy or torch, to Python's own."""
    try:
        if spec.kind == "integer":
            return int(operator.index(value))
        return value if type(value) in (bool, int, float) else float(value)
    except (TypeError, ValueError):
        kind = "whole number" if spec.kind == "integer" else "number"
        raise CardError(f"{spec.name}: expected a {kind}, got {value!r}") from None


def check(card: Card, task: TaskSpec, request: InferenceRequest) -> dict[str, Any]:
    """Check a request against the method and its task, before any work.

    Args:
        card: The method.
        task: The task.
        request: The inputs and settings.

    Returns:
        The values of the task's inputs, by name, with the defaults of those that are not given.

    Raises:
        CardError: The method does not do the task, or an input is missing, unknown, out of range or not accepted.
        MissingPackageError: An optional package that the method needs is not installed.
    """
    if task.name not in card.tasks:
        raise CardError(f"{card.id} does not {task.name}; it serves: {', '.join(card.tasks)}")
    if card.extra is not None and find_spec(card.extra.module) is None:
        raise MissingPackageError(
            f"{card.id} needs a package that is not installed; get it with: pip install 'safelight[{card.extra.name}]'"
        )
    known = {spec.name: spec for spec in task.conditions}
    given = request.inputs
    for name in given:
        if name not in known and given[name] is not None:
            raise CardError(f"{task.name} takes no {name}; leave it out")
    accepted = {name for name, spec in known.items() if not spec.optional or name in card.accepts}
    for name, spec in known.items():
        if spec.is_given(given):
            _check_given(card, spec, given, accepted=name in accepted)
    inputs: dict[str, Any] = {}
    for name, spec in known.items():
        if name in accepted and spec.required and not spec.is_given(given):
            raise CardError(f"{card.id}: expected {spec.required}")
        value = given.get(name)
        inputs[name] = spec.default if value is None else value
        spec.check(inputs[name])
        if name in accepted and spec.validate is not None:
            spec.validate(given)
    return inputs


def _check_given(card: Card, spec: InputSpec, given: Mapping[str, Any], *, accepted: bool) -> None:
    if not accepted:
        what = spec.flag_name or "several pictures"
        raise CardError(f"{card.id} takes no {what}; leave it out, or choose a method that does")
    if spec.learned and not card.method.learned:
        raise CardError(f"{card.id} has no weights and takes no {spec.flag_name}; leave it out, or choose a network")
    for other in spec.excludes:
        if given.get(other) is not None:
            raise CardError(f"expected --{spec.name} or --{other}, got both; leave one out")
