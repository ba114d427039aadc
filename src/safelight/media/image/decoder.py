"""Decoding in worker processes, so that a hostile file can do no harm: a crash or a hang costs only that file."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from copy import copy
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.picture import DecodeError, PictureError, source_name
from safelight.media.image.reading import DEFAULT_MAX_PIXELS
from safelight.media.image.spec import ImageSpec
from safelight.media.image.worker_process import DecodeLimits, DecodeRequest, WorkerProcess
from safelight.media.image.worker_protocol import PipeError

_AHEAD = 32 << 20  # bytes of decoded rows that may wait, for each file
_BAND = 1 << 20  # bytes of rows per request to a worker


class Decoder:
    """Reads pictures in worker processes with limits on time and memory.

    Up to ``workers`` files are decoded at a time, in the order in which they were opened, each until 32 MB of its rows
    wait. A file keeps its worker until all its rows are fetched or it is closed: a thread that opens several files has
    to read and close them in the order of opening, or it waits for ever.

    Processes start on demand. Their memory is limited on Linux, their time on every system.

    Example:
        >>> from safelight.media.image import Picture, encode
        >>> file = encode(Picture(pixels=np.zeros((5, 3, 1), np.uint8)), "png")
        >>> with Decoder(workers=1) as decoder, decoder.open(file) as rows:
        ...     rows.spec.width, rows.read(10).shape
        (3, (5, 3, 1))
    """

    def __init__(self, *, workers: int = 2, timeout: float = 20.0, memory: int = 1536 << 20) -> None:
        """Configure the decoder; no process is started yet.

        Args:
            workers: number of processes, at least one.
            timeout: seconds that a worker may take for a header or for the next rows. Time in which it waits for its
                reader does not count.
            memory: bytes that each worker may use. 1.5 GiB decode 160 megapixels of JPEG, PNG, TIFF and GIF in any
                orientation, 120 of WebP and 100 of AVIF, whose decoders hold several copies.
        """
        self._most = workers
        self._limits = DecodeLimits(timeout, memory)
        self._files: SimpleQueue[OpenPicture | None] = SimpleQueue()
        self._threads: list[_WorkerThread] = []
        self._lock = Lock()
        self._closed = False

    def start(self) -> None:
        """Start all workers now, so that they are ready for the first files."""
        with self._lock:
            while not self._closed and len(self._threads) < self._most:
                self._threads.append(_WorkerThread(self._files, self._limits))

    def open(
        self, source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False
    ) -> OpenPicture:
        """Start reading a picture and return at once; errors of the file are raised when its rows are used.

        Args:
            source: path, or the bytes of a file.
            max_pixels: as for `open_rows`.
            lenient: as for `open_rows`.

        Returns:
            The rows; use them in a ``with`` statement. Rows and errors are those of `open_rows`; in addition a file on
            which the decoder crashes or hangs, or with rows of more than 32 MB, raises a DecodeError.
        """
        file = OpenPicture(source, max_pixels=max_pixels, lenient=lenient)
        with self._lock:
            if self._closed:
                raise RuntimeError("expected an open Decoder, got a closed one; open files before it is closed")
            if len(self._threads) < self._most:
                self._threads.append(_WorkerThread(self._files, self._limits))
            self._files.put(file)
        return file

    def close(self) -> None:
        """Stop all workers. Files that are still open return the rows that were fetched, and then raise an error."""
        with self._lock:
            self._closed = True
            with suppress(Empty):
                while True:
                    if file := self._files.get_nowait():
                        file.fail(_closed())
            for _ in self._threads:
                self._files.put(None)
        for thread in self._threads:
            thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _closed() -> PictureError:
    return PictureError("expected an open Decoder, got one that was closed; read files before that")


class OpenPicture:
    """The rows of a picture that a Decoder reads ahead, as `Decoder.open` returns it."""

    def __init__(self, source: str | Path | bytes, *, max_pixels: int, lenient: bool) -> None:
        name = source_name(source)
        if not isinstance(source, bytes):
            source = Path(source)
            with suppress(OSError):  # the current folder was removed, and so was the file
                source = source.absolute()  # a worker's current folder is that of this process when it started
        self.request = DecodeRequest(name, source, max_pixels, lenient)
        self._changed = Condition()
        self._spec: ImageSpec | None = None
        self._bands: deque[NDArray[Any]] = deque()
        self._held = 0  # bytes of them
        self._given = 0  # rows
        self._failure: Exception | None = None  # copies are raised: the traceback of this one would hold rows

    # For the reader

    @property
    def spec(self) -> ImageSpec:
        """Size, depth and metadata; waits for the header.

        Raises:
            DecodeError: as for `open_rows`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._spec or self._failure)
            if self._spec is None:
                assert self._failure is not None
                raise copy(self._failure)
            return self._spec

    def read(self, count: int) -> NDArray[Any]:
        """Return the next rows; waits for them. See `Rows`.

        Raises:
            DecodeError: as for `open_rows`.
        """
        spec = self.spec
        count = min(count, spec.height - self._given)
        out: NDArray[Any] = np.empty((0, spec.width, spec.bands), spec.dtype)
        done = 0
        while done < count:
            piece = self._take(count - done)
            if len(piece) == count:
                return piece
            if not done:
                out = np.empty((count, spec.width, spec.bands), spec.dtype)
            out[done : done + len(piece)] = piece
            done += len(piece)
        return out

    def close(self) -> None:
        """Stop decoding, and drop the waiting rows."""
        self.fail(RuntimeError("expected an open picture, got a closed one; read it before it is closed"))
        with self._changed:
            self._bands.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self, most: int) -> NDArray[Any]:
        with self._changed:
            self._changed.wait_for(lambda: self._bands or self._failure)
            if not self._bands:
                assert self._failure is not None
                raise copy(self._failure)
            band = self._bands[0]
            piece = band[:most]
            if len(piece) < len(band):
                self._bands[0] = band[most:]
            else:
                self._bands.popleft()
            self._held -= piece.nbytes
            self._given += len(piece)
            self._changed.notify_all()
            return piece

    # For the decoding thread

    def set_spec(self, spec: ImageSpec) -> None:
        """Set the header that was read."""
        with self._changed:
            self._spec = spec
            self._changed.notify_all()

    def wait_for_room(self, size: int) -> bool:
        """Wait until ``size`` bytes of rows fit; return False if the picture is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._held + size <= _AHEAD)
            return self._failure is None

    def put(self, band: NDArray[Any]) -> None:
        """Add decoded rows."""
        with self._changed:
            self._bands.append(band)
            self._held += band.nbytes
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Set the error that follows the rows added so far."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()


class _WorkerThread:
    """A thread that decodes files one by one with its worker process, which it replaces when it is lost."""

    def __init__(self, files: SimpleQueue[OpenPicture | None], limits: DecodeLimits) -> None:
        self._files = files
        self._limits = limits
        self._lock = Lock()
        self._stopped = False
        self._file: OpenPicture | None = None
        self._worker: WorkerProcess | None = None
        self._thread = Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the worker and the thread."""
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()
            if self._file is not None:
                self._file.fail(_closed())
        self._thread.join()

    def _run(self) -> None:
        with suppress(PictureError):  # raised again by the first file
            self._ready_worker()
        while (file := self._files.get()) is not None:
            with self._lock:
                self._file = file
                if self._stopped:
                    file.fail(_closed())
            try:
                self._serve(file)
            except PipeError:
                assert self._worker is not None
                file.fail(DecodeError(f"{file.request.name}: {self._worker.failure_message()}"))
            except Exception as error:  # passed on to the reader
                file.fail(error)
            with self._lock:
                self._file = None
        self._drop()

    def _serve(self, file: OpenPicture) -> None:
        if not file.wait_for_room(0):
            return
        worker, spec = self._open(file.request)
        try:
            row = spec.width * spec.bands * spec.dtype.itemsize
            if row > _AHEAD:
                raise DecodeError(
                    f"{file.request.name}: expected rows of at most {_AHEAD >> 20} MB, got {spec.width:,} pixels in "
                    f"{row / 2**20:,.0f} MB; cut the picture into narrower ones first"
                )
            file.set_spec(spec)
            rest = spec.height
            while rest:
                count = min(rest, max(1, _BAND // row))
                if not file.wait_for_room(count * row):
                    break
                file.put(worker.read(spec, count))
                rest -= count
        finally:
            worker.close_file()

    def _open(self, request: DecodeRequest) -> tuple[WorkerProcess, ImageSpec]:
        worker = self._worker
        if worker is not None and worker.alive:
            try:
                return worker, worker.open(request)
            except PipeError:
                # It may have been killed while it was idle, or harmed by the file before: this one gets another try.
                if worker.timed_out:
                    raise
        worker = self._ready_worker()
        return worker, worker.open(request)

    def _ready_worker(self) -> WorkerProcess:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self._drop()
        worker = WorkerProcess(self._limits)
        with self._lock:
            self._worker = worker
            if self._stopped:
                worker.kill()
        worker.wait_until_ready()
        return worker

    def _drop(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.terminate()
