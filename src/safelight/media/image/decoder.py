"""Decoding in processes of its own, so that a hostile file harms nobody: a worker that dies or hangs costs one file."""

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

from safelight.media.image.picture import DecodeError, PictureError, name_of
from safelight.media.image.reading import DEFAULT_MAX_PIXELS
from safelight.media.image.spec import ImageSpec
from safelight.media.image.worker_process import DecodeLimits, Request, WorkerProcess
from safelight.media.image.worker_protocol import PipeError

_AHEAD = 32 << 20  # bytes of rows that wait to be read, of each file
_BAND = 1 << 20  # bytes of rows that a worker is asked for at once


class Decoder:
    """Reads pictures in worker processes, which have limits on time and memory.

    ``workers`` files are decoded at a time, in the order in which they were opened, each until 32 MB of its rows
    wait. A file keeps its worker until all of its rows are fetched or it is closed: one thread that opens several
    reads and closes them in the order of opening, or the first ones wait for the last for ever.

    A process starts when it is needed. Its memory is bounded on Linux, its time everywhere.

    Example:
        >>> from safelight.media.image import Picture, encode
        >>> file = encode(Picture(pixels=np.zeros((5, 3, 1), np.uint8)), "png")
        >>> with Decoder(workers=1) as decoder, decoder.open(file) as rows:
        ...     rows.frame.width, rows.read(10).shape
        (3, (5, 3, 1))
    """

    def __init__(self, *, workers: int = 2, patience: float = 20.0, memory: int = 1536 << 20) -> None:
        """Set up; no process starts yet.

        Args:
            workers: processes, at least one.
            patience: seconds that a worker may take for a header or for the next rows. Time in which nothing is asked
                of it, as its reader is slow, does not count.
            memory: bytes that each may take. 1.5 GiB decode 160 megapixels of JPEG, PNG, TIFF and GIF, standing or
                lying, and 120 of WebP and 100 of AVIF, which their decoders hold several times.
        """
        self._most = workers
        self._limits = DecodeLimits(patience, memory)
        self._files: SimpleQueue[OpenPicture | None] = SimpleQueue()
        self._lanes: list[_Lane] = []
        self._lock = Lock()
        self._closed = False

    def start(self) -> None:
        """Start all workers now, so that they are ready when the first files come."""
        with self._lock:
            while not self._closed and len(self._lanes) < self._most:
                self._lanes.append(_Lane(self._files, self._limits))

    def open(
        self, source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False
    ) -> OpenPicture:
        """Begin to read a picture; returns at once, and what is wrong with the file shows when its rows are used.

        Args:
            source: path, or the bytes of a file.
            max_pixels: as for `open_rows`.
            lenient: as for `open_rows`.

        Returns:
            The rows, to be closed by a ``with`` statement. They are those of `open_rows`, and so are the errors, but
            that a file on which the decoder dies or hangs gives a DecodeError, and so does one with rows of more than
            32 MB.
        """
        file = OpenPicture(source, max_pixels=max_pixels, lenient=lenient)
        with self._lock:
            if self._closed:
                raise RuntimeError("expected an open Decoder, got a closed one; open files before it is closed")
            if len(self._lanes) < self._most:
                self._lanes.append(_Lane(self._files, self._limits))
            self._files.put(file)
        return file

    def close(self) -> None:
        """End all workers. Files that are still open give the rows that were fetched, and then an error."""
        with self._lock:
            self._closed = True
            with suppress(Empty):
                while True:
                    if file := self._files.get_nowait():
                        file.fail(_closed())
            for _ in self._lanes:
                self._files.put(None)
        for lane in self._lanes:
            lane.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _closed() -> PictureError:
    return PictureError("expected an open Decoder, got one that was closed; read files before that")


class OpenPicture:
    """A picture that a Decoder reads: its rows, fetched ahead. `Decoder.open` makes it."""

    def __init__(self, source: str | Path | bytes, *, max_pixels: int, lenient: bool) -> None:
        name = name_of(source)
        if not isinstance(source, bytes):
            source = Path(source)
            with suppress(OSError):  # the folder that we are in is gone, and so is the file
                source = source.absolute()  # a worker is where this process was when it started
        self.request = Request(name, source, max_pixels, lenient)
        self._changed = Condition()
        self._frame: ImageSpec | None = None
        self._bands: deque[NDArray[Any]] = deque()
        self._held = 0  # bytes of them
        self._given = 0  # rows
        self._failure: Exception | None = None  # copies are raised: the traceback of this one would hold rows

    # For the reader

    @property
    def frame(self) -> ImageSpec:
        """What the picture is; waits for the header.

        Raises:
            DecodeError: as for `open_rows`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame or self._failure)
            if self._frame is None:
                assert self._failure is not None
                raise copy(self._failure)
            return self._frame

    def read(self, count: int) -> NDArray[Any]:
        """Return the next rows; waits for them. See `Rows`.

        Raises:
            DecodeError: as for `open_rows`.
        """
        frame = self.frame
        count = min(count, frame.height - self._given)
        out: NDArray[Any] = np.empty((0, frame.width, frame.bands), frame.dtype)
        done = 0
        while done < count:
            piece = self._take(count - done)
            if len(piece) == count:
                return piece
            if not done:
                out = np.empty((count, frame.width, frame.bands), frame.dtype)
            out[done : done + len(piece)] = piece
            done += len(piece)
        return out

    def close(self) -> None:
        """Fetch no more rows, and drop those that wait."""
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

    # For the thread that fetches

    def begin(self, frame: ImageSpec) -> None:
        """Take the header."""
        with self._changed:
            self._frame = frame
            self._changed.notify_all()

    def has_room(self, size: int) -> bool:
        """Wait until ``size`` bytes of rows may come; False if none are wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._held + size <= _AHEAD)
            return self._failure is None

    def put(self, band: NDArray[Any]) -> None:
        """Take rows."""
        with self._changed:
            self._bands.append(band)
            self._held += band.nbytes
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Say why there are no more rows than those that came."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()


class _Lane:
    """A thread that takes files one by one and fetches them from a worker, which it replaces when it is lost."""

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
        with suppress(PictureError):  # it shows again with the first file
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
                file.fail(DecodeError(f"{file.request.name}: {self._worker.epitaph()}"))
            except Exception as error:  # its reader has to hear of it, whatever it is
                file.fail(error)
            with self._lock:
                self._file = None
        self._drop()

    def _serve(self, file: OpenPicture) -> None:
        if not file.has_room(0):
            return
        worker, frame = self._open(file.request)
        try:
            row = frame.width * frame.bands * frame.dtype.itemsize
            if row > _AHEAD:
                raise DecodeError(
                    f"{file.request.name}: expected rows of at most {_AHEAD >> 20} MB, got {frame.width:,} pixels in "
                    f"{row / 2**20:,.0f} MB; cut the picture into narrower ones first"
                )
            file.begin(frame)
            rest = frame.height
            while rest:
                count = min(rest, max(1, _BAND // row))
                if not file.has_room(count * row):
                    break
                file.put(worker.read(frame, count))
                rest -= count
        finally:
            worker.close_file()

    def _open(self, request: Request) -> tuple[WorkerProcess, ImageSpec]:
        worker = self._worker
        if worker is not None and worker.alive:
            try:
                return worker, worker.open(request)
            except PipeError:
                # It may have been killed while it was idle, or harmed by the file before: this one gets another try.
                if worker.hung:
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
            worker.bury()
