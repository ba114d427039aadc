"""The thread that encodes and writes results while others are computed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from safelight.batch.manifest import Manifest, Stamp
from safelight.batch.outcomes import Done, Outcome, failed, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.processing import Files, store
from safelight.media.image.spec import ImageSpec

_HELD = 64 << 20  # bytes of rows that may wait to be written
_LOOK = 0.1  # seconds after which one who waits looks up


class Task:
    """A job on its way.

    Attributes:
        job: what is to be done.
        stamp: of the input, where there is a manifest.
        start: when the work on it began.
        warnings: what showed on the way.
        outcome: there when it has come to its end.
        fatal: an error that ends all work: the pipe that the result goes into is read no more.
    """

    def __init__(self, job: FileJob) -> None:
        self.job = job
        self.stamp: Stamp | None = None
        self.start = time.perf_counter()
        self.warnings: list[str] = []
        self.outcome: Outcome | None = None
        self.fatal: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to do for it."""
        return self.outcome is not None or self.fatal is not None

    def success(self, facts: Done, manifest: Manifest | None) -> Outcome:
        """Note that the result stands under its name, and return the outcome."""
        told = None if manifest is None else manifest.note(self.job, self.stamp)
        if told is not None:
            self.warnings.append(told)
        facts = replace(facts, warnings=(*facts.warnings, *self.warnings))
        return succeeded(self.job, facts, time.perf_counter() - self.start)

    def fail(self, error: Exception) -> None:
        """Let it end by an error."""
        self.outcome = failed(self.job, error, time.perf_counter() - self.start)


class _AbandonedError(Exception):
    """The work ends here, and what is being written is thrown away."""


_Item = tuple[Task, ImageSpec, str] | NDArray[Any] | Exception | None  # begin, rows, failure, end


class Writer:
    """Writes results one after the other in a thread of its own, fed with their rows through a bounded queue.

    For each result: ``begin``, any number of ``put``, then ``end`` or ``fail``. To be entered; left by an exception,
    it throws away what is not written.

    Args:
        files: How files are written.
        manifest: Is told each result.
    """

    def __init__(self, files: Files, manifest: Manifest | None) -> None:
        self._files, self._manifest = files, manifest
        self._queue: deque[_Item] = deque()
        self._held = 0
        self._closed = self._abandoned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="safelight-writer", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed, self._abandoned = True, kind is not None
            self._changed.notify_all()
        self._thread.join()

    # --- the calling thread's side --------------------------------------------------------------------------------

    def begin(self, task: Task, frame: ImageSpec, format: str) -> None:  # noqa: A002
        """Announce the next result."""
        self._add((task, frame, format))

    def put(self, task: Task, rows: NDArray[Any], idle: Callable[[], None]) -> None:
        """Hand over rows of the result that was begun last; they must not change afterwards.

        Waits while the queue is full, and calls ``idle`` now and then; what that raises ends the wait.
        """
        with self._changed:
            while self._held and self._held + rows.nbytes > _HELD and not task.ended:
                self._wait(idle)
        self._add(rows)

    def end(self) -> None:
        """Say that the result has all its rows."""
        self._add(None)

    def fail(self, error: Exception) -> None:
        """Say that there are no more rows, because of an error, which becomes the outcome."""
        self._add(error)

    def wait(self, task: Task, idle: Callable[[], None]) -> None:
        """Wait until a task has ended, and call ``idle`` now and then; what that raises ends the wait."""
        with self._changed:
            while not task.ended:
                self._wait(idle)

    def _wait(self, idle: Callable[[], None]) -> None:
        if not self._changed.wait(_LOOK):
            idle()

    def _add(self, item: _Item) -> None:
        with self._changed:
            self._queue.append(item)
            self._held += _size(item)
            self._changed.notify_all()

    # --- the thread's side ----------------------------------------------------------------------------------------

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
        """Return the next item, or None where there will be none."""
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

    def _write(self, task: Task, frame: ImageSpec, format: str) -> None:  # noqa: A002
        rows = _Rows(self._take)
        outcome: Outcome | None = None
        fatal: BaseException | None = None
        try:
            facts = store(task.job, frame, rows, format, self._files)
            outcome = task.success(facts, self._manifest)
        except (_AbandonedError, BrokenPipeError) as error:
            fatal = error
        except Exception as error:
            # Where the rows failed, that is the cause, whatever the encoder made of it.
            outcome = failed(task.job, rows.error or error, time.perf_counter() - task.start)
        with self._changed:
            task.outcome, task.fatal = outcome, fatal
            self._changed.notify_all()
        rows.pass_over()


class _Rows:
    """The rows of one result, as they come out of the queue."""

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
        """Go to the end: an encoder that failed has left the rest."""
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
