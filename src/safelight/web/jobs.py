"""The desk: jobs wait in a line, workers do them, and all that lies in memory for clients is counted.

Workers are threads of this process. Small pictures have several, each of which computes on one core: a picture of 256
pixels a side leaves most of a machine idle if all of it is set to the one. Larger ones have a worker that computes on
all cores, and iterations and very large pictures another, so that nothing waits for minutes behind them. Files are
decoded in processes of their own. Nothing is written to a disk.
"""

from __future__ import annotations

import asyncio
import io
import logging
import secrets
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from safelight import batch, image, infer
from safelight.card import Optimised
from safelight.engine import device as devices
from safelight.engine.device import Device
from safelight.infer import Settings
from safelight.needs import Fixer
from safelight.problem import Step
from safelight.web.asking import Ask, with_pictures
from safelight.web.limits import Limits
from safelight.web.problems import Refusal, refusal_of

State = Literal["queued", "running", "done", "failed", "stopped"]
Lane = Literal["small", "quick", "slow"]

_SMALL = 600_000  # pixels, in and out together, up to which a job is for one core
_LARGE = 4_000_000  # pixels from which on it is not quick
_MOST_WORKERS = 8  # for small pictures
_PACE = 0.1  # seconds between two things told of one job
_READY = 16  # methods with their weights that a worker keeps
_PATIENCE = 5.0  # seconds for a piece of a picture's decoding
_MOST_TO_DECODE = 1 << 30  # bytes of memory


class _StoppedError(Exception):
    """The job is not wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A result.

    Attributes:
        content: The file.
        format: Of it.
        size: (W, H).
        method: What made it, how and where, in words.
        seconds: That it took, without waiting.
        warnings: What its client should know.
    """

    content: bytes
    format: str
    size: tuple[int, int]
    method: str
    seconds: float
    warnings: tuple[str, ...]


class Held:
    """A client's place at the desk, and the bytes that lie in memory for it, until it is closed."""

    def __init__(self, desk: Desk, client: str) -> None:
        self._desk, self.client, self.bytes = desk, client, 0
        self._lock = threading.Lock()
        self._counts = True  # among those of its address
        self.closed = False

    def hold(self, count: int) -> None:
        """Hold so many bytes from now on.

        Raises:
            Refusal: 503: there is no room for them.
        """
        with self._lock:
            count = 0 if self.closed else count
            self._desk.move(count - self.bytes)
            self.bytes = count

    def end(self) -> None:
        """Give the place back, but not the bytes."""
        if self._counts:
            self._counts = False
            self._desk.leave(self.client)

    def close(self) -> None:
        """Give back everything; from now on nothing is held."""
        self.closed = True
        self.end()
        self.hold(0)


