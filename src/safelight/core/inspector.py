"""The records of ``visualize``: a way to look into a network, what it is given, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from safelight.core.card import Paper
from safelight.core.options import NoOptions
from safelight.core.solver_input import ProgressCallback
from safelight.features.inspected_network import InspectedNetwork

Take = Literal["picture", "layer", "layers", "channels", "at", "side", "size"]
"""What a user may tell a view beside its options: a picture, one layer or several, channels of it, a place, the side of
a square there, the size of the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorInput:
    """What a view looks at; everything is checked.

    Attributes:
        subject: The network.
        picture: (1, C, h, w) float32, sRGB or gray in [0, 1], C = 1 or 3, on the network's device.
        layers: Names of layers of the network; none: the view chooses.
        channels: Of the layer, each below the number that it has; none: the view chooses.
        at: (x, y), from the left and from the top, in pixels of the network's result; ``None``: in the middle.
        side: Of the square at that place, in pixels of the result.
        size: Of the pictures that are made or drawn, in pixels; ``None``: the view chooses. What is looked at has been
            shrunk to it.
        seed: Of whatever is drawn at random.
    """

    subject: InspectedNetwork
    picture: Tensor | None = None
    layers: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    at: tuple[int, int] | None = None
    side: int = 16
    size: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorOutput:
    """What a view makes.

    Attributes:
        sheet: (1, 3, H, W) in [0, 1].
        facts: Numbers that were found, by names that a program can read.
        notes: What the user should know, one sentence each.
    """

    sheet: Tensor
    facts: Mapping[str, float | int | str | None] = field(default_factory=dict[str, float | int | str | None])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspector:
    """The facts of one way to look into a network; every face derives from them, as from the ``Card`` of a method.

    Attributes:
        module: The file's ``__name__``, whose last part is the view's name.
        title: What people call it.
        summary: One line for people.
        draw: Makes the sheet. It reports how far it is, with the picture as it forms, and stops when told to.
        options: Its own options.
        paper: Where it was published.
        takes: What it may be told.
        needs: What of that it has to be told.
        longest: A picture whose longer side is above this is shrunk before, if the user names no other size; ``None``:
            it is taken as it is.
        restorers_only: It looks at pictures that a network makes, so that a backbone is no subject for it.
    """

    module: str
    title: str
    summary: str
    draw: Callable[[InspectorInput, Any, ProgressCallback], InspectorOutput]
    options: type[Any] = NoOptions
    paper: Paper | None = None
    accepts: frozenset[Take] = frozenset()
    needs: frozenset[Take] = frozenset()
    longest: int | None = None
    restorers_only: bool = False

    @property
    def name(self) -> str:
        """The name of the view's file."""
        return self.module.split(".")[-1]

    @property
    def id(self) -> str:
        """``visualize/name``."""
        return f"visualize/{self.name}"
