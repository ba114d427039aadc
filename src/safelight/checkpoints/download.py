"""Downloads: the only module that uses HTTP, and only when the user has requested a file.

A file appears under its name when it is complete and its checksum is right. A partial download is kept in a ``.part``
file next to it, and the next attempt resumes it.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from safelight.core.progress import ignore_progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SECONDS = 30.0  # timeout of a connection without data
WAITS = (1.0, 3.0, 10.0)  # seconds before each retry; a try that received data restarts the sequence
MARGIN = 1.1  # a file may have at most so many times its announced size
_CHUNK = 1 << 18
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

Progress = Callable[[int, int], None]


class FetchError(OSError):
    """A download failed: no network, no such file, no space, or a wrong checksum. The message is one line."""


class _BrokenError(Exception):
    """A connection that ended early; a retry may get the rest."""


def download_file(
    url: str,
    sha256: str,
    path: Path,
    *,
    size: int,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> Path:
    """Download a file, or resume its download, unless it exists.

    Args:
        url: An https URL, or an http URL of this machine.
        sha256: Its SHA-256, or the first 8 to 64 hexadecimal digits of it, as in the names of published weights. A
            prefix only detects damage, and the server has to be trusted; all 64 digits authenticate the file.
        path: Where the file is stored; its folder is created.
        size: Approximate size in bytes; a file that is more than a tenth larger is refused.
        progress: Called with the bytes that were received and the total.
        waits: Seconds before each retry.

    Returns:
        ``path``.

    Raises:
        FetchError: As its message says.
    """
    _check(url)
    if not 8 <= len(sha256) <= 64 or set(sha256) - set("0123456789abcdef"):
        raise FetchError(f"{url}: expected 8 to 64 hexadecimal digits of a SHA-256, got {sha256!r}")
    part = path.with_name(f"{path.name}.part")
    try:
        if path.is_file() and digest(path).startswith(sha256):
            return path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with part.open("a+b") as file:
            if not _lock(file):
                raise FetchError(f"{part}: expected to write it, but another process is fetching it; wait for that one")
            resumed = file.seek(0, os.SEEK_END) > 0
            _receive_all(url, file, size, progress or ignore_progress, waits)
            found = digest(part)
            if not found.startswith(sha256) and resumed:
                file.truncate(0)  # what an earlier try left was of another file
                _receive_all(url, file, size, progress or ignore_progress, waits)
                found = digest(part)
            if found.startswith(sha256):
                os.fsync(file.fileno())
        if not found.startswith(sha256):
            part.unlink()
            raise FetchError(
                f"{url}: expected a file whose SHA-256 begins with {sha256[:16]}, got {found[:16]}; it was damaged on "
                "its way, or is another file now; nothing was kept"
            )
        part.replace(path)
    except FetchError:
        raise
    except OSError as error:
        raise _written(error, path.parent, size) from None
    return path


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(url: str) -> None:
    """Accept https, and http from this machine.

    Raises:
        FetchError: Anything else, of which a listener on the way could make another file.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise FetchError(f"expected an https address, got {ascii(url)[:120]}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses that could have been given in the first place."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        try:
            _check(newurl)
        except FetchError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# --- receiving --------------------------------------------------------------------------------------------------------


def _receive_all(url: str, file: BinaryIO, size: int, progress: Progress, waits: Sequence[float]) -> None:
    """Fetch what is missing, over as many connections as it takes while each brings something."""
    left = list(waits)
    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            _receive(url, file, size, progress)
            return
        except _BrokenError as error:
            if file.seek(0, os.SEEK_END) > before:
                left = list(waits)
            if not left:
                raise FetchError(
                    f"{url}: expected the whole file, got a connection that breaks off ({error}); "
                    "try again later: what came is kept"
                ) from None
            time.sleep(left.pop(0))


def _receive(url: str, file: BinaryIO, size: int, progress: Progress) -> None:
    """Fetch what is missing over one connection."""
    start = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "safelight", "Accept-Encoding": "identity"} | (
        {"Range": f"bytes={start}-"} if start else {}
    )
    opener = urllib.request.build_opener(_Redirects())
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=SECONDS) as response:
            start = _begin(url, file, response, start)
            length: int | None = response.length
            total = size if length is None else start + length
            _check_size(url, total, size)
            free = shutil.disk_usage(Path(file.name).parent).free
            if free < total - start:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _copy(url, response, file, start, total, size, progress)
            if length is not None and file.tell() < total:
                raise _BrokenError(f"after {file.tell()} of {total} bytes")
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing is missing, or what is there is of another file: the checksum tells
                return
            if error.code in (408, 429) or error.code >= 500:
                raise _BrokenError(f"{error.code} {error.reason}") from None
            raise FetchError(
                f"{url}: expected the file, got {error.code} {error.reason}; its publisher may have moved it"
            ) from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError | ConnectionResetError):
            raise _BrokenError(_words(reason)) from None
        if isinstance(reason, socket.gaierror | ConnectionRefusedError) or getattr(reason, "errno", None) in (
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
        ):
            raise FetchError(
                f"{url}: expected an answer, got none ({_words(reason)}): this machine seems to be offline"
            ) from None
        raise FetchError(f"{url}: expected an answer, got none ({_words(reason)})") from None
    except (http.client.HTTPException, TimeoutError, ConnectionError, UnicodeError) as error:
        raise _BrokenError(_words(error)) from None


def _begin(url: str, file: BinaryIO, response: Any, start: int) -> int:  # noqa: ANN401 - urllib says no more
    """Return the byte at which the answer begins: the end of the partial file, or 0 if it is sent completely."""
    given = response.headers.get("Content-Range") or ""
    if response.status == 206 and given.startswith(f"bytes {start}-"):
        return start
    file.truncate(0)
    if response.status == 206:
        raise _BrokenError(f"another part than asked for, {ascii(given)[:60]}")
    if response.status != 200:
        raise FetchError(f"{url}: expected the file, got the answer {response.status}")
    return 0


def _check_size(url: str, size: int, announced: int) -> None:
    if size > announced * MARGIN:
        raise FetchError(f"{url}: expected a file of about {announced} bytes, got {size} or more; it is another file")


def _copy(
    url: str, response: Any, file: BinaryIO, start: int, total: int, announced: int, progress: Progress,  # noqa: ANN401
) -> None:  # fmt: skip
    """Append the received data to the file."""
    done = start
    progress(done, total)
    while chunk := _next(response):
        done += len(chunk)
        _check_size(url, done, announced)
        file.write(chunk)
        progress(done, max(done, total))
    file.flush()


def _next(response: Any) -> bytes:  # noqa: ANN401 - as above
    """Read a chunk; turn errors of the connection, but not of the disk, into _BrokenError."""
    try:
        return response.read(_CHUNK)
    except OSError as error:
        raise _BrokenError(_words(error)) from None


# --- messages ---------------------------------------------------------------------------------------------------------


def _words(error: object) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _written(error: OSError, folder: Path, size: int) -> FetchError:
    """Return the error for a failure to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(
            f"{folder}: expected space for {size / 1e6:.0f} MB, got: {_words(error)}; free some, or set "
            "SAFELIGHT_CACHE to a folder on another disk"
        )
    return FetchError(
        f"{folder}: expected a folder to keep what is fetched in, got: {_words(error)}; set SAFELIGHT_CACHE to one "
        "that can be written"
    )


def _lock(file: BinaryIO) -> bool:
    """Lock an open file; False if another process holds the lock. Always True on systems without file locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
