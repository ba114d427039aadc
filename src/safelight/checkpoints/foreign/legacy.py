"""The format of ``torch.save`` before version 1.6: five pickles in a row, followed by the values.

    magic number, version, facts of the machine, what was saved, list of keys | for each key: count, numbers | ...

The format has no checksums: a changed bit in the values is not detected.
"""

from __future__ import annotations

from typing import BinaryIO, cast

from safelight.checkpoints.foreign.archive import ArchiveMember, ForeignError
from safelight.checkpoints.foreign.pickles import MAX_PICKLE, Storage, read_pickle_at
from safelight.checkpoints.foreign.state import MAX_TENSORS, StoredTensor, find_state_dict, locate_tensors

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = 8  # bytes before each row of numbers that say how many there are


def read_legacy(file: BinaryIO) -> dict[str, StoredTensor]:
    """Locate the tensors of such a file.

    Raises:
        ForeignError: It is damaged, truncated, or contains more than tensors.
    """
    length = file.seek(0, 2)
    file.seek(0)
    head = file.read(MAX_PICKLE)
    magic = read_pickle_at(head, 0)
    if magic.root != _MAGIC:
        raise ForeignError("a pickle that torch.save did not write")
    version = read_pickle_at(head, magic.end)
    if version.root != _VERSION:
        raise ForeignError("a file of torch.save in another version than any that is known")
    machine = read_pickle_at(head, version.end)
    if not isinstance(machine.root, dict) or cast("dict[str, object]", machine.root).get("little_endian") is not True:
        raise ForeignError("numbers in the byte order of another processor")
    saved = read_pickle_at(head, machine.end)
    keys = read_pickle_at(head, saved.end)
    rows = _rows(file, keys.end, length, _listed(keys.root, saved.storages), saved.storages)
    places, _ = locate_tensors(find_state_dict(saved.root), rows, "")
    return places


def _listed(keys: object, storages: dict[str, Storage]) -> list[str]:
    """Check the list of keys: each storage once, and nothing else."""
    if not isinstance(keys, list) or len(storages) > MAX_TENSORS:
        raise ForeignError("a damaged file, whose list of storages cannot be read")
    listed = cast("list[object]", keys)
    if not all(isinstance(key, str) for key in listed) or len(listed) != len(storages) or set(listed) != set(storages):
        raise ForeignError("a damaged file, whose list of storages is not what its pickle says")
    return cast("list[str]", listed)


def _rows(
    file: BinaryIO, at: int, length: int, keys: list[str], storages: dict[str, Storage]
) -> dict[str, ArchiveMember]:
    """Return the location of each storage; together they fill the file to its end."""
    rows: dict[str, ArchiveMember] = {}
    for key in keys:
        storage = storages[key]
        size = storage.count * storage.width
        file.seek(at)
        if int.from_bytes(file.read(_COUNT), "little") != storage.count or at + _COUNT + size > length:
            raise ForeignError("a file that is cut off, or whose numbers are not what its pickle says")
        rows[f"data/{key}"] = ArchiveMember(key, at + _COUNT, size, 0)
        at += _COUNT + size
    if at != length:
        raise ForeignError("a file with something after its end")
    return rows
