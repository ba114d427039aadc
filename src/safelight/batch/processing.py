"""One job: check whether it has to run, and run it."""

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
from safelight.batch.manifest import FileFingerprint, Manifest, fingerprint_of
from safelight.batch.outcomes import FileResult, NotNeededError, Outcome, Status, failed, skipped, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.restorer import Restorer, is_unchanged
from safelight.core.progress import ignore_progress
from safelight.inference.autofix import AutoFix
from safelight.media import image
from safelight.media.image.formats import check_format
from safelight.media.image.picture import shown
from safelight.media.image.spec import ImageSpec

_MOST_FROM_A_PIPE = 1 << 30  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """How files are read and written.

    Attributes:
        max_pixels: largest width times height of an input; larger ones are refused before they are decoded.
        lenient: use what can be decoded of a damaged file.
        quality: 1 to 100, for a lossy format; None takes the format's default.
        strip: drop EXIF and XMP (place, time, camera); the colour profile is kept.
    """

    max_pixels: int = image.DEFAULT_MAX_PIXELS
    lenient: bool = False
    quality: int | None = None
    strip: bool = False


# --- checking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A job that may run, or why it is skipped.

    Attributes:
        job: the job; it overwrites its output if that is an outdated result.
        fingerprint: of the input, if there is a manifest to record it in.
        skip_reason: why the job is skipped, or None.
    """

    job: FileJob
    fingerprint: FileFingerprint | None = None
    skip_reason: str | None = None


_STAYS = {
    "current": "is up to date",
    "changed": "was changed since it was made, and stays as it is",
    "other": "was made from another input, and stays as it is",
    "unknown": "exists and was not made by a batch into this folder, so it stays as it is",
}


def check_job(job: FileJob, manifest: Manifest | None = None, source: FileFingerprint | None = None) -> CheckedJob:
    """Check whether the output exists: a job that may neither skip nor replace it fails now, not at its end.

    Args:
        job: as ``plan`` returned it.
        manifest: what existing outputs were made from.
        source: fingerprint of what is worked on, if that is no file.

    Raises:
        DecodeError: the source is known to be unreadable.
        BatchError: the output's name is too long.
        TargetExistsError: the output exists, and ``on_exist`` is "error".
    """
    if job.source.problem is not None:
        raise image.DecodeError(job.source.problem)
    fingerprint = None if manifest is None else source or fingerprint_of(job.source.path)
    if job.output is None or not _exists(job.output) or job.on_exist == "overwrite":
        return CheckedJob(job, fingerprint)
    if job.on_exist != "skip":
        raise image.TargetExistsError(
            f"{shown(job.output)}: expected a new file, got one that exists; "
            "choose another with -o, or say --on-exist skip, overwrite or rename"
        )
    if manifest is None:
        return CheckedJob(job, skip_reason="exists")
    state = manifest.output_state(job, fingerprint)
    if state == "outdated":
        return CheckedJob(replace(job, on_exist="overwrite"), fingerprint)
    return CheckedJob(job, fingerprint, _STAYS[state])


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


# --- running ----------------------------------------------------------------------------------------------------------


def process(
    job: FileJob,
    runner: Restorer,
    files: FileSettings,
    decoder: image.Decoder | None = None,
    progress: Callable[[float], None] | None = None,
) -> FileResult:
    """Run one job from its input file to its output file, with a few rows at a time in memory.

    Args:
        job: as ``plan`` returned it.
        runner: the method.
        files: how files are read and written.
        decoder: decodes in worker processes. Without one, this process decodes.
        progress: called with the fraction that is done, in (0, 1].

    Raises:
        DecodeError, EncodeError, TargetError, CardError, NumericError, MemoryError: the job failed; no output file was
            written.
        NotNeededError: the picture needs no correction; no output file was written.
    """
    with open_source(job.source, files, decoder) as rows:
        format = prepare_output(job, runner, rows.spec)  # noqa: A001
        warnings: list[str] = []
        spec, bands = runner.stream(rows, progress or ignore_progress, warnings.append)
        done = (
            copy_unchanged(job, rows.spec, files, format, warnings) if is_unchanged(runner, rows.spec, spec) else None
        )
        if done is None:
            done = write_result(job, spec, bands, format, files)
        return replace(done, warnings=(*done.warnings, *warnings))


def open_source(
    source: Source, files: FileSettings, decoder: image.Decoder | None
) -> AbstractContextManager[image.Rows]:
    """Open a source, in a worker process if a decoder is given."""
    open_rows = image.open_rows if decoder is None else decoder.open
    return open_rows(_content(source), max_pixels=files.max_pixels, lenient=files.lenient)


def prepare_output(job: FileJob, runner: Restorer, spec: ImageSpec) -> str:
    """Check the output before the computation, create its folder, and return the result's format.

    Raises:
        EncodeError: the format can't hold the result.
        TargetError: the folder can't be created or written to.
    """
    format = job.format or result_format(spec.format)  # noqa: A001
    check_sides(runner.size(spec.width, spec.height), format)
    if job.output is not None:
        _make_folder(job.output)
    return format


def write_result(
    job: FileJob,
    spec: ImageSpec,
    bands: Iterable[NDArray[Any]],
    format: str,  # noqa: A002
    files: FileSettings,
) -> FileResult:
    """Write a result from its rows, as they are computed, to its file or to standard output: completely or not at all.

    Raises:
        EncodeError, TargetError: it can't be written. Exceptions from ``bands`` pass through.
    """
    if files.strip:
        spec = replace(spec, exif=None, xmp=None)
    if job.output is None:
        held = io.BytesIO()  # a reader gets a complete picture or nothing
        warnings = image.write_rows(spec, bands, held, format=format, quality=files.quality)
        sys.stdout.buffer.write(held.getbuffer())
        sys.stdout.buffer.flush()
    else:
        _check_case_variant(job.output, job.case_variant)
        overwrite = job.on_exist == "overwrite"
        warnings = image.write_rows(spec, bands, job.output, format=format, quality=files.quality, overwrite=overwrite)
    return FileResult(width=spec.width, height=spec.height, warnings=warnings)


def copy_unchanged(
    job: FileJob,
    spec: ImageSpec,
    files: FileSettings,
    format: str,  # noqa: A002
    why: Sequence[str],
) -> FileResult | None:
    """Copy the file of a picture that needs no correction to its output, byte by byte.

    Args:
        job: the job.
        spec: of the picture.
        files: how files are written.
        format: of the result.
        why: the findings, for the message.

    Returns:
        None if the picture has to be encoded again: to standard output, in another format or stripped.

    Raises:
        NotNeededError: the copy would lie next to its input.
        TargetError: the file can't be written.
    """
    if job.output is None or job.source.path is None or _needs_rewrite(spec.format, files, format):
        return None
    if job.beside:
        raise NotNeededError(f"is not needed ({'; '.join(why)})")
    _check_case_variant(job.output, job.case_variant)
    image.write_bytes(job.source.path.read_bytes(), job.output, overwrite=job.on_exist == "overwrite")
    return FileResult(width=spec.width, height=spec.height)


def _needs_rewrite(stored: str | None, files: FileSettings, format: str) -> bool:  # noqa: A002
    return files.strip or files.quality is not None or stored != format


def preview(job: FileJob, runner: Restorer, files: FileSettings) -> FileResult:
    """Check one job without running it: reads the header, writes nothing, and decodes only for ``AutoFix``.

    Raises:
        NotNeededError: the picture needs no correction and would be written next to its input.
    """
    content = _content(job.source)
    header = image.probe(content)
    if header.width * header.height > files.max_pixels:
        raise image.DecodeError(
            f"expected at most {files.max_pixels:,} pixels, got {header.width:,} x {header.height:,}; "
            "if you trust the file, raise --max-pixels"
        )
    width, height = runner.size(header.width, header.height)
    check_sides((width, height), job.format or result_format(header.format))
    lines: tuple[str, ...] = ()
    if isinstance(runner, AutoFix):
        with image.open_rows(content, max_pixels=files.max_pixels, lenient=files.lenient) as rows:
            found, lines = runner.foresee(rows)
        format = job.format or result_format(header.format)  # noqa: A001
        if job.beside and not found.needs and not _needs_rewrite(header.format, files, format):
            raise NotNeededError(f"is not needed ({'; '.join(lines)})")
    return FileResult(width=width, height=height, warnings=lines)


def _content(source: Source) -> Path | bytes:
    if source.path is not None:
        return source.path
    content = sys.stdin.buffer.read(_MOST_FROM_A_PIPE + 1)
    if len(content) > _MOST_FROM_A_PIPE:
        raise image.DecodeError(f"expected at most {_MOST_FROM_A_PIPE:,} bytes through the pipe, got more; name a file")
    return content


def result_format(format: str | None) -> str:  # noqa: A002
    """Return the format of a result by that of its input: PNG for GIF, which would lose colours, and for None."""
    return "png" if format in (None, "gif") else format


def check_sides(size: tuple[int, int], format: str) -> None:  # noqa: A002
    """Check that a format can hold a result of this (width, height), before it is computed.

    Raises:
        EncodeError: a side is too long.
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


