"""Which files: named ones, folders searched whole, patterns, lists of names, a pipe."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safelight.media import image
from safelight.media.image.picture import shown

STREAM = "-"  # as an input: what comes through a pipe; as an output: what goes into one


class BatchError(ValueError):
    """Inputs and outputs that do not go together. Raised before anything is read or written; one line."""


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


def expand(
    inputs: Sequence[str], *, listed: Sequence[Path] = (), leave_out: Path | None = None, may_be_none: bool = False
) -> Found:
    """Turn files, folders, patterns and ``-`` into sources, each file once.

    A folder is searched whole; links to other folders are not followed, so there is no way out of it and no circle.
    A pattern (``*``, ``?``, ``[``, ``**`` for folders in folders) is one that no file bears as its name. A file that
    does not exist is a source all the same, and fails by itself later.

    Args:
        inputs: as the user typed them.
        listed: names out of a list, as ``read_list`` gives them: a folder is searched, all else is a file. The tree
            of the results keeps the folders that the name of a file has.
        leave_out: a folder that is not searched: that of the results.
        may_be_none: no picture is no error: there may be some later.

    Raises:
        BatchError: ``-`` twice, or no picture at all.
    """
    sources: dict[str, Source] = {}
    passed_over = 0

    def add(source: Source) -> None:
        key = STREAM if source.path is None else os.path.abspath(source.path)  # noqa: PTH100 - links stay
        sources.setdefault(key, source)

    def search(folder: Path) -> None:
        nonlocal passed_over
        for source in walk(folder, leave_out):
            if source.problem is None and not is_picture_name(source.path):
                passed_over += 1
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
    if not sources and not may_be_none:
        what = ", ".join(map(shown, inputs)) or "the names of the list"
        raise BatchError(
            f"expected pictures ({' '.join(sorted(image.SUFFIXES))}), found none under {what}; "
            "check the name or the folder"
        )
    single = len(inputs) == 1 and not listed and not (_is_pattern(inputs[0]) or is_folder(Path(inputs[0])))
    return Found(sources=tuple(sources.values()), passed_over=passed_over, single=single)


def read_list(name: str) -> list[Path]:
    """Read a list of names: one a line, or each ended by a NUL as ``find -print0`` does it, which shows by itself.

    A name is taken as it stands: it is no pattern, and ``-`` is a file. Empty lines are passed over.

    Args:
        name: of the file that holds the list, or ``-`` for standard input.

    Raises:
        BatchError: it can't be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == STREAM else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "a NUL in its name"
        raise BatchError(f"{shown(name)}: expected a list of names, got: {cause}; check the name") from None
    names = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [Path(os.fsdecode(name)) for name in names if name]


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder; a name that the system can't bear, or may not be asked for, is none."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for such a name


def _inside(path: Path) -> Path:
    """Return the place of a listed file below a folder of results: its name without the root and without ``..``."""
    parts = Path(os.path.normpath(path)).parts
    return Path(*(part for part in parts if part not in (path.anchor, "..")))


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


def walk(folder: Path, leave_out: Path | None) -> Iterator[Source]:
    """Go through a folder: each file by name, hidden folders, links to folders and ``leave_out`` passed over."""
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


def is_picture_name(path: Path | None) -> bool:
    """Tell by its suffix whether a file is taken for a picture when a folder is searched."""
    # Hidden files are none: macOS leaves "._photo.jpg" beside photo.jpg on foreign disks.
    return path is not None and path.suffix.lower() in image.SUFFIXES and not path.name.startswith(".")
