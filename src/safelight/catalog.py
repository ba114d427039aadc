"""The explicit list of every method. A new method is one file under ``methods/`` and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from safelight.card import Card, CardError
from safelight.methods.upscale import bicubic, bilinear, edsr, espcn, fsrcnn, lanczos, nearest, sharpen, srcnn, vdsr
from safelight.tasks import Task

CARDS: Final[tuple[Card, ...]] = (
    nearest.CARD,
    bilinear.CARD,
    bicubic.CARD,
    lanczos.CARD,
    sharpen.CARD,
    srcnn.CARD,
    fsrcnn.CARD,
    espcn.CARD,
    vdsr.CARD,
    edsr.CARD,
)

DEFAULTS: Final[Mapping[Task, Card]] = {"upscale": edsr.CARD}
"""What runs when nobody chooses: the best measured method that needs under 350,000 multiply-adds per output pixel.
A test holds this against ``results/upscale.json``."""


def of_task(task: Task) -> tuple[Card, ...]:
    """List the methods of a task, in the catalog's order."""
    return tuple(card for card in CARDS if card.task == task)


def find(name: str, task: Task | None = None) -> Card:
    """Find a method by ``task/name``, or by its name alone.

    Args:
        name: For example ``"upscale/vdsr"`` or ``"vdsr"``.
        task: Look among this task's methods only.

    Raises:
        CardError: No method is called so; the message lists the close names.

    Example:
        >>> find("upscale/bicubic").title
        'Bicubic interpolation'
    """
    cards = CARDS if task is None else of_task(task)
    for card in cards:
        if name in (card.id, card.name):
            return card
    known = [card.id for card in cards] if "/" in name else [card.name for card in cards]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    kind = "method" if task is None else f"method of {task}"
    raise CardError(f"no {kind} is called {name!r}; did you mean {', '.join(close)}?")
