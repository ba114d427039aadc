"""What the functions from picture to picture share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.core.card import Card
    from safelight.inference.runner import InferenceRequest
    from safelight.tasks import Task


def card_of(method: str | None, task: Task) -> Card:
    """Find a method, or the usual one of the task.

    Raises:
        CardError: There is no such method, or none is the usual one.
    """
    from safelight import catalog
    from safelight.core.options import CardError

    if method is not None:
        return catalog.find(method, task)
    if task not in catalog.DEFAULTS:
        raise CardError(f"{task}: expected a method, got none, and none is the usual one; see list_methods({task!r})")
    return catalog.DEFAULTS[task]


def apply(x: Any, card: Card, settings: InferenceRequest) -> Any:  # noqa: ANN401 - whatever kind comes, goes
    """Run a method on a picture of any kind, and give the result as the same kind."""
    from safelight import inference
    from safelight.media import image

    return image.to_kind(inference.apply(card, image.from_any(x), settings), x)
