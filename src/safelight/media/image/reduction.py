"""Conversion of a picture to what a file format can hold, row by row, with a warning for every loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.media.image import containers
from safelight.media.image import exif as exif_block
from safelight.media.image.formats import FormatCapabilities, check_format
from safelight.media.image.picture import EncodeError, Picture, values_to_depth
from safelight.media.image.spec import ImageSpec, picture_of, spec_of

_CLASSIC_TIFF = 3_900_000_000  # bytes of pixels; with more, a TIFF file needs 64-bit offsets
_PIECE = 4 << 20  # bytes

_CLIPPED = "values outside [0, 1] clipped"


def conform(picture: Picture, format: str) -> Picture:  # noqa: A002 - the public name
    """Convert a picture to what a format can hold, and add a warning for every loss.

    `encode` and `write` do this too; call it to know in advance what will be lost.
    Values are rounded to the nearest integer; alpha is composited over white; unsupported metadata is dropped.

    Args:
        picture: any picture.
        format: a name out of `FORMATS`.

    Raises:
        PictureError: the format is unknown.
        EncodeError: a side is longer than the format allows, or a value is not finite.

    Example:
        >>> conform(Picture(pixels=np.zeros((2, 2, 1), np.uint16)), "jpeg").warnings
        ('16 bits rounded to 8: JPEG holds no more',)
    """
    reduction = FormatConverter(spec_of(picture), format)
    if reduction.is_identity:
        spec = replace(reduction.spec, warnings=reduction.warnings)
        return replace(picture, icc=spec.icc, exif=spec.exif, xmp=spec.xmp, dpi=spec.dpi, warnings=spec.warnings)
    rows = stack_rows(reduction.spec, map(reduction, rows_of(picture)))
    return picture_of(replace(reduction.spec, warnings=reduction.warnings), rows)


class FormatConverter:
    """Converts a picture's rows to those of a file format; call it with all of them, from top to bottom.

    Each row is converted independently, so any number of rows may be given at a time.

    Attributes:
        spec: of the converted picture; without new warnings, which are known after the last row.
        is_identity: whether the rows are returned unchanged.
    """

    def __init__(self, spec: ImageSpec, format: str) -> None:  # noqa: A002 - as above
        able, name = check_format(format), format.upper()
        side = max(spec.width, spec.height)
        if side > able.max_side:
            raise EncodeError(
                f"expected at most {able.max_side:,} pixels a side for {name}, got {side:,}; write PNG or TIFF instead"
            )
        notes: list[str] = []
        self._given = spec
        self._outside = False  # whether a colour was outside [0, 1] and had to be clipped
        held = self._reduce_depth(able, name, notes)
        self._bits = able.bits if held.depth == "16-bit" else 8
        self._flatten = held.alpha and not able.alpha
        if self._flatten:
            notes.append(f"alpha laid over white: {name} holds none")
            held = replace(held, alpha=False)
        if format == "gif":
            notes.append("colours reduced to 256: GIF holds no more")
            if held.alpha:
                notes.append("alpha reduced to clear or opaque: GIF holds no more")
        self.spec = _conform_metadata(held, format, able, notes)
        self._notes = notes
        self.is_identity = held.depth == spec.depth and not self._flatten and not 8 < self._bits < 16

    def _reduce_depth(self, able: FormatCapabilities, name: str, notes: list[str]) -> ImageSpec:
        spec = self._given
        if spec.depth == "float" and not able.floats:
            notes += [f"float rounded to {min(able.bits, 16)} bits: {name} holds no more", _CLIPPED]
            return replace(spec, depth="8-bit" if able.bits == 8 else "16-bit")
        if spec.depth == "16-bit" and able.bits < 16:
            notes.append(f"16 bits rounded to {able.bits}: {name} holds no more")
            return replace(spec, depth="8-bit") if able.bits == 8 else spec
        return spec

    @property
    def warnings(self) -> tuple[str, ...]:
        """The picture's own warnings and one for each loss; complete after the last row."""
        before = self.spec.warnings
        notes = (note for note in self._notes if note not in before and (note != _CLIPPED or self._outside))
        return before + tuple(notes)

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows (h, width, bands) converted for the format.

        Raises:
            EncodeError: a value to be rounded is not finite.
        """
        if self.is_identity:
            return rows
        if self._given.depth == "float" and self.spec.depth != "float" and not self._outside:
            colors = rows[..., : self._given.channels]
            self._outside = bool(colors.min() < 0 or colors.max() > 1)
        rows = values_to_depth(rows, self.spec.depth)
        if 8 < self._bits < 16:
            rows = _bit_table(self._bits)[rows]
        return _over_white(rows) if self._flatten else rows


def _bit_table(bits: int) -> NDArray[np.uint16]:
    """Return a table that rounds 16-bit values to fewer bits, with the bits repeated below."""
    steps = (np.arange(65536) * (2**bits - 1) + 32767) // 65535
    return (steps << (16 - bits) | steps >> (2 * bits - 16)).astype(np.uint16)


def _over_white(rows: NDArray[Any]) -> NDArray[Any]:
    # In the picture's own (display) values, as browsers and editors do it; only for integers, as the formats are.
    top = float(np.iinfo(rows.dtype).max)
    opacity = rows[..., -1:].astype(np.float64) / top
    mixed = rows[..., :-1] * opacity + top * (1 - opacity)
    return np.floor(mixed + 0.5).astype(rows.dtype)


def _conform_metadata(spec: ImageSpec, target: str, able: FormatCapabilities, notes: list[str]) -> ImageSpec:
    name = target.upper()
    held = {"ICC profile": spec.icc, "EXIF": spec.exif, "XMP": spec.xmp, "DPI": spec.dpi}
    if not able.metadata:
        notes += [f"{what} dropped: {name} holds none" for what, value in held.items() if value]
        return replace(spec, icc=None, exif=None, xmp=None, dpi=None)
    icc, exif, xmp, dpi = spec.icc, spec.exif, spec.xmp, spec.dpi
    if dpi is not None and not all(0 < d < 1e6 for d in dpi):
        notes.append("DPI dropped: expected positive numbers")
        dpi = None
    space = b"GRAY" if spec.channels == 1 else b"RGB "
    if icc is not None and icc[16:20] != space:
        notes.append(f"ICC profile dropped: it isn't one for {'gray' if spec.channels == 1 else 'RGB'} pixels")
        icc = None
    if exif is not None:
        try:
            block = exif_block.strip_prefix(exif)
            exif = exif_block.normalize(block, width=spec.width, height=spec.height, dpi=dpi)
        except exif_block.MalformedExifError as error:
            notes.append(f"EXIF dropped: it is damaged ({error})")
            exif = None
    if exif is not None and target == "tiff" and needs_big_tiff(spec):
        notes.append("EXIF dropped: a TIFF file of this size holds none")
        exif = None
    if target in ("webp", "avif") and dpi is not None and (exif is None or _states_no(exif)):
        exif = exif_block.with_resolution(exif, dpi)  # these formats keep it nowhere else
    most = {"jpeg": containers.JPEG_EXIF, "avif": containers.AVIF_EXIF}.get(target)
    if exif is not None and most is not None and len(exif) > most:
        notes.append(f"EXIF dropped: it has {len(exif):,} bytes, {name} holds {most:,}")
        exif = None
    if target == "jpeg" and xmp is not None and len(xmp) > containers.JPEG_XMP:
        notes.append(f"XMP dropped: it has {len(xmp):,} bytes, JPEG holds {containers.JPEG_XMP:,}")
        xmp = None
    return replace(spec, icc=icc, exif=exif, xmp=xmp and exif_block.normalize_xmp(xmp), dpi=dpi)


def _states_no(exif: bytes) -> bool:
    return exif_block.resolution(exif_block.reader(exif)) is None


def needs_big_tiff(spec: ImageSpec) -> bool:
    """Return whether a TIFF file of these pixels may exceed 4 GB, the limit of 32-bit offsets."""
    return spec.width * spec.height * spec.bands * spec.dtype.itemsize > _CLASSIC_TIFF


def rows_per_piece(spec: ImageSpec) -> int:
    """Return the number of rows that are processed at a time: a few megabytes."""
    return max(_PIECE // (spec.width * spec.bands * spec.dtype.itemsize), 1)


def rows_of(picture: Picture) -> Iterator[NDArray[Any]]:
    """Yield all rows of a picture, (h, width, bands), alpha last; a few at a time."""
    step = rows_per_piece(spec_of(picture))
    for top in range(0, picture.height, step):
        rows = picture.pixels[top : top + step]
        alpha = None if picture.alpha is None else picture.alpha[top : top + step, :, None]
        yield rows if alpha is None else np.concatenate((rows, alpha), axis=2)


def stack_rows(spec: ImageSpec, rows: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Collect all rows of a picture into one array (height, width, bands)."""
    whole = np.empty((spec.height, spec.width, spec.bands), spec.dtype)
    top = 0
    for some in rows:
        whole[top : top + len(some)] = some
        top += len(some)
    return whole
