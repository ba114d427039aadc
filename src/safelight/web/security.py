"""What stands before every request: who may ask, from where, and that nobody sends too much or too slowly.

Plain ASGI, around the API and the page alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias

from safelight.web.errors import RequestError
from safelight.web.limits import ServerLimits
from safelight.web.monitoring import Monitoring

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

# A supervisor has no token, and the page, which is the same for everybody, asks its reader for it.
_OPEN = frozenset({"/healthz", "/readyz", "/", "/favicon.ico"})
_ASSETS = "/assets/"
COOKIE = "safelight"
"""The name of the cookie that stands for the token."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Of every answer."""


class SecurityMiddleware:
    """Wraps an application.

    Args:
        app: It.
        limits: What clients may have.
        hosts: Names and addresses under which the server may be called; a page of somebody else's whose name points
            here has another.
        token: What clients have to show, or ``None``.
        counts: Told of every answer.
    """

    def __init__(
        self, app: App, limits: ServerLimits, hosts: frozenset[str], token: str | None, counts: Monitoring
    ) -> None:
        self._app, self._limits, self._hosts, self._token, self._counts = app, limits, hosts, token, counts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((k, v) for k, v in HEADERS if k not in known)]
            await send(message)

        try:
            try:
                self._check(scope)
            except RequestError as refusal:
                await refusal.answer()(scope, receive, answer)
            else:
                await self._app(scope, Body(scope, receive, self._limits), answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._counts.answered(route, status, time.monotonic() - began)

    def _check(self, scope: Message) -> None:
        """Refuse who may not ask.

        Raises:
            RequestError: 400, 401, 403 or 421.
        """
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            raise RequestError(400, f"expected one Host header, got {len(hosts)}")
        host = hosts[0].decode("latin-1").lower()
        if hostname(host) not in self._hosts:
            raise RequestError(421, "this server is not called so; name it by --allow-host if it is")
        origin = headers.get(b"origin", [b""])[0].decode("latin-1").lower()
        if scope["method"] not in _SAFE and origin and origin.partition("://")[2] != host:
            raise RequestError(
                403, "expected a request of the server's own page or of no page, got one of another page"
            )
        if self._token is None or scope["path"] in _OPEN or scope["path"].startswith(_ASSETS):
            return
        if secrets.compare_digest(_cookie(headers.get(b"cookie", [])).encode(), ticket(self._token).encode()):
            return
        shown = headers.get(b"authorization", [b""])[0].decode("latin-1")
        kind, _, token = shown.partition(" ")
        if kind.lower() != "bearer" or not secrets.compare_digest(token.strip().encode(), self._token.encode()):
            raise RequestError(
                401, "expected the server's token, got none or another; send Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


def ticket(token: str) -> str:
    """Make what a browser is given for the token: it opens this server alone, and does not tell the token."""
    return hashlib.sha256(b"safelight session\0" + token.encode()).hexdigest()


def _cookie(lines: list[bytes]) -> str:
    try:
        return SimpleCookie(b"; ".join(lines).decode("latin-1"))[COOKIE].value
    except (CookieError, KeyError):
        return ""


def hostname(host: str) -> str:
    """Take the port off a Host header.

    Example:
        >>> hostname("localhost:7860"), hostname("[::1]:80"), hostname("::1")
        ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


class Body:
    """A request's body as it comes: counted, and cut off where it is too long or too slow."""

    def __init__(self, scope: Message, receive: Receive, limits: ServerLimits) -> None:
        self._receive, self._limits = receive, limits
        self._came, self._began, self._whole = 0, time.monotonic(), False
        length = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        self._said = int(length) if length is not None and length.isdigit() else None

    async def __call__(self) -> Message:
        """Receive the next piece.

        Raises:
            RequestError: 408 or 413.
        """
        if self._whole:
            return await self._receive()  # it waits until the client hangs up
        most = self._limits.upload
        if self._came == 0 and self._said is not None and self._said > most:
            raise self._too_long()
        try:
            message = await asyncio.wait_for(self._receive(), self._limits.patience)
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] != "http.request":
            return message
        self._came += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._came > most:
            raise self._too_long()
        seconds = time.monotonic() - self._began - self._limits.patience
        if not self._whole and seconds > 0 and self._came < seconds * self._limits.slowest:
            raise self._too_slow()
        return message

    def _too_long(self) -> RequestError:
        return RequestError(
            413, f"expected a body of at most {self._limits.upload:,} bytes, got more", headers={"Connection": "close"}
        )

    def _too_slow(self) -> RequestError:
        return RequestError(
            408, f"expected {self._limits.slowest:,} bytes a second, got fewer; send it anew",
            headers={"Connection": "close"},
        )  # fmt: skip
