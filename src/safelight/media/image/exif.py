"""EXIF blocks: read, update for a restored picture, and copy between files.

An EXIF block is a small TIFF file: a header, then directories ("IFDs") of 12-byte entries whose longer values lie
elsewhere and are named by their offset from the header. libvips rewrites EXIF through libexif, which loses maker
notes and unknown tags and forgets the colour space; so the block is handled here, and unchanged parts keep
their bytes and offsets (maker notes contain offsets and break when they move).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from safelight.media.image.output_file import Sink

Read = Callable[[int, int], bytes]  # (offset, length) -> bytes, fewer at the end of the data

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_NEW_SUBFILE, _SUB_IFDS, _DNG_VERSION = 0x00FE, 0x014A, 0xC612
_SHORT, _LONG, _RATIONAL = 3, 4, 5

# Bytes per value and per swapped unit of each type, 1 (BYTE) to 13 (IFD).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_UNITS = _SIZES | {5: 4, 10: 4}

# Tags of a TIFF file that tell how its pixels lie or that have their own place in a Picture (XMP 700, ICC 34675,
# IPTC 33723, Photoshop 34377): everything else describes the picture, and is EXIF.
_TIFF_ONLY = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, *range(288, 294), 301, 317, 320)
) | frozenset((*range(321, 342), 347, *range(512, 522), *range(529, 533), 559, 700, 33723, 34377, 34675, 37724))

_MOST_ENTRIES = 2_000
_MOST_BYTES = 16 << 20


class MalformedExifError(ValueError):
    """The structure of the block is invalid."""


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    value: bytes | tuple[_Entry, ...]  # in the block's byte order; or the directory that the tag points to


@dataclass(frozen=True, slots=True)
class _ValueLocation:
    """Offset of an entry's value, so that it can be changed in place."""

    entry: int  # offset of the 12-byte entry
    kind: int
    count: int
    value: int  # offset of the value


def _order(head: bytes) -> str:
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    if head[:4] not in orders:
        raise MalformedExifError("no TIFF header")
    return orders[head[:4]]


