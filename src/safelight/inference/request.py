"""What a user asks for beside the method and the picture, and what is refused before any work."""

from __future__ import annotations

import difflib
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
    """What a user asks for, beside the method and what is worked on.

    Attributes:
        task: One of the method's tasks; ``None``: that of its folder.
        inputs: What the task's ``InputSpec``s are told, by name; what is left out has its default. Pictures are
            ``Picture``s; a file of weights or of a kernel is a path.
        options: The method's own, loose: they are checked and made a record once, when the method is made ready.
        weights: A file that replaces the shipped weights.
        device: ``"auto"``: the fastest there is.
        precision: ``"exact"`` is float32; ``"fast"`` takes half of its digits where the device gains by it.
        ensemble: Average over the eight symmetries of the square: eight times the work.
        memory: Bytes that a tile's computation may hold, beside the picture itself.
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
    """Read what people give for a task's inputs: pictures of any kind become ``Picture``s.

    Args:
        task: The task.
        values: By the names of the inputs; ``None`` says that nothing is told.

    Raises:
        CardError: The task has no input of this name.
        PictureError: One is no picture.
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
        case "numbers":
            return tuple(value)
        case _:
            return value


def check(card: Card, task: TaskSpec, request: InferenceRequest) -> dict[str, Any]:
    """Refuse what the method or its task does not have, before any work.

    Returns:
        The inputs of the task, by name, with the defaults of those that were not told.

    Raises:
        CardError: It says what the method has.
        MissingPackageError: The method's package is not installed.
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