class Job:
    """One picture's way over the desk. Its fields are read by any thread, and written by the desk.

    Attributes:
        id: What nobody can guess.
        ask: What is wanted.
        pixels: Those of its picture and of its result.
        lane: Which worker does it.
        state: Where it stands.
        fraction: What is done of it, from 0 to 1.
        remark: What an iteration says of itself.
        made: The result, where there is one: also of an iteration that was stopped.
        refusal: Why there is none.
    """

    def __init__(self, ask: Ask, held: Held, pixels: int, lane: Lane, patience: float) -> None:
        self.id = secrets.token_urlsafe(16)
        self.ask, self.pixels, self._held, self._patience = ask, pixels, held, patience
        self.lane: Lane = lane
        self.state: State = "queued"
        self.fraction, self.remark = 0.0, ""
        self.made: Made | None = None
        self.refusal: Refusal | None = None
        self.preview: Callable[[Step], None] | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self._unwanted = threading.Event()
        self._why: Refusal | None = None
        self._told = 0.0
        self._version = 0
        self._changed = threading.Condition()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "stopped")

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

    def wait(self, seen: int, seconds: float) -> int:
        """As ``change``, in a thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen or self.over, seconds)
            return self._version

    def stop(self, why: Refusal | None = None) -> None:
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
            _StoppedError: It is not wanted any more.
        """
        if self._unwanted.is_set():
            raise _StoppedError
        self.began, self.state = time.monotonic(), "running"
        self._tell()

    def progress(self, fraction: float) -> None:
        """Take in what is done.

        Raises:
            _StoppedError: It is not wanted any more, and has nothing to show for it.
            Refusal: 503: it takes too long.
        """
        assert self.began is not None
        if self._unwanted.is_set():
            if self._iterates:
                return  # it ends with its best, whatever it says is done
            raise _StoppedError
        self.fraction = fraction
        if time.monotonic() - self.began > self._patience:
            raise Refusal(
                503,
                f"expected work of at most {self._patience:g} s, got more; send a smaller picture or take another "
                "method",
                retry=self._patience,
            )
        if time.monotonic() - self._told >= _PACE:
            self._tell()

    def observe(self, step: Step) -> bool:
        """Take in where an iteration stands, and say whether it may go on."""
        self.remark = step.remark
        if self.preview is not None:
            self.preview(step)
        return not self._unwanted.is_set()

    @property
    def _iterates(self) -> bool:
        return self.ask.card is not None and isinstance(self.ask.card.method, Optimised)

    def end(self, made: Made | None, refusal: Refusal | None) -> None:
        """Finish, with a result or with the reason why there is none; with neither it was stopped.

        The result takes the place of the files in memory.
        """
        stopped = self._unwanted.is_set()
        refusal = self._why if made is None and refusal is None else refusal
        self.ask = replace(self.ask, picture=b"", pictures={})
        try:
            self._held.hold(0 if made is None else len(made.content))
        except Refusal as none_left:
            made, refusal = None, none_left
            self._held.hold(0)
        self._held.end()
        self.made = None if self._held.closed else made  # nobody is there any more to take it
        self.refusal, self.ended = refusal, time.monotonic()
        self.fraction = 1.0 if made is not None and not stopped else self.fraction
        self.state = "failed" if refusal is not None else "stopped" if stopped else "done"
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        with self._changed:
            self._version += 1
            self._changed.notify_all()
            for loop, event in self._listeners:
                with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                    loop.call_soon_threadsafe(event.set)


def _nobody(job: Job) -> None:
    pass