def _check_case_variant(output: Path, case_variant: Path | None) -> None:
    if case_variant is None:
        return
    try:
        one = output.samefile(case_variant)
    except OSError:
        return
    if one:
        raise image.TargetExistsError(
            f"{shown(output)}: expected an output of its own, got the file of {shown(case_variant)}, for this disk "
            "takes the two names for one; use --on-exist rename, or run them apart"
        )


# --- outcomes ---------------------------------------------------------------------------------------------------------


def attempt(
    job: FileJob,
    work: Callable[[FileJob], FileResult],
    *,
    manifest: Manifest | None = None,
    done: Status = "done",
    source: FileFingerprint | None = None,
) -> Outcome:
    """Run a job by ``work`` unless it is skipped; any exception becomes the outcome, except BrokenPipeError.

    Args:
        job: as ``plan`` returned it.
        work: runs one job.
        manifest: what existing outputs were made from; nothing is recorded in it.
        done: the status of success, ``planned`` for a dry run.
        source: fingerprint of what is worked on, if that is no file.
    """
    start = time.perf_counter()
    try:
        checked = check_job(job, manifest, source)
        if checked.skip_reason is not None:
            return skipped(job, checked.skip_reason)
        facts = work(checked.job)
    except BrokenPipeError:
        raise
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    return succeeded(job, facts, time.perf_counter() - start, done)
