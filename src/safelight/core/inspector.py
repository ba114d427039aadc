"""The records of ``visualize``: an inspector of networks, its input and its output."""

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
"""What an inspector may take beside its options: a picture, one layer or several, channels of it, a position, the side
of a square there, the size of the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorInput:
    """The checked input of an inspector.

    Attributes:
        subject: The network.
        picture: (1, C, h, w) float32, sRGB or gray in [0, 1], C = 1 or 3, on the network's device.
        layers: Names of layers of the network; none: the inspector chooses.
        channels: Of the layer, each below the number that it has; none: the inspector chooses.
        at: (x, y), from the left and from the top, in pixels of the network's result; ``None``: the centre.
        side: The side of the square at that position, in pixels of the result.
        size: The longer side of the pictures that are made or drawn, in pixels; ``None``: the inspector chooses. The
            picture has already been shrunk to it.
        seed: The seed of all random numbers.
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
    """The output of an inspector.

    Attributes:
        sheet: The drawing, (1, 3, H, W) in [0, 1].
        facts: Measured values, by names that a program can read.
        notes: Notes for the user, one sentence each.
    """

    sheet: Tensor
    facts: Mapping[str, float | int | str | None] = field(default_factory=dict[str, float | int | str | None])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspector:
    """One way to visualize a network. The command line is built from it, as from the ``Card`` of a method.

    Attributes:
        module: The file's ``__name__``, whose last part is the inspector's name.
        title: The title on a page.
        summary: One line of description.
        draw: Draws the sheet. It reports its progress, with the current picture, and stops if the report returns
            ``False``.
        options: The class of its options.
        paper: Where it was published.
        accepts: What it may take beside its options.
        needs: What of that it cannot do without.
        longest: A picture whose longer side is above this, in pixels, is shrunk first, unless the user gives a size;
            ``None``: it is not shrunk.
        restorers_only: Whether it inspects only networks that return pictures, and no backbones.
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
        """The name of the inspector's file."""
        return self.module.split(".")[-1]

    @property
    def id(self) -> str:
        """``visualize/name``."""
        return f"visualize/{self.name}"
