"""Restore and enlarge pictures, from bicubic to deep networks, and know how good each method is.

    >>> import numpy, safelight
    >>> small = numpy.zeros((10, 20, 3), numpy.uint8)
    >>> safelight.upscale(small, scale=4, method="bicubic").shape
    (40, 80, 3)

Each task of ``safelight.tasks`` is a function here. Importing the package is quick: torch and the rest come in when a
function needs them.
"""

from importlib import import_module
from typing import Any

_OTHERS = {
    "Client": "safelight.api.client",
    "Picture": "safelight.media.image",
    "fix": "safelight.api.fixing",
    "list_methods": "safelight.api.basics",
    "load": "safelight.api.basics",
    "read": "safelight.api.basics",
    "score": "safelight.api.basics",
    "score_sets": "safelight.api.basics",
    "visualize": "safelight.api.visualizing",
    "write": "safelight.api.basics",
}


def _tasks() -> tuple[str, ...]:
    """List the names of the tasks; what reads pictures alone never loads their records."""
    return import_module("safelight.tasks").names()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the language has it
    if name in _OTHERS:
        return getattr(import_module(_OTHERS[name]), name)
    if name == "__all__":
        return sorted([*_OTHERS, *_tasks(), "__version__"])
    if not name.startswith("_") and name in _tasks():
        return getattr(import_module("safelight.api.task_functions"), name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("safelight")
        except PackageNotFoundError:
            return "0+source"  # run from a folder of sources that was never installed
    raise AttributeError(f"module 'safelight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_OTHERS, *_tasks()]
