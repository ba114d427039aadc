"""Strict reader of the zip files of ``torch.save``: members are uncompressed, contiguous, and fill the file.

So the content is never larger than the file, no two readers can see different members, and truncation or a changed bit
is detected. Python's ``zipfile`` checks none of this.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_MEMBERS = 20_000
MAX_DIRECTORY = 4 << 20  # bytes of the list of members

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FLAGS = 0x0808  # sizes follow the data; names are UTF-8
_SIZES_FOLLOW = 0x0008
_HUGE = 0xFFFFFFFF  # the true number stands in the extra field
_CHUNK = 1 << 20


class ForeignError(ValueError):
    """A file that is damaged or unsupported. The message completes "expected ..., got"."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One member of an archive: its name, and the location of its bytes in the file."""

    name: str
    start: int
    size: int
    crc: int


def read_members(file: BinaryIO) -> dict[str, ArchiveMember]:
    """List the members of a zip file by name.

    Raises:
        ForeignError: It is truncated, damaged, compressed, encrypted, or has bytes that belong to no member.
    """
    count, directory, directory_start = _read_directory(file)
    found: dict[str, ArchiveMember] = {}
    position = at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(directory):
            raise ForeignError("a damaged archive, whose list of members breaks off")
        magic, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, _, _, _, start = (
            _ENTRY.unpack_from(directory, at)
        )
        name, extra = _cut(directory, at + _ENTRY.size, n_name, n_extra)
        at += _ENTRY.size + n_name + n_extra + n_comment
        if magic != b"PK\x01\x02" or at > len(directory):
            raise ForeignError("a damaged archive, whose list of members cannot be read")
        if method != 0:
            raise ForeignError("an archive with compressed members, which torch.save never writes")
        if flags & ~_FLAGS:
            raise ForeignError("an archive with encrypted or unusual members")
        size, packed, start = _true_sizes(extra, size, packed, start)
        if packed != size or start != position:
            raise ForeignError("a damaged archive, whose members overlap or leave gaps")
        data, position = _check_local(file, position, name, flags, crc, size)
        text = _text(name)
        if text in found:
            raise ForeignError("an archive with two members of one name")
        found[text] = ArchiveMember(text, data, size, crc)
    if at != len(directory) or position != directory_start:
        raise ForeignError("an archive with bytes that belong to no member")
    return found


def read_member(file: BinaryIO, member: ArchiveMember) -> bytes:
    """Read a member whole, and check its checksum."""
    content = b"".join(_chunks(file, member))
    if zlib.crc32(content) != member.crc:
        raise ForeignError(f"a damaged archive, the checksum of {shown(member.name)} is wrong")
    return content


def verify(file: BinaryIO, member: ArchiveMember) -> None:
    """Check the checksum of a member, a piece at a time."""
    crc = 0
    for chunk in _chunks(file, member):
        crc = zlib.crc32(chunk, crc)
    if crc != member.crc:
        raise ForeignError(f"a damaged archive, the checksum of {shown(member.name)} is wrong")


def shown(text: str) -> str:
    """Quote a stranger's text for a message: one line, short, nothing that a terminal obeys."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _read_directory(file: BinaryIO) -> tuple[int, bytes, int]:
    """Find the list of members: how many there are, its bytes, and where it starts."""
    length = file.seek(0, 2)
    if length < _END.size:
        raise ForeignError("a file that is cut off")
    magic, _, _, _, count, size, start, n_comment = _END.unpack(_read(file, length - _END.size, _END.size))
    if magic != b"PK\x05\x06" or n_comment:
        raise ForeignError("an archive that is cut off, or has something after its end")
    end = length - _END.size
    tail = _END64_LOCATOR.size + _END64.size
    if end >= tail and _read(file, end - _END64_LOCATOR.size, 4) == b"PK\x06\x07":
        end -= tail
        magic, _, _, _, _, _, _, count, size, start = _END64.unpack(_read(file, end, _END64.size))
        if magic != b"PK\x06\x06":
            raise ForeignError("a damaged archive, whose end cannot be read")
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise ForeignError(f"an archive of {count} members, more than the {MAX_MEMBERS} that are read")
    if start + size != end:
        raise ForeignError("a damaged archive, whose list of members is not where it should be")
    return count, _read(file, start, size), start


def _check_local(file: BinaryIO, at: int, name: bytes, flags: int, crc: int, size: int) -> tuple[int, int]:
    """Check a member's local header; return the offsets of its data and of the next member."""
    magic, _, own_flags, method, _, _, own_crc, _, own_size, n_name, n_extra = _LOCAL.unpack(
        _read(file, at, _LOCAL.size)
    )
    data = at + _LOCAL.size + n_name + n_extra
    follow = flags & _SIZES_FOLLOW
    if (
        magic != b"PK\x03\x04"
        or method != 0
        or own_flags != flags
        or _read(file, at + _LOCAL.size, n_name) != name
        or (not follow and (own_crc != crc or own_size not in (size, _HUGE)))
    ):
        raise ForeignError("a damaged archive, whose members are not what its list says")
    end = data + size
    if follow:
        end += 24 if size >= _HUGE else 16
        if _read(file, data + size, 8) != struct.pack("<4sL", b"PK\x07\x08", crc):
            raise ForeignError("a damaged archive, whose members are not what its list says")
    return data, end


def _true_sizes(extra: bytes, size: int, packed: int, start: int) -> tuple[int, int, int]:
    """Replace values that need 64 bits by those of the extra field."""
    if _HUGE not in (size, packed, start):
        return size, packed, start
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and length % 8 == 0:
            large = iter(struct.unpack_from(f"<{length // 8}Q", extra.ljust(at + 4 + length, b"\0"), at + 4))
            size, packed, start = (next(large, -1) if n == _HUGE else n for n in (size, packed, start))
            return size, packed, start
        at += 4 + length
    raise ForeignError("a damaged archive, whose sizes cannot be read")


def _cut(directory: bytes, at: int, n_name: int, n_extra: int) -> tuple[bytes, bytes]:
    return directory[at : at + n_name], directory[at + n_name : at + n_name + n_extra]


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ForeignError("an archive with a member whose name is no text") from None


def _chunks(file: BinaryIO, member: ArchiveMember) -> Iterator[bytes]:
    for start in range(0, member.size, _CHUNK):
        yield _read(file, member.start + start, min(_CHUNK, member.size - start))


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    if start < 0:
        raise ForeignError("a damaged archive, whose sizes cannot be read")
    file.seek(start)
    content = file.read(size)
    if len(content) != size:
        raise ForeignError("a file that is cut off")
    return content
