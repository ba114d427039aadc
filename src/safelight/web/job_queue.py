"""The queue: jobs wait in a line, workers do them, and all that lies in memory for clients is counted.

Workers are threads of this process. Small pictures have several, each of which computes on one core: a picture of 256
pixels a side leaves most of a machine idle if all of it is set to the one. Larger ones have a worker that computes on
all cores, and iterations and very large pictures another, so that nothing waits for minutes behind them. Files are
decoded in processes of their own. Nothing is written to a disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import get_args

import torch

from safelight import batch, inference, tasks
from safelight.engine import device as devices
from safelight.engine.device import Device
from safelight.media import image
from safelight.web.backend import MOST_TO_DECODE, PATIENCE, Backend, LocalBackend, use_cores
from safelight.web.errors import RequestError, request_error
from safelight.web.job import HeldRoom, Lane, ServerJob, StoppedError
from safelight.web.limits import ServerLimits
from safelight.web.parse_request import TaskRequest

_SMALL = 600_000  # pixels, in and out together, up to which a job is for one core
_LARGE = 4_000_000  # pixels from which on it is not quick
_UNSEEN = image.ImageSpec(
    width=1024, height=1024, channels=3, depth="8-bit"
)  # what is counted where no picture comes in
_MOST_WORKERS = 8  # for small pictures


def _nobody(job: ServerJob) -> None:
    pass


class JobQueue:
    """Takes jobs in, or says why not, and has them done.

    Args:
        limits: What clients may have.
        device: Where it computes.
        memory: Bytes that a tile's computation may hold.
        finished: Told of each job when it is over.
        maker: Who computes; ``None``: this process.
    """

    def __init__(
        self,
        limits: ServerLimits,
        *,
        device: Device = "auto",
        memory: int = 1 << 30,
        finished: Callable[[ServerJob], None] | None = None,
        maker: Backend | None = None,
    ) -> None:
        self.limits, self.memory = limits, memory
        self.device: Device = device
        self._finished: Callable[[ServerJob], None] = finished or _nobody
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._lines: dict[Lane, deque[ServerJob]] = {lane: deque() for lane in get_args(Lane)}
        self._working: set[ServerJob] = set()
        self._kept: dict[str, ServerJob] = {}
        self._clients: Counter[str] = Counter()
        self._bytes = self._pixels = 0
        self._mean = 1.0  # seconds of a job, lately
        self._closing = False
        # These processes look at headers when pictures come; the maker's decode them when their turn comes: pictures
        # that wait keep no process.
        self._header_reader = image.Decoder(workers=2, timeout=PATIENCE, memory=MOST_TO_DECODE)
        self.maker: Backend = LocalBackend(limits) if maker is None else maker
        cores = torch.get_num_threads()
        lanes: list[tuple[Lane, int]]
        if self.maker.places is None:
            # On a GPU one worker is enough: pictures follow each other there.
            alone = devices.choose(device).type != "cpu"
            small: list[tuple[Lane, int]] = [("small", 1)] * (1 if alone else min(cores, _MOST_WORKERS))
            lanes = [("quick", cores), ("slow", cores), *small]
        else:  # other machines compute, and a worker here waits for each of their places
            lanes = [(lane, 1) for lane in get_args(Lane) for _ in range(self.maker.places)]
        self._cores = cores
        self._begun = threading.Barrier(len(lanes) + 1)
        self._threads = [threading.Thread(target=self._serve, args=each, name=each[0]) for each in lanes]

    def open(self) -> None:
        """Start the workers."""
        self._header_reader.start()
        self.maker.open()
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

    def _busy(self, what: str) -> RequestError:
        return RequestError(503, f"the server has no room for {what} at present; try again", retry=self.patience)

    @property
    def patience(self) -> float:
        """Seconds after which there may be room again."""
        return min(60.0, 1 + self._mean * (self.waiting + 1) / len(self._threads))

    def enter(self, client: str) -> HeldRoom:
        """Give an address a place.

        Raises:
            RequestError: 429: it has all that it may have; 503: the server is ending.
        """
        with self._lock:
            if self._closing:
                raise RequestError(503, "the server is ending and takes no more work; try again later")
            if self._clients[client] >= self.limits.each:
                raise RequestError(
                    429, f"expected at most {self.limits.each} requests at a time from one address, got more",
                    retry=self.patience,
                )  # fmt: skip
            self._clients[client] += 1
        return HeldRoom(self, client)

    def leave(self, client: str) -> None:
        """Take the place back."""
        with self._lock:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def move(self, count: int) -> None:
        """Hold so many bytes more, or fewer.

        Raises:
            RequestError: 503: there is no room for them.
        """
        with self._lock:
            if count > 0 and self._bytes + count > self.limits.held:
                raise self._busy("more data")
            self._bytes += count

    # --- taking in ---

    def look(self, content: bytes) -> image.ImageSpec:
        """Read a picture's header, in another process.

        Raises:
            DecodeError: It is none.
            RequestError: 413: it has too many pixels.
        """
        with self._header_reader.open(content, max_pixels=2**62) as rows:
            spec = rows.spec
        if spec.width * spec.height > self.limits.pixels:
            raise RequestError(
                413,
                f"expected at most {self.limits.pixels:,} pixels, got {spec.width:,} x {spec.height:,}; shrink it",
            )
        return spec

    def put(self, ask: TaskRequest, held: HeldRoom, *, lane: Lane | None = None) -> ServerJob:
        """Look at what is asked for, and let it wait for its turn. It takes a moment: not for the event loop.

        Args:
            ask: It.
            held: The client's place, which is the job's from now on.
            lane: Where it waits; ``None``: by its size.

        Raises:
            RequestError: 413: pictures are too large; 422: the arguments are invalid; 503: there is no room.
            DecodeError: A file is no picture.
        """
        task = None if ask.card is None else tasks.find(ask.verb)
        if task is None or (task.main is not None and task.main.kind == "picture"):
            spec = self.look(ask.picture)
        else:
            spec = _UNSEEN
        pixels = spec.width * spec.height
        for files in ask.pictures.values():
            for file in files:
                seen = self.look(file)
                pixels += seen.width * seen.height
        width, height = self._size(ask, spec)
        if width * height > self.limits.made:
            raise RequestError(
                413, f"expected a result of at most {self.limits.made:,} pixels, got {width:,} x {height:,}; "
                "take a smaller scale or picture",
            )  # fmt: skip
        batch.check_sides((width, height), ask.format or batch.result_format(spec.format))
        pixels += width * height
        slow = pixels > _LARGE or (ask.card is not None and ask.card.method.iterates)
        fit: Lane = "slow" if slow else "small" if pixels <= _SMALL else "quick"
        lane = lane or fit
        job = ServerJob(ask, held, pixels, lane, self.limits.seconds, elsewhere=self.maker.places is not None)
        with self._news:
            if self._closing:
                raise RequestError(503, "the server is ending and takes no more work; try again later")
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
    def _size(ask: TaskRequest, spec: image.ImageSpec) -> tuple[int, int]:
        if ask.card is None:
            return spec.width, spec.height
        task = tasks.find(ask.card.task if ask.settings.task is None else ask.settings.task)
        return inference.size_of(ask.card, task, ask.settings, spec.width, spec.height)

    # --- jobs that are fetched later ---

    def keep(self, job: ServerJob) -> None:
        """Keep a job for its client to come back to, for a while."""
        with self._lock:
            self._kept[job.id] = job

    def find(self, number: str) -> ServerJob:
        """Find a job that is kept.

        Raises:
            RequestError: 404: there is none.
        """
        self.sweep()
        with self._lock:
            job = self._kept.get(number)
        if job is None:
            raise RequestError(404, "there is no such job; its result is kept for some minutes")
        return job

    def drop(self, job: ServerJob) -> None:
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

    def stop(self, job: ServerJob, why: RequestError | None = None) -> None:
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
        use_cores(cores)
        self._begun.wait()
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
                made = self.maker.make(job)
            except StoppedError:
                pass
            except Exception as error:  # whatever it is, its client hears of it, and the next job runs
                refusal = request_error(error)
                if refusal is None:
                    refusal = RequestError(503, "the server failed at this picture; its log says why")
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

    # --- the end ---

    def refuse(self) -> None:
        """Take no more work. It waits for no lock: a handler of signals may call it."""
        self._closing = True

    def cut(self) -> None:
        """End all jobs: their clients are told to come again."""
        with self._lock:
            left = [*self._working, *(job for line in self._lines.values() for job in line)]
        for job in left:
            self.stop(job, RequestError(503, "the server is ending; try again later"))

    def close(self) -> None:
        """End all jobs, and the workers."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self.cut()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(5)
        self._header_reader.close()
        self.maker.close()
