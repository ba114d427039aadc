"""Read a request's body into memory: one file, or a form of them. ``security`` has bounded what it may hold."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from safelight.web.errors import RequestError
from safelight.web.job import HeldRoom

_ANY = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is what curl says of any file
_MOST_FIELDS, _MOST_FILES = 100, 40


class _InMemory(MultiPartParser):
    """Starlette's parser, whose files never go to a disk."""

    spool_max_size = 1 << 62


async def read(request: Request, held: HeldRoom) -> tuple[dict[str, list[bytes]], list[tuple[str, str]]]:
    """Read a body, and count its bytes as they come.

    Returns:
        The files by the names of their parts, where a body that is one file is called ``picture``; and what the other
        parts say.

    Raises:
        RequestError: 400: a broken form; 415: a body of another kind; 503: there is no room for so many bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, held)
    if kind in _ANY or kind.startswith("image/"):
        return {"picture": [await _body(request, held)]}, []
    raise RequestError(
        415, f"expected a body of image/*, application/octet-stream or multipart/form-data, got {kind[:60]}"
    )


async def _body(request: Request, held: HeldRoom) -> bytes:
    pieces: list[bytes] = []
    count = 0
    async for piece in request.stream():
        count += len(piece)
        held.hold(count)
        pieces.append(piece)
    return b"".join(pieces)


async def _form(request: Request, held: HeldRoom) -> tuple[dict[str, list[bytes]], list[tuple[str, str]]]:
    async def counted() -> AsyncGenerator[bytes]:
        count = 0
        async for piece in request.stream():
            count += len(piece)
            held.hold(count)
            yield piece

    try:
        form = await _InMemory(
            request.headers, counted(), max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=1 << 10
        ).parse()
    except MultiPartException as error:
        raise RequestError(400, f"expected a form of parts, got a broken one: {error.message}") from None
    files: dict[str, list[bytes]] = {}
    texts: list[tuple[str, str]] = []
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            files.setdefault(name, []).append(await part.read())
            await part.close()
        else:
            texts.append((name, part))
    return files, texts
