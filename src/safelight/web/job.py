"""One picture's way through the server: its place, its state as others see it, and what came of it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from safelight.core.solver_input import SolverProgress
from safelight.engine.samples import to_samples
from safelight.web.errors import RequestError
from safelight.web.parse_request import TaskRequest

State = Literal["queued", "running", "done", "failed", "stopped"]
Lane = Literal["small", "quick", "slow"]

_PACE = 0.1  # seconds between two things told of one job


class StoppedError(Exception):
    """The job is not wanted any more."""


def iterates(ask: TaskRequest) -> bool:
    """Say whether what is asked for is an iteration, which has a best so far."""
    return ask.card is not None and ask.card.method.iterates


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """A result.

    Attributes:
        content: The file.
        media_type: Of it, such as ``image/png``.
        size: (W, H) of a picture, or of the first of several; ``None``: it is none.
        method: What made it, how and where, in words.
        seconds: That it took, without waiting.
        warnings: What its client should know.
    """

    content: bytes
    media_type: str
    size: tuple[int, int] | None
    method: str
    seconds: float
    warnings: tuple[str, ...]


class Room(Protocol):
    """Where places and bytes are counted: the queue."""

    def leave(self, client: str) -> None:
        """Take a client's place back."""
        ...

    def move(self, count: int) -> None:
        """Hold so many bytes more, or fewer; raises ``RequestError`` where there is no room."""
        ...


class HeldRoom:
    """A client's place at the queue, and the bytes that lie in memory for it, until it is closed."""

    def __init__(self, queue: Room, client: str) -> None:
        self._queue, self.client, self.bytes = queue, client, 0
        self._lock = threading.Lock()
        self._counts = True  # among those of its address
        self.closed = False

    def hold(self, count: int) -> None:
        """Hold so many bytes from now on.

        Raises:
            RequestError: 503: there is no room for them.
        """
        with self._lock:
            count = 0 if self.closed else count
            self._queue.move(count - self.bytes)
            self.bytes = count

    def end(self) -> None:
        """Give the place back, but not the bytes."""
        if self._counts:
            self._counts = False
            self._queue.leave(self.client)

    def close(self) -> None:
        """Give back everything; from now on nothing is held."""
        self.closed = True
        self.end()
        self.hold(0)


class ServerJob:
    """One picture's way over the queue. Its fields are read by any thread, and written by the queue.

    Attributes:
        id: What nobody can guess.
        ask: What is wanted.
        pixels: Those of its picture and of its result.
        lane: Which worker does it.
        state: Where it stands.
        fraction: What is done of it, from 0 to 1.
        remark: What an iteration says of itself.
        cut: Whether it is an iteration that was ended because it took too long.
        made: The result, where there is one: also of an iteration that was stopped.
        refusal: Why there is none.
    """

    def __init__(
        self, ask: TaskRequest, held: HeldRoom, pixels: int, lane: Lane, patience: float, *, elsewhere: bool = False
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.ask, self.pixels, self._held, self._patience = ask, pixels, held, patience
        self.lane: Lane = lane
        self._elsewhere = elsewhere
        self.state: State = "queued"
        self.fraction, self.remark, self.cut = 0.0, "", False
        self.made: JobResult | None = None
        self.refusal: RequestError | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self._sight: np.ndarray | None = None
        self._wanted, self._seen = threading.Event(), threading.Event()  # of a sight
        self._unwanted = threading.Event()
        self._why: RequestError | None = None
        self._told = 0.0
        self._version = 0
        self._changed = threading.Lock()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "stopped")

    @property
    def lasted(self) -> float:
        """Seconds that it runs, or ran."""
        return 0.0 if self.began is None else (self.ended or time.monotonic()) - self.began

    @property
    def seconds_left(self) -> float | None:
        """How long it will still run, as far as that is known."""
        if self.began is None or self.fraction <= 0 or self.over:
            return None
        return (time.monotonic() - self.began) * (1 - self.fraction) / self.fraction

    # --- for those who wait ---

    async def change(self, seen: int, seconds: float) -> int:
        """Wait until something is new since this version, or for so many seconds, and return the version."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            if self._version != seen or self.over:
                return self._version
            self._listeners.add(listener)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(listener[1].wait(), seconds)
        finally:
            with self._changed:
                self._listeners.discard(listener)
        return self._version

    def current_picture(self, seconds: float) -> np.ndarray | None:
        """Look at what an iteration has by now, (H, W, C) of 8 bits; ``None``: nothing came in so many seconds."""
        if not self.shows:
            return None
        self._seen.clear()
        self._wanted.set()
        self._seen.wait(seconds)
        return self._sight

    def stop(self, why: RequestError | None = None) -> None:
        """Tell that it is not wanted any more, and why if that is the server's wish; an iteration gives its best."""
        self._why = why
        self._unwanted.set()

    def forget(self) -> None:
        """Give back what it holds."""
        self._held.close()

    # --- for the worker ---

    def start(self) -> None:
        """Begin.

        Raises:
            StoppedError: It is not wanted any more.
        """
        if self._unwanted.is_set():
            raise StoppedError
        self.began, self.state = time.monotonic(), "running"
        self._tell()

    def progress(self, fraction: float) -> None:
        """Take in what is done.

        Raises:
            StoppedError: It is not wanted any more, and has nothing to show for it.
            RequestError: 503: it takes too long.
        """
        assert self.began is not None
        if self.cut or self._unwanted.is_set():
            if self.iterates:
                return  # it ends with its best, whatever it says is done
            raise StoppedError
        self.fraction = fraction
        if self.lasted > self._patience and not self.iterates:
            raise RequestError(
                503,
                f"expected work of at most {self._patience:g} s, got more; send a smaller picture or take another "
                "method",
                retry=self._patience,
            )
        if time.monotonic() - self._told >= _PACE:
            self._tell()

    def observe(self, step: SolverProgress) -> bool:
        """Take in where an iteration stands, and say whether it may go on."""
        self.remark = step.remark
        self.cut = self.cut or self.lasted > self._patience
        if self._wanted.is_set():
            self._wanted.clear()
            self._sight = to_samples(step.x.detach(), np.dtype(np.uint8))
            self._seen.set()
        return not (self.cut or self._unwanted.is_set())

    @property
    def iterates(self) -> bool:
        """Whether it has something to show for its time when it is stopped."""
        return iterates(self.ask)

    @property
    def shows(self) -> bool:
        """Whether it can be looked at now: an iteration that runs in this process."""
        return self.iterates and not self.over and not self._elsewhere

    @property
    def unwanted(self) -> bool:
        """Whether it was stopped."""
        return self._unwanted.is_set()

    def end(self, made: JobResult | None, refusal: RequestError | None) -> None:
        """Finish, with a result or with the reason why there is none; with neither it was stopped.

        The result takes the place of the files in memory.
        """
        stopped = self._unwanted.is_set()
        refusal = self._why if made is None and refusal is None else refusal
        self.ask = replace(self.ask, picture=b"", pictures={})
        try:
            self._held.hold(0 if made is None else len(made.content))
        except RequestError as none_left:
            made, refusal = None, none_left
            self._held.hold(0)
        self._held.end()
        self._sight = None
        self._seen.set()
        self.made = None if self._held.closed else made  # nobody is there any more to take it
        self.refusal, self.ended = refusal, time.monotonic()
        self.fraction = 1.0 if made is not None and not stopped else self.fraction
        self.state = "failed" if refusal is not None else "stopped" if stopped else "done"
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        with self._changed:
            self._version += 1
            for loop, event in self._listeners:
                with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                    loop.call_soon_threadsafe(event.set)
