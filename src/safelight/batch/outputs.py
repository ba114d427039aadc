"""Where each result goes, and that no file is lost by it."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from safelight.batch.inputs import STREAM, BatchError, Found, Source, is_folder, is_picture_name
from safelight.media import image
from safelight.media.image.picture import shown

OnExist = Literal["error", "skip", "overwrite", "rename"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileJob:
    """One picture, its output and what to do where that exists.

    Attributes:
        source: the picture.
        output: the file; None for the pipe.
        format: of the result; None for that of the input's content, which is known when it is read.
        on_exist: what to do with an output that exists.
        twin: the output of an earlier job whose name differs in case or in the form of its letters only: on some
            disks the two are one file.
        beside: the user named no place for it, so it goes beside its input.
    """

    source: Source
    output: Path | None
    format: str | None
    on_exist: OnExist = "error"
    twin: Path | None = None
    beside: bool = False


def plan(found: Found, *, out: str | None, tag: str, format: str | None, on_exist: OnExist) -> list[FileJob]:  # noqa: A002
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
        FileJob(
            source=source, output=output, format=format or _format_by_name(output), on_exist=on_exist,
            beside=out is None and output is not None,
        )
        for source, output in _outputs(found, out, tag, format)
    ]  # fmt: skip
    if out is None:
        jobs = _without_results(jobs)
    return _settle(jobs)


def plan_each(found: Found, *, out: str, tag: str, format: str | None, on_exist: OnExist) -> list[FileJob]:  # noqa: A002
    """Plan as ``plan`` does, but let a source that can't be planned become a job that fails by itself.

    For a watched folder, where a new file must not end the work.
    """
    jobs: list[FileJob] = []
    for source in found.sources:
        alone = replace(found, sources=(source,))
        try:
            jobs += plan(alone, out=out, tag=tag, format=format, on_exist=on_exist)
        except BatchError as error:
            failing = replace(source, problem=str(error))
            jobs.append(FileJob(source=failing, output=Path(out) / source.tree, format=format, on_exist=on_exist))
    return jobs


def tidy(jobs: Sequence[FileJob]) -> int:
    """Remove what killed runs left unfinished in the folders of the results; return how many files."""
    folders = {job.output.parent for job in jobs if job.output is not None}
    return sum(image.clean(folder) for folder in sorted(folders) if is_folder(folder))


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
    if out is not None and not _is_folder(out) and (Path(out).is_file() or is_picture_name(Path(out))):
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
    return out.endswith(("/", os.sep)) or is_folder(Path(out))


def _checked_file(output: Path, format: str | None) -> Path:  # noqa: A002
    if format is None:
        try:
            image.format_of(output)
        except image.PictureError as error:
            raise BatchError(f"{error}, add --format, or end it with a slash for a folder") from None
    elif output.suffix.lower() in image.SUFFIXES and image.format_of(output) != format:
        raise BatchError(f"{shown(output)}: expected a name that suits --format {format}; change one of them")
    return output


def _suffix(source: Source, format: str | None) -> str:  # noqa: A002
    if format is not None:
        return image.FORMATS[format][0]
    suffix = source.tree.suffix
    return suffix if suffix.lower() in image.SUFFIXES and image.format_of(source.tree) != "gif" else ".png"


def _without_results(jobs: list[FileJob]) -> list[FileJob]:
    """Leave out what an earlier run put beside its inputs: a-x4.png, found in a folder with a.png, is no input."""
    results = {_key(job.output) for job in jobs if job.output is not None}
    return [job for job in jobs if job.source.named or job.source.path is None or _key(job.source.path) not in results]


def _key(path: Path) -> str:
    """Name a place such that two names of one file are equal, also where case or composed letters do not count."""
    return _folded(path) if sys.platform in ("darwin", "win32") else _absolute(path)


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow a link that is to be replaced


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", _absolute(path)).casefold()


def _settle(jobs: Sequence[FileJob]) -> list[FileJob]:
    inputs = {identity for job in jobs if job.source.path and (identity := _identity(job.source.path))}
    taken: dict[str, FileJob] = {}
    settled: list[FileJob] = []
    alike: dict[str, Path] = {}
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
        twin = alike.setdefault(_folded(job.output), job.output)
        settled.append(job if twin == job.output else replace(job, twin=twin))
    return settled


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _free(output: Path, taken: dict[str, FileJob]) -> Path:
    candidate, n = output, 1
    while _key(candidate) in taken or os.path.lexists(candidate):
        n += 1
        candidate = output.with_name(f"{output.stem}-{n}{output.suffix}")
    return candidate
