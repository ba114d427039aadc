"""Picture: pixels at their own depth with the metadata of their file; and the errors of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Depth = Literal["8-bit", "16-bit", "float"]

DEPTHS: Mapping[str, Depth] = MappingProxyType({"uint8": "8-bit", "uint16": "16-bit", "float32": "float"})


class PictureError(Exception):
    """An error in a picture or its file; the message is one line: expected, got, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DecodeError(PictureError):
    """A file can't be read: missing, not a picture, broken, or too large."""


class DamagedError(DecodeError):
    """A file of a known format is damaged; reading it with `lenient` may return a part of it."""


class EncodeError(PictureError):
    """The requested format can't hold the picture."""


class TargetError(PictureError):
    """The output file can't be written, because of its folder, the disk or the permissions."""


class TargetExistsError(TargetError):
    """The output file exists and overwriting was not requested."""


def shown(name: object) -> str:
    """Return a name printable in one line of a message: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


def one_line(message: str) -> str:
    """Join the lines of a message, such as libvips', into one line."""
    return "; ".join(line for line in (" ".join(part.split()) for part in message.splitlines()) if line)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    r"""A picture with the pixels and metadata of its file, upright.

    Two Pictures are equal when pixels (with their dtype), alpha and metadata are.

    Attributes:
        pixels: (H, W, C), C = 1 (gray) or 3 (RGB); uint8, uint16, or float32 nominally in [0, 1].
        alpha: opacity, (H, W), of the same dtype; not premultiplied; None when the picture has none.
        icc: ICC profile of the pixels; None means sRGB or its gray.
        exif: EXIF as a TIFF-structured block ("II*" or "MM" first, without the JPEG prefix "Exif\0\0").
            Its orientation is 1, and it has no thumbnail, which would show the picture before it was restored.
        xmp: XMP packet.
        dpi: pixels per inch, horizontal and vertical.
        format: the file's format, or None when the picture came from memory.
        jpeg_quality: 1 to 100, the quality of a JPEG file estimated from its quantisation tables; None for other
            pictures, and for results.
        warnings: what was lost in reading or by `conform`, one sentence each.

    Example:
        >>> picture = Picture(pixels=np.zeros((20, 30, 3), np.uint8))
        >>> picture.width, picture.height, picture.channels, picture.depth
        (30, 20, 3, '8-bit')
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str | None = None
    jpeg_quality: int | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype.name
        if (
            len(shape) != 3
            or shape[2] not in (1, 3)
            or 0 in shape
            or dtype not in DEPTHS
            or not self.pixels.dtype.isnative
        ):
            raise PictureError(
                "expected pixels of shape (height, width, 1 or 3) as uint8, uint16 or float32, "
                f"got shape {shape} as {dtype}; reshape or convert them"
            )
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != self.pixels.dtype):
            raise PictureError(
                f"expected alpha of shape {shape[:2]} as {dtype}, as the pixels are, "
                f"got shape {self.alpha.shape} as {self.alpha.dtype.name}; resize or convert it"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picture):
            return NotImplemented
        facts = (self.icc, self.exif, self.xmp, self.dpi, self.format, self.jpeg_quality, self.warnings)
        return (
            facts == (other.icc, other.exif, other.xmp, other.dpi, other.format, other.jpeg_quality, other.warnings)
            and _same(self.pixels, other.pixels)
            and _same(self.alpha, other.alpha)
        )

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.pixels.shape[0]

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB; alpha is not counted."""
        return self.pixels.shape[2]

    @property
    def depth(self) -> Depth:
        """How each channel is stored: "8-bit", "16-bit" or "float"."""
        return DEPTHS[self.pixels.dtype.name]


def _same(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


def to_depth(picture: Picture, depth: Depth) -> Picture:
    """Convert pixels and alpha to another depth, rounding to the nearest value; the full range maps to the full range.

    Float values outside [0, 1] are clipped when they become integers.

    Raises:
        EncodeError: a float value is NaN or infinite and can't become an integer.

    Example:
        >>> gray = Picture(pixels=np.full((1, 1, 1), 0.5, np.float32))
        >>> to_depth(gray, "16-bit").pixels.item()
        32768
    """
    if depth == picture.depth:
        return picture
    alpha = None if picture.alpha is None else values_to_depth(picture.alpha, depth)
    return replace(picture, pixels=values_to_depth(picture.pixels, depth), alpha=alpha)


def values_to_depth(values: NDArray[Any], depth: Depth) -> NDArray[Any]:
    """Convert pixel values of any shape to another depth, as `to_depth` does a picture's."""
    if DEPTHS[values.dtype.name] == depth:
        return values
    is_float = values.dtype == np.float32
    if depth == "float":
        return np.divide(values, np.iinfo(values.dtype).max, dtype=np.float32)
    if is_float:
        if not np.isfinite(values).all():
            raise EncodeError("expected finite pixel values, got NaN or infinity; find what made them")
        top = 255 if depth == "8-bit" else 65535
        # In place after the first step: a second full-size array is the most that this may cost.
        scaled = np.clip(values, 0, 1)
        scaled *= top
        scaled += np.float32(0.5)
        return scaled.astype(np.uint8 if depth == "8-bit" else np.uint16)
    if depth == "16-bit":
        return values.astype(np.uint16) * np.uint16(257)
    # A table of every value rounds exactly (257 is odd: there are no ties) without a wider copy of the picture.
    return ((np.arange(65536) + 128) // 257).astype(np.uint8)[values]


def source_name(source: str | Path | bytes) -> str:
    """Return the name of a source in messages."""
    return f"the {len(source):,} bytes given" if isinstance(source, bytes) else shown(source)
