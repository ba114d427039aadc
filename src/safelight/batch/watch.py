"""Folders that are watched: which pictures in them are new or have changed, and are whole by now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from safelight.batch.inputs import Source, is_picture_name, walk
from safelight.batch.manifest import Stamp, stamp_of

SETTLED = 1.0  # seconds for which a file must have been left alone: whoever copies it may not be done
_SHARE = 20  # a look at the folders may take this part of the time


class Watch:
    """Looks through folders, again and again, for pictures to work on.

    A file is taken once, and again after its size or its time of change has become another. It is taken when nothing
    has changed about it for a second: by its own time, or, where that is not to be trusted, from one look to a later.

    Args:
        folders: To look through, as ``expand`` does.
        leave_out: A folder that is not searched: that of the results.
        clock: Tells the time in seconds, as files do.
    """

    def __init__(
        self, folders: Sequence[Path], *, leave_out: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._folders, self._leave_out, self._clock = folders, leave_out, clock
        self._taken: dict[Path, Stamp] = {}
        self._seen: dict[Path, tuple[Stamp, float]] = {}  # not taken yet, and since when they are as they are
        self._problems: set[str] = set()
        self.pause = SETTLED
        """How many seconds to wait before the next look; longer where a look takes long."""

    def look(self) -> list[Source]:
        """Look once, and return the sources that are ready now."""
        start = time.perf_counter()
        ready: list[Source] = []
        there: set[Path] = set()
        problems: set[str] = set()
        for folder in self._folders:
            for source in walk(folder, self._leave_out):
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
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in there}
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        self.pause = max(SETTLED, _SHARE * (time.perf_counter() - start))
        return ready

    def _is_ready(self, path: Path) -> bool:
        stamp, now = stamp_of(path), self._clock()
        if stamp is None or self._taken.get(path) == stamp:
            return False
        before, since = self._seen.get(path, (None, now))
        if before != stamp:
            since = now
            self._seen[path] = stamp, since
        old = now - stamp.mtime_ns / 1e9 >= SETTLED
        if not old and now - since < SETTLED:
            return False
        self._taken[path] = stamp
        self._seen.pop(path, None)
        return True
