"""What does the work on each picture: one method, or the steps that a picture turns out to need."""

from __future__ import annotations

from typing import TypeAlias

from safelight.core.solver_input import ProgressCallback
from safelight.inference.autofix import AutoFix
from safelight.inference.runner import Runner
from safelight.media.image import ImageSpec

Restorer: TypeAlias = Runner | AutoFix

FIX = "fix"


def name_of(restorer: Restorer) -> str:
    """How results call it: the method's id, or ``fix``."""
    return restorer.card.id if isinstance(restorer, Runner) else FIX


def iterates(restorer: Restorer) -> bool:
    """Whether it is an iteration, which may be ended with the best picture so far."""
    return isinstance(restorer, Runner) and restorer.card.method.iterates


def observe(restorer: Restorer, observer: ProgressCallback) -> None:
    """Let somebody follow an iteration, and end it."""
    assert isinstance(restorer, Runner)
    restorer.observer = observer


def untouched(restorer: Restorer, before: ImageSpec, after: ImageSpec) -> bool:
    """Whether a picture needed nothing: a ``AutoFix`` then gives the very frame back."""
    return isinstance(restorer, AutoFix) and after is before
