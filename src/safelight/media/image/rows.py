"""From a file to rows: a picture read band by band, so that it never lies in memory whole where that can be avoided."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.header import Input, opened_input
from safelight.media.image.picture import DecodeError
from safelight.media.image.reading import DEFAULT_MAX_PIXELS, Plain, array_of, decode, prepare, turned, undecodable
from safelight.media.image.spec import ImageSpec
from safelight.media.image.vips import failures, libvips

# Bytes that libvips is asked for at once. Larger pieces come from the system anew each time, where they took three
# times as long and five times the memory (a 160-megapixel JPEG in pieces of 64 KB: 0.4 s, of 8 MB: 1.4 s).
_PIECE = 96 << 10


class Rows(Protocol):
    """A picture that is being read, from top to bottom, once."""

    @property
    def frame(self) -> ImageSpec:
        """What the picture is, without its pixels."""
        ...

    def read(self, count: int) -> NDArray[Any]:
        """Return the next rows, (h, width, bands), upright, alpha last; h = ``count``, or less at the end, then 0.

        Raises:
            DamagedError: the data break off before the last of these rows.
            DecodeError: there is not enough memory to decode them.
        """
        ...


@contextmanager
def open_rows(
    source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False
) -> Generator[Rows]:
    """Open a picture to read it in rows; they are the same as those of `read`.

    The rows are decoded as they are asked for. What can't be is held in memory: a picture that stands on its side or
    on its head (once, as it is stored), one that is read leniently, and whatever its decoder needs whole (WebP, AVIF,
    GIF, interlaced PNG, progressive JPEG).

    Args:
        source: path, or the bytes of a file.
        max_pixels: width times height above which the file is refused before anything is decoded.
        lenient: take what can be decoded of a damaged file, and say so in a warning.

    Raises:
        DecodeError: the file is missing, unreadable, no picture, too large, or (DamagedError) damaged. Damage behind
            the header may show only when the rows are read.

    Example:
        >>> from safelight.media.image import Picture, encode
        >>> file = encode(Picture(pixels=np.zeros((5, 3, 1), np.uint8)), "png")
        >>> with open_rows(file) as rows:
        ...     rows.frame.height, [rows.read(2).shape for _ in range(3)]
        (5, [(2, 3, 1), (2, 3, 1), (1, 3, 1)])
    """
    with opened_input(source) as file:
        yield rows_of(file, max_pixels=max_pixels, lenient=lenient)


def rows_of(file: Input, *, max_pixels: int, lenient: bool) -> Rows:
    """As `open_rows`, from a file that is open, and stays so until the last row is read."""
    if not lenient:
        plain = prepare(file, max_pixels=max_pixels)
        if plain.orientation in (1, 2):
            return _Streamed(plain)
    plain, array = decode(file, max_pixels=max_pixels, lenient=lenient)
    return _Held(plain, array)


class _Streamed:
    """Rows that libvips decodes when they are asked for."""

    def __init__(self, plain: Plain) -> None:
        self.frame = plain.frame
        self._plain = plain
        # Not by cutting out bands and writing each to memory: libvips drops its place in the file after each.
        self._region = libvips().Region.new(plain.image)
        self._next = 0
        # libvips names the cause once only. Copies are raised: the traceback of this one would hold the file open.
        self._failure: DecodeError | None = None

    def read(self, count: int) -> NDArray[Any]:
        if self._failure is not None:
            raise copy(self._failure)
        frame, plain = self.frame, self._plain
        count = min(count, frame.height - self._next)
        out: NDArray[Any] = np.empty((count, frame.width, frame.bands), frame.dtype)
        step = max(1, _PIECE // out[:1].nbytes) if count else 1
        for top in range(0, count, step):
            height = min(step, count - top)
            try:
                data = self._region.fetch(0, self._next + top, frame.width, height)
            except failures() as error:
                self._failure = undecodable(plain.file, error)
                raise copy(self._failure) from None
            out[top : top + height] = turned(array_of(data, height, plain), plain.orientation)[..., : frame.bands]
        if plain.spread:
            out |= out >> plain.spread
        self._next += count
        return out


class _Held:
    """Rows of a picture that lies in memory as it was stored."""

    def __init__(self, plain: Plain, array: NDArray[Any]) -> None:
        self.frame = plain.frame
        self._upright = turned(array, plain.orientation)[..., : plain.frame.bands]
        self._next = 0

    def read(self, count: int) -> NDArray[Any]:
        # A copy of these rows only: the whole picture turned would be there twice.
        rows = self._upright[self._next : self._next + count].copy()
        self._next += len(rows)
        return rows
