"""Restorers: what processes each picture, either one method or the automatic chain of corrections."""

from __future__ import annotations

from typing import TypeAlias

from safelight.core.solver_input import ProgressCallback
from safelight.inference.autofix import AutoFix
from safelight.inference.runner import Runner
from safelight.media.image import ImageSpec

Restorer: TypeAlias = Runner | AutoFix

FIX = "fix"


def restorer_name(restorer: Restorer) -> str:
    """Return the name for results: the method's id, or ``fix``."""
    return restorer.card.id if isinstance(restorer, Runner) else FIX


def is_iterative(restorer: Restorer) -> bool:
    """Whether it is an iteration, which may be ended with the best picture so far."""
    return isinstance(restorer, Runner) and restorer.card.method.iterates


def set_observer(restorer: Restorer, observer: ProgressCallback) -> None:
    """Set the callback that follows an iterative method and may stop it."""
    assert isinstance(restorer, Runner)
    restorer.observer = observer


def is_unchanged(restorer: Restorer, before: ImageSpec, after: ImageSpec) -> bool:
    """Return whether a picture needed no correction: an ``AutoFix`` then returns the same spec object."""
    return isinstance(restorer, AutoFix) and after is before
