"""The outputs of methods (an image, several, a clip, bytes, or a value), and the record of a task's output."""

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
    """Several pictures, in a defined order."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video: frames of one size, and the number of frames per second."""

    frames: tuple[Picture, ...]
    frames_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """The bytes of a file that is not a picture, such as the output of a codec. ``suffix`` includes the dot."""

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
    """The output of a task.

    Attributes:
        kind: One of ``OutputKind``.
        tag: The suffix of a result beside its input, as in ``NAME-denoised.png``; empty: the scale or the size.
        size: ``"input"``: the result has the size of the picture. ``"scaled"``: the ``scale`` or the ``size`` of
            the request decides. ``"own"``: the method decides.
        channels: ``"input"``: a gray picture gives a gray one. ``"rgb"``: all results are RGB.
        remarks: Returns notes for the user about an input picture, before any work.
        suffix: The suffix of files that are not pictures, with the dot.
    """

    kind: OutputKind = "image"
    tag: str = ""
    size: Literal["input", "scaled", "own"] = "input"
    channels: Literal["input", "rgb"] = "input"
    remarks: Callable[[ImageSpec], tuple[str, ...]] | None = None
    suffix: str = ""
