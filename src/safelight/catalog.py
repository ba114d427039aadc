"""The explicit list of every method. A new method is one file under ``methods/`` and one line here."""

from __future__ import annotations

import difflib
from typing import Final

from safelight import tasks
from safelight.core.card import Card
from safelight.core.inspector import Inspector
from safelight.core.options import CardError
from safelight.core.task import Task
from safelight.methods.deblock import dncnn3
from safelight.methods.denoise import dip, dncnn, nlm, red, wavelet
from safelight.methods.denoise import lamp as denoise_lamp
from safelight.methods.denoise import tv as denoise_tv
from safelight.methods.denoise import wiener as denoise_wiener
from safelight.methods.stylize import adain, gatys, johnson, texture
from safelight.methods.upscale import (
    bicubic,
    bilinear,
    edsr,
    espcn,
    fsrcnn,
    lamp,
    lanczos,
    multiframe,
    nearest,
    pinv,
    sharpen,
    srcnn,
    tikhonov,
    vdsr,
)
from safelight.methods.upscale import tv as upscale_tv
from safelight.methods.upscale import wiener as upscale_wiener
from safelight.methods.visualize import activations, attribution, feature, filters, inversion, receptive

CARDS: Final[tuple[Card, ...]] = (
    nearest.CARD,
    bilinear.CARD,
    bicubic.CARD,
    lanczos.CARD,
    sharpen.CARD,
    pinv.CARD,
    tikhonov.CARD,
    upscale_wiener.CARD,
    upscale_tv.CARD,
    multiframe.CARD,
    srcnn.CARD,
    fsrcnn.CARD,
    espcn.CARD,
    vdsr.CARD,
    edsr.CARD,
    lamp.CARD,
    denoise_wiener.CARD,
    denoise_tv.CARD,
    wavelet.CARD,
    nlm.CARD,
    dncnn.CARD,
    red.CARD,
    denoise_lamp.CARD,
    dip.CARD,
    dncnn3.CARD,
    gatys.CARD,
    texture.CARD,
    johnson.CARD,
    adain.CARD,
)

INSPECTORS: Final[tuple[Inspector, ...]] = (
    filters.INSPECTOR,
    activations.INSPECTOR,
    inversion.INSPECTOR,
    feature.INSPECTOR,
    receptive.INSPECTOR,
    attribution.INSPECTOR,
)


def default(task: Task) -> Card | None:
    """Find the method that runs when nobody chooses; ``None``: the task has none.

    Example:
        >>> default("inpaint").id
        'denoise/dip'
    """
    name = tasks.find(task).default
    return None if name is None else find(name)


def of_task(task: Task) -> tuple[Card, ...]:
    """List the methods that serve a task, in the catalog's order: those of its folder and those that also do it."""
    return tuple(card for card in CARDS if task in card.tasks)


def find(name: str, task: Task | None = None) -> Card:
    """Find a method by ``task/name``, or by its name alone.

    Args:
        name: For example ``"upscale/vdsr"`` or ``"vdsr"``; any of a method's tasks may stand before its name.
        task: Look among the methods that serve this task only. Without it, a name that two folders have is that of the
            first in the list.

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
    for card in cards:
        if name in (f"{other}/{card.name}" for other in card.other_tasks):
            return card
    known = [card.id for card in cards] if "/" in name else [card.name for card in cards]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    kind = "method" if task is None else f"method of {task}"
    raise CardError(f"no {kind} is called {name!r}; did you mean {', '.join(close)}?")


def find_inspector(name: str) -> Inspector:
    """Find a way to look into networks by its name.

    Raises:
        CardError: There is none of this name; the message lists the close ones.

    Example:
        >>> find_inspector("receptive").title
        'Receptive field'
    """
    names = [view.name for view in INSPECTORS]
    if name in names:
        return INSPECTORS[names.index(name)]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise CardError(f"expected a way to look into a network, got {name!r}; did you mean {', '.join(close)}?")
