"""One function for each task, made of its record: ``upscale``, ``denoise`` and the others.

What type checkers see of them stands in ``task_functions.pyi``, which ``python docs/generate.py`` makes of the same
records. A task that is added later, by a test or a plugin, has its function here as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from safelight import tasks
from safelight.core.inputs import InputSpec
from safelight.core.options import CardError
from safelight.core.task import TaskSpec

if TYPE_CHECKING:
    from safelight.core.card import Card
    from safelight.core.outputs import Output

EXECUTION: Mapping[str, tuple[Any, str]] = {
    "method": (None, "Its name; see ``list_methods``. ``None``: the task's default."),
    "weights": (None, "A file of your own training, or a published checkpoint (docs/weights.md)."),
    "device": ("auto", '``"auto"``: the fastest there is.'),
    "precision": (
        "exact", '``"exact"`` is float32; ``"fast"`` takes half of its digits where the device gains by it.',
    ),
    "ensemble": (False, "Average over the 8 turns and mirrorings; better, and 8 times the work."),
}  # fmt: skip
"""The keywords that every task's function has beside its inputs: their defaults, and what they are."""


def card_of(method: str | None, task: TaskSpec) -> Card:
    """Find a method, or the default one of the task.

    Raises:
        CardError: There is no such method, or the task has no default.
    """
    from safelight import catalog

    if method is not None:
        return catalog.find(method, task.name)
    found = catalog.default(task.name)
    if found is None:
        raise CardError(f"{task.name}: expected a method, got none, and no method is the default; name one")
    return found


def call(task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever kind comes, goes
    """Do a task once.

    Args:
        task: The task.
        x: What is worked on, of any kind; ``None`` where nothing goes in.
        values: The task's inputs, the keywords of ``EXECUTION``, and the method's own options, by name.
    """
    from pathlib import Path

    from safelight import inference
    from safelight.inference.request import read_inputs

    rest = dict(values)
    how = {name: rest.pop(name, default) for name, (default, _) in EXECUTION.items()}
    given = {spec.name: rest.pop(spec.name) for spec in task.conditions if spec.name in rest}
    card = card_of(how["method"], task)
    request = inference.InferenceRequest(
        task=task.name, inputs=read_inputs(task, given), options=rest, device=how["device"],
        precision=how["precision"], ensemble=how["ensemble"],
        weights=None if how["weights"] is None else Path(how["weights"]),
    )  # fmt: skip
    runner = inference.prepare(card, request)
    return _as_given(task, runner.run(_read(task, x)), x)


def _read(task: TaskSpec, x: Any) -> Any:  # noqa: ANN401
    from pathlib import Path

    from safelight.media import image

    if task.main is None:
        return None
    if task.main.kind == "bytes":
        return x if isinstance(x, bytes) else Path(x).read_bytes()
    return image.from_any(x)


def _as_given(task: TaskSpec, output: Output, x: Any) -> Any:  # noqa: ANN401
    """Give an output as a picture of the kind that came in, as a list of pictures, as bytes, or as a value."""
    from safelight.core.outputs import Bitstream, Clip, Image, Images, Value
    from safelight.media import image

    match output:
        case Image(picture=picture):
            return image.to_kind(picture, x) if task.main is not None and task.main.kind == "picture" else picture
        case Images(pictures=pictures):
            return list(pictures)
        case Bitstream(data=data):
            return data
        case Value(value=value):
            return value
        case Clip():
            return output


def function_of(task: TaskSpec) -> Callable[..., Any]:
    """Make the function of a task, with its signature and its docstring."""
    parameters = _parameters(task)
    signature = inspect.Signature(parameters)

    def function(*positional: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as the signature has it
        bound = signature.bind(*positional, **keywords)
        values = dict(bound.arguments)
        x = values.pop("x", None)
        options = values.pop("options", {})
        return call(task, x, {**values, **options})

    function.__name__ = function.__qualname__ = task.name
    function.__module__ = __name__
    function.__doc__ = _docstring(task)
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return function


def _parameters(task: TaskSpec) -> list[inspect.Parameter]:
    places = inspect.Parameter
    made = [] if task.main is None else [places("x", places.POSITIONAL_OR_KEYWORD)]
    ordered = sorted(task.conditions, key=lambda spec: not spec.positional)
    for spec in ordered:
        kind = places.POSITIONAL_OR_KEYWORD if spec.positional else places.KEYWORD_ONLY
        made.append(places(spec.name, kind, default=_default(task, spec)))
    made += [places(name, places.KEYWORD_ONLY, default=default) for name, (default, _) in EXECUTION.items()]
    return [*made, places("options", places.VAR_KEYWORD)]


def _default(task: TaskSpec, spec: InputSpec) -> Any:  # noqa: ANN401
    return inspect.Parameter.empty if must_be_given(task, spec) else None if spec.several else spec.default


def must_be_given(task: TaskSpec, spec: InputSpec) -> bool:
    """Say whether the function of a task can't be called without an input: a picture that every method needs."""
    return bool(spec.required) and spec.kind == "picture" and spec in task.inputs


def _docstring(task: TaskSpec) -> str:
    lines = [f"{task.summary}.", ""]
    if task.details:
        lines += [task.details, ""]
    if task.main is not None and task.main.kind == "picture" and task.output.kind == "image":
        lines += ["Depth, alpha, colour profile and metadata are kept as far as the kind can hold them.", ""]
    lines.append("Args:")
    if task.main is not None:
        lines.append(f"    x: {task.main.help}")
    lines += [f"    {spec.name}: {spec.help}" for spec in sorted(task.conditions, key=lambda spec: not spec.positional)]
    lines += [f"    {name}: {text}" for name, (_, text) in EXECUTION.items()]
    lines += [
        "    **options: The method's own; ``safelight info METHOD`` lists them. An unknown name raises.", "",
        "Returns:", f"    {RETURNS[task.output.kind]}", "",
        "Raises:",
        "    CardError: A method, an option or an input that does not exist, or a value out of range.",
        "    BackboneError: A backbone that does not exist or has no weights here.",
        "    CheckpointError: A weights file that is broken or of another method.",
        "    DeviceError: This machine has no such device.",
        "    PictureError: What should be a picture is none.",
    ]  # fmt: skip
    if task.example:
        lines += ["", "Example:", *(f"    {line}" for line in task.example.strip().splitlines())]
    return "\n".join([*lines, ""])


RETURNS: Mapping[str, str] = {
    "image": "A picture of the same kind as ``x``; a Picture for a path.",
    "images": "A list of Pictures.",
    "clip": "A Clip.",
    "bitstream": "The bytes of the file.",
    "value": "The value.",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the language has it
    if name in tasks.names():
        return function_of(tasks.find(name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# The functions of the tasks that are there, so that the documentation's examples are found and tested.
globals().update({task.name: function_of(task) for task in tasks.TASKS})
