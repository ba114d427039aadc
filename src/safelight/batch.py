"""Many files: which they are, where each result goes, and one outcome for each, whatever happens to the others.

``expand`` finds the pictures, ``plan`` gives each its output and refuses what could destroy a file, ``run`` works
through the jobs. Nothing here knows what is done to a picture: that is the ``work`` handed to ``run``.
"""

from __future__ import annotations

import glob
import os
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from safelight import image
from safelight.card import CardError
from safelight.checkpoint import CheckpointError
from safelight.engine.device import DeviceError
from safelight.image.formats import check_format
from safelight.image.picture import shown
from safelight.infer import NumericError, Runner

OnExist = Literal["error", "skip", "overwrite", "rename"]
Status = Literal["planned", "done", "skipped", "failed"]

STREAM = "-"  # as an input: what comes through a pipe; as an output: what goes into one

_SUFFIXES = frozenset(suffix for suffixes in image.FORMATS.values() for suffix in suffixes)
_MOST_FROM_A_PIPE = 1 << 30  # bytes


class BatchError(ValueError):
    """Inputs and outputs that do not go together. Raised before anything is read or written; one line."""


# --- which files ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One picture to work on.

    Attributes:
        path: the file, or None for what comes through a pipe.
        tree: its place below a folder of results.
        named: the user named this very file; otherwise it was found in a folder.
        problem: why it can't be read, where that is known already.
    """

    path: Path | None
    tree: Path
    named: bool = True
    problem: str | None = None

    @property
    def name(self) -> str:
        """How JSON and messages call it."""
        return STREAM if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What ``expand`` found.

    Attributes:
        sources: in the order of the inputs; inside a folder by name.
        passed_over: files in folders that are hidden or whose names are no picture's.
        single: one input that is a file or a pipe, so that an output may be a file too.
    """

    sources: tuple[Source, ...]
    passed_over: int = 0
    single: bool = False


def expand(inputs: Sequence[str], *, leave_out: Path | None = None) -> Found:
    """Turn files, folders, patterns and ``-`` into sources, each file once.

    A folder is searched whole; links to other folders are not followed, so there is no way out of it and no circle.
    A pattern (``*``, ``?``, ``[``, ``**`` for folders in folders) is one that no file bears as its name. A file that
    does not exist is a source all the same, and fails by itself later.

    Args:
        inputs: as the user typed them.
        leave_out: a folder that is not searched: that of the results.

    Raises:
        BatchError: ``-`` twice, or no picture at all.
    """
    sources: dict[str, Source] = {}
    passed_over = 0

    def add(source: Source) -> None:
        key = STREAM if source.path is None else os.path.abspath(source.path)  # noqa: PTH100 - links stay
        sources.setdefault(key, source)

    for text in inputs:
        if text == STREAM:
            if STREAM in sources:
                raise BatchError("expected - (standard input) once, got it twice; leave one out")
            add(Source(path=None, tree=Path("stdin")))
            continue
        for path, base in _matches(text):
            if not path.is_dir():
                add(Source(path=path, tree=path.relative_to(base) if base else Path(path.name)))
                continue
            for source in _walk(path, leave_out):
                if source.problem is None and not _is_picture_name(source.path):
                    passed_over += 1
                else:
                    add(source)
    if not sources:
        what = ", ".join(map(shown, inputs))
        raise BatchError(
            f"expected pictures ({' '.join(sorted(_SUFFIXES))}), found none under {what}; check the name or the folder"
        )
    single = len(inputs) == 1 and (inputs[0] == STREAM or not (_is_pattern(inputs[0]) or Path(inputs[0]).is_dir()))
    return Found(sources=tuple(sources.values()), passed_over=passed_over, single=single)


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.lexists(text)


def _matches(text: str) -> list[tuple[Path, Path | None]]:
    """List the paths that an input stands for, with the folder that a pattern starts from."""
    if not _is_pattern(text):
        return [(Path(text), None)]
    parts = Path(text).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    return [(Path(match), base) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - absolute too


def _walk(folder: Path, leave_out: Path | None) -> Iterator[Source]:
    blind: list[OSError] = []
    avoid = None if leave_out is None else leave_out.resolve()
    for place, folders, names in os.walk(folder, onerror=blind.append):
        here = Path(place)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != avoid)
        for name in sorted(names):
            yield Source(path=here / name, tree=(here / name).relative_to(folder), named=False)
    for error in blind:
        path = Path(error.filename)
        problem = f"{shown(path)}: expected a folder to read, got: {error.strerror}; check its permissions"
        yield Source(path=path, tree=path.relative_to(folder), named=False, problem=problem)


def _is_picture_name(path: Path | None) -> bool:
    # Hidden files are none: macOS leaves "._photo.jpg" beside photo.jpg on foreign disks.
    return path is not None and path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


