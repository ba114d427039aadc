"""One job: whether it is to be done, and how it is done."""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from safelight.batch.inputs import BatchError, Source
from safelight.batch.manifest import Manifest, Stamp, stamp_of
from safelight.batch.outcomes import Done, NotNeededError, Outcome, Status, failed, skipped, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.restorer import Restorer, untouched
from safelight.inference.autofix import AutoFix
from safelight.media import image
from safelight.media.image.formats import check_format
from safelight.media.image.picture import shown
from safelight.media.image.spec import ImageSpec

_MOST_FROM_A_PIPE = 1 << 30  # bytes


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


# --- whether ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job that may go on, or why it is skipped.

    Attributes:
        job: it replaces its output where that is an outdated result of ours.
        stamp: of the input, where there is a manifest to note it in.
        skip: why, or None.
    """

    job: FileJob
    stamp: Stamp | None = None
    skip: str | None = None


_STAYS = {
    "current": "is up to date",
    "changed": "was changed since it was made, and stays as it is",
    "other": "was made from another input, and stays as it is",
    "unknown": "exists and was not made by a batch into this folder, so it stays as it is",
}


def admit(job: FileJob, manifest: Manifest | None = None) -> Admitted:
    """Look whether the output is there already: a job that may neither skip nor replace it fails now, not at its end.

    Raises:
        DecodeError: it is known already that the source can't be read.
        BatchError: the output's name is too long.
        TargetExistsError: the output exists, and ``on_exist`` says nothing about that.
    """
    if job.source.problem is not None:
        raise image.DecodeError(job.source.problem)
    stamp = None if manifest is None else stamp_of(job.source.path)
    if job.output is None or not _exists(job.output) or job.on_exist == "overwrite":
        return Admitted(job, stamp)
    if job.on_exist != "skip":
        raise image.TargetExistsError(
            f"{shown(job.output)}: expected a new file, got one that exists; "
            "choose another with -o, or say --on-exist skip, overwrite or rename"
        )
    if manifest is None:
        return Admitted(job, skip="exists")
    standing = manifest.judge(job, stamp)
    if standing == "outdated":
        return Admitted(replace(job, on_exist="overwrite"), stamp)
    return Admitted(job, stamp, _STAYS[standing])


def _exists(output: Path) -> bool:
    try:
        output.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BatchError(
                f"{shown(output)}: expected a name that the file system can hold, got one that is too long; "
                "choose another with -o"
            ) from None
        return False
    return True


# --- how --------------------------------------------------------------------------------------------------------------


def process(
    job: FileJob,
    runner: Restorer,
    files: Files,
    decoder: image.Decoder | None = None,
    progress: Callable[[float], None] | None = None,
) -> Done:
    """Do one job, from its file to the result's, with a few rows at a time in memory.

    Args:
        job: what ``plan`` gave.
        runner: the method.
        files: how files are read and written.
        decoder: decodes in worker processes. Without one, decoding happens in this process.
        progress: told the fraction that is done, in (0, 1].

    Raises:
        DecodeError, EncodeError, TargetError, CardError, NumericError, MemoryError: it could not be done; nothing is
            left under the output's name.
        NotNeededError: nothing was to be done, and nothing is written.
    """
    with opened(job.source, files, decoder) as rows:
        format = make_way(job, runner, rows.frame)  # noqa: A001
        warnings: list[str] = []
        frame, bands = runner.stream(rows, progress or _ignore, warnings.append)
        done = spare(job, rows.frame, files, format, warnings) if untouched(runner, rows.frame, frame) else None
        if done is None:
            done = store(job, frame, bands, format, files)
        return replace(done, warnings=(*done.warnings, *warnings))


def _ignore(fraction: float) -> None:
    pass


def opened(source: Source, files: Files, decoder: image.Decoder | None) -> AbstractContextManager[image.Rows]:
    """Open a source, in a worker process if there is a decoder."""
    open_rows = image.open_rows if decoder is None else decoder.open
    return open_rows(_content(source), max_pixels=files.max_pixels, lenient=files.lenient)


def make_way(job: FileJob, runner: Restorer, frame: ImageSpec) -> str:
    """Check all that can be checked before the work, make the folder of the result, and return the result's format.

    Raises:
        EncodeError: the format can't hold the result.
        TargetError: the folder can't be made or written to.
    """
    format = job.format or written(frame.format)  # noqa: A001
    check_sides(runner.size(frame.width, frame.height), format)
    if job.output is not None:
        _make_folder(job.output)
    return format


def store(job: FileJob, frame: ImageSpec, bands: Iterable[NDArray[Any]], format: str, files: Files) -> Done:  # noqa: A002
    """Write a result, from its rows as they come, into its file or the pipe: whole, or not at all.

    Raises:
        EncodeError, TargetError: it can't be written. What ``bands`` raise passes through.
    """
    if files.strip:
        frame = replace(frame, exif=None, xmp=None)
    if job.output is None:
        held = io.BytesIO()  # a reader gets a whole picture or none
        warnings = image.write_rows(frame, bands, held, format=format, quality=files.quality)
        sys.stdout.buffer.write(held.getbuffer())
        sys.stdout.buffer.flush()
    else:
        _check_twin(job.output, job.twin)
        overwrite = job.on_exist == "overwrite"
        warnings = image.write_rows(frame, bands, job.output, format=format, quality=files.quality, overwrite=overwrite)
    return Done(width=frame.width, height=frame.height, warnings=warnings)


def spare(job: FileJob, frame: ImageSpec, files: Files, format: str, why: Sequence[str]) -> Done | None:  # noqa: A002
    """Deal with a picture that needs nothing: a folder of results gets the very file, without any loss.

    Args:
        job: its job.
        frame: the picture's own.
        files: how files are written.
        format: of the result.
        why: what was found.

    Returns:
        None where the picture is to be written anew all the same: through a pipe, in another format or stripped.

    Raises:
        NotNeededError: the result would lie beside its input.
        TargetError: the file can't be written.
    """
    if job.output is None or job.source.path is None or _anew(frame.format, files, format):
        return None
    if job.beside:
        raise NotNeededError(f"is not needed ({'; '.join(why)})")
    _check_twin(job.output, job.twin)
    image.write_bytes(job.source.path.read_bytes(), job.output, overwrite=job.on_exist == "overwrite")
    return Done(width=frame.width, height=frame.height)


def _anew(stored: str | None, files: Files, format: str) -> bool:  # noqa: A002
    return files.strip or files.quality is not None or stored != format


def preview(job: FileJob, runner: Restorer, files: Files) -> Done:
    """Check one job without doing it: the header is read, nothing is written, and nothing is decoded but for a fix.

    Raises:
        NotNeededError: it is known that nothing is to be done.
    """
    content = _content(job.source)
    header = image.probe(content)
    if header.width * header.height > files.max_pixels:
        raise image.DecodeError(
            f"expected at most {files.max_pixels:,} pixels, got {header.width:,} x {header.height:,}; "
            "if you trust the file, raise --max-pixels"
        )
    width, height = runner.size(header.width, header.height)
    check_sides((width, height), job.format or written(header.format))
    lines: tuple[str, ...] = ()
    if isinstance(runner, AutoFix):
        with image.open_rows(content, max_pixels=files.max_pixels, lenient=files.lenient) as rows:
            found, lines = runner.foresee(rows)
        format = job.format or written(header.format)  # noqa: A001
        if job.beside and not found.needs and not _anew(header.format, files, format):
            raise NotNeededError(f"is not needed ({'; '.join(lines)})")
    return Done(width=width, height=height, warnings=lines)


def _content(source: Source) -> Path | bytes:
    if source.path is not None:
        return source.path
    content = sys.stdin.buffer.read(_MOST_FROM_A_PIPE + 1)
    if len(content) > _MOST_FROM_A_PIPE:
        raise image.DecodeError(f"expected at most {_MOST_FROM_A_PIPE:,} bytes through the pipe, got more; name a file")
    return content


def written(format: str | None) -> str:  # noqa: A002
    """Name the format of a result by its picture's: a GIF becomes a PNG, since a GIF loses colours."""
    return "png" if format in (None, "gif") else format


