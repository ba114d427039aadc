"""What is called where the caller does not follow the progress."""

from __future__ import annotations


def ignore_progress(*values: object) -> None:
    """Ignores progress."""