# --- where the results go ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One picture, its output and what to do where that exists. ``output`` None: into the pipe.

    ``format`` None: that of the input's content, which is known when it is read.
    """

    source: Source
    output: Path | None
    format: str | None
    on_exist: OnExist = "error"


def plan(found: Found, *, out: str | None, tag: str, format: str | None, on_exist: OnExist) -> list[Job]:  # noqa: A002
    """Give every source its output.

    ``out`` is a file for a single input, else a folder in which the tree of the inputs is kept; ``-`` is a pipe; None
    puts each result beside its input as ``<stem>-<tag><suffix>``. A result has its input's format, but a GIF becomes a
    PNG, as does a file whose suffix is not one that is written here.

    Args:
        found: the sources.
        out: as the user typed it.
        tag: what marks a result, such as ``x4``.
        format: a format for all results.
        on_exist: what to do with an output that exists; ``rename`` settles clashes too.

    Raises:
        BatchError: two results would get one name, a result would replace an input unasked, or a folder is needed.
    """
    jobs = [
        Job(source=source, output=output, format=format or _format_by_name(output), on_exist=on_exist)
        for source, output in _outputs(found, out, tag, format)
    ]
    if out is None:
        jobs = _without_results(jobs)
    return _settle(jobs)


def _format_by_name(output: Path | None) -> str | None:
    return None if output is None else image.format_of(output)


def _outputs(found: Found, out: str | None, tag: str, format: str | None) -> Iterator[tuple[Source, Path | None]]:  # noqa: A002
    if out == STREAM or (out is None and found.single and found.sources[0].path is None):
        if not found.single:
            raise BatchError("expected one input for -o - (standard output), got several; name a folder with -o")
        yield found.sources[0], None
        return
    if out is not None and found.single and not _is_folder(out):
        yield found.sources[0], _checked_file(Path(out), format)
        return
    if out is not None and not _is_folder(out) and (Path(out).is_file() or _is_picture_name(Path(out))):
        raise BatchError(
            f"expected a folder for several results, got {shown(out)}; name a folder, or end its name with a slash"
        )
    for source in found.sources:
        suffix = _suffix(source, format)
        if out is not None:
            yield source, Path(out) / source.tree.parent / f"{source.tree.stem}{suffix}"
        elif source.path is None:
            raise BatchError("expected -o FOLDER for standard input among other inputs, got none; name one")
        else:
            yield source, source.path.parent / f"{source.path.stem}-{tag}{suffix}"


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def _checked_file(output: Path, format: str | None) -> Path:  # noqa: A002
    if format is None:
        try:
            image.format_of(output)
        except image.PictureError as error:
            raise BatchError(f"{error}, add --format, or end it with a slash for a folder") from None
    elif output.suffix.lower() in _SUFFIXES and image.format_of(output) != format:
        raise BatchError(f"{shown(output)}: expected a name that suits --format {format}; change one of them")
    return output


def _suffix(source: Source, format: str | None) -> str:  # noqa: A002
    if format is not None:
        return image.FORMATS[format][0]
    suffix = source.tree.suffix
    return suffix if suffix.lower() in _SUFFIXES and image.format_of(source.tree) != "gif" else ".png"


def _without_results(jobs: list[Job]) -> list[Job]:
    """Leave out what an earlier run put beside its inputs: a-x4.png, found in a folder with a.png, is no input."""
    results = {_key(job.output) for job in jobs if job.output is not None}
    return [job for job in jobs if job.source.named or job.source.path is None or _key(job.source.path) not in results]


def _key(path: Path) -> str:
    """Name a place such that two names of one file are equal, also where case or composed letters do not count."""
    text = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow a link that is to be replaced
    return unicodedata.normalize("NFC", text).casefold() if sys.platform in ("darwin", "win32") else text


def _settle(jobs: Sequence[Job]) -> list[Job]:
    inputs = {identity for job in jobs if job.source.path and (identity := _identity(job.source.path))}
    taken: dict[str, Job] = {}
    settled: list[Job] = []
    for job in jobs:
        if job.output is None:
            settled.append(job)
            continue
        rename = job.on_exist == "rename"
        if rename:
            job = replace(job, output=_free(job.output, taken))
            assert job.output is not None
        other = taken.get(_key(job.output))
        if other is not None:
            raise BatchError(
                f"expected an output of its own for each input, got {shown(job.output)} for {shown(other.source.name)} "
                f"and {shown(job.source.name)}; use --on-exist rename, or run them apart"
            )
        identity = _identity(job.output)
        if identity in inputs and not rename:
            own = job.source.path is not None and _identity(job.source.path) == identity
            if not own:
                raise BatchError(
                    f"expected an output that is no input, got {shown(job.output)}; choose another with -o"
                )
            if job.on_exist != "overwrite":
                raise BatchError(
                    f"expected an output that is not the input, got {shown(job.output)} for both; choose another with "
                    "-o, or replace the input with --on-exist overwrite"
                )
        taken[_key(job.output)] = job
        settled.append(job)
    return settled


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _free(output: Path, taken: dict[str, Job]) -> Path:
    candidate, n = output, 1
    while _key(candidate) in taken or os.path.lexists(candidate):
        n += 1
        candidate = output.with_name(f"{output.stem}-{n}{output.suffix}")
    return candidate


# --- the work ---------------------------------------------------------------------------------------------------------


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