def check_sides(size: tuple[int, int], format: str) -> None:  # noqa: A002
    """Refuse before the work what the format could not hold after it.

    Raises:
        EncodeError: A side is too long.
    """
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


def _check_twin(output: Path, twin: Path | None) -> None:
    if twin is None:
        return
    try:
        one = output.samefile(twin)
    except OSError:
        return
    if one:
        raise image.TargetExistsError(
            f"{shown(output)}: expected an output of its own, got the file of {shown(twin)}, for this disk takes the "
            "two names for one; use --on-exist rename, or run them apart"
        )


# --- the end ----------------------------------------------------------------------------------------------------------


def attempt(
    job: FileJob, work: Callable[[FileJob], Done], *, manifest: Manifest | None = None, done: Status = "done"
) -> Outcome:
    """Do a job by ``work``, if its output is not there already; whatever it raises becomes the outcome.

    Args:
        job: what ``plan`` gave.
        work: does one job.
        manifest: says what an output that exists was made from; nothing is noted in it.
        done: the status of success, ``planned`` for a dry run.
    """
    start = time.perf_counter()
    try:
        admitted = admit(job, manifest)
        if admitted.skip is not None:
            return skipped(job, admitted.skip)
        facts = work(admitted.job)
    except BrokenPipeError:
        raise
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    return succeeded(job, facts, time.perf_counter() - start, done)
