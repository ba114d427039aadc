"""The pipeline: while one picture is computed, the next is read and the previous one is written.

Three stages run at the same time: worker processes decode (``image.Decoder``), the calling thread computes, and a
thread encodes and writes. Rows pass between them through buffers of bounded size, so that memory does not grow with
the number of pictures, nor, where the format allows it, with their size.
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
from safelight.batch.processing import FileSettings, check_job, copy_unchanged, open_source, prepare_output
from safelight.batch.restorer import Restorer, is_unchanged
from safelight.batch.writer import PendingJob, ResultWriter
from safelight.media import image
from safelight.media.image.spec import ImageSpec

_AHEAD = 1  # files that are read while another one is computed
_BEHIND = 32  # outcomes that may wait for the outcome of an earlier job


class Pipeline:
    """Runs any number of jobs and yields an outcome for each, in their order.

    A job that fails at any stage yields a failed outcome, and the next job continues. Only the user ends the run
    early: by an interruption, or by closing the pipe that the result is written to.

    Args:
        runner: The method.
        files: How files are read and written.
        decoder: Decodes in worker processes.
        manifest: Records of existing results; new results are recorded in it.
        progress: Called with the current job and the computed fraction in [0, 1], repeatedly also while waiting.
            An exception from it ends the run.
    """

    def __init__(
        self,
        runner: Restorer,
        files: FileSettings,
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
        """Fraction of the time in [0, 1] in which the method computed and did not wait for files."""
        return self._clock.worked / self._lasted if self._lasted else 0.0

    def run(self, jobs: Iterable[FileJob]) -> Generator[Outcome]:
        """Run the jobs. To stop, close the generator: unfinished results are discarded.

        Raises:
            BrokenPipeError: The result went into a pipe whose reader has closed it.
        """
        start = time.perf_counter()
        left = iter(jobs)
        ahead: deque[_Reading] = deque()
        behind: deque[PendingJob] = deque()
        try:
            with ResultWriter(self._files, self._manifest) as writer, ExitStack() as stack:
                stack.callback(lambda: [reading.close() for reading in ahead])
                while True:
                    ahead.extend(map(self._open, islice(left, _AHEAD + 1 - len(ahead))))
                    if not ahead:
                        break
                    self._compute(ahead[0], writer)
                    behind.append(ahead.popleft().pending)
                    while behind and (behind[0].ended or len(behind) > _BEHIND):
                        yield self._end(behind.popleft(), writer)
                while behind:
                    yield self._end(behind.popleft(), writer)
        finally:
            self._lasted += time.perf_counter() - start

    def _open(self, job: FileJob) -> _Reading:
        """Start reading a job's file, unless the job is skipped."""
        pending = PendingJob(job)
        reading = _Reading(pending)
        try:
            checked = check_job(job, self._manifest)
            pending.job, pending.fingerprint = checked.job, checked.fingerprint
            if checked.skip_reason is not None:
                pending.outcome = skipped(job, checked.skip_reason)
            else:
                reading.open(self._files, self._decoder)
        except Exception as error:
            pending.fail(error)
        return reading

    def _compute(self, reading: _Reading, writer: ResultWriter) -> None:
        pending = reading.pending
        if pending.ended:
            return
        pending.start = time.perf_counter()  # reading ahead is not counted
        progress = _Progress(pending.job, self._progress)
        begun = False
        try:
            assert reading.rows is not None
            rows = _Timed(reading.rows, self._clock)
            format = prepare_output(pending.job, self._runner, rows.spec)  # noqa: A001
            with self._clock.working():
                spec, bands = self._runner.stream(rows, progress.move, pending.warnings.append)
            if is_unchanged(self._runner, rows.spec, spec):
                done = copy_unchanged(pending.job, rows.spec, self._files, format, pending.warnings)
                if done is not None:
                    pending.outcome = pending.success(done, self._manifest)
                    return
            writer.begin(pending, spec, format)
            begun = True
            while not pending.ended:
                with self._clock.working():
                    band = next(bands, None)
                if band is None:
                    break
                writer.put(pending, band, progress.stay)
            writer.end()
        except Exception as error:
            if begun:
                writer.fail(error)
            else:
                pending.fail(error)
        finally:
            reading.close()

    def _end(self, pending: PendingJob, writer: ResultWriter) -> Outcome:
        writer.wait(pending, _Progress(pending.job, self._progress, 1.0).stay)
        if pending.fatal is not None:
            raise pending.fatal
        assert pending.outcome is not None
        return pending.outcome


class _Reading:
    """A pending job and, while it is open, the rows of its file."""

    def __init__(self, pending: PendingJob) -> None:
        self.pending = pending
        self.rows: image.Rows | None = None
        self._stack = ExitStack()

    def open(self, files: FileSettings, decoder: image.Decoder) -> None:
        self.rows = self._stack.enter_context(open_source(self.pending.job.source, files, decoder))

    def close(self) -> None:
        self.rows = None
        self._stack.close()


class _Progress:
    """Reports the progress of a job."""

    def __init__(self, job: FileJob, tell: Callable[[FileJob, float], None] | None, fraction: float = 0.0) -> None:
        self._job, self._tell, self._fraction = job, tell, fraction

    def move(self, fraction: float) -> None:
        self._fraction = fraction
        self.stay()

    def stay(self) -> None:
        if self._tell is not None:
            self._tell(self._job, self._fraction)


class _Clock:
    """Sums the seconds of work, without the waiting times inside it."""

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
    """Rows that add the time spent waiting for them to a clock."""

    def __init__(self, rows: image.Rows, clock: _Clock) -> None:
        self._rows, self._clock = rows, clock

    @property
    def spec(self) -> ImageSpec:
        with self._clock.waiting():
            return self._rows.spec

    def read(self, count: int) -> NDArray[Any]:
        with self._clock.waiting():
            return self._rows.read(count)
