"""Tasks other than one picture from one picture: no input, bytes in or out, several pictures, or a value.

A task that makes a picture of a picture goes through ``Pipeline``, which never holds either whole; these hold both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from safelight.batch.inputs import STREAM, BatchError, DiscoveredInputs, Source, is_folder
from safelight.batch.manifest import FileFingerprint, Manifest
from safelight.batch.outcomes import FileResult, Outcome
from safelight.batch.outputs import FileJob, OnExist
from safelight.batch.processing import FileSettings, attempt, open_source
from safelight.batch.restorer import Restorer
from safelight.core.outputs import Bitstream, Clip, Image, Images, Output, Value
from safelight.core.progress import ignore_progress
from safelight.core.task import TaskSpec
from safelight.inference.runner import Runner
from safelight.media import image
from safelight.media.image.picture import shown

_NO_INPUT = FileFingerprint(0, 0)  # what a result of nothing but its settings was made from


def is_streamed(restorer: Restorer) -> bool:
    """Return whether a picture is made of each picture, so that ``Pipeline`` does the work."""
    return not isinstance(restorer, Runner) or _from_picture_to_picture(restorer.task)


def _from_picture_to_picture(task: TaskSpec) -> bool:
    return task.main is not None and task.main.kind == "picture" and task.output.kind == "image"


def no_input(task: TaskSpec) -> DiscoveredInputs:
    """Return the one source of a task that works on nothing: it has the task's name and is never read."""
    name = Path(task.name)
    return DiscoveredInputs(sources=(Source(path=name, tree=name.with_suffix(".png")),), single=True)


def plan_outputs(
    task: TaskSpec,
    found: DiscoveredInputs,
    *,
    out: str | None,
    tag: str,
    format: str | None,  # noqa: A002
    on_exist: OnExist,
) -> list[FileJob]:
    """Assign an output to every source.

    Of several pictures, the job's output is that of the first, ``NAME-1.png``. A value has no file.

    Args:
        task: The task.
        found: The sources; ``no_input(task)`` where nothing goes in.
        out: As the user typed it; None puts results next to their inputs, or into the current folder.
        tag: Suffix of the result's name.
        format: One format for all pictures, or None.
        on_exist: What to do with an output that exists.

    Raises:
        BatchError: As ``plan``, or standard output is asked for and there are several files.
    """
    if task.output.kind == "value":
        return [FileJob(source=source, output=None, format=None, on_exist=on_exist) for source in found.sources]
    if out == STREAM:
        if task.output.kind != "bitstream" and task.output.kind != "image":
            raise BatchError("expected a folder for several pictures, got - (standard output); name one with -o")
        return [FileJob(source=source, output=None, format=format, on_exist=on_exist) for source in found.sources]
    made = format or "png"
    suffix = task.output.suffix if task.output.kind == "bitstream" else f".{'jpg' if made == 'jpeg' else made}"
    if out is not None and found.single and not (out.endswith(("/", "\\")) or is_folder(Path(out))):
        outputs = [Path(out)]
        if task.output.kind != "bitstream":
            image.format_of(Path(out))
    else:
        outputs = [_output(task, source, out, tag, suffix) for source in found.sources]
    if task.output.kind in ("images", "clip"):
        outputs = [numbered(path, 1) for path in outputs]
    if len({str(path).lower() for path in outputs}) < len(outputs):
        raise BatchError("expected results of different names, got the same name twice; do them apart")
    return [
        FileJob(source=source, output=output, format=None, on_exist=on_exist, beside=out is None)
        for source, output in zip(found.sources, outputs, strict=True)
    ]


def _output(task: TaskSpec, source: Source, out: str | None, tag: str, suffix: str) -> Path:
    if task.main is None:
        return Path(out or ".") / f"{tag}{suffix}"
    stem = source.tree.stem
    if out is None:
        folder = Path() if source.path is None else source.path.parent
        return folder / (f"{stem}{suffix}" if task.output.kind == "bitstream" else f"{stem}-{tag}{suffix}")
    return Path(out) / source.tree.parent / f"{stem}{suffix}"


