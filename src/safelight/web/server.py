"""Run the application: sockets, signals, and connections that say nothing."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from safelight.engine.device import Device
from safelight.web.app import build
from safelight.web.backend import Backend
from safelight.web.limits import ServerLimits

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_HEAD = 10.0  # seconds for the first line and the headers of a request on a new connection
_CONNECTIONS = 512


class _Impatient(H11Protocol):
    """uvicorn's protocol, which closes a connection that sends no whole request for some seconds."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as asyncio has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        self.loop.call_later(_HEAD, self._look)

    def _look(self) -> None:
        cycle: Any = self.cycle  # there is none yet on a connection that has said nothing
        if cycle is None and not self.transport.is_closing():
            self.transport.close()


def serve(
    limits: ServerLimits,
    *,
    host: str,
    port: int,
    hosts: frozenset[str] = frozenset(),
    token: str | None = None,
    device: Device = "auto",
    memory: int = 1 << 30,
    maker: Backend | None = None,
    started: Any = None,  # noqa: ANN401
) -> None:
    """Serve until SIGTERM or SIGINT; then take no more work, finish what is in hand, and return.

    Args:
        limits: What clients may have.
        host: The address to bind.
        port: Its port; 0: any that is free.
        hosts: Further names under which the server may be called.
        token: What clients have to show.
        device: Where it computes.
        memory: Bytes that a tile's computation may hold.
        maker: Who computes; ``None``: this process.
        started: Called with the (host, port) that it listens at, once it does.

    Raises:
        OSError: The address can't be bound.
    """
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    served = build(limits, hosts=hosts | LOOPBACK | {host}, token=token, device=device, memory=memory, maker=maker)
    config = uvicorn.Config(
        served.app, http=_Impatient, ws="none", log_level="warning", access_log=False, server_header=False,
        limit_concurrency=_CONNECTIONS, timeout_keep_alive=15, timeout_graceful_shutdown=round(limits.grace) + 5,
        lifespan="on",
    )  # fmt: skip
    server = _Server(config, served.queue, started, listening.getsockname()[:2])
    # What is there now stays: the collector need not look at torch's hundred thousands of objects again and again.
    gc.collect()
    gc.freeze()
    # uvicorn raises the signals that it has caught once more when it has ended: that it was told to is no failure.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.run(server.serve([listening]))


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens, and the queue when it is to end."""

    def __init__(self, config: uvicorn.Config, queue: Any, started: Any, address: tuple[str, int]) -> None:  # noqa: ANN401
        super().__init__(config)
        self._queue, self._started, self._address = queue, started, address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell."""
        await super().startup(sockets)
        if self.started and self._started is not None:
            self._started(*self._address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the work in hand finish, and cut off what takes longer than it may."""
        asyncio.get_running_loop().call_later(self._queue.limits.grace, self._queue.cut)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401
        """Take no more work from now on."""
        self._queue.refuse()
        super().handle_exit(sig, frame)
