"""Input discovery and output planning for a cluster: as in a local batch, and with URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from safelight.batch import remote
from safelight.batch.cluster.messages import ClusterTask
from safelight.batch.inputs import STREAM, BatchError, Source, expand, is_picture_name
from safelight.batch.outputs import FileJob, OnExist
from safelight.batch.outputs import plan as plan_jobs
from safelight.batch.remote import RemotePath
from safelight.media import image
from safelight.media.image.picture import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """The tasks of a run, and its output folder.

    Attributes:
        tasks: in the order of the inputs.
        folder: local output folder, if any.
        url: remote output folder, if any.
        ignored: number of files in folders that are hidden or have no picture suffix.
        existing: names of the files that exist below ``url``.
    """

    tasks: tuple[ClusterTask, ...]
    folder: Path | None = None
    url: str | None = None
    ignored: int = 0
    existing: frozenset[str] = frozenset()


def plan(
    inputs: Sequence[str],
    *,
    out: str | None,
    tag: str,
    format: str | None,  # noqa: A002 - as in batch.plan
    on_exist: OnExist,
    listed: Sequence[Path] = (),
) -> ClusterPlan:
    """Assign an output to every picture.

    Without a URL this is ``batch.expand`` and ``batch.plan``. With one, ``out`` is a folder, or the URL of a folder,
    in which the inputs' relative paths are kept.

    Args:
        inputs: files, folders, patterns and URLs of files or folders.
        out: as the user typed it.
        tag: suffix of the name of a result next to its input, such as ``x4``.
        format: one format for all results, or None.
        on_exist: what to do with an output that exists.
        listed: names from a list, as ``read_list`` returns them.

    Raises:
        BatchError: the inputs and the output can't be combined, or a URL can't be listed.
    """
    if STREAM in inputs or out == STREAM:
        raise BatchError("expected files, folders or URLs with --cluster, got - (a pipe); leave --cluster out")
    inputs = [remote.local(text) for text in inputs]
    out = None if out is None else remote.local(out)
    if any(map(remote.is_url, inputs)) or (out is not None and remote.is_url(out)):
        if out is None:
            raise BatchError("expected -o FOLDER or URL for inputs behind a URL, got none; name one")
        return _plan_urls(inputs, out=out, format=format, on_exist=on_exist, listed=listed)
    found = expand(inputs, listed=listed, exclude=None if out is None else Path(out))
    jobs = plan_jobs(found, out=out, tag=tag, format=format, on_exist=on_exist)
    folder = None if out is None or found.single else Path(out)
    return ClusterPlan(tasks=tuple(map(_task, jobs)), folder=folder, ignored=found.ignored)


def _task(job: FileJob) -> ClusterTask:
    assert job.source.path is not None
    assert job.output is not None
    if _absolute(job.source.path) == _absolute(job.output):
        # When a lost worker's files are processed again, its result would be enlarged a second time.
        raise BatchError(
            f"expected an output that is not the input with --cluster, got {shown(job.output)} for both; choose "
            "another with -o"
        )
    placed = replace(
        job,
        source=replace(job.source, path=_absolute(job.source.path)),
        output=_absolute(job.output),
        case_variant=None if job.case_variant is None else _absolute(job.case_variant),
    )
    return ClusterTask(job=placed, input=job.source.name, output=str(job.output))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link that is to be replaced


# --- with URLs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Input:
    """A source, and its remote path if it has one."""

    source: Source
    place: RemotePath | None = None

    @property
    def name(self) -> str:
        return self.source.name if self.place is None else self.place.name

    @property
    def key(self) -> str:
        """A key that is equal for two names of one file."""
        return self.name if self.source.path is None else os.path.realpath(self.source.path)


class _Results:
    """The output folder: names the outputs, and knows which names exist or are taken."""

    def __init__(self, out: str, inputs: Mapping[str, _Input], *, rename: bool) -> None:
        self.out, self.inputs, self.rename = out, inputs, rename
        self.url = out if remote.is_url(out) else None
        self.taken: dict[str, _Input] = {}
        self.existing = frozenset[str]()
        if self.url is not None:
            self.existing = frozenset(place.name for place, _ in remote.list_files(out))

    def place(self, item: _Input, below: PurePosixPath) -> tuple[PurePosixPath, str, RemotePath | None]:
        """Return a result's path below the folder, the caller's name for it, and its remote path."""
        n, candidate = 1, below
        while True:
            target = None if self.url is None else remote.join(self.out, candidate)
            name = str(Path(self.out) / candidate) if target is None else target.name
            key = os.path.realpath(name) if target is None else name
            other = self.taken.get(key) or self.inputs.get(key)
            there = os.path.lexists(name) if target is None else name in self.existing
            if not self.rename or not (other or there):
                break
            n += 1
            candidate = below.with_stem(f"{below.stem}-{n}")
        if other is not None:
            raise BatchError(
                f"expected an output of its own for each input, got {shown(name)} for {shown(item.name)} and as or "
                f"for {shown(other.name)}; use --on-exist rename, or choose another place with -o"
            )
        self.taken[key] = item
        return candidate, name, target


def _plan_urls(
    inputs: Sequence[str],
    *,
    out: str,
    format: str | None,  # noqa: A002
    on_exist: OnExist,
    listed: Sequence[Path],
) -> ClusterPlan:
    if is_picture_name(Path(out)) and not Path(out).is_dir():
        raise BatchError(f"expected a folder for the results, got {shown(out)}; name a folder")
    found: dict[str, _Input] = {}
    ignored = 0
    for item in _search(inputs, listed, out):
        if isinstance(item, int):
            ignored += item
        else:
            found.setdefault(item.key, item)
    if not found:
        raise BatchError(
            f"expected pictures ({' '.join(sorted(image.SUFFIXES))}), found none under "
            f"{', '.join(map(shown, inputs))}; check the name or the folder"
        )
    results = _Results(out, found, rename=on_exist == "rename")
    tasks: list[ClusterTask] = []
    for item in found.values():
        source = item.source
        candidate, name, target = results.place(item, PurePosixPath(source.tree).with_suffix(_suffix(source, format)))
        job = FileJob(
            source=replace(source, path=None if source.path is None else _absolute(source.path)),
            output=_absolute(Path(name)) if target is None else None,
            format=image.format_of(Path(candidate)),
            on_exist=on_exist,
        )
        tasks.append(ClusterTask(job=job, input=item.name, output=name, source=item.place, target=target))
    return ClusterPlan(
        tasks=tuple(tasks), folder=Path(out) if results.url is None else None, url=results.url,
        ignored=ignored, existing=results.existing,
    )  # fmt: skip


def _search(inputs: Sequence[str], listed: Sequence[Path], out: str) -> Iterator[_Input | int]:
    """Yield the pictures under files, folders and URLs, and numbers of ignored files."""
    here = [text for text in inputs if not remote.is_url(text)]
    if here or listed:
        exclude = None if remote.is_url(out) else Path(out)
        local = expand(here, listed=listed, exclude=exclude, allow_empty=True)
        yield from map(_Input, local.sources)
        yield local.ignored
    results = out.rstrip("/") + "/"
    for text in inputs:
        if not remote.is_url(text):
            continue
        inside = not text.startswith(out)  # earlier results are not inputs, unless they are given as such
        for place, tree in remote.list_files(text):
            if inside and place.name.startswith(results):
                continue
            if not is_picture_name(Path(tree)) or any(part.startswith(".") and part != ".." for part in tree.parts):
                yield 1
                continue
            problem = None
            if ".." in tree.parts:
                problem = f"{shown(place.name)}: expected a name without .. as a folder, got one; rename it"
                tree = PurePosixPath(tree.name)
            yield _Input(Source(path=None, tree=Path(tree), named=False, problem=problem), place)


def _suffix(source: Source, format: str | None) -> str:  # noqa: A002
    """Return a result's suffix as in a local batch: its input's, but PNG for GIF and for names without a format."""
    if format is not None:
        return image.FORMATS[format][0]
    suffix = source.tree.suffix
    return suffix if suffix.lower() in image.SUFFIXES and image.format_of(source.tree) != "gif" else ".png"
