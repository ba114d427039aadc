"""Watched folders: which pictures in them are new or changed, and completely written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from safelight.batch.inputs import Source, is_picture_name, walk
from safelight.batch.manifest import FileFingerprint, fingerprint_of

SETTLED = 1.0  # seconds without a change, after which a file is taken to be completely written
_SHARE = 20  # polling may take one part in so many of the time


class FolderWatcher:
    """Polls folders for pictures to process.

    A file is reported once, and again after its size or modification time has changed. It is reported when it has not
    changed for a second: by its modification time, or, where that can't be trusted, between two polls.

    Args:
        folders: Searched as ``expand`` does.
        exclude: A folder that is not searched: the output folder.
        clock: Returns the time in seconds since the epoch, as file times do.
    """

    def __init__(
        self, folders: Sequence[Path], *, exclude: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._folders, self._exclude, self._clock = folders, exclude, clock
        self._taken: dict[Path, FileFingerprint] = {}
        self._seen: dict[
            Path, tuple[FileFingerprint, float]
        ] = {}  # not reported yet, and since when they have not changed
        self._problems: set[str] = set()
        self.pause = SETTLED
        """Seconds to wait before the next poll; longer where polling takes long."""

    def poll(self) -> list[Source]:
        """Search the folders once, and return the sources that are ready."""
        start = time.perf_counter()
        ready: list[Source] = []
        there: set[Path] = set()
        problems: set[str] = set()
        for folder in self._folders:
            for source in walk(folder, self._exclude):
                assert source.path is not None
                if source.problem is not None:
                    problems.add(source.problem)
                    if source.problem not in self._problems:
                        ready.append(source)
                elif is_picture_name(source.path) and source.path not in there:
                    there.add(source.path)
                    if self._is_ready(source.path):
                        ready.append(source)
        self._problems = problems
        self._taken = {path: fingerprint for path, fingerprint in self._taken.items() if path in there}
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        self.pause = max(SETTLED, _SHARE * (time.perf_counter() - start))
        return ready

    def _is_ready(self, path: Path) -> bool:
        fingerprint, now = fingerprint_of(path), self._clock()
        if fingerprint is None or self._taken.get(path) == fingerprint:
            return False
        before, since = self._seen.get(path, (None, now))
        if before != fingerprint:
            since = now
            self._seen[path] = fingerprint, since
        old = now - fingerprint.mtime_ns / 1e9 >= SETTLED
        if not old and now - since < SETTLED:
            return False
        self._taken[path] = fingerprint
        self._seen.pop(path, None)
        return True
