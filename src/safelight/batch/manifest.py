"""The manifest: which result in a folder was made from what, so that a stopped batch goes on and does no more.

It is a file of lines of JSON in the folder of results. A line is added when a result stands under its name; the last
line of a result counts. What is no such line is passed over, and its result is then a stranger's: it stays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from safelight.batch.outputs import FileJob
from safelight.batch.restorer import FIX, Restorer
from safelight.checkpoints import weights_manifest
from safelight.core.inputs import InputSpec
from safelight.inference import autofix
from safelight.inference.runner import Runner
from safelight.media import image
from safelight.media.image.picture import shown

NAME = ".safelight-manifest.jsonl"
VERSION = 1

Standing = Literal["current", "outdated", "changed", "other", "unknown"]

_SIDE = 1 << 20  # any large side, to tell a zoom by


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file's bytes and time of change: with both the same, it is taken for the same file."""

    size: int
    mtime_ns: int


def stamp_of(path: Path | None) -> Stamp | None:
    """Look at a file, or return None where there is none to look at."""
    if path is None:
        return None
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def settings_of(restorer: Restorer, *, quality: int | None, strip: bool) -> dict[str, Any]:
    """List all that a result depends on beside its input: method, options, weights by their sha256, size and the like.

    Where and in how much memory it is computed is left out: the result is the same.
    """
    if isinstance(restorer, Runner):
        facts = _facts(restorer)
    else:
        steps = [_facts(runner) for runner in restorer.runners.values()]
        facts = {"method": FIX, "below": autofix.QUALITY, "above": autofix.SIGMA, "steps": steps}
    return {**facts, "quality": quality, "strip": strip}


def _facts(runner: Runner) -> dict[str, Any]:
    card, request = runner.card, runner.request
    facts: dict[str, Any] = {
        "task": runner.task.name, "precision": request.precision, "ensemble": request.ensemble,
        "inputs": {spec.name: _input_facts(spec, request.inputs.get(spec.name)) for spec in runner.task.conditions},
    }  # fmt: skip
    if runner.task.output.size == "scaled" and request.inputs.get("size") is None:
        facts["inputs"]["scale"] = runner.size(_SIDE, _SIDE)[0] / _SIDE  # the default is told as if it were given
    options: Mapping[str, Any] = request.options
    if request.weights is not None:
        weights = [hashlib.sha256(request.weights.read_bytes()).hexdigest()]
    else:
        options = dataclasses.asdict(runner.options)
        weights = [shipped.sha256 for shipped in weights_manifest.shipped_weights(card.id)]
    return {"method": card.id, **facts, "options": dict(options), "weights": weights}


def _input_facts(spec: InputSpec, value: Any) -> Any:  # noqa: ANN401 - as JSON has it
    """Say what an input was: pictures and files by a digest of what they hold."""
    if value is None:
        return None
    match spec.kind:
        case "picture":
            return _digest(value)
        case "pictures":
            return [_digest(picture) for picture in value]
        case "text" if spec.file and Path(value).is_file():
            return hashlib.sha256(Path(value).read_bytes()).hexdigest()
        case "bytes":
            return hashlib.sha256(value).hexdigest()
        case "text" if hasattr(value, "weights"):  # a backbone that is loaded
            return f"{value.name}, {value.weights}"
        case _:
            return value


