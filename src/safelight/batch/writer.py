"""A thread that encodes and writes results while the next ones are computed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from safelight.batch.manifest import FileFingerprint, Manifest
from safelight.batch.outcomes import FileResult, Outcome, failed, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.processing import FileSettings, write_result
from safelight.media.image.spec import ImageSpec

_HELD = 64 << 20  # bytes of rows that may wait to be written
_LOOK = 0.1  # seconds between two calls of ``idle`` while waiting


class PendingJob:
    """A job in the pipeline.

    Attributes:
        job: the job.
        fingerprint: of the input, if there is a manifest.
        start: when its computation began, by ``time.perf_counter``.
        warnings: collected during the computation.
        outcome: set when the job has ended.
        fatal: an error that ends the whole run: the reader has closed the pipe that the result goes into.
    """

    def __init__(self, job: FileJob) -> None:
        self.job = job
        self.fingerprint: FileFingerprint | None = None
        self.start = time.perf_counter()
        self.warnings: list[str] = []
        self.outcome: Outcome | None = None
        self.fatal: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.outcome is not None or self.fatal is not None

    def success(self, facts: FileResult, manifest: Manifest | None) -> Outcome:
        """Record that the result is complete, and return the outcome."""
        told = None if manifest is None else manifest.record(self.job, self.fingerprint)
        if told is not None:
            self.warnings.append(told)
        facts = replace(facts, warnings=(*facts.warnings, *self.warnings))
        return succeeded(self.job, facts, time.perf_counter() - self.start)

    def fail(self, error: Exception) -> None:
        """End the job with an error."""
        self.outcome = failed(self.job, error, time.perf_counter() - self.start)


class _AbandonedError(Exception):
    """The run ends, and unfinished results are discarded."""


_Item = tuple[PendingJob, ImageSpec, str] | NDArray[Any] | Exception | None  # begin, rows, failure, end


class ResultWriter:
    """Writes results one after the other in its own thread, which gets their rows through a bounded queue.

    For each result call ``begin``, any number of ``put``, then ``end`` or ``fail``. A context manager: if it is left
    by an exception, unfinished results are discarded.

    Args:
        files: How files are written.
        manifest: Where each result is recorded, or None.
    """

    def __init__(self, files: FileSettings, manifest: Manifest | None) -> None:
        self._files, self._manifest = files, manifest
        self._queue: deque[_Item] = deque()
        self._held = 0
        self._closed = self._abandoned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="safelight-writer", daemon=True)

    def __enter__(self) -> ResultWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed, self._abandoned = True, kind is not None
            self._changed.notify_all()
        self._thread.join()

    # --- called by the computing thread ---------------------------------------------------------------------------

    def begin(self, pending: PendingJob, spec: ImageSpec, format: str) -> None:  # noqa: A002
        """Announce the next result."""
        self._add((pending, spec, format))

    def put(self, pending: PendingJob, rows: NDArray[Any], idle: Callable[[], None]) -> None:
        """Queue rows of the current result; they must not change afterwards.

        Waits while the queue is full, and calls ``idle`` now and then; an exception from it ends the wait.
        """
        with self._changed:
            while self._held and self._held + rows.nbytes > _HELD and not pending.ended:
                self._wait(idle)
        self._add(rows)

    def end(self) -> None:
        """Announce that all rows of the current result were queued."""
        self._add(None)

    def fail(self, error: Exception) -> None:
        """End the current result with an error, which becomes its outcome."""
        self._add(error)

    def wait(self, pending: PendingJob, idle: Callable[[], None]) -> None:
        """Wait until a job has ended, and call ``idle`` now and then; an exception from it ends the wait."""
        with self._changed:
            while not pending.ended:
                self._wait(idle)

    def _wait(self, idle: Callable[[], None]) -> None:
        if not self._changed.wait(_LOOK):
            idle()

    def _add(self, item: _Item) -> None:
        with self._changed:
            self._queue.append(item)
            self._held += _size(item)
            self._changed.notify_all()

    # --- the writing thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                item = self._take()
            except _AbandonedError:
                return
            if not isinstance(item, tuple):
                return
            self._write(*item)

    def _take(self) -> _Item:
        """Return the next item, or None if no more will come."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._abandoned:
                raise _AbandonedError
            if not self._queue:
                return None
            item = self._queue.popleft()
            self._held -= _size(item)
            self._changed.notify_all()
            return item

    def _write(self, pending: PendingJob, spec: ImageSpec, format: str) -> None:  # noqa: A002
        rows = _Rows(self._take)
        outcome: Outcome | None = None
        fatal: BaseException | None = None
        try:
            facts = write_result(pending.job, spec, rows, format, self._files)
            outcome = pending.success(facts, self._manifest)
        except (_AbandonedError, BrokenPipeError) as error:
            fatal = error
        except Exception as error:
            # Where the rows failed, that is the cause, whatever the encoder made of it.
            outcome = failed(pending.job, rows.error or error, time.perf_counter() - pending.start)
        with self._changed:
            pending.outcome, pending.fatal = outcome, fatal
            self._changed.notify_all()
        rows.pass_over()


class _Rows:
    """Iterates over the rows of one result from the queue."""

    def __init__(self, take: Callable[[], _Item]) -> None:
        self._take = take
        self._left = True
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        while self._left:
            item = self._next()
            if isinstance(item, Exception):
                self.error = item
                raise item
            if item is not None:
                yield item

    def pass_over(self) -> None:
        """Drop the remaining rows after a failed encoder."""
        while self._left:
            self._next()

    def _next(self) -> NDArray[Any] | Exception | None:
        try:
            item = self._take()
        except _AbandonedError as error:
            item = error
        assert not isinstance(item, tuple)
        self._left = not (item is None or isinstance(item, Exception))
        return item


def _size(item: _Item) -> int:
    return 0 if item is None or isinstance(item, (tuple, Exception)) else item.nbytes
