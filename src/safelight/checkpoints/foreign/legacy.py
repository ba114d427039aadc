"""The files that ``torch.save`` wrote before version 1.6: five pickles in a row, and after them the numbers.

    magic number, version, facts of the machine, what was saved, list of keys | for each key: count, numbers | ...

Nothing in such a file is a checksum: a changed bit among the numbers is not noticed here.
"""

from __future__ import annotations

from typing import BinaryIO, cast

from safelight.checkpoints.foreign.archive import ForeignError, Member
from safelight.checkpoints.foreign.pickles import MAX_PICKLE, Storage, walk_from
from safelight.checkpoints.foreign.state import MAX_TENSORS, StoredTensor, find_state, locate

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = 8  # bytes before each row of numbers that say how many there are


def read_legacy(file: BinaryIO) -> dict[str, StoredTensor]:
    """Find the tensors of such a file.

    Raises:
        ForeignError: It is damaged, cut off, or more than tensors.
    """
    length = file.seek(0, 2)
    file.seek(0)
    head = file.read(MAX_PICKLE)
    magic = walk_from(head, 0)
    if magic.root != _MAGIC:
        raise ForeignError("a pickle that torch.save did not write")
    version = walk_from(head, magic.end)
    if version.root != _VERSION:
        raise ForeignError("a file of torch.save in another version than any that is known")
    machine = walk_from(head, version.end)
    if not isinstance(machine.root, dict) or cast("dict[str, object]", machine.root).get("little_endian") is not True:
        raise ForeignError("numbers in the byte order of another processor")
    saved = walk_from(head, machine.end)
    keys = walk_from(head, saved.end)
    rows = _rows(file, keys.end, length, _listed(keys.root, saved.storages), saved.storages)
    places, _ = locate(find_state(saved.root), rows, "")
    return places


def _listed(keys: object, storages: dict[str, Storage]) -> list[str]:
    """Accept the list of keys: each storage once, and nothing else."""
    if not isinstance(keys, list) or len(storages) > MAX_TENSORS:
        raise ForeignError("a damaged file, whose list of storages cannot be read")
    listed = cast("list[object]", keys)
    if not all(isinstance(key, str) for key in listed) or len(listed) != len(storages) or set(listed) != set(storages):
        raise ForeignError("a damaged file, whose list of storages is not what its pickle says")
    return cast("list[str]", listed)


def _rows(file: BinaryIO, at: int, length: int, keys: list[str], storages: dict[str, Storage]) -> dict[str, Member]:
    """Say where each row of numbers lies; they fill the file to its end."""
    rows: dict[str, Member] = {}
    for key in keys:
        storage = storages[key]
        size = storage.count * storage.width
        file.seek(at)
        if int.from_bytes(file.read(_COUNT), "little") != storage.count or at + _COUNT + size > length:
            raise ForeignError("a file that is cut off, or whose numbers are not what its pickle says")
        rows[f"data/{key}"] = Member(key, at + _COUNT, size, 0)
        at += _COUNT + size
    if at != length:
        raise ForeignError("a file with something after its end")
    return rows
