"""ImageSpec: all that a picture is but its pixels, so that these can pass by in rows and never lie in memory whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.picture import DEPTHS, Depth, Picture

_DTYPES = {depth: np.dtype(name) for name, depth in DEPTHS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What is known of a picture before its first row.

    The rows that belong to it are arrays (h, width, bands) of ``dtype``, from top to bottom, alpha the last band.

    Attributes:
        width: pixels from left to right.
        height: pixels from top to bottom.
        channels: 1 (gray) or 3 (RGB); alpha is not counted.
        depth: how each channel is stored.
        alpha: whether opacity follows the colours.
        icc: as in ``Picture``, like all that follows.
        exif: EXIF block.
        xmp: XMP packet.
        dpi: pixels per inch.
        format: the file's format, or None.
        jpeg_quality: estimated, that a JPEG file was saved with, or None.
        warnings: what reading had to give up.
    """

    width: int
    height: int
    channels: int
    depth: Depth
    alpha: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str | None = None
    jpeg_quality: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def bands(self) -> int:
        """Channels of a row, alpha counted."""
        return self.channels + self.alpha

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the rows: uint8, uint16 or float32."""
        return _DTYPES[self.depth]


def spec_of(picture: Picture) -> ImageSpec:
    """Return what a picture is, without its pixels."""
    return ImageSpec(
        width=picture.width,
        height=picture.height,
        channels=picture.channels,
        depth=picture.depth,
        alpha=picture.alpha is not None,
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        dpi=picture.dpi,
        format=picture.format,
        jpeg_quality=picture.jpeg_quality,
        warnings=picture.warnings,
    )


def picture_of(frame: ImageSpec, rows: NDArray[np.generic]) -> Picture:
    """Put a frame and all of its rows, (height, width, bands), together; nothing is copied.

    Example:
        >>> gray = Picture(pixels=np.zeros((2, 3, 1), np.uint8), alpha=np.ones((2, 3), np.uint8))
        >>> rows = np.dstack([gray.pixels, gray.alpha])
        >>> picture_of(spec_of(gray), rows) == gray
        True
    """
    return Picture(
        pixels=rows[..., : frame.channels],
        alpha=rows[..., frame.channels] if frame.alpha else None,
        icc=frame.icc,
        exif=frame.exif,
        xmp=frame.xmp,
        dpi=frame.dpi,
        format=frame.format,
        jpeg_quality=frame.jpeg_quality,
        warnings=frame.warnings,
    )
