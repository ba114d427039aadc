"""Runs a method on the files that the user names, reports each result, and returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.cli.observer import Observer
from safelight.cli.reporter import Gauge, Reporter
from safelight.cli.shell import Bar, Stop, UsageError, note

if TYPE_CHECKING:
    from safelight.batch import (
        DiscoveredInputs,
        FileJob,
        FileSettings,
        FolderWatcher,
        Manifest,
        OnExist,
        Outcome,
        Restorer,
    )
    from safelight.inference import Runner
    from safelight.media.image import Decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """Which files to read and write, and how to report on them.

    Attributes:
        inputs: The inputs as the user typed them: files, folders, patterns, URLs, or ``-`` for standard input.
        listed: A file with the names of more inputs; ``-`` for standard input.
        out: The output as the user typed it: a file, a folder, a URL, or ``-`` for standard output; ``None``: each
            result is written beside its input.
        tag: The suffix that marks a result beside its input, such as ``denoised``.
        format: The file format of all results; ``None``: that of the input.
        on_exist: What to do if an output exists; ``None``: the user did not say.
        watch: Keep running, and process files that arrive in the input folders.
        dry_run: Print what would be done, and write nothing.
        json: Print JSON.
        quiet: Print errors only.
        debug: Print the traceback of an error.
        preview: A file that shows the current picture of an iterative method; ``None``: no preview.
        files: How files are read and written.
    """

    inputs: tuple[str, ...]
    listed: str | None = None
    out: str | None = None
    tag: str = ""
    format: str | None = None
    on_exist: OnExist | None = None
    watch: bool = False
    dry_run: bool = False
    json: bool = False
    quiet: bool = False
    debug: bool = False
    preview: Path | None = None
    files: FileSettings

    @property
    def folder(self) -> Path | None:
        """The output that the user named, if it may be a folder; ``None`` for standard output or no output."""
        return None if self.out in (None, "-") else Path(self.out or "")


def check_inputs(inputs: Sequence[str], listed: str | None) -> None:
    """Check that inputs are given, and that standard input is named once at most.

    Raises:
        UsageError: There is no input, or standard input is named twice.
    """
    if not inputs and listed is None:
        raise UsageError("expected INPUTS or --list, got neither; name files or folders")
    if listed == "-" and "-" in inputs:
        raise UsageError("expected - (standard input) once, got it twice; leave one out")


def work(request: FileRequest, runner: Restorer, decoder: Decoder) -> int:
    """Process the files one by one and report on each.

    Args:
        request: The files, and how to report on them.
        runner: The method, ready to run.
        decoder: Decodes the input files in other processes.

    Returns:
        The exit code of the program.

    Raises:
        UsageError, BatchError: Invalid arguments; no file was changed.
        TargetError: The output folder cannot be used; no file was changed.
    """
    from safelight import batch
    from safelight.inference import Runner
    from safelight.media.image.picture import shown

    if isinstance(runner, Runner) and not batch.is_streamed(runner):
        return _work_outputs(request, runner)
    inputs, watch = _find(request)
    on_exist = "skip" if request.watch else request.on_exist or "error"
    jobs = batch.plan(inputs, out=request.out, tag=request.tag, format=request.format, on_exist=on_exist)
    piped = any(job.output is None for job in jobs)
    if piped and not request.dry_run and sys.stdout.isatty():
        raise UsageError("expected a pipe or a file for the picture, got a terminal; use -o FILE, or > FILE")
    if inputs.ignored and not request.quiet:
        note(f"safelight: {inputs.ignored} files in folders are not pictures by their names and were passed over")

    name = batch.restorer_name(runner)
    reporter = Reporter(name, json=request.json, quiet=request.quiet, debug=request.debug, to_stderr=piped)
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if request.folder is not None and not inputs.single:
            facts = batch.result_settings(runner, quality=request.files.quality, strip=request.files.strip)
            manifest = batch.Manifest(
                request.folder, facts, read_existing=on_exist == "skip", write=not request.dry_run
            )
            stack.enter_context(manifest)
            if manifest.unreadable_lines:
                note(f"safelight: {shown(manifest.path)}: {manifest.unreadable_lines} damaged lines were passed over")
        bar = stack.enter_context(Bar(1, name, quiet=request.quiet))
        stop = stack.enter_context(Stop())
        is_iterative = batch.is_iterative(runner)
        gauge = Gauge(bar, stop, patient=is_iterative)

        def follow(jobs: Sequence[FileJob], outcomes: Generator[Outcome]) -> None:
            gauge.expect(jobs)
            reporter.expect(jobs)
            reporter.follow(outcomes, bar, stop, gauge)

        if request.dry_run:
            preview = partial(batch.preview, runner=runner, files=request.files)
            follow(jobs, (batch.attempt(job, preview, manifest=manifest, done="planned") for job in jobs))
            return reporter.finish()
        batch.remove_leftovers(jobs)
        pipeline = batch.Pipeline(runner, request.files, decoder, manifest=manifest, progress=gauge.move)

        def run(jobs: Sequence[FileJob]) -> Generator[Outcome]:
            # When the user stops an iteration, its picture is written and the next job is not started.
            for some in ([job] for job in jobs) if is_iterative else [jobs]:
                yield from pipeline.run(some)

        if is_iterative:
            batch.set_observer(runner, Observer(gauge, bar, stop, request.preview))
        follow(jobs, run(jobs))
        if watch is not None and not reporter.interrupted:
            if not request.quiet:
                note("safelight: watching; Ctrl-C ends it")
            while not reporter.interrupted and not stop.rest(watch.pause):
                if jobs := _plan_arrivals(request, inputs, watch):
                    follow(jobs, run(jobs))
        return reporter.finish(pipeline.busy)


def _work_outputs(request: FileRequest, runner: Runner) -> int:
    """Process the inputs of a task that does not map one picture to one picture, one by one, and report on each.

    Raises:
        UsageError, BatchError: Invalid arguments; no file was changed.
    """
    from safelight import batch

    task = runner.task
    if request.watch:
        raise UsageError(f"{task.name} watches no folder; leave --watch out")
    inputs = batch.no_input(task) if task.main is None else _find(request)[0]
    on_exist = request.on_exist or "error"
    jobs = batch.plan_outputs(task, inputs, out=request.out, tag=request.tag, format=request.format, on_exist=on_exist)
    piped = request.out == "-"
    if piped and sys.stdout.isatty():
        raise UsageError("expected a pipe or a file, got a terminal; use -o FILE, or > FILE")
    name = batch.restorer_name(runner)
    reporter = Reporter(name, json=request.json, quiet=request.quiet, debug=request.debug, to_stderr=piped)
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if request.folder is not None and task.output.kind != "value" and batch.is_folder(request.folder):
            facts = batch.result_settings(runner, quality=request.files.quality, strip=request.files.strip)
            manifest = batch.Manifest(
                request.folder, facts, read_existing=on_exist == "skip", write=not request.dry_run
            )
            stack.enter_context(manifest)
        bar = stack.enter_context(Bar(1, name, quiet=request.quiet))
        stop = stack.enter_context(Stop())
        gauge = Gauge(bar, stop, patient=batch.is_iterative(runner))
        gauge.expect(jobs)
        reporter.expect(jobs)

        def outcomes() -> Generator[Outcome]:
            for job in jobs:
                if request.dry_run:
                    yield batch.attempt(job, lambda job: batch.FileResult(), manifest=manifest, done="planned")  # noqa: ARG005
                else:
                    yield batch.attempt_output(job, runner, request.files, manifest, partial(gauge.move, job))

        reporter.follow(outcomes(), bar, stop, gauge)
        return reporter.finish()


def _find(request: FileRequest) -> tuple[DiscoveredInputs, FolderWatcher | None]:
    """Find the inputs, and start to watch the folders among them if the user asks for it."""
    from safelight import batch

    folders = [Path(text) for text in request.inputs if batch.is_folder(Path(text))]
    if request.watch:
        _check_watch(request, folders)
    listed = [] if request.listed is None else batch.read_list(request.listed)
    inputs = batch.expand(request.inputs, listed=listed, exclude=request.folder, allow_empty=request.watch)
    if not request.watch:
        return inputs, None
    watch = batch.FolderWatcher(folders, exclude=request.folder)
    # A file that is still being copied into a folder is taken at a later poll.
    named = [source for source in inputs.sources if source.named]
    return replace(inputs, sources=(*named, *watch.poll())), watch


def _check_watch(request: FileRequest, folders: Sequence[Path]) -> None:
    if not folders:
        raise UsageError("expected a folder to watch among the inputs, got none; name one, or leave --watch out")
    if request.folder is None:
        raise UsageError("expected -o FOLDER with --watch, got none; name a folder for the results")
    if request.folder.resolve() in [folder.resolve() for folder in folders]:
        raise UsageError("expected another folder for the results than the one to watch; choose another with -o")
    if request.dry_run:
        raise UsageError("expected --watch or --dry-run, got both; leave one out")
    if request.on_exist not in (None, "skip"):
        raise UsageError(f"expected --on-exist skip with --watch, got {request.on_exist}; leave it out")


def _plan_arrivals(request: FileRequest, inputs: DiscoveredInputs, watch: FolderWatcher) -> list[FileJob]:
    """Plan the files that arrived in the watched folders since the last poll."""
    from safelight import batch

    assert request.out is not None
    arrivals = replace(inputs, sources=tuple(watch.poll()), ignored=0)
    return batch.plan_separately(arrivals, out=request.out, tag=request.tag, format=request.format, on_exist="skip")
