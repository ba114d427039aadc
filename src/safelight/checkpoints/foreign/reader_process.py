"""The process that parses an untrusted checkpoint: ``python -m safelight.checkpoints.foreign.reader_process < FILE``.

It gets the file as its standard input, already open, and answers with one JSON object: the offsets of the tensors, or
an error. It drops its privileges first, so that a hostile file can do no harm: it can't open or write files or start
processes, and has little memory and time.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from typing import BinaryIO

from safelight.checkpoints.foreign.archive import ArchiveMember, ForeignError, read_member, read_members, shown, verify
from safelight.checkpoints.foreign.legacy import read_legacy
from safelight.checkpoints.foreign.pickles import MAX_PICKLE, read_pickle
from safelight.checkpoints.foreign.state import StoredTensor, find_state_dict, locate_tensors

MEMORY = 96 << 20  # bytes of the heap
SECONDS = 10  # of CPU time; a checkpoint of half a gigabyte takes one


def drop_privileges() -> None:
    """Set resource limits to what reading needs, where the system supports them (not on Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    limits = (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, most in limits:
        with contextlib.suppress(ValueError, OSError):  # a system may know a limit and not set it
            resource.setrlimit(limit, (most, most))


def read(file: BinaryIO) -> dict[str, StoredTensor]:
    """Locate the tensors of a checkpoint, in the current format or in that before torch 1.6.

    Raises:
        ForeignError: It is damaged, or contains more than tensors.
    """
    file.seek(0)
    return read_archive(file) if file.read(2) == b"PK" else read_legacy(file)


def read_archive(file: BinaryIO) -> dict[str, StoredTensor]:
    """Locate the tensors of a zip file, and verify the checksums of their values.

    Raises:
        ForeignError: As ``read``.
    """
    members = read_members(file)
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ForeignError("an archive without one data.pkl, which torch.save writes")
    folder = pickles[0].removesuffix("data.pkl")
    for name in members:
        if not name.startswith(folder) or name.endswith(".py") or name.startswith(f"{folder}code/"):
            raise ForeignError(f"an archive with {shown(name)} in it: a program of TorchScript, or no checkpoint")
    order = members.get(f"{folder}byteorder")
    if order is not None and _short(file, order) != b"little":
        raise ForeignError("numbers in the byte order of another processor")
    if members[pickles[0]].size > MAX_PICKLE:
        raise ForeignError(f"a pickle of {members[pickles[0]].size} bytes, more than the {MAX_PICKLE} that are read")
    places, used = locate_tensors(find_state_dict(read_pickle(read_member(file, members[pickles[0]]))), members, folder)
    for key in used:
        verify(file, members[key])
    return places


def _short(file: BinaryIO, member: ArchiveMember) -> bytes:
    return read_member(file, member) if member.size <= 16 else b""


def main() -> None:
    """Read standard input and answer on standard output."""
    drop_privileges()
    try:
        answer: dict[str, object] = {"tensors": {name: asdict(p) for name, p in read(sys.stdin.buffer).items()}}
    except ForeignError as error:
        answer = {"error": str(error)}
    except (MemoryError, RecursionError, OverflowError):
        answer = {"error": "a file that is made to use up memory"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