def numbered(path: Path, number: int) -> Path:
    """Return the path of one of several results.

    Example:
        >>> numbered(Path("out/pair.png"), 2).name
        'pair-2.png'
    """
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def attempt_output(
    job: FileJob,
    runner: Runner,
    files: FileSettings,
    manifest: Manifest | None = None,
    progress: Callable[[float], None] = ignore_progress,
) -> Outcome:
    """Run one job; any exception becomes its outcome. A manifest records what was made.

    Args:
        job: As ``plan_outputs`` returned it.
        runner: The method.
        files: How files are read and written.
        manifest: Of the output folder.
        progress: Called with the fraction that is done, in (0, 1].
    """
    fingerprints: list[FileFingerprint] = []

    def work(job: FileJob) -> FileResult:
        if runner.task.main is None:
            fingerprints.append(_NO_INPUT)
        elif job.source.path is not None:
            found = job.source.path.stat()
            fingerprints.append(FileFingerprint(found.st_size, found.st_mtime_ns))
        return write_output(job, make_output(job, runner, files, progress), files)

    outcome = attempt(job, work, manifest=manifest, source=_NO_INPUT if runner.task.main is None else None)
    if manifest is not None and outcome.status == "done" and job.output is not None and fingerprints:
        told = manifest.record(job, fingerprints[0])
        if told is not None:
            outcome = replace(outcome, warnings=(*outcome.warnings, told))
    return outcome


def make_output(job: FileJob, runner: Runner, files: FileSettings, progress: Callable[[float], None]) -> Output:
    """Read what a job works on and run the method.

    Raises:
        DecodeError: The input is no picture, or can't be read.
        CardError, NumericError, MemoryError: The method failed.
    """
    main = runner.task.main
    if main is None:
        return runner.execute(None, progress)
    if main.kind == "bytes":
        path = job.source.path
        return runner.execute(sys.stdin.buffer.read() if path is None else path.read_bytes(), progress)
    with open_source(job.source, files, None) as rows:
        return runner.execute(rows, progress)


def write_output(job: FileJob, output: Output, files: FileSettings) -> FileResult:
    """Write an output to its files, each completely or not at all.

    Raises:
        EncodeError, TargetError: A file can't be written.
    """
    overwrite = job.on_exist == "overwrite"
    match output:
        case Value(value=value, unit=unit):
            return FileResult(value=value, unit=unit)
        case Bitstream(data=data, warnings=warnings):
            if job.output is None:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                _make_folder(job.output)
                image.write_bytes(data, job.output, overwrite=overwrite)
            return FileResult(bytes=len(data), warnings=warnings)
        case Image(picture=picture):
            if job.output is None:
                sys.stdout.buffer.write(image.encode(picture, job.format or "png", quality=files.quality))
                sys.stdout.buffer.flush()
            else:
                _make_folder(job.output)
                image.write(picture, job.output, quality=files.quality, overwrite=overwrite)
            return FileResult(width=picture.width, height=picture.height, warnings=picture.warnings)
        case Images(pictures=pictures) | Clip(frames=pictures):
            assert job.output is not None
            base = job.output.with_name(f"{job.output.stem.removesuffix('-1')}{job.output.suffix}")
            paths = [numbered(base, i + 1) for i in range(len(pictures))]
            _make_folder(job.output)
            taken = [path for path in paths[1:] if path.exists() and not overwrite]
            if taken:
                raise image.TargetExistsError(
                    f"{shown(taken[0])}: expected a new file, got one that exists; choose another with -o, or say "
                    "--on-exist overwrite"
                )
            for path, picture in zip(reversed(paths), reversed(pictures), strict=True):  # the first says that all are
                image.write(picture, path, quality=files.quality, overwrite=overwrite)
            first = pictures[0]
            return FileResult(
                width=first.width, height=first.height, warnings=first.warnings, outputs=tuple(map(str, paths))
            )


def _make_folder(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise image.TargetError(
            f"{shown(output)}: expected to make the folder {shown(output.parent)}, got: {error.strerror}; choose "
            "another"
        ) from None
