"""From inputs and a method to files and an exit code: what all verbs that make picture files do."""

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
    """What the user asks for, beside the method.

    Attributes:
        inputs: as they were typed.
        listed: the file with more of them.
        out: as it was typed.
        tag: what marks a result beside its input.
        format: of all results.
        on_exist: what to do with an output that exists, if the user said so.
        watch: stay, and do what comes into the folders.
        dry_run: only tell.
        json: tell it in JSON.
        quiet: tell errors only.
        debug: tell where errors came from.
        preview: the file that shows a picture as it forms.
        files: how files are read and written.
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
        """What the user named as an output, if it may be a folder."""
        return None if self.out in (None, "-") else Path(self.out or "")


def check_inputs(inputs: Sequence[str], listed: str | None) -> None:
    """Refuse a command without inputs, or with standard input twice.

    Raises:
        UsageError: it is so.
    """
    if not inputs and listed is None:
        raise UsageError("expected INPUTS or --list, got neither; name files or folders")
    if listed == "-" and "-" in inputs:
        raise UsageError("expected - (standard input) once, got it twice; leave one out")


def work(ask: FileRequest, runner: Restorer, decoder: Decoder) -> int:
    """Do what is asked, file by file, report it, and return the exit code.

    Raises:
        UsageError, BatchError: It can't be meant; nothing was done.
        TargetError: The folder of the results can't be used; nothing was done.
    """
    from safelight import batch
    from safelight.inference import Runner
    from safelight.media.image.picture import shown

    if isinstance(runner, Runner) and not batch.is_streamed(runner):
        return _work_outputs(ask, runner)
    found, watch = _find(ask)
    on_exist = "skip" if ask.watch else ask.on_exist or "error"
    jobs = batch.plan(found, out=ask.out, tag=ask.tag, format=ask.format, on_exist=on_exist)
    piped = any(job.output is None for job in jobs)
    if piped and not ask.dry_run and sys.stdout.isatty():
        raise UsageError("expected a pipe or a file for the picture, got a terminal; use -o FILE, or > FILE")
    if found.ignored and not ask.quiet:
        note(f"safelight: {found.ignored} files in folders are not pictures by their names and were passed over")

    name = batch.restorer_name(runner)
    reporter = Reporter(name, json=ask.json, quiet=ask.quiet, debug=ask.debug, to_stderr=piped)
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if ask.folder is not None and not found.single:
            facts = batch.result_settings(runner, quality=ask.files.quality, strip=ask.files.strip)
            manifest = batch.Manifest(ask.folder, facts, read_existing=on_exist == "skip", write=not ask.dry_run)
            stack.enter_context(manifest)
            if manifest.unreadable_lines:
                note(f"safelight: {shown(manifest.path)}: {manifest.unreadable_lines} damaged lines were passed over")
        bar = stack.enter_context(Bar(1, name, quiet=ask.quiet))
        stop = stack.enter_context(Stop())
        is_iterative = batch.is_iterative(runner)
        gauge = Gauge(bar, stop, patient=is_iterative)

        def follow(jobs: Sequence[FileJob], outcomes: Generator[Outcome]) -> None:
            gauge.expect(jobs)
            reporter.expect(jobs)
            reporter.follow(outcomes, bar, stop, gauge)

        if ask.dry_run:
            preview = partial(batch.preview, runner=runner, files=ask.files)
            follow(jobs, (batch.attempt(job, preview, manifest=manifest, done="planned") for job in jobs))
            return reporter.finish()
        batch.remove_leftovers(jobs)
        pipeline = batch.Pipeline(runner, ask.files, decoder, manifest=manifest, progress=gauge.move)

        def run(jobs: Sequence[FileJob]) -> Generator[Outcome]:
            # When the user stops an iteration, its picture is to be written and the next one not begun.
            for some in ([job] for job in jobs) if is_iterative else [jobs]:
                yield from pipeline.run(some)

        if is_iterative:
            batch.set_observer(runner, Observer(gauge, bar, stop, ask.preview))
        follow(jobs, run(jobs))
        if watch is not None and not reporter.interrupted:
            if not ask.quiet:
                note("safelight: watching; Ctrl-C ends it")
            while not reporter.interrupted and not stop.rest(watch.pause):
                if jobs := _come(ask, found, watch):
                    follow(jobs, run(jobs))
        return reporter.finish(pipeline.busy)


def _work_outputs(ask: FileRequest, runner: Runner) -> int:
    """Do a task that is not one picture from one picture, source by source.

    Raises:
        UsageError, BatchError: Invalid arguments; no file was changed.
    """
    from safelight import batch

    task = runner.task
    if ask.watch:
        raise UsageError(f"{task.name} watches no folder; leave --watch out")
    found = batch.no_input(task) if task.main is None else _find(ask)[0]
    on_exist = ask.on_exist or "error"
    jobs = batch.plan_outputs(task, found, out=ask.out, tag=ask.tag, format=ask.format, on_exist=on_exist)
    piped = ask.out == "-"
    if piped and sys.stdout.isatty():
        raise UsageError("expected a pipe or a file, got a terminal; use -o FILE, or > FILE")
    name = batch.restorer_name(runner)
    reporter = Reporter(name, json=ask.json, quiet=ask.quiet, debug=ask.debug, to_stderr=piped)
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if ask.folder is not None and task.output.kind != "value" and batch.is_folder(ask.folder):
            facts = batch.result_settings(runner, quality=ask.files.quality, strip=ask.files.strip)
            manifest = batch.Manifest(ask.folder, facts, read_existing=on_exist == "skip", write=not ask.dry_run)
            stack.enter_context(manifest)
        bar = stack.enter_context(Bar(1, name, quiet=ask.quiet))
        stop = stack.enter_context(Stop())
        gauge = Gauge(bar, stop, patient=batch.is_iterative(runner))
        gauge.expect(jobs)
        reporter.expect(jobs)

        def outcomes() -> Generator[Outcome]:
            for job in jobs:
                if ask.dry_run:
                    yield batch.attempt(job, lambda job: batch.FileResult(), manifest=manifest, done="planned")  # noqa: ARG005
                else:
                    yield batch.attempt_output(job, runner, ask.files, manifest, partial(gauge.move, job))

        reporter.follow(outcomes(), bar, stop, gauge)
        return reporter.finish()


def _find(ask: FileRequest) -> tuple[DiscoveredInputs, FolderWatcher | None]:
    """Find the inputs, and begin to watch the folders among them if that is asked for."""
    from safelight import batch

    folders = [Path(text) for text in ask.inputs if batch.is_folder(Path(text))]
    if ask.watch:
        _check_watch(ask, folders)
    listed = [] if ask.listed is None else batch.read_list(ask.listed)
    found = batch.expand(ask.inputs, listed=listed, exclude=ask.folder, allow_empty=ask.watch)
    if not ask.watch:
        return found, None
    watch = batch.FolderWatcher(folders, exclude=ask.folder)
    # What is being copied into a folder just now is left for a later look.
    named = [source for source in found.sources if source.named]
    return replace(found, sources=(*named, *watch.poll())), watch


def _check_watch(ask: FileRequest, folders: Sequence[Path]) -> None:
    if not folders:
        raise UsageError("expected a folder to watch among the inputs, got none; name one, or leave --watch out")
    if ask.folder is None:
        raise UsageError("expected -o FOLDER with --watch, got none; name a folder for the results")
    if ask.folder.resolve() in [folder.resolve() for folder in folders]:
        raise UsageError("expected another folder for the results than the one to watch; choose another with -o")
    if ask.dry_run:
        raise UsageError("expected --watch or --dry-run, got both; leave one out")
    if ask.on_exist not in (None, "skip"):
        raise UsageError(f"expected --on-exist skip with --watch, got {ask.on_exist}; leave it out")


def _come(ask: FileRequest, found: DiscoveredInputs, watch: FolderWatcher) -> list[FileJob]:
    """Plan what has come into the folders since the last look."""
    from safelight import batch

    assert ask.out is not None
    come = replace(found, sources=tuple(watch.poll()), ignored=0)
    return batch.plan_separately(come, out=ask.out, tag=ask.tag, format=ask.format, on_exist="skip")