class Desk:
    """Takes jobs in, or says why not, and has them done.

    Args:
        limits: What clients may have.
        device: Where it computes.
        memory: Bytes that a tile's computation may hold.
        finished: Told of each job when it is over.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        device: Device = "auto",
        memory: int = 1 << 30,
        finished: Callable[[Job], None] | None = None,
    ) -> None:
        self.limits, self.memory = limits, memory
        self.device: Device = device
        self._finished: Callable[[Job], None] = finished or _nobody
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._lines: dict[Lane, deque[Job]] = {lane: deque() for lane in get_args(Lane)}
        self._working: set[Job] = set()
        self._kept: dict[str, Job] = {}
        self._clients: Counter[str] = Counter()
        self._bytes = self._pixels = 0
        self._mean = 1.0  # seconds of a job, lately
        self._closing = False
        # One pair of processes looks at headers when pictures come, and another decodes them when their turn comes:
        # pictures that wait keep no process.
        self._porter = image.Decoder(workers=2, patience=_PATIENCE, memory=_MOST_TO_DECODE)
        self._decoder = image.Decoder(workers=2, patience=_PATIENCE, memory=_MOST_TO_DECODE)
        cores = torch.get_num_threads()
        # On a GPU one worker is enough: pictures follow each other there.
        alone = devices.choose(device).type != "cpu"
        small: list[tuple[Lane, int]] = [("small", 1)] * (1 if alone else min(cores, _MOST_WORKERS))
        lanes: list[tuple[Lane, int]] = [("quick", cores), ("slow", cores), *small]
        self._cores = cores
        self._begun = threading.Barrier(len(lanes) + 1)
        self._threads = [threading.Thread(target=self._serve, args=each, name=each[0]) for each in lanes]

    def open(self) -> None:
        """Start the workers."""
        self._porter.start()
        self._decoder.start()
        for thread in self._threads:
            thread.start()
        self._begun.wait()
        torch.set_num_threads(self._cores)  # of threads that come later: the last who says it, says it for them

    # --- what lies here ---

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return sum(len(line) for line in self._lines.values())

    @property
    def running(self) -> int:
        """Jobs that run."""
        return len(self._working)

    @property
    def held(self) -> int:
        """Bytes that lie in memory for clients."""
        return self._bytes

    @property
    def pixels(self) -> int:
        """Pixels in flight."""
        return self._pixels

    @property
    def closing(self) -> bool:
        """Whether no more work is taken."""
        return self._closing

    def _busy(self, what: str) -> Refusal:
        return Refusal(503, f"the server has no room for {what} at present; try again", retry=self.patience)

    @property
    def patience(self) -> float:
        """Seconds after which there may be room again."""
        return min(60.0, 1 + self._mean * (self.waiting + 1) / len(self._threads))

    def enter(self, client: str) -> Held:
        """Give an address a place.

        Raises:
            Refusal: 429: it has all that it may have; 503: the server is ending.
        """
        with self._lock:
            if self._closing:
                raise Refusal(503, "the server is ending and takes no more work; try again later")
            if self._clients[client] >= self.limits.each:
                raise Refusal(
                    429, f"expected at most {self.limits.each} requests at a time from one address, got more",
                    retry=self.patience,
                )  # fmt: skip
            self._clients[client] += 1
        return Held(self, client)

    def leave(self, client: str) -> None:
        """Take the place back."""
        with self._lock:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def move(self, count: int) -> None:
        """Hold so many bytes more, or fewer.

        Raises:
            Refusal: 503: there is no room for them.
        """
        with self._lock:
            if count > 0 and self._bytes + count > self.limits.held:
                raise self._busy("more data")
            self._bytes += count

    # --- taking in ---

    def look(self, content: bytes) -> image.Frame:
        """Read a picture's header, in another process.

        Raises:
            DecodeError: It is none.
            Refusal: 413: it has too many pixels.
        """
        with self._porter.open(content, max_pixels=2**62) as rows:
            frame = rows.frame
        if frame.width * frame.height > self.limits.pixels:
            raise Refusal(
                413,
                f"expected at most {self.limits.pixels:,} pixels, got {frame.width:,} x {frame.height:,}; shrink it",
            )
        return frame

    def put(self, ask: Ask, held: Held) -> Job:
        """Look at what is asked for, and let it wait for its turn. It takes a moment: not for the event loop.

        Args:
            ask: It.
            held: The client's place, which is the job's from now on.

        Raises:
            Refusal: 413: pictures are too large; 422: it can't be meant; 503: there is no room.
            DecodeError: A file is no picture.
        """
        frame = self.look(ask.picture)
        pixels = frame.width * frame.height
        for files in ask.pictures.values():
            for file in files:
                seen = self.look(file)
                pixels += seen.width * seen.height
        width, height = self._size(ask, frame)
        if width * height > self.limits.made:
            raise Refusal(
                413, f"expected a result of at most {self.limits.made:,} pixels, got {width:,} x {height:,}; "
                "take a smaller scale or picture",
            )  # fmt: skip
        batch.check_sides((width, height), ask.format or batch.written(frame.format))
        pixels += width * height
        slow = pixels > _LARGE or (ask.card is not None and isinstance(ask.card.method, Optimised))
        lane: Lane = "slow" if slow else "small" if pixels <= _SMALL else "quick"
        job = Job(ask, held, pixels, lane, self.limits.seconds)
        with self._news:
            if self._closing:
                raise Refusal(503, "the server is ending and takes no more work; try again later")
            if self.waiting >= self.limits.queue:
                raise self._busy("another job")
            # One job always fits, or a large one never would.
            if self._pixels and self._pixels + pixels > self.limits.in_flight:
                raise self._busy("so many pixels")
            self._pixels += pixels
            self._lines[lane].append(job)
            self._news.notify_all()
        return job

    @staticmethod
    def _size(ask: Ask, frame: image.Frame) -> tuple[int, int]:
        if ask.card is None:
            return frame.width, frame.height
        task = ask.card.task if ask.settings.task is None else ask.settings.task
        return infer.size_of(ask.card, task, ask.settings, frame.width, frame.height)

    # --- jobs that are fetched later ---

    def keep(self, job: Job) -> None:
        """Keep a job for its client to come back to, for a while."""
        with self._lock:
            self._kept[job.id] = job

    def find(self, number: str) -> Job:
        """Find a job that is kept.

        Raises:
            Refusal: 404: there is none.
        """
        self.sweep()
        with self._lock:
            job = self._kept.get(number)
        if job is None:
            raise Refusal(404, "there is no such job; its result is kept for some minutes")
        return job

    def drop(self, job: Job) -> None:
        """Keep it no longer."""
        with self._lock:
            self._kept.pop(job.id, None)
        job.forget()

    def sweep(self) -> None:
        """Drop results that nobody has fetched in time."""
        now = time.monotonic()
        with self._lock:
            old = [j for j in self._kept.values() if j.ended is not None and now - j.ended > self.limits.kept]
        for job in old:
            self.drop(job)

    def stop(self, job: Job, why: Refusal | None = None) -> None:
        """End a job: one that waits never runs, one that runs ends at its next step."""
        job.stop(why)
        with self._lock:
            waits = job in self._lines[job.lane]
            if waits:
                self._lines[job.lane].remove(job)
                self._pixels -= job.pixels
        if waits:
            job.end(None, None)
            self._finished(job)

    # --- the workers ---

    def _serve(self, lane: Lane, cores: int) -> None:
        torch.set_num_threads(cores)  # of this thread
        self._begun.wait()
        ready: OrderedDict[str, batch.Restorer] = OrderedDict()
        line = self._lines[lane]
        while True:
            with self._news:
                self._news.wait_for(lambda: line or self._closing)
                if not line:
                    return
                job = line.popleft()
                self._working.add(job)
            made = refusal = None
            try:
                job.start()
                made = self._make(job, ready)
            except _StoppedError:
                pass
            except Exception as error:  # whatever it is, its client hears of it, and the next job runs
                refusal = refusal_of(error)
                if refusal is None:
                    refusal = Refusal(503, "the server failed at this picture; its log says why")
                    logging.getLogger(__name__).error("a job of %s failed", job.ask.verb, exc_info=error)
            job.end(made, refusal)
            with self._news:
                self._working.discard(job)
                self._pixels -= job.pixels
                if job.began is not None and job.ended is not None:
                    self._mean += 0.1 * (job.ended - job.began - self._mean)
                self._news.notify_all()
            self._finished(job)
            self.sweep()

    def _make(self, job: Job, ready: OrderedDict[str, batch.Restorer]) -> Made:
        ask = job.ask
        pictures = {name: tuple(self._read(file) for file in files) for name, files in ask.pictures.items()}
        restorer = self._restorer(ask, with_pictures(ask, pictures), ready)
        if batch.iterates(restorer):
            batch.observe(restorer, job.observe)
        began = time.monotonic()
        warnings: list[str] = []
        with self._decoder.open(ask.picture, max_pixels=self.limits.pixels) as rows:
            frame, bands = restorer.stream(rows, job.progress, warnings.append)
            format = ask.format or batch.written(frame.format)  # noqa: A001
            if not ask.keep_metadata:
                frame = replace(frame, exif=None, xmp=None)
            file = io.BytesIO()
            warnings[:0] = image.write_rows(frame, bands, file, format=format, quality=ask.quality)
        described = restorer.describe() if isinstance(restorer, infer.Runner) else batch.name_of(restorer)
        return Made(
            content=file.getvalue(), format=format, size=(frame.width, frame.height), method=described,
            seconds=time.monotonic() - began, warnings=tuple(warnings),
        )  # fmt: skip

    def _read(self, file: bytes) -> image.Picture:
        with self._decoder.open(file, max_pixels=self.limits.pixels) as rows:
            return image.picture_of(rows.frame, rows.read(rows.frame.height))

    def _restorer(self, ask: Ask, settings: Settings, ready: OrderedDict[str, batch.Restorer]) -> batch.Restorer:
        """Make the method ready, or take one that is."""
        key = "" if ask.pictures else f"{ask.verb} {ask.card and ask.card.id} {settings!r}"
        if key in ready:
            ready.move_to_end(key)
            return ready[key]
        made = Fixer(settings) if ask.card is None else infer.prepare(ask.card, settings)
        if key:
            ready[key] = made
            while len(ready) > _READY:
                ready.popitem(last=False)
        return made

    # --- the end ---

    def refuse(self) -> None:
        """Take no more work. It waits for no lock: a handler of signals may call it."""
        self._closing = True

    def cut(self) -> None:
        """End all jobs: their clients are told to come again."""
        with self._lock:
            left = [*self._working, *(job for line in self._lines.values() for job in line)]
        for job in left:
            self.stop(job, Refusal(503, "the server is ending; try again later"))

    def close(self) -> None:
        """End all jobs, and the workers."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self.cut()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(5)
        self._porter.close()
        self._decoder.close()
