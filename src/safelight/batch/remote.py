"""Pictures behind URLs: buckets, SFTP, archives and whatever else fsspec reaches, beside files of this machine.

``find`` lists, ``fetch`` brings a file here, ``deliver`` puts one there in one step, so that nobody ever sees half of
it. fsspec, and the packages of the stores, are imported when a URL is met.
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

# In these stores a file appears, whole, when its upload is complete. In all others it grows under its name.
_WHOLE_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)  # a letter alone is a drive of Windows
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*(?=@)")
_LOCAL = re.compile(r"(?:file|local)://(?!.*::)", re.IGNORECASE)


class _Store(Protocol):
    """What is used of fsspec's file systems, which carry no types."""

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
    """A file behind a URL.

    Attributes:
        root: the URL that the user named; it opens the store.
        path: the file's own name in the store.
        name: how JSON and messages call it: a URL, without a password.
    """

    root: str
    path: str
    name: str


def is_url(text: str) -> bool:
    """Tell whether an input or output is a URL and not a name in this machine's files.

    Example:
        >>> [is_url(text) for text in ("s3://bucket/a", "photos/a.png", "C:/a.png", "file:///photos")]
        [True, False, False, False]
    """
    return _URL.match(text) is not None and _LOCAL.match(text) is None


def local(text: str) -> str:
    """Return the path of a ``file://`` URL, and any other text as it is."""
    found = _LOCAL.match(text)
    return text if found is None else text[found.end() :]


def find(url: str) -> list[tuple[RemotePath, PurePosixPath]]:
    """List the files at and below a URL by name, each with its place in the tree.

    Raises:
        BatchError: the store can't be reached, or a package for it is missing.
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
    """Name a file below a URL.

    Raises:
        BatchError: as ``find``.
    """
    _, top = _open(url)
    return RemotePath(url, f"{top.rstrip('/')}/{below}" if top else str(below), _name(url, str(below)))


def fetch(place: RemotePath, target: Path) -> None:
    """Bring a file here.

    Raises:
        DecodeError: it can't be had.
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


def deliver(file: Path, place: RemotePath, *, overwrite: bool, mark: str) -> None:
    """Put a file in place in one step.

    An object store makes an object visible when its upload is complete. Elsewhere the file is uploaded under a
    temporary name and renamed. A file of the same bytes that is there already is what was to be done: an attempt
    before this one did it.

    Args:
        file: here.
        place: there.
        overwrite: replace what is there; else a file of other bytes stays.
        mark: of the run, part of a temporary name.

    Raises:
        TargetError: it can't be written, or (TargetExistsError) there is another file.
    """
    try:
        store, _ = _open(place.root)
        store.invalidate_cache()
        try:
            _put(store, file, place, overwrite=overwrite, mark=mark)
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
    """Name a file below a URL; of a chain of URLs, the first is the one that files are below of."""
    first, chained, rest = url.partition("::")
    if below:
        first = f"{first.rstrip('/')}/{below}" if not first.endswith("://") else first + below
    return _PASSWORD.sub(r"\1", first + chained + rest)


def same(file: Path, other: Path) -> bool:
    """Tell whether two files of this machine have the same bytes."""
    return filecmp.cmp(file, other, shallow=False)


def clean(url: str, mark: str) -> int:
    """Remove the temporary files that killed workers of a run left below a URL, and return how many.

    A store that makes files visible whole has none.
    """
    store, top = _open(url)
    if _is_whole_at_once(store):
        return 0
    removed = 0
    with suppress(Exception):  # the results are there; what is left does no harm
        store.invalidate_cache()
        for path in store.find(top):
            if _is_temporary(PurePosixPath(path).name, mark):
                store.rm_file(path)
                removed += 1
    return removed


def _is_temporary(name: str, mark: str) -> bool:
    return name.startswith(f"{image.TEMPORARY_PREFIX}{mark}-") and name.endswith(image.TEMPORARY_SUFFIX)


def _put(store: _Store, file: Path, place: RemotePath, *, overwrite: bool, mark: str) -> None:
    if _is_whole_at_once(store):
        store.put_file(str(file), place.path, mode="overwrite" if overwrite else "create")
        return
    folder = str(PurePosixPath(place.path).parent)
    store.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{image.TEMPORARY_PREFIX}{mark}-{secrets.token_hex(8)}{image.TEMPORARY_SUFFIX}"
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
    """Open the store of a URL. fsspec keeps it, so that this is cheap the next time."""
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
