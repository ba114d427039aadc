"""What a method gives back: an image, several, a clip, bytes, or a value; and what a task says of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from safelight.media.image import ImageSpec, Picture


@dataclass(frozen=True, slots=True)
class Image:
    """One picture."""

    picture: Picture


@dataclass(frozen=True, slots=True)
class Images:
    """Several pictures that belong together, in an order."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A moving picture: frames of one size, and how many of them are shown in a second."""

    frames: tuple[Picture, ...]
    frames_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """A file of bytes that is no picture, such as what a codec writes. ``suffix`` is that of its file, with the dot."""

    data: bytes
    suffix: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number or a text with a name and a unit, such as a score, a count, or a caption."""

    value: float | str
    name: str
    unit: str = ""


Output: TypeAlias = Image | Images | Clip | Bitstream | Value

OutputKind = Literal["image", "images", "clip", "bitstream", "value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """What comes out of a task.

    Attributes:
        kind: One of ``OutputKind``.
        tag: Marks a result beside its input, as in ``NAME-denoised.png``. Empty: it is marked by its size.
        size: ``"input"``: the result has the size of the picture. ``"scaled"``: the request's ``scale`` or ``size``
            decides, and networks have zooms. ``"own"``: the method decides.
        channels: ``"input"``: a gray picture gives a gray one. ``"rgb"``: all results have colours.
        remarks: Says what the user should know of a picture that comes in, before any work.
        suffix: Of files that are no pictures, with the dot.
    """

    kind: OutputKind = "image"
    tag: str = ""
    size: Literal["input", "scaled", "own"] = "input"
    channels: Literal["input", "rgb"] = "input"
    remarks: Callable[[ImageSpec], tuple[str, ...]] | None = None
    suffix: str = ""
