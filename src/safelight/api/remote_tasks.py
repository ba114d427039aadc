"""The tasks as methods of a client, built from their records; ``remote_tasks.pyi`` declares them for type checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from safelight import tasks
from safelight.core.task import TaskSpec


class RemoteTasks:
    """One method for each task of ``safelight.tasks``, with the inputs of the task's function."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in tasks.names():
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return partial(self._call, tasks.find(name))

    def _call(self, task: TaskSpec, *positional: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as the task has it
        names = [] if task.main is None else ["x"]
        names += [spec.name for spec in task.conditions if spec.positional]
        if len(positional) > len(names):
            raise TypeError(f"{task.name}() takes {len(names)} positional arguments, got {len(positional)}")
        values = dict(zip(names, positional, strict=False)) | keywords
        return self.do(task, values.pop("x", None), values)

    def do(self, task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Run a task. Subclasses implement it."""
        raise NotImplementedError
