"""Reading a picture row by row, without having all of it in memory where that is possible."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.header import ImageFile, open_image_file
from safelight.media.image.picture import DecodeError
from safelight.media.image.reading import (
    DEFAULT_MAX_PIXELS,
    UndecodedImage,
    array_of,
    decode,
    decode_error,
    oriented,
    prepare,
)
from safelight.media.image.spec import ImageSpec
from safelight.media.image.vips import failures, libvips

# Bytes that libvips is asked for at once. Larger pieces come from the system anew each time, where they took three
# times as long and five times the memory (a 160-megapixel JPEG in pieces of 64 KB: 0.4 s, of 8 MB: 1.4 s).
_PIECE = 96 << 10


class Rows(Protocol):
    """A picture that is read once, from top to bottom."""

    @property
    def spec(self) -> ImageSpec:
        """Size, depth and metadata of the picture."""
        ...

    def read(self, count: int) -> NDArray[Any]:
        """Return the next rows, (h, width, bands), upright, alpha last; h = ``count``, or less at the end, then 0.

        Raises:
            DamagedError: the data end before the last of these rows.
            DecodeError: there is not enough memory to decode them.
        """
        ...


@contextmanager
def open_rows(
    source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False
) -> Generator[Rows]:
    """Open a picture to read it in rows; they are the same as those of `read`.

    The rows are decoded on demand where possible. Held in memory are pictures rotated by EXIF (once, as stored),
    pictures that are read leniently, and formats whose decoder needs the whole file (WebP, AVIF, GIF, interlaced PNG,
    progressive JPEG).

    Args:
        source: path, or the bytes of a file.
        max_pixels: width times height above which the file is refused before anything is decoded.
        lenient: return what can be decoded of a damaged file, with a warning.

    Raises:
        DecodeError: the file is missing, unreadable, no picture, too large, or (DamagedError) damaged. Damage after
            the header may be found only when the rows are read.

    Example:
        >>> from safelight.media.image import Picture, encode
        >>> file = encode(Picture(pixels=np.zeros((5, 3, 1), np.uint8)), "png")
        >>> with open_rows(file) as rows:
        ...     rows.spec.height, [rows.read(2).shape for _ in range(3)]
        (5, [(2, 3, 1), (2, 3, 1), (1, 3, 1)])
    """
    with open_image_file(source) as file:
        yield rows_of(file, max_pixels=max_pixels, lenient=lenient)


def rows_of(file: ImageFile, *, max_pixels: int, lenient: bool) -> Rows:
    """Read rows as `open_rows` does, from a file that stays open until the last row is read."""
    if not lenient:
        undecoded = prepare(file, max_pixels=max_pixels)
        if undecoded.orientation in (1, 2):
            return _Streamed(undecoded)
    undecoded, array = decode(file, max_pixels=max_pixels, lenient=lenient)
    return _InMemory(undecoded, array)


class _Streamed:
    """Rows that libvips decodes on demand."""

    def __init__(self, undecoded: UndecodedImage) -> None:
        self.spec = undecoded.spec
        self._undecoded = undecoded
        # Not by cutting out bands and writing each to memory: libvips drops its place in the file after each.
        self._region = libvips().Region.new(undecoded.image)
        self._next = 0
        # libvips names the cause once only. Copies are raised: the traceback of this one would hold the file open.
        self._failure: DecodeError | None = None

    def read(self, count: int) -> NDArray[Any]:
        if self._failure is not None:
            raise copy(self._failure)
        spec, undecoded = self.spec, self._undecoded
        count = min(count, spec.height - self._next)
        out: NDArray[Any] = np.empty((count, spec.width, spec.bands), spec.dtype)
        step = max(1, _PIECE // out[:1].nbytes) if count else 1
        for top in range(0, count, step):
            height = min(step, count - top)
            try:
                data = self._region.fetch(0, self._next + top, spec.width, height)
            except failures() as error:
                self._failure = decode_error(undecoded.file, error)
                raise copy(self._failure) from None
            out[top : top + height] = oriented(array_of(data, height, undecoded), undecoded.orientation)[
                ..., : spec.bands
            ]
        if undecoded.repeat_bits:
            out |= out >> undecoded.repeat_bits
        self._next += count
        return out


class _InMemory:
    """Rows of a picture that is held in memory as it was stored."""

    def __init__(self, undecoded: UndecodedImage, array: NDArray[Any]) -> None:
        self.spec = undecoded.spec
        self._upright = oriented(array, undecoded.orientation)[..., : undecoded.spec.bands]
        self._next = 0

    def read(self, count: int) -> NDArray[Any]:
        # A copy of these rows only: the whole picture turned would be there twice.
        rows = self._upright[self._next : self._next + count].copy()
        self._next += len(rows)
        return rows
