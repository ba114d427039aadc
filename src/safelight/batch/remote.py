"""Remote files by URL: object stores, SFTP, archives and whatever else fsspec supports.

``list_files`` lists, ``download`` copies a file to this machine, ``upload`` puts one in place atomically, so that
readers never see a partial file. fsspec, and the packages of the stores, are imported when the first URL is used.
"""

from __future__ import annotations

import filecmp
import importlib
import re
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

from safelight.batch.inputs import BatchError
from safelight.media import image
from safelight.media.image.picture import shown

# In these stores a file becomes visible when its upload is complete. In all others it is visible while it grows.
_WHOLE_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)  # a letter alone is a drive of Windows
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*(?=@)")
_LOCAL = re.compile(r"(?:file|local)://(?!.*::)", re.IGNORECASE)


class _Store(Protocol):
    """The methods of fsspec's untyped file systems that are used here."""

    protocol: str | tuple[str, ...]

    def find(self, path: str) -> list[str]: ...
    def isfile(self, path: str) -> bool: ...
    def get_file(self, rpath: str, lpath: str) -> Any: ...  # noqa: ANN401 - each store has its own
    def put_file(self, lpath: str, rpath: str, *, mode: str) -> Any: ...  # noqa: ANN401
    def mv(self, path1: str, path2: str) -> Any: ...  # noqa: ANN401
    def rm_file(self, path: str) -> Any: ...  # noqa: ANN401
    def exists(self, path: str) -> bool: ...
    def makedirs(self, path: str, exist_ok: bool) -> None: ...
    def invalidate_cache(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A remote file.

    Attributes:
        root: the URL that the user gave; it opens the store.
        path: path of the file in the store.
        name: URL without a password, for JSON output and messages.
    """

    root: str
    path: str
    name: str


def is_url(text: str) -> bool:
    """Return whether an input or output is a URL and not a local path.

    Example:
        >>> [is_url(text) for text in ("s3://bucket/a", "photos/a.png", "C:/a.png", "file:///photos")]
        [True, False, False, False]
    """
    return _URL.match(text) is not None and _LOCAL.match(text) is None


def local(text: str) -> str:
    """Return the path of a ``file://`` URL, and any other text unchanged."""
    found = _LOCAL.match(text)
    return text if found is None else text[found.end() :]


def list_files(url: str) -> list[tuple[RemotePath, PurePosixPath]]:
    """List the files at and below a URL, sorted by name, each with its path relative to the URL.

    Raises:
        BatchError: the store can't be reached, or its package is missing.
    """
    store, top = _open(url)
    try:
        store.invalidate_cache()
        paths = sorted(store.find(top))
        single = paths == [top] and store.isfile(top)
    except FileNotFoundError:
        return []
    except Exception as error:  # each store has its own errors
        raise BatchError(
            f"expected to list {shown(url)}, got: {_reason(error)}; check the URL and the permissions"
        ) from error
    if single:
        return [(RemotePath(url, top, _name(url, "")), PurePosixPath(PurePosixPath(top).name))]
    files = [path for path in paths if not path.endswith("/")]  # an object of such a name stands for a folder
    below = [path.removeprefix(top).lstrip("/") for path in files]
    return [
        (RemotePath(url, path, _name(url, name)), PurePosixPath(name)) for path, name in zip(files, below, strict=True)
    ]


def join(url: str, below: PurePosixPath) -> RemotePath:
    """Return the remote path of a file below a URL.

    Raises:
        BatchError: as ``list_files``.
    """
    _, top = _open(url)
    return RemotePath(url, f"{top.rstrip('/')}/{below}" if top else str(below), _name(url, str(below)))


def download(place: RemotePath, target: Path) -> None:
    """Copy a remote file to this machine.

    Raises:
        DecodeError: the file is missing or can't be read.
    """
    try:
        store, _ = _open(place.root)
        store.get_file(place.path, str(target))
    except FileNotFoundError:
        raise image.DecodeError(f"{shown(place.name)}: expected a file, found none; check the name") from None
    except Exception as error:  # each store has its own errors
        raise image.DecodeError(
            f"{shown(place.name)}: expected to read it, got: {_reason(error)}; check the permissions and the network"
        ) from error


def upload(file: Path, place: RemotePath, *, overwrite: bool, run_id: str) -> None:
    """Copy a local file to a remote path atomically.

    An object store makes an object visible when its upload is complete. Elsewhere the file is uploaded under a
    temporary name and renamed. An existing file with the same bytes counts as success: an earlier attempt wrote it.

    Args:
        file: the local file.
        place: the remote path.
        overwrite: replace an existing file; otherwise one with other bytes is kept.
        run_id: part of the temporary name.

    Raises:
        TargetError: the file can't be written, or (TargetExistsError) another file exists.
    """
    try:
        store, _ = _open(place.root)
        store.invalidate_cache()
        try:
            _put(store, file, place, overwrite=overwrite, run_id=run_id)
        except FileExistsError:
            if not _same(store, file, place):
                raise image.TargetExistsError(
                    f"{shown(place.name)}: expected a new file, got one that exists; choose another place with -o, or "
                    "say --on-exist skip, overwrite or rename"
                ) from None
    except image.TargetError:
        raise
    except Exception as error:  # each store has its own errors
        raise image.TargetError(
            f"{shown(place.name)}: expected to write it, got: {_reason(error)}; check the permissions and the network"
        ) from error


def _name(url: str, below: str) -> str:
    """Return the URL of a file below a URL; in a chain of URLs the path is appended to the first."""
    first, chained, rest = url.partition("::")
    if below:
        first = f"{first.rstrip('/')}/{below}" if not first.endswith("://") else first + below
    return _PASSWORD.sub(r"\1", first + chained + rest)


def same(file: Path, other: Path) -> bool:
    """Return whether two local files have the same bytes."""
    return filecmp.cmp(file, other, shallow=False)


def clean(url: str, run_id: str) -> int:
    """Remove the temporary files of killed workers of a run below a URL; return their number.

    Object stores have none.
    """
    store, top = _open(url)
    if _is_whole_at_once(store):
        return 0
    removed = 0
    with suppress(Exception):  # the results are complete; leftover files do no harm
        store.invalidate_cache()
        for path in store.find(top):
            if _is_temporary(PurePosixPath(path).name, run_id):
                store.rm_file(path)
                removed += 1
    return removed


def _is_temporary(name: str, run_id: str) -> bool:
    return name.startswith(f"{image.TEMPORARY_PREFIX}{run_id}-") and name.endswith(image.TEMPORARY_SUFFIX)


def _put(store: _Store, file: Path, place: RemotePath, *, overwrite: bool, run_id: str) -> None:
    if _is_whole_at_once(store):
        store.put_file(str(file), place.path, mode="overwrite" if overwrite else "create")
        return
    folder = str(PurePosixPath(place.path).parent)
    store.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{image.TEMPORARY_PREFIX}{run_id}-{secrets.token_hex(8)}{image.TEMPORARY_SUFFIX}"
    try:
        store.put_file(str(file), temporary, mode="overwrite")
        if not overwrite and store.exists(place.path):
            raise FileExistsError(place.path)
        store.mv(temporary, place.path)
    except BaseException:
        with suppress(Exception):
            store.rm_file(temporary)
        raise


def _same(store: _Store, file: Path, place: RemotePath) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch) / "there"
        store.get_file(place.path, str(there))
        return same(file, there)


def _is_whole_at_once(store: _Store) -> bool:
    names = (store.protocol,) if isinstance(store.protocol, str) else store.protocol
    return not _WHOLE_AT_ONCE.isdisjoint(names)


def _open(url: str) -> tuple[_Store, str]:
    """Open the store of a URL; fsspec caches it."""
    try:
        core: Any = importlib.import_module("fsspec.core")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("no fsspec", name="safelight[cluster]") from error
    try:
        store, path = core.url_to_fs(url)
    except ImportError as error:
        raise BatchError(f"expected the package that reaches {shown(url)}, got none: {_reason(error)}") from error
    except Exception as error:  # each store has its own errors
        raise BatchError(f"expected a URL that can be opened, got {shown(url)}: {_reason(error)}") from error
    return cast("_Store", store), str(path)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
