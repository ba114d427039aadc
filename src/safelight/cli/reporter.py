"""Reports on a batch: a line for each file, a progress bar, and a summary."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from safelight.cli.shell import ENVIRONMENT, FAILED, INTERRUPTED, Bar, Stop, note, say, say_json

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from safelight.batch import FileJob, Outcome


class Gauge:
    """Advances a progress bar by the bytes of the files that are done, a cheap estimate of the work in them.

    A file that is skipped or fails is removed from the total, so that the remaining time is that of the other files.

    Args:
        bar: The progress bar.
        stop: Ends the work when the user presses Ctrl-C.
        patient: Whether a job that has begun may end by itself after Ctrl-C, as a stopped iteration does.
    """

    def __init__(self, bar: Bar, stop: Stop, *, patient: bool = False) -> None:
        self._bar, self._stop, self._patient = bar, stop, patient
        self._begun: FileJob | None = None
        self._bytes: dict[str, int] = {}
        self._whole = self._done = 0.0
        self._under_way: dict[str, float] = {}

    def expect(self, jobs: Sequence[FileJob]) -> None:
        """Add jobs to the total."""
        if self._bar.shown:
            self._bytes = {job.source.name: _bytes(job.source.path) for job in jobs}
            self._whole += sum(self._bytes.values())

    def move(self, job: FileJob, fraction: float) -> None:
        """Show the progress of a job.

        Raises:
            KeyboardInterrupt: The user has pressed Ctrl-C.
        """
        if not self._stop.asked:
            self._begun = job
        if not (self._patient and self._begun is job):
            self._stop.check()
        if self._bar.shown:
            name = job.source.name
            self._under_way[name] = self._bytes.get(name, 0) * fraction
            self._show(name)

    def remark(self, text: str) -> None:
        """Show a remark behind the name of the current job."""
        if self._bar.shown and self._begun is not None:
            self._show(self._begun.source.name, text)

    def settle(self, outcome: Outcome) -> None:
        """Count a finished file."""
        if self._bar.shown:
            size = self._bytes.get(outcome.input, 0)
            self._under_way.pop(outcome.input, None)
            if outcome.status == "done":
                self._done += size
            else:
                self._whole -= size
            self._show(outcome.input)

    def _show(self, name: str, remark: str = "") -> None:
        text = f"{Path(name).name}  {remark}" if remark else Path(name).name
        self._bar.show(self._done + sum(self._under_way.values()), text, total=max(self._whole, 1.0))


def _bytes(path: Path | None) -> int:
    try:
        return 1 if path is None else path.stat().st_size
    except (OSError, ValueError):
        return 0


class Meter(Protocol):
    """Shows how much is done."""

    def settle(self, outcome: Outcome) -> None:
        """Count a finished file."""
        ...


class Reporter:
    """Prints one line a file and a summary, as text or as JSON, and knows the exit code.

    The JSON object of a file has: input, output, status (planned, done, skipped, failed), method, seconds, error,
    width, height, warnings. The last object is the summary: summary (true), total, planned, done, skipped, failed,
    seconds, busy, interrupted.
    """

    def __init__(self, method: str, *, json: bool, quiet: bool, debug: bool, to_stderr: bool) -> None:
        self._method, self._json, self._quiet, self._debug = method, json, quiet, debug
        self._to_stderr = to_stderr
        self._counts: dict[str, int] = {"planned": 0, "done": 0, "skipped": 0, "failed": 0}
        self._expected = 0
        self._environment = False
        self._start = time.perf_counter()
        self.interrupted = False
        """Whether the user ended the work before its end."""

    def expect(self, jobs: Sequence[FileJob]) -> None:
        """Add jobs to the total."""
        self._expected += len(jobs)

    def follow(self, outcomes: Generator[Outcome], bar: Bar, stop: Stop, gauge: Meter) -> None:
        """Report each outcome as it arrives, until the last one or until the user stops the work."""
        try:
            for outcome in outcomes:
                self._counts[outcome.status] += 1
                self._environment |= outcome.environment
                bar.above(partial(self._report, outcome))
                gauge.settle(outcome)
                stop.check()
        except KeyboardInterrupt:
            # The result of a stopped iteration is complete, and after the last file nothing was interrupted.
            self.interrupted = sum(self._counts.values()) < self._expected
        finally:
            outcomes.close()  # unfinished work is discarded now, and not at garbage collection

    def finish(self, busy: float | None = None) -> int:
        """Print the summary and return the exit code.

        Args:
            busy: The part of the time in which the method was at work; None where there was no work.
        """
        seconds = round(time.perf_counter() - self._start, 3)
        if self._json:
            summary: dict[str, Any] = {"summary": True, "total": self._expected, **self._counts, "seconds": seconds}
            summary["busy"] = None if busy is None else round(busy, 3)
            say_json({**summary, "interrupted": self.interrupted}, err=self._to_stderr)
        elif self.interrupted:
            left = self._expected - sum(self._counts.values())
            note(f"safelight: interrupted; {self._words()}, {left} not begun or not finished")
        elif self._expected > 1 and not self._quiet:
            note(f"{self._words()} in {seconds:.1f} s")
        if self.interrupted:
            return INTERRUPTED
        if self._environment:
            return ENVIRONMENT
        return FAILED if self._counts["failed"] else 0

    def _words(self) -> str:
        return ", ".join(f"{n} {status}" for status, n in self._counts.items() if n) or "nothing done"

    def _report(self, outcome: Outcome) -> None:
        from safelight.media.image.picture import shown

        if self._debug and outcome.trace:
            note(outcome.trace.rstrip())
        if self._json:
            facts: dict[str, Any] = {
                "input": outcome.input, "output": outcome.output, "status": outcome.status, "method": self._method,
                "seconds": round(outcome.seconds, 3), "error": outcome.error, "width": outcome.width,
                "height": outcome.height, "warnings": list(outcome.warnings),
            }  # fmt: skip
            more = {"outputs": list(outcome.outputs), "bytes": outcome.bytes, "value": outcome.value}
            facts |= {name: value for name, value in more.items() if value not in (None, [])}
            say_json(facts, err=self._to_stderr)
        if outcome.status == "failed":
            if not (self._json and self._to_stderr):
                note(f"safelight: {outcome.error}")
            return
        if self._json or self._quiet:
            return
        for warning in outcome.warnings:
            note(f"safelight: {shown(outcome.input)}: {warning}")
        line = f"{shown(outcome.input)} -> {shown(outcome.output)}"
        if outcome.status == "skipped":
            line = f"{shown(outcome.input)}  skipped: {outcome.error}"
        else:
            planned = "  planned" if outcome.status == "planned" else f"  {outcome.seconds:.1f} s"
            line = f"{line}  {_what(outcome)}  {self._method}{planned}"
        (note if self._to_stderr else say)(line)


def _what(outcome: Outcome) -> str:
    """Describe a result in a few words."""
    if outcome.value is not None:
        return f"{outcome.value:g}{outcome.unit}" if isinstance(outcome.value, float) else f"{outcome.value}"
    if outcome.bytes is not None:
        return f"{outcome.bytes:,} bytes"
    if outcome.width is None:
        return "result"
    size = f"{outcome.width}x{outcome.height}"
    return f"{len(outcome.outputs)} pictures of {size}" if outcome.outputs else size
