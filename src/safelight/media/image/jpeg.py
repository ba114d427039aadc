"""Estimates the quality of a JPEG file from its quantisation tables. Every length in the file is checked."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Annex K of the standard (ITU-T T.81), tables K.1 and K.2, row by row.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip

_MOST_SEGMENTS = 4_000  # before the pixels; large profiles and further pictures come in up to 255 each
_LONGEST = 1 << 13  # bytes that are read of a segment: all tables at 16 bits take 516
_BASELINE, _DEEP = 255, 32_767  # the largest step that the IJG's code writes at 8 and at 16 bits

_SOI, _EOI, _SOS, _DQT = 0xD8, 0xD9, 0xDA, 0xDB
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that no length follows

Table = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JpegQuality:
    """Quality on the scale of the IJG's code (``cjpeg -quality``), which most programs use.

    Attributes:
        value: 1 to 100: the quality whose luma table is nearest to the file's.
        exact: the file's tables equal those of this quality; otherwise another program made them, and the value is
            the nearest match.
    """

    value: int
    exact: bool


def jpeg_quality(read: Callable[[int, int], bytes]) -> JpegQuality | None:
    """Estimate the quality that a JPEG file was saved with.

    Args:
        read: returns `length` bytes at `offset`, fewer at the end of the file.

    Returns:
        None if the tables are missing, truncated or invalid.

    Example:
        >>> from safelight.media.image import Picture, encode
        >>> import numpy as np
        >>> file = encode(Picture(pixels=np.zeros((8, 8, 3), np.uint8)), "jpeg", quality=83)
        >>> jpeg_quality(lambda offset, length: file[offset : offset + length])
        JpegQuality(value=83, exact=True)
    """
    tables: dict[int, Table] = {}
    used: tuple[int, ...] = ()
    for marker, body in _segments(read):
        if marker == _DQT:
            found = _tables(body)
            if found is None:
                return None
            tables.update(found)
        elif marker in _SOF:
            # Precision, height and width, the count; for each component its number, sampling and table.
            count = body[5] if len(body) > 5 else 0
            used = tuple(body[8 + 3 * i] for i in range(count)) if len(body) >= 6 + 3 * count else ()
    if not used or any(number not in tables for number in used):
        return None
    luma = tables[used[0]]
    chroma = next((tables[number] for number in used if number != used[0]), None)
    logs = _logs(_DEEP if max(luma) > _BASELINE else _BASELINE)
    value = 1 + int(np.abs(np.log(luma) - logs).sum(axis=1).argmin())
    exact = any(
        luma == _scaled(_LUMA, value, most) and chroma in (None, _scaled(_CHROMA, value, most))
        for most in (_BASELINE, _DEEP)
    )
    return JpegQuality(value, exact)


def _segments(read: Callable[[int, int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, body) of the segments before the pixels; bodies are cut to the longest possible table."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        head = read(offset, 4)
        if len(head) < 2 or head[0] != 0xFF:
            return
        if head[1] == 0xFF:  # filled up
            offset += 1
            continue
        if head[1] in _BARE:
            offset += 2
            continue
        if head[1] in (_SOI, _EOI, _SOS) or len(head) < 4:
            return
        (length,) = struct.unpack(">H", head[2:])
        if length < 2:
            return
        wanted = head[1] == _DQT or head[1] in _SOF
        body = read(offset + 4, min(length - 2, _LONGEST)) if wanted else b""
        if wanted and len(body) < min(length - 2, _LONGEST):
            return
        yield head[1], body
        offset += 2 + length


def _tables(body: bytes) -> Mapping[int, Table] | None:
    """Parse a DQT segment: tables by their numbers, in row order; None if it is invalid."""
    found: dict[int, Table] = {}
    while body:
        deep, number = body[0] >> 4, body[0] & 15
        size = 64 * (1 + deep)
        if deep > 1 or number > 3 or len(body) < 1 + size:
            return None
        steps = struct.unpack(">64H" if deep else ">64B", body[1 : 1 + size])
        if 0 in steps:
            return None
        table = [0] * 64
        for place, step in zip(_ZIGZAG, steps, strict=True):
            table[place] = step
        found[number] = tuple(table)
        body = body[1 + size :]
    return found


def _zigzag() -> Table:
    """Return the row-order indices of a block in the zigzag order of a file."""
    places = [(row, column) for row in range(8) for column in range(8)]
    places.sort(key=lambda p: (p[0] + p[1], p[0] if (p[0] + p[1]) % 2 else p[1]))
    return tuple(8 * row + column for row, column in places)


_ZIGZAG = _zigzag()


def _scaled(table: Table, quality: int, most: int) -> Table:
    """Return a table of the standard as the IJG's code scales it for a quality."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((step * percent + 50) // 100, 1), most) for step in table)


@cache
def _logs(most: int) -> NDArray[np.float64]:
    """The logarithms of the table of the luma for each quality, (100, 64): steps are compared by their ratios."""
    return np.log([_scaled(_LUMA, quality, most) for quality in range(1, 101)])
