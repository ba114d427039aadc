"""One function for each task, built from its record: ``upscale``, ``denoise`` and the others.

The stub ``task_functions.pyi`` declares them to type checkers; ``python docs/generate.py`` writes it from the same
records. A task that is registered later, by a test or a plugin, has its function here as well.
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
    "method": (None, "The name of the method; see ``list_methods``. ``None``: the default method of the task."),
    "weights": (None, "A weights file of your own training, or a published checkpoint (docs/weights.md)."),
    "device": ("auto", '``"auto"`` is the fastest device that is available.'),
    "precision": (
        "exact", '``"exact"`` is float32; ``"fast"`` is a 16-bit format, if the device is faster with it.',
    ),
    "ensemble": (False, "Average over the 8 rotations and reflections of the picture: better, but 8 times the work."),
}  # fmt: skip
"""The keywords that every task's function has beside its inputs: their defaults, and what they are."""


def card_of(method: str | None, task: TaskSpec) -> Card:
    """Find a method, or the default one of the task.

    Raises:
        CardError: There is no such method, or the task has no default method.
    """
    from safelight import catalog

    if method is not None:
        return catalog.find(method, task.name)
    default = catalog.default(task.name)
    if default is None:
        raise CardError(f"{task.name}: expected a method, got none, and no method is the default; name one")
    return default


def call(task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever kind comes, goes
    """Run a task once.

    Args:
        task: The task.
        x: The picture or file to work on, of any kind; ``None`` for a task without one.
        values: The inputs of the task, the keywords of ``EXECUTION``, and the options of the method, by name.
    """
    from pathlib import Path

    from safelight import inference
    from safelight.inference.request import read_inputs

    rest = dict(values)
    execution = {name: rest.pop(name, default) for name, (default, _) in EXECUTION.items()}
    given = {spec.name: rest.pop(spec.name) for spec in task.conditions if spec.name in rest}
    card = card_of(execution["method"], task)
    request = inference.InferenceRequest(
        task=task.name, inputs=read_inputs(task, given), options=rest, device=execution["device"],
        precision=execution["precision"], ensemble=execution["ensemble"],
        weights=None if execution["weights"] is None else Path(execution["weights"]),
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
    """Convert an output to a picture of the kind of ``x``, a list of pictures, bytes or a value."""
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
    """Build the function of a task, with its signature and its docstring."""
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
    kinds = inspect.Parameter
    parameters = [] if task.main is None else [kinds("x", kinds.POSITIONAL_OR_KEYWORD)]
    ordered = sorted(task.conditions, key=lambda spec: not spec.positional)
    for spec in ordered:
        kind = kinds.POSITIONAL_OR_KEYWORD if spec.positional else kinds.KEYWORD_ONLY
        parameters.append(kinds(spec.name, kind, default=_default(task, spec)))
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, (default, _) in EXECUTION.items()]
    return [*parameters, kinds("options", kinds.VAR_KEYWORD)]


def _default(task: TaskSpec, spec: InputSpec) -> Any:  # noqa: ANN401
    return inspect.Parameter.empty if must_be_given(task, spec) else None if spec.several else spec.default


def must_be_given(task: TaskSpec, spec: InputSpec) -> bool:
    """Return whether an input of a task's function has no default: a picture that every method needs."""
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
        "    **options: The options of the method; ``safelight info METHOD`` lists them.", "",
        "Returns:", f"    {RETURNS[task.output.kind]}", "",
        "Raises:",
        "    CardError: A method, an option or an input does not exist, or a value is out of range.",
        "    BackboneError: A backbone does not exist, or its weights are not installed.",
        "    CheckpointError: A weights file is broken or belongs to another method.",
        "    DeviceError: The requested device is not available.",
        "    PictureError: A picture cannot be read.",
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