def _digest(picture: image.Picture) -> str:
    """Return a digest of a picture's samples: its metadata change no result."""
    digest = hashlib.sha256(f"{picture.pixels.shape} {picture.depth} {picture.alpha is not None}".encode())
    digest.update(picture.pixels.tobytes())
    if picture.alpha is not None:
        digest.update(picture.alpha.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a line says of a result; ``made`` is a digest of the input and the settings, ``input`` its name."""

    input: str
    made: str
    stamp: Stamp


class Manifest:
    """The manifest of one folder of results, held by this run alone until it is closed.

    Args:
        folder: Of the results; it is made if need be.
        settings: What the results of this run depend on beside their inputs; ``settings_of`` gives it.
        know: Read what earlier runs made, for ``judge``.
        write: Note what this run makes, and keep other runs away. Without it, nothing is changed or made.

    Raises:
        TargetError: The folder can't be written to, or another run holds it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, know: bool, write: bool = True) -> None:
        self.folder, self.path = folder, folder / NAME
        self.strange = 0
        """How many lines were passed over, because they are damaged or of a later version."""
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        self._id = hashlib.sha256(f"{VERSION} {self._settings}".encode()).hexdigest()[:16]
        self._know = know
        self._entries: dict[str, _Entry] = {}
        self._file: int | None = None
        self._begun = False
        self._torn = False
        if write:
            self._hold()
        try:
            if know:
                self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the folder."""
        if self._file is not None:
            os.close(self._file)  # the lock goes with it
            self._file = None

    def _hold(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise image.TargetError(
                f"expected a folder to write to, got {shown(self.folder)}: {error.strerror}; choose another with -o"
            ) from None
        if not _lock(self._file):
            self.close()
            raise image.TargetError(
                f"expected a folder of results that no other run works in, got {shown(self.folder)}; wait for that "
                "run, or choose another with -o"
            )
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size:
            os.lseek(self._file, size - 1, os.SEEK_SET)
            self._torn = os.read(self._file, 1) != b"\n"

    def _read(self) -> None:
        try:
            with self.path.open("rb") as lines:
                for line in lines:
                    self._learn(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise image.TargetError(
                f"expected to read {shown(self.path)}, got: {error.strerror}; see to its permissions or remove it"
            ) from None

    def _learn(self, line: bytes) -> None:
        try:
            facts: Any = json.loads(line)
            if "settings" in facts and "output" not in facts:
                return  # it explains the lines below it to people
            if facts["version"] != VERSION:
                raise ValueError
            source = Stamp(int(facts["input_size"]), int(facts["input_mtime_ns"]))
            made = _made(str(facts["input"]), source, str(facts["made_by"]))
            stamp = Stamp(int(facts["output_size"]), int(facts["output_mtime_ns"]))
            self._entries[str(facts["output"])] = _Entry(str(facts["input"]), made, stamp)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.strange += bool(line.strip())

    def judge(self, job: FileJob, source: Stamp | None) -> Standing:
        """Tell how the output that exists stands to a job.

        Args:
            job: Its output is a file in this folder.
            source: Of its input, now.

        Returns:
            current: made from this input by these settings, and untouched. outdated: as current, but the input or the
            settings have changed. changed: made here, but changed by somebody since. other: made from an input of
            another name. unknown: not made by a run that is noted here.
        """
        assert job.output is not None
        entry = self._entries.get(self._key(job.output))
        if entry is None:
            return "unknown"
        if job.output.is_symlink() or stamp_of(job.output) != entry.stamp:
            return "changed"
        if entry.input != str(job.source.tree):
            return "other"
        if source is None or entry.made != _made(entry.input, source, self._id):
            return "outdated"
        return "current"

    def note(self, job: FileJob, source: Stamp | None) -> str | None:
        """Note that a job's output now stands under its name.

        Args:
            job: It is done.
            source: Of its input, from before it was read: what changed since is made again the next time.

        Returns:
            What the user should know, where it could not be noted: the result is there all the same.
        """
        assert job.output is not None
        made = stamp_of(job.output)
        if source is None or made is None:
            return None
        name = self._key(job.output)
        facts = {
            "version": VERSION, "input": str(job.source.tree), "input_size": source.size,
            "input_mtime_ns": source.mtime_ns, "made_by": self._id, "output": name, "output_size": made.size,
            "output_mtime_ns": made.mtime_ns,
        }  # fmt: skip
        try:
            if not self._begun:
                self._append(f'{{"version": {VERSION}, "id": "{self._id}", "settings": {self._settings}}}')
                self._begun = True
            self._append(json.dumps(facts))
        except OSError as error:
            return f"not noted in {shown(self.path)} ({error.strerror}), so a later run leaves it as it is"
        if self._know:  # a picture in a watched folder may change again
            tree = str(job.source.tree)
            self._entries[name] = _Entry(tree, _made(tree, source, self._id), made)
        return None

    def _append(self, text: str) -> None:
        assert self._file is not None
        # One write a line, with its newline: a run that is killed here leaves one torn line at most.
        start = "\n" if self._torn else ""
        data = f"{start}{text}\n".encode()
        self._torn = os.write(self._file, data) != len(data)
        if self._torn:
            raise OSError(0, "the disk is full")

    def _key(self, output: Path) -> str:
        return os.path.relpath(output, self.folder)


def _made(name: str, source: Stamp, settings: str) -> str:
    """Return a digest of an input and the settings: a folder of a million results must fit in memory."""
    return hashlib.blake2b(f"{source} {settings} {name!r}".encode(), digest_size=8).hexdigest()


def _lock(file: int) -> bool:
    """Take the lock of an open file, unless another process has it. Where the system knows no locks, all succeed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network drive without locks
        return True
    return True