def _unpack(order: str, form: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(order + form, data)
    except struct.error:
        raise MalformedExifError("ends early") from None


def _directory(read: Read, order: str, offset: int) -> tuple[dict[int, _ValueLocation], int]:
    """Return the value locations of a directory by tag, and the offset of the next directory (0: none)."""
    (count,) = _unpack(order, "H", read(offset, 2))
    if count > _MOST_ENTRIES:
        raise MalformedExifError("too many entries")
    body = read(offset + 2, 12 * count)
    places: dict[int, _ValueLocation] = {}
    for i in range(count):
        tag, kind, n, value = _unpack(order, "HHII", body[12 * i : 12 * i + 12])
        where = offset + 2 + 12 * i
        places[tag] = _ValueLocation(where, kind, n, where + 8 if _SIZES.get(kind, 8) * n <= 4 else value)
    after = read(offset + 2 + 12 * count, 4)
    return places, _unpack(order, "I", after)[0] if len(after) == 4 else 0


def _first(read: Read) -> tuple[str, dict[int, _ValueLocation], int]:
    head = read(0, 8)
    order = _order(head)
    return order, *_directory(read, order, *_unpack(order, "I", head[4:8]))


def _number(read: Read, order: str, place: _ValueLocation | None) -> int | None:
    if place is None or place.count < 1 or place.kind not in (_SHORT, _LONG):
        return None
    form = "H" if place.kind == _SHORT else "I"
    return _unpack(order, form, read(place.value, _SIZES[place.kind]))[0]


def _ratio(read: Read, order: str, place: _ValueLocation | None) -> float | None:
    if place is None or place.kind != _RATIONAL:
        return None
    top, bottom = _unpack(order, "II", read(place.value, 8))
    return top / bottom if top and bottom else None


def reader(block: bytes) -> Read:
    """Return a function that reads a block in memory at an offset."""
    return lambda offset, length: block[offset : offset + length]


def strip_prefix(block: bytes) -> bytes:
    r"""Return the block without JPEG's prefix "Exif\0\0"."""
    return block.removeprefix(b"Exif\0\0")


def orientation(read: Read) -> int:
    """Return the EXIF orientation, 1 to 8; 1 when there is none.

    Raises:
        MalformedExifError: the structure is invalid.
    """
    order, places, _ = _first(read)
    value = _number(read, order, places.get(ORIENTATION))
    return value if value is not None and 1 <= value <= 8 else 1


def resolution(read: Read) -> tuple[float, float] | None:
    """Return the pixels per inch, or None if they are missing or have no unit.

    Raises:
        MalformedExifError: the structure is invalid.
    """
    order, places, _ = _first(read)
    unit = _number(read, order, places.get(_RESOLUTION_UNIT)) or 2
    x = _ratio(read, order, places.get(_X_RESOLUTION))
    y = _ratio(read, order, places.get(_Y_RESOLUTION))
    scale = {2: 1.0, 3: 2.54}.get(unit)
    return None if scale is None or x is None or y is None else (x * scale, y * scale)


def is_camera_raw(read: Read) -> bool:
    """Return whether a TIFF file is a camera raw file, whose first directory is only a small preview."""
    order, places, _ = _first(read)
    reduced = (_number(read, order, places.get(_NEW_SUBFILE)) or 0) & 1
    return _DNG_VERSION in places or bool(reduced and _SUB_IFDS in places)


def normalize(block: bytes, *, width: int, height: int, dpi: tuple[float, float] | None) -> bytes:
    """Update a block for an upright picture of the given size.

    Sets the orientation to 1, and the pixel dimensions and the resolution, where the block has them, to those given;
    removes the thumbnail. Everything else keeps its bytes and its offset.

    Args:
        block: EXIF block, without JPEG's prefix.
        width: in pixels.
        height: in pixels.
        dpi: pixels per inch; None keeps the resolution.

    Raises:
        MalformedExifError: the structure is invalid.
    """
    data = bytearray(block)
    read = reader(block)
    order, places, following = _first(read)
    start = _unpack(order, "I", block[4:8])[0]
    inner: dict[int, _ValueLocation] = {}
    pointer = _number(read, order, places.get(_EXIF_IFD))
    if pointer:
        inner, _ = _directory(read, order, pointer)
    if ORIENTATION in places:
        _put_number(data, order, places[ORIENTATION], 1)
    for tags, value in ((_WIDTHS, width), (_HEIGHTS, height)):
        for tag in tags:
            place = places.get(tag) or inner.get(tag)
            if place is not None:
                _put_number(data, order, place, value)
    if dpi is not None and resolution(read) != dpi:
        for tag, value in ((_X_RESOLUTION, dpi[0]), (_Y_RESOLUTION, dpi[1])):
            place = places.get(tag)
            if place is not None and place.kind == _RATIONAL:
                _put(data, place.value, _rational(order, value))
        if _RESOLUTION_UNIT in places:
            _put_number(data, order, places[_RESOLUTION_UNIT], 2)
    if following:
        count = _unpack(order, "H", block[start : start + 2])[0]
        _put(data, start + 2 + 12 * count, bytes(4))
        _erase_thumbnail(data, read, order, following)
    return bytes(data)


def _put(data: bytearray, offset: int, value: bytes) -> None:
    # A slice past the end would make the block longer.
    if offset + len(value) > len(data):
        raise MalformedExifError("a value lies outside")
    data[offset : offset + len(value)] = value


def _put_number(data: bytearray, order: str, place: _ValueLocation, value: int) -> None:
    if place.count != 1 or place.kind not in (_SHORT, _LONG):
        return
    # A width over 65,535 needs a LONG; both types lie in the entry itself, so the type may change.
    kind = _LONG if value > 0xFFFF else place.kind
    _put(data, place.entry + 2, struct.pack(order + "H", kind))
    field = struct.pack(order + "HH", value, 0) if kind == _SHORT else struct.pack(order + "I", value)
    _put(data, place.value, field)


def _rational(order: str, value: float) -> bytes:
    ratio = Fraction(value).limit_denominator(10_000)
    return struct.pack(order + "II", ratio.numerator, ratio.denominator)


def _erase_thumbnail(data: bytearray, read: Read, order: str, offset: int) -> None:
    try:
        places, _ = _directory(read, order, offset)
        start = _number(read, order, places.get(_THUMBNAIL))
        length = _number(read, order, places.get(_THUMBNAIL_LENGTH))
    except MalformedExifError:
        return  # unlinked already; there is nothing that could be followed
    if start and length and start + length <= len(data):
        data[start : start + length] = bytes(length)
        if start + length >= len(data) - 1:  # nearly every camera puts it last
            del data[start:]


def with_resolution(block: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Return a block with the resolution: the given one with a new first directory at its end, or a new block.

    For formats that store the resolution only in EXIF (WebP, AVIF).
    """
    order = "<" if block is None else _order(block)
    added = _resolution_entries(order, dpi)
    if block is None:
        return _head(order) + _pack(added, order, 8)
    read = reader(block)
    _, places, _ = _first(read)
    kept = [_Entry(tag, p.kind, p.count, read(p.entry + 8, 4)) for tag, p in places.items()]
    block += bytes(-len(block) % 2)
    # The old entries keep their four bytes as they are: values stay where they were, and so do their offsets.
    entries = sorted([e for e in kept if e.tag not in {a.tag for a in added}] + added, key=lambda e: e.tag)
    return block[:4] + struct.pack(order + "I", len(block)) + block[8:] + _pack(entries, order, len(block))


def _resolution_entries(order: str, dpi: tuple[float, float]) -> list[_Entry]:
    return [
        _Entry(_X_RESOLUTION, _RATIONAL, 1, _rational(order, dpi[0])),
        _Entry(_Y_RESOLUTION, _RATIONAL, 1, _rational(order, dpi[1])),
        _Entry(_RESOLUTION_UNIT, _SHORT, 1, struct.pack(order + "H", 2)),
    ]


def _head(order: str) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)


def _pack(entries: list[_Entry] | tuple[_Entry, ...], order: str, base: int) -> bytes:
    """Return the bytes of a directory at offset `base`, followed by its values and subdirectories."""
    table = struct.pack(order + "H", len(entries))
    values = b""
    behind = base + 2 + 12 * len(entries) + 4
    for e in entries:
        if isinstance(e.value, tuple):
            field = struct.pack(order + "I", behind + len(values))
            values += _pack(e.value, order, behind + len(values))
        elif len(e.value) <= 4:
            field = e.value.ljust(4, b"\0")
        else:
            field = struct.pack(order + "I", behind + len(values))
            values += e.value + bytes(len(e.value) % 2)
        table += struct.pack(order + "HHI", e.tag, e.kind, e.count) + field
    return table + bytes(4) + values


def _collect(
    read: Read, order: str, places: dict[int, _ValueLocation], skip: frozenset[int], target: str
) -> list[_Entry]:
    """Read a directory's entries with their values and known subdirectories, in the byte order of `target`."""
    entries: list[_Entry] = []
    total = 0
    for tag, place in sorted(places.items()):
        size = _SIZES.get(place.kind, 0) * place.count
        if tag in skip or not size:
            continue
        # Many entries may name the same bytes, so a small file could ask for very much memory.
        total += size
        if total > _MOST_BYTES:
            raise MalformedExifError("too many bytes")
        if tag in (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD):
            pointer = _number(read, order, place)
            if pointer:
                inner, _ = _directory(read, order, pointer)
                # Only the Exif directory may point on: the depth is bounded whatever a file claims.
                deeper = frozenset({_EXIF_IFD, _GPS_IFD} if tag == _EXIF_IFD else {_EXIF_IFD, _GPS_IFD, _INTEROP_IFD})
                entries.append(_Entry(tag, _LONG, 1, tuple(_collect(read, order, inner, deeper, target))))
            continue
        value = read(place.value, size)
        if len(value) == size:
            entries.append(_Entry(tag, place.kind, place.count, _swap(value, place.kind) if order != target else value))
    return entries


def _swap(value: bytes, kind: int) -> bytes:
    unit = _UNITS[kind]
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))


