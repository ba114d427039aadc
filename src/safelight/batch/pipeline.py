"""The pipeline: while one picture is computed, the next is read and the one before is written.

Three places of work: worker processes decode (``image.Decoder``), the calling thread computes, a thread encodes and
writes. Between them rows flow through buffers that are bounded in bytes, so that memory does not grow with the number
of pictures, nor, where the format allows it, with their size.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from safelight.batch.manifest import Manifest
from safelight.batch.outcomes import Outcome, skipped
from safelight.batch.outputs import FileJob
from safelight.batch.processing import Files, admit, make_way, opened, spare
from safelight.batch.restorer import Restorer, untouched
from safelight.batch.writer import Task, Writer
from safelight.media import image
from safelight.media.image.spec import ImageSpec

_AHEAD = 1  # files that are read while another is computed
_BEHIND = 32  # outcomes that may wait for that of an earlier job


class Pipeline:
    """Works through any number of jobs and gives an outcome for each, in their order.

    A job that fails, at whatever stage, gives an outcome that says so, and the next one goes on. Only what the user
    does ends the work early: an interruption, or a pipe that is read no more.

    Args:
        runner: The method.
        files: How files are read and written.
        decoder: Decodes in worker processes.
        manifest: Says what is there already, and is told what is made.
        progress: Told the job at work and the fraction of it that is computed, again and again while there is
            nothing to do but wait. What it raises ends the work.
    """

    def __init__(
        self,
        runner: Restorer,
        files: Files,
        decoder: image.Decoder,
        *,
        manifest: Manifest | None = None,
        progress: Callable[[FileJob, float], None] | None = None,
    ) -> None:
        self._runner, self._files, self._decoder = runner, files, decoder
        self._manifest, self._progress = manifest, progress
        self._clock = _Clock()
        self._lasted = 0.0

    @property
    def busy(self) -> float:
        """The part of the time, 0 to 1, in which the method was at work and did not wait for files."""
        return self._clock.worked / self._lasted if self._lasted else 0.0

    def run(self, jobs: Iterable[FileJob]) -> Generator[Outcome]:
        """Do the jobs. To stop, close the generator: what is not finished is thrown away.

        Raises:
            BrokenPipeError: The result went into a pipe that is read no more.
        """
        start = time.perf_counter()
        left = iter(jobs)
        ahead: deque[_Reading] = deque()
        behind: deque[Task] = deque()
        try:
            with Writer(self._files, self._manifest) as writer, ExitStack() as stack:
                stack.callback(lambda: [reading.close() for reading in ahead])
                while True:
                    ahead.extend(map(self._open, islice(left, _AHEAD + 1 - len(ahead))))
                    if not ahead:
                        break
                    self._compute(ahead[0], writer)
                    behind.append(ahead.popleft().task)
                    while behind and (behind[0].ended or len(behind) > _BEHIND):
                        yield self._end(behind.popleft(), writer)
                while behind:
                    yield self._end(behind.popleft(), writer)
        finally:
            self._lasted += time.perf_counter() - start

    def _open(self, job: FileJob) -> _Reading:
        """Start reading a job's file, unless there is nothing to do for it."""
        task = Task(job)
        reading = _Reading(task)
        try:
            admitted = admit(job, self._manifest)
            task.job, task.stamp = admitted.job, admitted.stamp
            if admitted.skip is not None:
                task.outcome = skipped(job, admitted.skip)
            else:
                reading.open(self._files, self._decoder)
        except Exception as error:
            task.fail(error)
        return reading

    def _compute(self, reading: _Reading, writer: Writer) -> None:
        task = reading.task
        if task.ended:
            return
        task.start = time.perf_counter()  # what was read ahead cost no time of its own
        progress = _Progress(task.job, self._progress)
        begun = False
        try:
            assert reading.rows is not None
            rows = _Timed(reading.rows, self._clock)
            format = make_way(task.job, self._runner, rows.frame)  # noqa: A001
            with self._clock.working():
                frame, bands = self._runner.stream(rows, progress.move, task.warnings.append)
            if untouched(self._runner, rows.frame, frame):
                done = spare(task.job, rows.frame, self._files, format, task.warnings)
                if done is not None:
                    task.outcome = task.success(done, self._manifest)
                    return
            writer.begin(task, frame, format)
            begun = True
            while not task.ended:
                with self._clock.working():
                    band = next(bands, None)
                if band is None:
                    break
                writer.put(task, band, progress.stay)
            writer.end()
        except Exception as error:
            if begun:
                writer.fail(error)
            else:
                task.fail(error)
        finally:
            reading.close()

    def _end(self, task: Task, writer: Writer) -> Outcome:
        writer.wait(task, _Progress(task.job, self._progress, 1.0).stay)
        if task.fatal is not None:
            raise task.fatal
        assert task.outcome is not None
        return task.outcome


class _Reading:
    """A task and, from when it is opened until it is closed, the rows of its file."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rows: image.Rows | None = None
        self._stack = ExitStack()

    def open(self, files: Files, decoder: image.Decoder) -> None:
        self.rows = self._stack.enter_context(opened(self.task.job.source, files, decoder))

    def close(self) -> None:
        self.rows = None
        self._stack.close()


class _Progress:
    """Tells how far a job is."""

    def __init__(self, job: FileJob, tell: Callable[[FileJob, float], None] | None, fraction: float = 0.0) -> None:
        self._job, self._tell, self._fraction = job, tell, fraction

    def move(self, fraction: float) -> None:
        self._fraction = fraction
        self.stay()

    def stay(self) -> None:
        if self._tell is not None:
            self._tell(self._job, self._fraction)


class _Clock:
    """Adds up the seconds of work, without those of it that were spent waiting."""

    def __init__(self) -> None:
        self.worked = 0.0
        self._waited = 0.0

    @contextmanager
    def working(self) -> Generator[None]:
        start, waited = time.perf_counter(), self._waited
        try:
            yield
        finally:
            self.worked += time.perf_counter() - start - (self._waited - waited)

    @contextmanager
    def waiting(self) -> Generator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start


class _Timed:
    """Rows that tell a clock how long they were waited for."""

    def __init__(self, rows: image.Rows, clock: _Clock) -> None:
        self._rows, self._clock = rows, clock

    @property
    def frame(self) -> ImageSpec:
        with self._clock.waiting():
            return self._rows.frame

    def read(self, count: int) -> NDArray[Any]:
        with self._clock.waiting():
            return self._rows.read(count)
