"""EXIF and resolution in each container format, inserted into bytes that libvips has encoded.

libvips does not write them: it would rewrite EXIF, and state 25.4 pixels per inch for a picture of unknown
resolution. It writes XMP and ICC.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_PNG_CHUNKS = 1_000  # healthy files have ten or twenty before the pixels
_PNG_TEXT = 32 << 20

JPEG_SEGMENT = 65_533  # bytes that a JPEG segment holds behind its two length bytes
_JPEG_PREFIX = b"Exif\0\0"
JPEG_EXIF = JPEG_SEGMENT - len(_JPEG_PREFIX)
AVIF_EXIF = 65_000  # libexif, through which libvips makes the room, counts in 16 bits
JPEG_XMP = JPEG_SEGMENT - len(b"http://ns.adobe.com/xap/1.0/\0")


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_head(data: bytes | bytearray, exif: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """Insert a JFIF header, with the resolution in whole numbers, and EXIF at the start of a JPEG file.

    Args:
        data: the file, or its first bytes.
        exif: EXIF block to insert, or None.
        dpi: pixels per inch, or None.

    Returns:
        The changed bytes; None if more bytes are needed.
    """
    if len(data) < 2:
        return None
    unit = 0 if dpi is None else 1
    x, y = (1, 1) if dpi is None else (min(max(round(d), 1), 0xFFFF) for d in dpi)
    segments = _segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", unit, x, y, 0, 0))
    if exif is not None:
        segments += _segment(0xE1, _JPEG_PREFIX + exif)
    return b"".join((data[:2], segments, data[2:]))


def _chunks(
    data: bytes | bytearray, start: int, form: str, extra: int, padding: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of the chunks of a PNG or RIFF file."""
    while start + 8 <= len(data):
        name, size = bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if form == ">":  # PNG puts the length first
            name, size = bytes(size), name
        (length,) = struct.unpack(form + "I", size)
        end = start + 8 + length + extra + length % padding
        yield name, start, end
        start = end


def png_head(data: bytes | bytearray, exif: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """Insert an eXIf chunk after the header of a PNG file, and drop the pHYs chunk of an unknown resolution.

    Arguments and result are as in `jpeg_head`; everything before the pixels is needed.
    """
    parts = [data[:8]]
    for name, start, end in _chunks(data, 8, ">", 4, 1):
        if name == b"IDAT":  # what matters stands before the pixels
            return b"".join((*parts, data[start:]))
        if end > len(data):
            break
        if name == b"pHYs" and dpi is None:
            continue
        parts.append(data[start:end])
        if name == b"IHDR" and exif is not None:
            body = b"eXIf" + exif
            parts.append(struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body)))
    return None


@dataclass(frozen=True, slots=True)
class PngFacts:
    """Metadata before the pixels of a PNG file."""

    dpi: tuple[float, float] | None  # libvips says 72 when there is none
    frames: int  # of an animated PNG; libvips doesn't count them