def from_tiff(read: Read) -> bytes | None:
    """Make an EXIF block of a TIFF file's first directory; None if it has no EXIF tags.

    Raises:
        MalformedExifError: the structure is invalid; also for BigTIFF, whose directories have another form.
    """
    order, places, _ = _first(read)
    entries = _collect(read, order, places, _TIFF_ONLY, order)
    plain = {ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}
    return _head(order) + _pack(entries, order, 8) if {e.tag for e in entries} - plain else None


def write_to_tiff(file: Sink, block: bytes | None, dpi: tuple[float, float] | None) -> None:
    """Append a new first directory with an EXIF block's tags to a TIFF file.

    Args:
        file: a little-endian TIFF file of one page, as libvips writes it.
        block: EXIF block to insert, or None.
        dpi: pixels per inch; None writes "no unit", where libvips would state 25.4 pixels per inch.
    """

    def read(offset: int, length: int) -> bytes:
        file.seek(offset, os.SEEK_SET)
        return file.read(length)

    order, places, _ = _first(read)
    # The file's own entries keep the four bytes of their value field: what they point to stays where it is.
    merged = {tag: _Entry(tag, p.kind, p.count, read(p.entry + 8, 4)) for tag, p in places.items()}
    if block is not None:
        source = reader(block)
        block_order, block_places, _ = _first(source)
        # ImageWidth and the like describe the file that the EXIF came from; this file has its own.
        for e in _collect(source, block_order, block_places, _TIFF_ONLY | frozenset(places) - {ORIENTATION}, order):
            merged[e.tag] = e
    for e in _resolution_entries(order, dpi or (1.0, 1.0)):
        merged[e.tag] = e
    if dpi is None:
        merged[_RESOLUTION_UNIT] = _Entry(_RESOLUTION_UNIT, _SHORT, 1, struct.pack(order + "H", 1))
    end = file.seek(0, os.SEEK_END)
    base = end + end % 2
    file.write(bytes(base - end) + _pack([merged[tag] for tag in sorted(merged)], order, base))
    file.seek(4, os.SEEK_SET)
    file.write(struct.pack(order + "I", base))


def normalize_xmp(xmp: bytes) -> bytes:
    """Set the orientation that an XMP packet repeats from EXIF to 1, without changing its length.

    Example:
        >>> normalize_xmp(b'<rdf:Description tiff:Orientation="6"/>')
        b'<rdf:Description tiff:Orientation="1"/>'
    """
    return re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8](?=[\"'<\s])", rb"\g<1>1", xmp)
