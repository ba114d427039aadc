"""Writes the stub files that declare the functions built from the tasks' records to type checkers."""

from __future__ import annotations

from safelight import tasks
from safelight.api.task_functions import must_be_given
from safelight.core.inputs import InputSpec
from safelight.core.task import TaskSpec

_KINDS = {
    "number": "float", "integer": "int", "flag": "bool", "text": "str", "numbers": "Sequence[float]",
    "picture": "Holder", "pictures": "Sequence[Holder]", "bytes": "str | Path | bytes",
}  # fmt: skip
_RETURNS = {"images": "list[Picture]", "clip": "Clip", "bitstream": "bytes", "value": "float | str"}
_HEAD = '"""Generated from the records in ``safelight.tasks`` by ``python docs/generate.py``; do not edit."""\n'
_IMPORTS = """
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from torch import Tensor

from safelight.core.card import Card
from safelight.core.inputs import InputSpec
from safelight.core.task import TaskSpec
from safelight.engine.device import Device
from safelight.features.backbone import Backbone
from safelight.inference.model import PrecisionChoice
from safelight.media.image import Picture

Holder = str | Path | bytes | Picture | NDArray[np.generic] | Tensor | PIL.Image.Image
_Kind = TypeVar("_Kind", bytes, Picture, NDArray[np.generic], Tensor, PIL.Image.Image)

EXECUTION: Mapping[str, tuple[Any, str]]
RETURNS: Mapping[str, str]

def card_of(method: str | None, task: TaskSpec) -> Card: ...
def call(task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any: ...
def function_of(task: TaskSpec) -> Callable[..., Any]: ...
def must_be_given(task: TaskSpec, spec: InputSpec) -> bool: ...
"""
_BEFORE_CLIP = "from safelight.core.inputs import InputSpec\n"


def functions_stub() -> str:
    """Write the stub of ``safelight.api.task_functions``."""
    clips = any(task.output.kind == "clip" for task in tasks.TASKS)
    outputs = "from safelight.core.outputs import Clip\n" if clips else ""
    imports = _IMPORTS.replace(_BEFORE_CLIP, _BEFORE_CLIP + outputs)
    return _HEAD + imports + "".join(_function(task) for task in tasks.TASKS)


def package_stub() -> str:
    """Write the stub of the package itself, whose functions come from several modules."""
    names = sorted(tasks.names())
    functions = "".join(f"from safelight.api.task_functions import {name} as {name}\n" for name in names)
    return (
        f"{_HEAD}\nfrom safelight.api.basics import list_methods as list_methods\n"
        "from safelight.api.basics import load as load\nfrom safelight.api.basics import read as read\n"
        "from safelight.api.basics import score as score\nfrom safelight.api.basics import score_sets as score_sets\n"
        "from safelight.api.basics import write as write\nfrom safelight.api.client import Client as Client\n"
        f"from safelight.api.fixing import fix as fix\n{functions}"
        "from safelight.api.visualizing import visualize as visualize\n"
        "from safelight.media.image import Picture as Picture\n\n__version__: str\n"
    )


def _function(task: TaskSpec) -> str:
    if task.main is None or task.main.kind != "picture" or task.output.kind != "image":
        source = "" if task.main is None else f"x: {_KINDS[task.main.kind]}"
        result = _RETURNS.get(task.output.kind, "Picture")
        return "\n" + _signature(task, source, result)
    forms = (("x: str | Path", "Picture"), ("x: _Kind", "_Kind"))
    return "".join(f"\n@overload\n{_signature(task, source, result)}" for source, result in forms)


def _signature(task: TaskSpec, source: str, result: str) -> str:
    specs = sorted(task.conditions, key=lambda spec: not spec.positional)
    positional = [_parameter(task, spec) for spec in specs if spec.positional]
    keywords = [_parameter(task, spec) for spec in specs if not spec.positional]
    lines = [
        *([source] if source else []), *positional, "*", *keywords, "method: str | None = None",
        "weights: str | Path | None = None", 'device: Device = "auto"', 'precision: PrecisionChoice = "exact"',
        "ensemble: bool = False", "**options: float | str",
    ]  # fmt: skip
    return f"def {task.name}(\n" + "".join(f"    {line},\n" for line in lines) + f") -> {result}: ...\n"


def _parameter(task: TaskSpec, spec: InputSpec) -> str:
    kind = spec.annotation or _KINDS[spec.kind]
    if spec.several:
        return f"{spec.name}: Holder | {kind} | None = None"
    if must_be_given(task, spec):
        return f"{spec.name}: {kind}"
    if spec.default is None:
        return f"{spec.name}: {kind} | None = None"
    return f"{spec.name}: {kind} = {spec.default!r}"


def client_stub() -> str:
    """Write the stub of ``safelight.api.remote_tasks``."""
    head = """
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safelight.api.task_functions import Holder
from safelight.core.task import TaskSpec

class RemoteTasks:
    def do(self, task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any: ...
"""
    return _HEAD + head + "".join(_method(task) for task in tasks.TASKS)


def _method(task: TaskSpec) -> str:
    specs = sorted(task.conditions, key=lambda spec: not spec.positional)
    positional = [_parameter(task, spec) for spec in specs if spec.positional]
    keywords = [_parameter(task, spec).replace(" | Backbone", "") for spec in specs if not spec.positional]
    lines = [
        "self", *([] if task.main is None else [f"x: {_KINDS[task.main.kind]}"]), *positional, "*", *keywords,
        "method: str | None = None", 'precision: str = "exact"', "ensemble: bool = False", "**options: float | str",
    ]  # fmt: skip
    text = "".join(f"        {line},\n" for line in lines)
    return f"    def {task.name}(\n{text}    ) -> Any: ...\n"
