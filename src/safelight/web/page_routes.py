"""The page: files of this package, with no script, font or picture of any other host. It talks to the API alone."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import PurePath
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from safelight.web.errors import RequestError
from safelight.web.openapi import ROOT
from safelight.web.security import COOKIE, ticket

_FILES: Final = resources.files("safelight.web") / "assets"

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".jpg": "image/jpeg",
}  # fmt: skip

# A browser loads and calls nothing but this server, whatever the page or a picture's name says.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
        "connect-src 'self'", "media-src 'self' blob:", "form-action 'none'", "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)  # fmt: skip
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


def routes(token: str | None) -> APIRouter:
    """Make the routes of the page; with a token, also the one at which a browser shows it."""
    router = APIRouter(include_in_schema=False)
    files = {entry.name: entry.read_bytes() for entry in _FILES.iterdir() if entry.is_file()}
    tag = f'"{sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:32]}"'

    @router.get("/")
    async def index() -> Response:
        return Response(files["index.html"], media_type="text/html; charset=utf-8", headers=_HEADERS)

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return Response(files["icon.svg"], media_type="image/svg+xml")

    @router.get("/assets/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name not in files:
            raise RequestError(404, "there is no such file")
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        return Response(files[name], media_type=_TYPES[PurePath(name).suffix], headers={**_HEADERS, "ETag": tag})

    @router.post(f"{ROOT}/session")
    async def session(request: Request) -> Response:
        """Give a browser that has shown the token what stands for it, for pictures and events can't show it."""
        answer = Response(status_code=204)
        if token is not None:
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, ticket(token), httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    return router
