"""A decoding process, as the process that started it sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.picture import DamagedError, DecodeError, PictureError, shown
from safelight.media.image.spec import ImageSpec
from safelight.media.image.worker_protocol import PipeError, fill, receive, receive_spec, send

_START = 120.0  # seconds: it takes 0.2, but from a network folder on a busy machine it may take long
_TICK = 0.5  # seconds between two looks at the clock

# What a process dies of when memory is short: GLib and C++ abort, the system kills.
_STARVED = ("SIGABRT", "SIGTRAP", "SIGKILL")


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a worker may take.

    Attributes:
        patience: seconds for an answer.
        memory: bytes.
    """

    patience: float
    memory: int


@dataclass(frozen=True, slots=True)
class Request:
    """A file to be read.

    Attributes:
        name: how messages call it.
        source: absolute path, or the bytes of the file.
        max_pixels: as for `open_rows`.
        lenient: as for `open_rows`.
    """

    name: str
    source: Path | bytes
    max_pixels: int
    lenient: bool


class WorkerProcess:
    """A running ``safelight.media.image.decode_worker``. One thread talks to it; any may kill it.

    Attributes:
        hung: it was killed as it gave no answer in time.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        """Start it, and do not wait until it has started.

        Raises:
            PictureError: the system starts no process.
        """
        self._limits = limits
        self._deadline: float | None = None  # of the answer that is waited for
        self._buried = Event()
        self.hung = False
        self._lost = False
        # Its modules are found where this process finds its own, but never in the folder that happens to be the
        # current one: there may lie a stranger's pictures, and a stranger's numpy.py.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        # numpy's threads would only take memory, as nothing here multiplies matrices.
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-m", "safelight.media.image.decode_worker", str(limits.memory)]
        pipe = subprocess.PIPE
        try:
            # In a session of its own, Ctrl-C in the terminal does not reach it.
            self._process = subprocess.Popen(
                command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
        except OSError as error:
            raise PictureError(
                f"expected to start a decoder, got {error.strerror}; make room for another process"
            ) from None
        self._tasks = cast("RawIOBase", self._process.stdin)
        self._answers = cast("RawIOBase", self._process.stdout)
        Thread(target=self._watch, name="decoder's watch", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked for anything."""
        return not (self._lost or self.hung) and self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it has loaded what it needs.

        Raises:
            PictureError: it does not start.
        """
        errors = cast("RawIOBase", self._process.stderr)
        try:
            with self._within(_START):
                self._answer()
        except PictureError:
            self._lost = True
            raise
        except PipeError:
            self.kill()
            said = (errors.readall() or b"").decode(errors="replace").strip().splitlines()
            raise PictureError(
                f"expected a decoder to start ({Path(sys.executable).name} -m safelight.media.image.decode_worker), "
                f"got {shown(said[-1]) if said else 'no answer'}; check the installation"
            ) from None
        finally:
            errors.close()

    def open(self, request: Request) -> ImageSpec:
        """Open a file, and return what picture it is.

        Raises:
            DecodeError: as for `open_rows`.
            PipeError: the worker is lost.
        """
        source, most = request.source, request.max_pixels
        data = source if isinstance(source, bytes) else os.fsencode(source)
        task = {"do": "open", "bytes": len(data), "path": isinstance(source, Path)}
        task |= {"name": request.name, "max_pixels": most, "lenient": request.lenient}
        with self._within(self._limits.patience):
            send(self._tasks, task, data)
            return receive_spec(self._answers, self._answer(), most)

    def read(self, frame: ImageSpec, count: int) -> NDArray[Any]:
        """Return the next ``count`` rows of the open file; there must be so many.

        Raises:
            DecodeError: as for `open_rows`.
            PipeError: the worker is lost.
        """
        with self._within(self._limits.patience):
            send(self._tasks, {"do": "read", "bytes": 0, "count": count})
            answer = self._answer()
            band: NDArray[Any] = np.empty((count, frame.width, frame.bands), frame.dtype)
            if answer.get("bytes") != band.nbytes:
                raise PipeError("rows of another size")
            fill(self._answers, band.data.cast("B"))
            return band

    def close_file(self) -> None:
        """Close the open file, if there is one and the worker lives."""
        if self.alive:
            with suppress(PipeError):
                send(self._tasks, {"do": "close", "bytes": 0})

    def kill(self) -> None:
        """End it at once; it holds nothing that could be lost."""
        with suppress(OSError):
            self._process.kill()

    def bury(self) -> None:
        """End it and give back what it held."""
        self.kill()
        self._buried.set()
        self._process.wait()
        for stream in (self._tasks, self._answers, cast("RawIOBase", self._process.stderr)):
            stream.close()

    def epitaph(self) -> str:
        """Say what became of it, as the end of a message about the file that it was decoding."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        memory = f"took more than {self._limits.memory >> 20:,} MB of memory"
        if self.hung:
            got = f"on which the decoder made no progress for {self._limits.patience:g} s"
        elif code is None:
            got = "on which the decoder gave answers that can't be"
        elif code >= 0:
            got = f"on which the decoder gave up (exit status {code})"
        else:
            cause = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            got = f"that crashed the decoder ({cause})" + (f" or {memory}" if cause in _STARVED else "")
        return f"expected a picture that decodes, got one {got}; get a fresh copy, or save it anew as a TIFF file"

    def _answer(self) -> dict[str, Any]:
        answer = receive(self._answers)
        if "error" in answer:
            known = {kind.__name__: kind for kind in (DecodeError, DamagedError, PictureError)}
            raise known.get(str(answer["error"]), DecodeError)(shown(answer.get("text")))
        return answer

    @contextmanager
    def _within(self, seconds: float) -> Generator[None]:
        """Kill the worker unless it answers in time."""
        self._deadline = monotonic() + seconds
        try:
            yield
        except PipeError:
            self._lost = True
            raise
        finally:
            self._deadline = None

    def _watch(self) -> None:
        # One thread that looks up now and then: one for each answer took as long as the answer.
        while not self._buried.wait(_TICK):
            deadline = self._deadline
            if deadline is not None and monotonic() > deadline:
                self.hung = True
                self.kill()
