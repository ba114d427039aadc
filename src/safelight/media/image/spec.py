"""ImageSpec: a picture's size, depth and metadata without its pixels, which are then processed row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.picture import DEPTHS, Depth, Picture

_DTYPES = {depth: np.dtype(name) for name, depth in DEPTHS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """Size, depth and metadata of a picture, known before its first row is decoded.

    Its rows are arrays (h, width, bands) of ``dtype``, from top to bottom, alpha the last band.

    Attributes:
        width: pixels from left to right.
        height: pixels from top to bottom.
        channels: 1 (gray) or 3 (RGB); alpha is not counted.
        depth: how each channel is stored.
        alpha: whether opacity follows the colours.
        icc: as in ``Picture``, like all attributes below.
        exif: EXIF block.
        xmp: XMP packet.
        dpi: pixels per inch.
        format: the file's format, or None.
        jpeg_quality: estimated quality that a JPEG file was saved with, or None.
        warnings: what could not be read or kept.
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
        """Channels of a row, including alpha."""
        return self.channels + self.alpha

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Data type of the rows: uint8, uint16 or float32."""
        return _DTYPES[self.depth]


def spec_of(picture: Picture) -> ImageSpec:
    """Return the spec of a picture."""
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


def picture_of(spec: ImageSpec, rows: NDArray[np.generic]) -> Picture:
    """Make a picture of a spec and all its rows, (height, width, bands); nothing is copied.

    Example:
        >>> gray = Picture(pixels=np.zeros((2, 3, 1), np.uint8), alpha=np.ones((2, 3), np.uint8))
        >>> rows = np.dstack([gray.pixels, gray.alpha])
        >>> picture_of(spec_of(gray), rows) == gray
        True
    """
    return Picture(
        pixels=rows[..., : spec.channels],
        alpha=rows[..., spec.channels] if spec.alpha else None,
        icc=spec.icc,
        exif=spec.exif,
        xmp=spec.xmp,
        dpi=spec.dpi,
        format=spec.format,
        jpeg_quality=spec.jpeg_quality,
        warnings=spec.warnings,
    )
