"""The verbs that turn picture files into picture files: one a task."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from safelight.cli.shell import (
    ENVIRONMENT,
    FAILED,
    INTERRUPTED,
    Bar,
    Debug,
    DeviceFlag,
    Json,
    MethodVerb,
    Precision,
    Quiet,
    Stop,
    UsageError,
    amount,
    complete_method,
    method_options,
    note,
    say,
    say_json,
    the_card,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safelight.batch import Done, Job, Outcome

OnExist = Literal["error", "skip", "overwrite", "rename"]
Format = Literal["jpeg", "png", "webp", "tiff", "avif", "gif"]


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=MethodVerb)(upscale)


def upscale(
    ctx: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS",
            help="Files, folders (searched whole), patterns such as 'a/**/*.png', or - for standard input. "
            "A name that starts with a dash goes after --.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A file for one input; a folder for several, in which the tree of the inputs is kept; - for standard "
            "output. A result keeps the format of its input, but a GIF becomes a PNG, since a GIF loses colours. "
            "Without it: beside the input, as NAME-x4.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option("--scale", "-s", help="The zoom, whole or not, 1 to 32. 4 if neither it nor --size is given."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="The size instead: 3840x2160, 3840x or x2160.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See: safelight methods.", autocompletion=complete_method),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of your own training.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the 8 turns and mirrorings: better, 8 times the work.")
    ] = False,
    device: DeviceFlag = "auto",
    precision: Annotated[Precision, typer.Option("--precision", help="auto is exact.")] = "auto",
    memory: Annotated[str, typer.Option("--memory", help="Most memory for the work on a tile.")] = "1G",
    format: Annotated[  # noqa: A002 - the flag's name
        Format | None, typer.Option("--format", "-f", help="The format of all results.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG (95), WebP (90) and AVIF (85).")
    ] = None,
    on_exist: Annotated[
        OnExist, typer.Option("--on-exist", help="What to do where an output exists. rename: NAME-2, NAME-3, ...")
    ] = "error",
    max_pixels: Annotated[
        str | None,
        typer.Option("--max-pixels", help="Refuse inputs with more, such as 250M, before decoding. [default: 160M]"),
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Take what is left of damaged files.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop EXIF and XMP: place, time, camera.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Enlarge pictures, by a formula or a network.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    if scale is not None and size is not None:
        raise UsageError("expected --scale or --size, got both; leave one out")
    work_memory = amount(memory, "--memory", step=1024)
    most = None if max_pixels is None else amount(max_pixels, "--max-pixels", step=1000)

    from safelight import batch, infer

    files = batch.Files(lenient=lenient, quality=quality, strip=strip)
    if most is not None:
        files = batch.Files(max_pixels=most, lenient=lenient, quality=quality, strip=strip)
    settings = infer.Settings(
        scale=scale, size=size, options=method_options(ctx), weights=weights, device=device, precision=precision,
        ensemble=ensemble, memory=work_memory,
    )  # fmt: skip
    card = the_card(method, "upscale")
    runner = infer.prepare(card, settings)
    side = 1 << 20  # any large side: a size that is malformed is told before anything runs
    tag = f"x{runner.size(side, side)[0] / side:g}" if size is None else _tag(size, runner.size(side, side))

    found = batch.expand(inputs, leave_out=None if out in (None, batch.STREAM) else Path(out or ""))
    jobs = batch.plan(found, out=out, tag=tag, format=format, on_exist=on_exist)
    piped = any(job.output is None for job in jobs)
    if piped and not dry_run and sys.stdout.isatty():
        raise UsageError("expected a pipe or a file for the picture, got a terminal; use -o FILE, or > FILE")
    if found.passed_over and not quiet:
        note(f"safelight: {found.passed_over} files in folders are not pictures by their names and were passed over")

    reporter = Reporter(card.id, json=json, quiet=quiet, debug=debug, to_stderr=piped)
    with Bar(len(jobs), card.id, quiet=quiet) as bar, Stop() as stop:

        def work(job: Job) -> Done:
            if dry_run:
                return batch.preview(job, runner, files)
            return batch.process(job, runner, files, partial(advance, job))

        def advance(job: Job, fraction: float) -> None:
            stop.check()
            bar.show(reporter.total + fraction, Path(job.source.name).name)

        reporter.follow(batch.run(jobs, work, done="planned" if dry_run else "done"), bar, stop)
    return reporter.finish(len(jobs))


def _tag(size: str, made: tuple[int, int]) -> str:
    if size.lower().endswith("x"):
        return f"w{made[0]}"
    return f"h{made[1]}" if size.lower().startswith("x") else f"{made[0]}x{made[1]}"


class Reporter:
    """Prints one line a file and a summary, as text or as JSON, and knows the exit code.

    The JSON object of a file has: input, output, status (planned, done, skipped, failed), method, seconds, error,
    width, height, warnings. The last object is the summary: summary (true), total, planned, done, skipped, failed,
    seconds, interrupted.
    """

    def __init__(self, method: str, *, json: bool, quiet: bool, debug: bool, to_stderr: bool) -> None:
        self._method, self._json, self._quiet, self._debug = method, json, quiet, debug
        self._to_stderr = to_stderr
        self._counts: dict[str, int] = {"planned": 0, "done": 0, "skipped": 0, "failed": 0}
        self._environment = self._interrupted = False
        self._start = time.perf_counter()

    @property
    def total(self) -> int:
        """How many files have an outcome."""
        return sum(self._counts.values())

    def follow(self, outcomes: Iterable[Outcome], bar: Bar, stop: Stop) -> None:
        """Report each outcome as it comes, until all are there or the user has had enough."""
        try:
            for outcome in outcomes:
                self._counts[outcome.status] += 1
                self._environment |= outcome.environment
                bar.above(partial(self._report, outcome))
                stop.check()
        except KeyboardInterrupt:
            self._interrupted = True

    def finish(self, planned: int) -> int:
        """Print the summary and return the exit code."""
        seconds = round(time.perf_counter() - self._start, 3)
        if self._json:
            summary: dict[str, Any] = {"summary": True, "total": planned, **self._counts}
            say_json({**summary, "seconds": seconds, "interrupted": self._interrupted}, err=self._to_stderr)
        elif self._interrupted:
            note(f"safelight: interrupted; {self._words()}, {planned - self.total} not begun or not finished")
        elif planned > 1 and not self._quiet:
            note(f"{self._words()} in {seconds:.1f} s")
        if self._interrupted:
            return INTERRUPTED
        if self._environment:
            return ENVIRONMENT
        return FAILED if self._counts["failed"] else 0

    def _words(self) -> str:
        return ", ".join(f"{n} {status}" for status, n in self._counts.items() if n) or "nothing done"

    def _report(self, outcome: Outcome) -> None:
        from safelight.image.picture import shown

        if self._debug and outcome.trace:
            note(outcome.trace.rstrip())
        if self._json:
            facts: dict[str, Any] = {
                "input": outcome.input, "output": outcome.output, "status": outcome.status, "method": self._method,
                "seconds": round(outcome.seconds, 3), "error": outcome.error, "width": outcome.width,
                "height": outcome.height, "warnings": list(outcome.warnings),
            }  # fmt: skip
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
            line = f"{line}  skipped: it exists"
        else:
            planned = "  planned" if outcome.status == "planned" else f"  {outcome.seconds:.1f} s"
            line = f"{line}  {outcome.width}x{outcome.height}  {self._method}{planned}"
        (note if self._to_stderr else say)(line)
