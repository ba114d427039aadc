"""The parent's side of a decoding process."""

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
from safelight.media.image.worker_protocol import PipeError, receive, receive_into, receive_spec, send

_START = 120.0  # seconds to start: usually 0.2, but much longer from a network folder on a busy machine
_TICK = 0.5  # seconds between two checks of the deadline

# Signals that end a process when memory is short: GLib and C++ abort, the system kills.
_MEMORY_SIGNALS = ("SIGABRT", "SIGTRAP", "SIGKILL")


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits of a worker.

    Attributes:
        timeout: seconds for an answer.
        memory: bytes.
    """

    timeout: float
    memory: int


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """A file to be read.

    Attributes:
        name: name in messages.
        source: absolute path, or the bytes of the file.
        max_pixels: as for `open_rows`.
        lenient: as for `open_rows`.
    """

    name: str
    source: Path | bytes
    max_pixels: int
    lenient: bool


class WorkerProcess:
    """A running ``safelight.media.image.decode_worker``, used by one thread; any thread may kill it.

    Attributes:
        timed_out: it was killed because it did not answer in time.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        """Start the process without waiting until it is ready.

        Raises:
            PictureError: the system can't start a process.
        """
        self._limits = limits
        self._deadline: float | None = None  # of the expected answer
        self._terminated = Event()
        self.timed_out = False
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
        """Whether it can answer requests."""
        return not (self._lost or self.timed_out) and self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it has started.

        Raises:
            PictureError: it can't start.
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

    def open(self, request: DecodeRequest) -> ImageSpec:
        """Open a file and return its spec.

        Raises:
            DecodeError: as for `open_rows`.
            PipeError: the worker is lost.
        """
        source, most = request.source, request.max_pixels
        data = source if isinstance(source, bytes) else os.fsencode(source)
        task = {"do": "open", "bytes": len(data), "path": isinstance(source, Path)}
        task |= {"name": request.name, "max_pixels": most, "lenient": request.lenient}
        with self._within(self._limits.timeout):
            send(self._tasks, task, data)
            return receive_spec(self._answers, self._answer(), most)

    def read(self, spec: ImageSpec, count: int) -> NDArray[Any]:
        """Return the next ``count`` rows of the open file; there must be so many.

        Raises:
            DecodeError: as for `open_rows`.
            PipeError: the worker is lost.
        """
        with self._within(self._limits.timeout):
            send(self._tasks, {"do": "read", "bytes": 0, "count": count})
            answer = self._answer()
            band: NDArray[Any] = np.empty((count, spec.width, spec.bands), spec.dtype)
            if answer.get("bytes") != band.nbytes:
                raise PipeError("rows of another size")
            receive_into(self._answers, band.data.cast("B"))
            return band

    def close_file(self) -> None:
        """Close the open file, if there is one and the worker lives."""
        if self.alive:
            with suppress(PipeError):
                send(self._tasks, {"do": "close", "bytes": 0})

    def kill(self) -> None:
        """Kill the process; it holds no data that could be lost."""
        with suppress(OSError):
            self._process.kill()

    def terminate(self) -> None:
        """Kill the process and release its resources."""
        self.kill()
        self._terminated.set()
        self._process.wait()
        for stream in (self._tasks, self._answers, cast("RawIOBase", self._process.stderr)):
            stream.close()

    def failure_message(self) -> str:
        """Return why it failed, as the rest of a message about the file that it was decoding."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        memory = f"took more than {self._limits.memory >> 20:,} MB of memory"
        if self.timed_out:
            got = f"on which the decoder made no progress for {self._limits.timeout:g} s"
        elif code is None:
            got = "on which the decoder gave invalid answers"
        elif code >= 0:
            got = f"on which the decoder gave up (exit status {code})"
        else:
            cause = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            got = f"that crashed the decoder ({cause})" + (f" or {memory}" if cause in _MEMORY_SIGNALS else "")
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
        # One thread that checks at intervals: a thread for each answer took as long as the answer.
        while not self._terminated.wait(_TICK):
            deadline = self._deadline
            if deadline is not None and monotonic() > deadline:
                self.timed_out = True
                self.kill()
