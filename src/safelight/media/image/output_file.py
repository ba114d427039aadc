"""Atomic file writing: a temporary file next to the target is written, flushed and renamed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from safelight.media.image.picture import TargetError, TargetExistsError, shown

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open: the lock is not needed there
    fcntl = None

# Names of unfinished files: folder scans ignore them, and `remove_temporary_files` removes them.
TEMPORARY_PREFIX = ".safelight-"
TEMPORARY_SUFFIX = ".part"
_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{16}" + re.escape(TEMPORARY_SUFFIX))
_BINARY = getattr(os, "O_BINARY", 0)

Data: TypeAlias = bytes | bytearray | memoryview


class Sink(Protocol):
    """A stream that an encoder writes to. Only TIFF seeks and reads."""

    def write(self, data: Data, /) -> int:
        """Write bytes; return how many were written."""
        ...

    def read(self, count: int, /) -> bytes:
        """Return the bytes at the position, at most `count`."""
        ...

    def seek(self, offset: int, whence: int, /) -> int:
        """Move to a position, counted as in `os.lseek`, and return it."""
        ...


def write_all(sink: Sink, data: Data) -> None:
    """Write all data to a sink that may write only a part at a time, as unbuffered files do."""
    view = memoryview(data)
    while view:
        view = view[sink.write(view) :]


class OutputFile:
    """An open file whose errors name the target file."""

    def __init__(self, target: Path, descriptor: int) -> None:
        self._target = target
        self._descriptor = descriptor

    def write(self, data: Data) -> int:
        """Write all of the data."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _target_error(self._target, error) from None
        return len(data)

    def read(self, count: int) -> bytes:
        """Return the bytes at the position, fewer at the end of the file."""
        try:
            return os.read(self._descriptor, count)
        except OSError as error:
            raise _target_error(self._target, error) from None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it."""
        try:
            return os.lseek(self._descriptor, offset, whence)
        except OSError as error:
            raise _target_error(self._target, error) from None

    def flush(self, mode: int | None) -> None:
        """Set the permissions, unless None, and wait until all is on the disk."""
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(self._descriptor, mode)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def atomic_file(target: Path, *, overwrite: bool) -> Generator[OutputFile, None, None]:
    """Open a file that gets its name when the block ends; after an exception it is removed.

    Args:
        target: the file; its folder must exist.
        overwrite: replace a file that exists; otherwise it is never changed, even if it appears meanwhile.

    Raises:
        TargetError: the folder is missing or not writable, the disk is full, or (TargetExistsError) the file exists.
    """
    mode = _check_target(target, overwrite=overwrite)
    with _temporary(target) as (path, file):
        yield file
        try:
            file.flush(mode)
            if fcntl is None:
                file.close()  # Windows renames no file that is open
            if overwrite:
                path.replace(target)
            else:
                _place(path, target)
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _target_error(target, error) from None
        _flush_folder(target.parent)


@contextmanager
def _temporary(target: Path) -> Generator[tuple[Path, OutputFile], None, None]:
    """Open a temporary file next to the target, and remove it at the end."""
    while True:
        # Short and unlike the target's name, which may itself be as long as the file system allows.
        path = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        file = OutputFile(target, -1)
        try:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
                file = OutputFile(target, descriptor)
                held = _try_lock(descriptor) and path.exists()
            except OSError as error:
                raise _target_error(target, error) from None
            if held:
                yield path, file
                return
        finally:
            # Also after Ctrl-C. On success the name is gone already.
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    """Lock a file against `remove_temporary_files`; False if that is just removing it as a stale one."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks, where `remove_temporary_files` removes nothing
    return True


@contextmanager
def temporary_file() -> Generator[OutputFile, None, None]:
    """Open an unnamed file in the system's temporary folder.

    Raises:
        TargetError: the folder is not writable.
    """
    target = Path(tempfile.gettempdir()) / "temporary file"
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below; only its making is guarded
    except OSError as error:
        raise _target_error(target, error) from None
    with file:
        yield OutputFile(target, file.fileno())  # closed by its owner


def remove_temporary_files(folder: str | Path) -> int:
    """Remove the temporary files of killed processes from a folder, not from its subfolders.

    A file that a running process writes is locked and kept, also on network drives that share locks between machines;
    where there are no locks, nothing is removed.

    Args:
        folder: where pictures were written; nothing is removed if it can't be listed.

    Returns:
        The number of removed files.
    """
    try:
        found = [path for path in Path(folder).iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return 0
    return sum(_removed(path) for path in found)


def _removed(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        if fcntl is None:
            path.unlink()
            return True
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()  # under the lock; and no other file ever gets this name
        finally:
            os.close(descriptor)
    except OSError:  # it is being written, or gone meanwhile, or not ours to remove
        return False
    return True


def write_bytes(data: bytes, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a file atomically, as `write` does; for reports, bitstreams and other data.

    Raises:
        TargetError: the folder is missing or not writable, the disk is full, or (TargetExistsError) the file exists.
    """
    with atomic_file(Path(path), overwrite=overwrite) as file:
        file.write(data)


def _check_target(target: Path, *, overwrite: bool) -> int | None:
    """Check the target before writing; return the permissions of the file that will be replaced.

    Raises:
        TargetError: the target can't be replaced, or (TargetExistsError) it exists.
    """
    try:
        found = target.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _target_error(target, error) from None
    if not overwrite:
        raise _target_error(target, FileExistsError(errno.EEXIST, "exists"))
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise TargetError(f"{shown(target)}: expected a file to replace, got {kind}; choose another name")
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _place(temporary: Path, target: Path) -> None:
    """Give the finished file its name unless that exists; the file system decides atomically."""
    if os.name == "nt":
        temporary.rename(target)  # Windows refuses a name that is taken
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (FAT, some network drives): claim the name, then replace the empty claim.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _flush_folder(folder: Path) -> None:
    # Makes the new name itself survive a power cut; not every system lets a folder be opened or flushed.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _target_error(target: Path, error: Exception) -> TargetError:
    folder, name = shown(target.parent), shown(target)
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EEXIST:
        return TargetExistsError(f"{name}: expected a new file, got one that exists; choose another name or overwrite")
    if code in (errno.ENOENT, errno.ENOTDIR):
        return TargetError(f"{name}: expected an existing folder {folder}, got none; make it first")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return TargetError(f"{name}: expected a folder to write to, got no permission for {folder}; choose another")
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TargetError(f"{name}: expected free space, got a full disk at {folder}; free some or choose another")
    if code == errno.ENAMETOOLONG:
        return TargetError(f"{name}: expected a shorter file name, got one over the file system's limit; shorten it")
    cause = error.strerror if isinstance(error, OSError) else str(error)
    return TargetError(f"{name}: expected to write to {folder}, got: {cause}; check the disk and the name")
