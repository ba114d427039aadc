"""The tasks as methods of a client, made of their records; ``remote_tasks.pyi`` has them for type checkers."""

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

    def _call(self, task: TaskSpec, *positional: Any, **said: Any) -> Any:  # noqa: ANN401 - as the task has it
        places = [] if task.main is None else ["x"]
        places += [spec.name for spec in task.conditions if spec.positional]
        if len(positional) > len(places):
            raise TypeError(f"{task.name}() takes {len(places)} positional arguments, got {len(positional)}")
        values = dict(zip(places, positional, strict=False)) | said
        return self.do(task, values.pop("x", None), values)

    def do(self, task: TaskSpec, x: Any, said: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Do a task. A client says how."""
        raise NotImplementedError