def png_facts(read: Callable[[int, int], bytes]) -> PngFacts:
    """Read the chunks before the pixels of a PNG file, and refuse a decompression bomb.

    libvips inflates every compressed text: a file of 8 MB took 11 GB and 90 seconds.

    Args:
        read: returns `length` bytes at `offset`, fewer at the end of the file.

    Raises:
        ValueError: there are too many chunks or too much text; the message says what was expected and what was found.
    """
    dpi, frames, offset, text = None, 1, 8, 0
    for _ in range(_PNG_CHUNKS):
        head = read(offset, 8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return PngFacts(dpi, frames)
        name, length = head[4:], int.from_bytes(head[:4], "big")
        if name == b"pHYs":
            x, y, unit = struct.unpack(">IIB", read(offset + 8, 9).ljust(9, b"\0"))
            dpi = (x * 0.0254, y * 0.0254) if unit == 1 and x and y else None
        elif name == b"acTL":
            frames = max(int.from_bytes(read(offset + 8, 4), "big"), 1)
        elif name in (b"zTXt", b"iTXt", b"iCCP"):
            text += _inflated(name, read(offset + 8, min(length, _PNG_TEXT + 1)), _PNG_TEXT - text)
            if text > _PNG_TEXT:
                raise ValueError(f"at most {_PNG_TEXT >> 20} MB of text and profile, got more")
        offset += 12 + length
    raise ValueError(f"at most {_PNG_CHUNKS:,} chunks before the pixels, got more")


def _inflated(name: bytes, body: bytes, limit: int) -> int:
    """Return the inflated length of a text chunk in bytes, or slightly more than the limit if it is longer."""
    _, _, rest = body.partition(b"\0")  # the keyword
    if name == b"iTXt":
        if rest[:1] != b"\1":
            return len(body)
        rest = rest[2:].split(b"\0", 2)[-1]  # behind language and translated keyword
    else:
        rest = rest[1:]
    inflater = zlib.decompressobj()
    count = 0
    try:
        while count <= limit and rest:
            piece = inflater.decompress(rest, 1 << 20)
            if not piece:
                break
            count += len(piece)
            rest = inflater.unconsumed_tail
    except zlib.error:
        pass  # damaged: libvips will say so, or skip it
    return count


def add_webp_exif(data: bytes, exif: bytes | None, *, width: int, height: int, alpha: bool) -> bytes:
    """Insert an EXIF chunk into a WebP file, which becomes an extended one."""
    if exif is None:
        return data
    chunks = {name: data[start:end] for name, start, end in _chunks(data, 12, "<", 0, 2)}
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    plain = b"VP8X" + struct.pack("<IB3x", 10, 0x10 if alpha else 0) + size
    header = bytearray(chunks.pop(b"VP8X", plain))
    header[8] |= 0x08  # the flag that says: EXIF
    block = b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    xmp = chunks.pop(b"XMP ", b"")  # stands behind EXIF, says the specification
    body = b"".join((b"WEBP", bytes(header), *chunks.values(), block, xmp))
    return b"RIFF" + struct.pack("<I", len(body)) + body


# AVIF keeps EXIF among its coded data and its offset in a table, so libvips has to reserve the room: it is given a
# placeholder block with this mark in a user comment, which the real block then replaces.
_MARK = b"room for the EXIF that belongs here"


def avif_exif_placeholder(exif: bytes) -> bytes:
    """Return an EXIF block for libvips to write that reserves enough room for the given one."""
    comment = b"ASCII\0\0\0" + _MARK.ljust(len(exif), b" ")
    ifd0 = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack("<HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return _JPEG_PREFIX + b"II*\0" + struct.pack("<I", 8) + ifd0 + inner + comment


def fill_avif_placeholder(data: bytes, exif: bytes) -> bytes:
    """Replace the placeholder of `avif_exif_placeholder` by the EXIF block, and correct its length in the item table.

    Raises:
        ValueError: the placeholder or its table entry is not where libvips puts it.
    """
    mark = data.find(_MARK)
    start = data.rfind(b"II*\0\x08\0\0\0", 0, mark)
    if mark < 0 or start < 0:
        raise ValueError("no room for EXIF")
    # The item starts with the offset of the TIFF header: four bytes, and perhaps JPEG's prefix behind them.
    first = start - 4 - (len(_JPEG_PREFIX) if data[start - 6 : start] == _JPEG_PREFIX else 0)
    entry = _avif_length_entry(data, first)
    (length,) = struct.unpack(">I", data[entry : entry + 4])
    room = first + length - start
    if not len(exif) <= room <= len(data) - start:
        raise ValueError("the room for EXIF is too small")
    changed = bytearray(data)
    changed[entry : entry + 4] = struct.pack(">I", start - first + len(exif))
    changed[start : start + room] = exif.ljust(room, b"\0")
    return bytes(changed)


def _avif_length_entry(data: bytes, first: int) -> int:
    """Return the offset of an item's length in the item table ("iloc", version 0, as libheif writes it).

    Raises:
        ValueError: the table has another form, or no item starts at `first`.
    """
    table = data.find(b"iloc")
    head = data[table + 4 : table + 12].ljust(8, b"\0")
    version, sizes, count = struct.unpack(">B3xHH", head)
    if table < 0 or version != 0 or sizes not in (0x4440, 0x4400):
        raise ValueError("no table of places in the expected form")
    based = sizes == 0x4440
    position = table + 12
    for _ in range(count):
        base = int.from_bytes(data[position + 4 : position + 8], "big") if based else 0
        position += 8 if based else 4
        extents = int.from_bytes(data[position : position + 2], "big")
        offset = base + int.from_bytes(data[position + 2 : position + 6], "big")
        if extents == 1 and offset == first:
            return position + 6
        position += 2 + 8 * extents
    raise ValueError("no entry for EXIF")
