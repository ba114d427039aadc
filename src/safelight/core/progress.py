"""Callbacks for callers that neither follow the progress, nor read warnings, nor stop the work."""

from __future__ import annotations


def ignore_progress(*values: object) -> None:
    """Ignores progress."""


def ignore_warning(text: str) -> None:
    """Ignores a warning."""


def never_stop(step: object) -> bool:  # noqa: ARG001 - the same answer for every step
    """Never asks to stop."""
    return True
