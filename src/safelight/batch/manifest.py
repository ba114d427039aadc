"""The manifest of an output folder: what each result was made from, so that a stopped batch can resume.

It is a JSON Lines file in the output folder. A line is appended when a result is complete; the last line of a result
counts. Lines that can't be read are ignored, and their results are treated as files of unknown origin and kept.
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

OutputState = Literal["current", "outdated", "changed", "other", "unknown"]

_SIDE = 1 << 20  # any large side, to tell a zoom by


@dataclass(frozen=True, slots=True)
class FileFingerprint:
    """Size in bytes and modification time of a file; a file with equal values is taken to be unchanged."""

    size: int
    mtime_ns: int


def fingerprint_of(path: Path | None) -> FileFingerprint | None:
    """Return the fingerprint of a file, or None if it doesn't exist or can't be accessed."""
    if path is None:
        return None
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return FileFingerprint(found.st_size, found.st_mtime_ns)


def result_settings(restorer: Restorer, *, quality: int | None, strip: bool) -> dict[str, Any]:
    """Return all that a result depends on besides its input: method, options, SHA-256 of the weights, size and so on.

    The device and the memory limit are left out, as the result does not depend on them.
    """
    if isinstance(restorer, Runner):
        facts = _facts(restorer)
    else:
        steps = [_facts(runner) for runner in restorer.runners.values()]
        facts = {"method": FIX, **autofix.limits(), "steps": steps}
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
    """Return a digest of a picture's samples; its metadata does not affect results."""
    digest = hashlib.sha256(f"{picture.pixels.shape} {picture.depth} {picture.alpha is not None}".encode())
    digest.update(picture.pixels.tobytes())
    if picture.alpha is not None:
        digest.update(picture.alpha.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the manifest; ``made`` is a digest of the input and the settings, ``input`` the input's path."""

    input: str
    made: str
    fingerprint: FileFingerprint


class Manifest:
    """The manifest of one output folder, locked by this run until it is closed.

    Args:
        folder: Output folder; created if missing.
        settings: What the results of this run depend on besides their inputs, as ``result_settings`` returns it.
        read_existing: Read the records of earlier runs, for ``output_state``.
        write: Record the results of this run, and lock the folder. If False, no file is changed or created.

    Raises:
        TargetError: The folder can't be written to, or another run has locked it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, read_existing: bool, write: bool = True) -> None:
        self.folder, self.path = folder, folder / NAME
        self.unreadable_lines = 0
        """Number of lines that were ignored because they are damaged or of a later version."""
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        self._id = hashlib.sha256(f"{VERSION} {self._settings}".encode()).hexdigest()[:16]
        self._read_existing = read_existing
        self._entries: dict[str, _Entry] = {}
        self._file: int | None = None
        self._begun = False
        self._torn = False
        if write:
            self._open_locked()
        try:
            if read_existing:
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
        """Release the lock of the folder."""
        if self._file is not None:
            os.close(self._file)  # the lock goes with it
            self._file = None

    def _open_locked(self) -> None:
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
                    self._read_line(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise image.TargetError(
                f"expected to read {shown(self.path)}, got: {error.strerror}; see to its permissions or remove it"
            ) from None

    def _read_line(self, line: bytes) -> None:
        try:
            facts: Any = json.loads(line)
            if "settings" in facts and "output" not in facts:
                return  # for people: the settings of the lines below
            if facts["version"] != VERSION:
                raise ValueError
            source = FileFingerprint(int(facts["input_size"]), int(facts["input_mtime_ns"]))
            made = _input_digest(str(facts["input"]), source, str(facts["made_by"]))
            fingerprint = FileFingerprint(int(facts["output_size"]), int(facts["output_mtime_ns"]))
            self._entries[str(facts["output"])] = _Entry(str(facts["input"]), made, fingerprint)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.unreadable_lines += bool(line.strip())

    def output_state(self, job: FileJob, source: FileFingerprint | None) -> OutputState:
        """Return how an existing output relates to a job.

        Args:
            job: A job whose output is a file in this folder.
            source: Current fingerprint of its input.

        Returns:
            current: made from this input with these settings, and unmodified. outdated: as current, but the input or
            the settings have changed since. changed: recorded here, but modified since. other: made from an input of
            another name. unknown: not recorded here.
        """
        assert job.output is not None
        entry = self._entries.get(self._key(job.output))
        if entry is None:
            return "unknown"
        if job.output.is_symlink() or fingerprint_of(job.output) != entry.fingerprint:
            return "changed"
        if entry.input != str(job.source.tree):
            return "other"
        if source is None or entry.made != _input_digest(entry.input, source, self._id):
            return "outdated"
        return "current"

    def record(self, job: FileJob, source: FileFingerprint | None) -> str | None:
        """Record that a job's output is complete.

        Args:
            job: The finished job.
            source: Fingerprint of its input, taken before it was read, so that an input that changed meanwhile is
                processed again by the next run.

        Returns:
            A warning if the result could not be recorded; the result itself is complete.
        """
        assert job.output is not None
        made = fingerprint_of(job.output)
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
        if self._read_existing:  # a picture in a watched folder may change again
            tree = str(job.source.tree)
            self._entries[name] = _Entry(tree, _input_digest(tree, source, self._id), made)
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


def _input_digest(name: str, source: FileFingerprint, settings: str) -> str:
    """Return a short digest of an input and the settings; the records of a million results must fit in memory."""
    return hashlib.blake2b(f"{source} {settings} {name!r}".encode(), digest_size=8).hexdigest()


def _lock(file: int) -> bool:
    """Lock an open file; False if another process holds the lock. Always True on systems without file locks."""
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
