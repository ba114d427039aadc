"""Output planning: one output file for each input, without overwriting any input unasked."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from safelight.batch.inputs import STREAM, BatchError, DiscoveredInputs, Source, is_folder, is_picture_name
from safelight.media import image
from safelight.media.image.picture import shown

OnExist = Literal["error", "skip", "overwrite", "rename"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileJob:
    """One input picture, its output file, and what to do if that file exists.

    Attributes:
        source: the input picture.
        output: the output file; None for standard output.
        format: of the result; None for the format of the input's content, which is known once it is read.
        on_exist: what to do with an output that exists.
        case_variant: output of an earlier job whose name differs only in case or in Unicode normalisation: on some
            file systems the two are the same file.
        beside: the user gave no output, so the result goes next to its input.
    """

    source: Source
    output: Path | None
    format: str | None
    on_exist: OnExist = "error"
    case_variant: Path | None = None
    beside: bool = False


def plan(found: DiscoveredInputs, *, out: str | None, tag: str, format: str | None, on_exist: OnExist) -> list[FileJob]:  # noqa: A002
    """Assign an output to every source.

    ``out`` is a file for a single input, otherwise a folder in which the inputs' relative paths are kept; ``-`` is
    standard output; None puts each result next to its input as ``<stem>-<tag><suffix>``. A result has its input's
    format, except that a GIF and any suffix that is not written here become PNG.

    Args:
        found: the sources.
        out: as the user typed it.
        tag: suffix of the result's name, such as ``x4``.
        format: one format for all results, or None.
        on_exist: what to do with an output that exists; ``rename`` also resolves clashes between results.

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


def plan_separately(
    found: DiscoveredInputs,
    *,
    out: str,
    tag: str,
    format: str | None,  # noqa: A002
    on_exist: OnExist,
) -> list[FileJob]:
    """Plan each source on its own; one that can't be planned becomes a job that fails, without raising.

    For a watched folder, where a new file must not stop the run.
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


def remove_leftovers(jobs: Sequence[FileJob]) -> int:
    """Remove the temporary files of killed runs from the output folders; return their number."""
    folders = {job.output.parent for job in jobs if job.output is not None}
    return sum(image.remove_temporary_files(folder) for folder in sorted(folders) if is_folder(folder))


def _format_by_name(output: Path | None) -> str | None:
    return None if output is None else image.format_of(output)


def _outputs(
    found: DiscoveredInputs,
    out: str | None,
    tag: str,
    format: str | None,  # noqa: A002
) -> Iterator[tuple[Source, Path | None]]:
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
    """Drop results of an earlier run next to its inputs: a-x4.png, found in a folder with a.png, is not an input."""
    results = {_key(job.output) for job in jobs if job.output is not None}
    return [job for job in jobs if job.source.named or job.source.path is None or _key(job.source.path) not in results]


def _key(path: Path) -> str:
    """Return a key that is equal for two names of one file, also on case- or normalisation-insensitive systems."""
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
        case_variant = alike.setdefault(_folded(job.output), job.output)
        settled.append(job if case_variant == job.output else replace(job, case_variant=case_variant))
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
