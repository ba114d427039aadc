"""The tasks. Each is a record, a folder of ``methods``, and a verb of the command line, of Python and of the server.

A new task is a file here, a folder of methods and a line in ``TASKS``. The records import no torch, so that the help
of the command line is fast.
"""

from __future__ import annotations

import difflib
from typing import Final

from safelight.core.options import CardError
from safelight.core.task import Task, TaskSpec
from safelight.tasks.deblock import DEBLOCK
from safelight.tasks.denoise import DENOISE
from safelight.tasks.inpaint import INPAINT
from safelight.tasks.stylize import STYLIZE
from safelight.tasks.upscale import UPSCALE

__all__ = ["TASKS", "Task", "TaskSpec", "find", "names"]

TASKS: Final[tuple[TaskSpec, ...]] = (UPSCALE, DENOISE, DEBLOCK, INPAINT, STYLIZE)


def names() -> tuple[Task, ...]:
    """List the names of all tasks."""
    return tuple(task.name for task in TASKS)


def find(name: str) -> TaskSpec:
    """Find a task by its name.

    Raises:
        CardError: There is no such task; the message lists similar names.

    Example:
        >>> find("upscale").title
        'Enlarge'
    """
    for task in TASKS:
        if task.name == name:
            return task
    close = difflib.get_close_matches(name, names(), n=3, cutoff=0.5) or names()
    raise CardError(f"expected a task, got {name!r}; did you mean {', '.join(close)}?")
