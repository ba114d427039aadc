"""Input discovery: files, folders (recursively), glob patterns, lists of file names, and standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safelight.media import image
from safelight.media.image.picture import shown

STREAM = "-"  # standard input as an input, standard output as an output


class BatchError(ValueError):
    """Inputs and outputs that can't be combined. Raised before any file is read or written; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One input picture.

    Attributes:
        path: the file, or None for standard input.
        tree: path of the result relative to the output folder, with the input's suffix.
        named: the user named this file; otherwise it was found in a folder.
        problem: why it can't be read, if that is already known.
    """

    path: Path | None
    tree: Path
    named: bool = True
    problem: str | None = None

    @property
    def name(self) -> str:
        """Name in JSON output and messages."""
        return STREAM if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredInputs:
    """Input pictures that ``expand`` found.

    Attributes:
        sources: in the order of the inputs; inside a folder sorted by name.
        ignored: number of files in folders that are hidden or have no picture suffix.
        single: the only input is a file or standard input, so the output may be a file.
    """

    sources: tuple[Source, ...]
    ignored: int = 0
    single: bool = False


def expand(
    inputs: Sequence[str], *, listed: Sequence[Path] = (), exclude: Path | None = None, allow_empty: bool = False
) -> DiscoveredInputs:
    """Turn files, folders, patterns and ``-`` into sources, each file once.

    A folder is searched recursively; links to other folders are not followed, so the search stays inside it and ends.
    A text with ``*``, ``?``, ``[`` or ``**`` (any depth) is a pattern unless a file has that name. A file that does
    not exist becomes a source too, and fails later without stopping the others.

    Args:
        inputs: as the user typed them.
        listed: names from a list, as ``read_list`` returns them: a folder is searched, everything else is a file.
            Results keep the folders in the name of a file.
        exclude: a folder that is not searched: the output folder.
        allow_empty: return an empty result instead of raising; pictures may appear later.

    Raises:
        BatchError: ``-`` twice, or no picture at all.
    """
    sources: dict[str, Source] = {}
    ignored = 0

    def add(source: Source) -> None:
        key = STREAM if source.path is None else os.path.abspath(source.path)  # noqa: PTH100 - links stay
        sources.setdefault(key, source)

    def search(folder: Path) -> None:
        nonlocal ignored
        for source in walk(folder, exclude):
            if source.problem is None and not is_picture_name(source.path):
                ignored += 1
            else:
                add(source)

    for text in inputs:
        if text == STREAM:
            if STREAM in sources:
                raise BatchError("expected - (standard input) once, got it twice; leave one out")
            add(Source(path=None, tree=Path("stdin")))
            continue
        for path, base in _matches(text):
            if is_folder(path):
                search(path)
            else:
                add(Source(path=path, tree=path.relative_to(base) if base else Path(path.name)))
    for path in listed:
        if is_folder(path):
            search(path)
        else:
            add(Source(path=path, tree=_inside(path)))
    if not sources and not allow_empty:
        what = ", ".join(map(shown, inputs)) or "the names of the list"
        raise BatchError(
            f"expected pictures ({' '.join(sorted(image.SUFFIXES))}), found none under {what}; "
            "check the name or the folder"
        )
    single = len(inputs) == 1 and not listed and not (_is_pattern(inputs[0]) or is_folder(Path(inputs[0])))
    return DiscoveredInputs(sources=tuple(sources.values()), ignored=ignored, single=single)


def read_list(name: str) -> list[Path]:
    """Read a list of file names, one a line or NUL-terminated as ``find -print0`` writes them (detected).

    Names are taken literally: patterns are not expanded, and ``-`` is a file. Empty lines are ignored.

    Args:
        name: file with the list, or ``-`` for standard input.

    Raises:
        BatchError: the list can't be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == STREAM else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "a NUL in its name"
        raise BatchError(f"{shown(name)}: expected a list of names, got: {cause}; check the name") from None
    names = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [Path(os.fsdecode(name)) for name in names if name]


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for names that the system refuses."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for such a name


def _inside(path: Path) -> Path:
    """Return the relative path of a listed file below the output folder: its name without the root and ``..``."""
    parts = Path(os.path.normpath(path)).parts
    return Path(*(part for part in parts if part not in (path.anchor, "..")))


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.lexists(text)


def _matches(text: str) -> list[tuple[Path, Path | None]]:
    """Return the paths that match an input, each with the folder where its pattern starts, or None."""
    if not _is_pattern(text):
        return [(Path(text), None)]
    parts = Path(text).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    return [(Path(match), base) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - absolute too


def walk(folder: Path, exclude: Path | None) -> Iterator[Source]:
    """Yield the files of a folder recursively, by name; skips hidden folders, links to folders and ``exclude``."""
    blind: list[OSError] = []
    avoid = None if exclude is None else exclude.resolve()
    for place, folders, names in os.walk(folder, onerror=blind.append):
        here = Path(place)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != avoid)
        for name in sorted(names):
            yield Source(path=here / name, tree=(here / name).relative_to(folder), named=False)
    for error in blind:
        path = Path(error.filename)
        problem = f"{shown(path)}: expected a folder to read, got: {error.strerror}; check its permissions"
        yield Source(path=path, tree=path.relative_to(folder), named=False, problem=problem)


def is_picture_name(path: Path | None) -> bool:
    """Return whether a file found in a folder is taken for a picture, by its suffix."""
    # Hidden files are none: macOS leaves "._photo.jpg" beside photo.jpg on foreign disks.
    return path is not None and path.suffix.lower() in image.SUFFIXES and not path.name.startswith(".")
