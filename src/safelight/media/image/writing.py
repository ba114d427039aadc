"""Writing a picture to a file: converted to what the format can hold, encoded, and put in place atomically."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from safelight.media.image.encoders import EncoderError, save
from safelight.media.image.formats import check_format, format_of
from safelight.media.image.output_file import Sink, atomic_file, temporary_file, write_all
from safelight.media.image.picture import EncodeError, Picture, PictureError, shown
from safelight.media.image.reduction import FormatConverter, rows_of, rows_per_piece
from safelight.media.image.spec import ImageSpec, spec_of
from safelight.media.image.vips import libvips


def encode(picture: Picture, format: str, *, quality: int | None = None) -> bytes:  # noqa: A002 - the public name
    """Encode a picture, as `conform` converts it, with its metadata, and return the bytes of the file.

    The same picture gives the same bytes.

    Args:
        picture: any picture.
        format: a name out of `FORMATS`.
        quality: 1 (smallest) to 100 (best), for JPEG (95 when None), WebP (90) and AVIF (85); WebP and AVIF of 100
            are lossless. The other formats are always lossless (GIF except for its 256 colours) and ignore it.

    Raises:
        PictureError: there is no such format.
        EncodeError: the format can't hold the picture, or the quality is out of range.
    """
    sink = io.BytesIO()
    _encode(spec_of(picture), rows_of(picture), sink, format, quality)
    return sink.getvalue()


def write(
    picture: Picture,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the public name
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a picture to a file atomically: the complete file appears under its name, or no file does.

    A temporary file in the same folder is filled, flushed to the disk and renamed. A symbolic link is replaced, not
    followed. What the format can't hold is converted as `conform` describes.

    Args:
        picture: any picture.
        path: the file; its folder must exist.
        format: a name out of `FORMATS`; None takes it from the path's suffix.
        quality: as in `encode`.
        overwrite: replace a file that exists; otherwise it is never changed, even if it appears meanwhile.

    Raises:
        PictureError: the suffix or the format is unknown.
        EncodeError: the format can't hold the picture.
        TargetError: the folder is missing or not writable, the disk is full, or (TargetExistsError) the file exists.
    """
    write_rows(spec_of(picture), rows_of(picture), Path(path), format=format, quality=quality, overwrite=overwrite)


def write_rows(
    spec: ImageSpec,
    rows: Iterable[NDArray[Any]],
    target: str | Path | BinaryIO,
    *,
    format: str | None = None,  # noqa: A002 - the public name
    quality: int | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write a picture row by row while its rows are computed; the file has the same bytes as that of `write`.

    PNG, TIFF and JPEG are encoded in another thread while the rows arrive, in about 100 MB for a picture of any size.
    WebP, AVIF and GIF collect all rows first, as their encoders need.

    Args:
        spec: the picture without its pixels.
        rows: its rows, (h, width, bands) of any h, from top to bottom; iterated in the caller's thread. An array may
            be reused when the next one is requested. Exceptions pass through unchanged, and the file is removed.
        target: a path; or a binary stream, which is written to from the other thread, keeps what was written before
            an error, and whose exceptions pass through unchanged too.
        format: a name out of `FORMATS`; None takes it from the path's suffix.
        quality: as in `encode`.
        overwrite: as in `write`; a stream ignores it.

    Returns:
        The spec's warnings, and one for each loss, as `conform` returns them.

    Raises:
        PictureError: the suffix or the format is unknown, or a stream was given without a format.
        EncodeError: the format can't hold the picture, or the rows don't match the spec.
        TargetError: as in `write`.

    Example:
        >>> import numpy as np
        >>> spec = ImageSpec(width=640, height=480, channels=1, depth="16-bit")
        >>> band = np.zeros((160, 640, 1), np.uint16)
        >>> write_rows(spec, [band] * 3, io.BytesIO(), format="jpeg")
        ('16 bits rounded to 8: JPEG holds no more',)
    """
    if not isinstance(target, str | Path):
        if format is None:
            raise PictureError("expected a format for a stream, got None; name one, such as png")
        if format != "tiff":
            return _encode(spec, rows, target, format, quality)
        with (
            temporary_file() as file
        ):  # the start of a TIFF file is written last, so it can't go into a pipe as it grows
            warnings = _encode(spec, rows, file, format, quality)
            file.seek(0)
            while data := file.read(1 << 20):
                write_all(target, data)
        return warnings
    path = Path(target)
    name = format_of(path) if format is None else format
    check_format(name)
    with atomic_file(path, overwrite=overwrite) as file:
        return _encode(spec, rows, file, name, quality, f"{shown(path)}: ")


def _encode(
    spec: ImageSpec,
    rows: Iterable[NDArray[Any]],
    sink: Sink,
    target: str,
    quality: int | None,
    prefix: str = "",  # of the messages: the file's name
) -> tuple[str, ...]:
    able = check_format(target)
    if quality is not None and not 1 <= quality <= 100:
        raise EncodeError(f"{prefix}expected a quality from 1 to 100, got {quality}; choose one in between")
    libvips()  # fails here if it is missing, not in a thread
    try:
        reduction = FormatConverter(spec, target)
    except EncodeError as error:
        raise EncodeError(f"{prefix}{error}") from None
    try:
        save(reduction.spec, _reduced(spec, rows, reduction, prefix), sink, target, quality or able.quality or 0)
    except EncoderError as error:
        raise EncodeError(f"{prefix}{error}") from None
    return reduction.warnings


def _reduced(
    spec: ImageSpec, rows: Iterable[NDArray[Any]], reduction: FormatConverter, prefix: str
) -> Iterator[NDArray[Any]]:
    """Yield the rows, a few at a time, as the format holds them.

    Raises:
        EncodeError: they don't match the spec, or have a value that the format can't hold.
    """
    left, step = spec.height, rows_per_piece(spec)
    for some in rows:
        if some.shape[1:] != (spec.width, spec.bands) or some.dtype != spec.dtype or len(some) > left:
            raise EncodeError(
                f"{prefix}expected at most {left:,} rows of shape (h, {spec.width}, {spec.bands}) as {spec.dtype}, "
                f"got shape {some.shape} as {some.dtype}; yield rows that match the spec"
            )
        left -= len(some)
        for top in range(0, len(some), step):
            try:
                held = reduction(some[top : top + step])
            except EncodeError as error:
                raise EncodeError(f"{prefix}{error}") from None
            yield held
    if left:
        raise EncodeError(f"{prefix}expected {spec.height:,} rows, got {spec.height - left:,}; yield them all")
