"""The work: one outcome for each job, whatever happens to the others."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from safelight import image
from safelight.batch.inputs import STREAM, BatchError, Source
from safelight.batch.outputs import Job
from safelight.card import CardError
from safelight.checkpoint import CheckpointError
from safelight.engine.device import DeviceError
from safelight.image.formats import check_format
from safelight.image.picture import shown
from safelight.infer import NumericError, Runner

Status = Literal["planned", "done", "skipped", "failed"]

_MOST_FROM_A_PIPE = 1 << 30  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished job tells: the size of the result and what the user should know."""

    width: int
    height: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one job ended.

    Attributes:
        input: the file, or ``-``.
        output: the file, or ``-``.
        status: planned (a dry run), done, skipped or failed.
        seconds: from reading to writing.
        error: one line, of a job that failed; of one that was skipped, why.
        width: of the result, in pixels.
        height: of the result, in pixels.
        warnings: what the user should know, one sentence each.
        environment: it failed by the disk, the memory or the device, not by the picture.
        trace: where it failed, for ``--debug``.
    """

    input: str
    output: str
    status: Status
    seconds: float
    error: str | None = None
    width: int | None = None
    height: int | None = None
    warnings: tuple[str, ...] = ()
    environment: bool = False
    trace: str = field(default="", repr=False)


def run(jobs: Sequence[Job], work: Callable[[Job], Done], *, done: Status = "done") -> Iterator[Outcome]:
    """Work through the jobs. A job that fails gives an outcome that says so, and the next one goes on.

    Only what the user does ends it early: an interruption, or a pipe that is read no more.

    Args:
        jobs: what ``plan`` gave.
        work: does one job; whatever it raises becomes an outcome.
        done: the status of success, ``planned`` for a dry run.
    """
    for job in jobs:
        start = time.perf_counter()
        output = STREAM if job.output is None else str(job.output)
        try:
            skip = _must_skip(job)
            facts = None if skip else work(job)
        except BrokenPipeError:
            raise
        except Exception as error:
            message, environment = explain(error)
            name = shown(job.source.name)
            if name not in message and (job.output is None or shown(job.output) not in message):
                message = f"{name}: {message}"
            outcome = Outcome(
                input=job.source.name, output=output, status="failed", seconds=time.perf_counter() - start,
                error=message, environment=environment, trace="".join(traceback.format_exception(error)),
            )  # fmt: skip
        else:
            seconds = time.perf_counter() - start
            if facts is None:
                why = f"{shown(output)} exists"
                outcome = Outcome(input=job.source.name, output=output, status="skipped", seconds=seconds, error=why)
            else:
                outcome = Outcome(
                    input=job.source.name, output=output, status=done, seconds=seconds,
                    width=facts.width, height=facts.height, warnings=facts.warnings,
                )  # fmt: skip
        yield outcome


def _must_skip(job: Job) -> bool:
    """Say whether the output is there already; a job that may neither skip nor replace it fails now, not at its end."""
    if job.source.problem is not None:
        raise image.DecodeError(job.source.problem)
    if job.output is None or job.on_exist == "overwrite" or not os.path.lexists(job.output):
        return False
    if job.on_exist == "skip":
        return True
    raise image.TargetExistsError(
        f"{shown(job.output)}: expected a new file, got one that exists; "
        "choose another with -o, or say --on-exist skip, overwrite or rename"
    )


def explain(error: Exception) -> tuple[str, bool]:
    """Tell an error in one line, and whether the environment is at fault: disk, folder, memory or device."""
    match error:
        case image.TargetExistsError():
            return str(error), False
        case image.TargetError() | DeviceError():
            return str(error), True
        case MemoryError():
            return str(error) or "expected more free memory; use a smaller --memory or a smaller picture", True
        case image.PictureError() | CardError() | CheckpointError() | NumericError() | BatchError():
            return str(error), False
        case OSError():
            return f"expected to read and write files, got: {error}; check the disk and the names", True
        case _:
            text = " ".join(str(error).split())
            return f"internal error: {type(error).__name__}: {text}; --debug shows where, please report it", False


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """How files are read and written.

    Attributes:
        max_pixels: of an input; more are refused before they are decoded.
        lenient: take what can be decoded of a damaged file.
        quality: 1 to 100, of a lossy format; None takes the format's own.
        strip: drop EXIF and XMP (place, time, camera); the colour profile stays.
    """

    max_pixels: int = image.DEFAULT_MAX_PIXELS
    lenient: bool = False
    quality: int | None = None
    strip: bool = False


def process(job: Job, runner: Runner, files: Files, progress: Callable[[float], None] | None = None) -> Done:
    """Do one job: read, run, write."""
    picture = image.read(_content(job.source), max_pixels=files.max_pixels, lenient=files.lenient)
    format = job.format or _written(picture.format)  # noqa: A001
    _check_sides(runner.size(picture.width, picture.height), format)
    if job.output is not None:
        _make_folder(job.output)
    result = runner(picture, progress)
    if files.strip:
        result = replace(result, exif=None, xmp=None)
    held = image.conform(result, format)
    if job.output is None:
        sys.stdout.buffer.write(image.encode(held, format, quality=files.quality))
        sys.stdout.buffer.flush()
    else:
        image.write(held, job.output, format=format, quality=files.quality, overwrite=job.on_exist == "overwrite")
    return Done(width=result.width, height=result.height, warnings=held.warnings)


def preview(job: Job, runner: Runner, files: Files) -> Done:
    """Check one job without doing it: the header is read, nothing is decoded and nothing is written."""
    header = image.probe(_content(job.source))
    if header.width * header.height > files.max_pixels:
        raise image.DecodeError(
            f"expected at most {files.max_pixels:,} pixels, got {header.width:,} x {header.height:,}; "
            "if you trust the file, raise --max-pixels"
        )
    width, height = runner.size(header.width, header.height)
    _check_sides((width, height), job.format or _written(header.format))
    return Done(width=width, height=height)


def _content(source: Source) -> Path | bytes:
    if source.path is not None:
        return source.path
    content = sys.stdin.buffer.read(_MOST_FROM_A_PIPE + 1)
    if len(content) > _MOST_FROM_A_PIPE:
        raise image.DecodeError(f"expected at most {_MOST_FROM_A_PIPE:,} bytes through the pipe, got more; name a file")
    return content


def _written(format: str | None) -> str:  # noqa: A002
    return "png" if format in (None, "gif") else format


def _check_sides(size: tuple[int, int], format: str) -> None:  # noqa: A002
    """Refuse before the work what the format could not hold after it."""
    most = check_format(format).max_side
    if max(size) > most:
        raise image.EncodeError(
            f"expected a result of at most {most:,} pixels a side for {format.upper()}, got {size[0]:,} x {size[1]:,}; "
            "choose another --format or a smaller --scale"
        )


def _make_folder(output: Path) -> None:
    folder = output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise image.TargetError(
            f"{shown(output)}: expected to make the folder {shown(folder)}, got: {error.strerror}; choose another"
        ) from None
    if not writable:
        raise image.TargetError(
            f"{shown(output)}: expected a folder to write to, got no permission for {shown(folder)}; choose another"
        )
