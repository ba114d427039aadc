"""Streams rows into libvips, which requests them from its own threads.

libvips streams pixels only from files. So the rows are given to it as an uncompressed TIFF file that exists only as a
stream: its header is made first, and its pixels are the rows, in their own byte order and depth.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import deque
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from safelight.media.image.spec import ImageSpec
from safelight.media.image.vips import Vips, libvips

_STRIP = 1 << 18  # bytes that libvips asks for at a time, roughly
_MOST = 32 << 20  # bytes that may wait to be encoded, so that rows are computed while others are encoded

_SHORT, _LONG, _LONG8 = 3, 4, 16
_TYPES = {_SHORT: np.uint16, _LONG: np.uint32, _LONG8: np.uint64}


class RowSource:
    """A TIFF stream that is read while it is written: one thread adds pixels, libvips' threads read them in order.

    It buffers at most 32 MB besides the data being added.
    """

    def __init__(self, spec: ImageSpec) -> None:
        self._head, self._length = _head(spec)
        self._changed = Condition()
        self._waiting: deque[memoryview] = deque()
        self._held = 0  # buffered bytes
        self._position = 0
        self._taken = len(self._head)  # the stream was read up to here
        self._open = True

    def put(self, data: bytes) -> bool:
        """Add pixels, waiting for room; return False if the stream is closed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._held < _MOST)
            if self._open:
                self._waiting.append(memoryview(data))
                self._held += len(data)
                self._changed.notify_all()
            return self._open

    def close(self) -> None:
        """Close the stream and wake both sides."""
        with self._changed:
            self._open = False
            self._waiting.clear()
            self._changed.notify_all()

    def source(self) -> Vips:
        """Return the libvips source, which must outlive every image that is loaded from it."""
        source = libvips().SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    def _seek(self, offset: int, whence: int) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = start + offset
        return self._position

    def _read(self, count: int) -> bytes | memoryview | None:
        """Return bytes at the position; None, which libvips takes for the end of the file, if there are no more."""
        if self._position < len(self._head):
            data = self._head[self._position : self._position + count]
        elif self._position == self._taken:
            data = self._take(count)
            self._taken += len(data)
        else:
            data = b""
        self._position += len(data)
        return data or None

    def _take(self, count: int) -> memoryview:
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._waiting)
            if not self._waiting:
                return memoryview(b"")
            data = self._waiting.popleft()
            if len(data) > count:
                self._waiting.appendleft(data[count:])
            self._held -= min(count, len(data))
            self._changed.notify_all()
            return data[:count]


def _head(spec: ImageSpec) -> tuple[bytes, int]:
    """Return the header of a BigTIFF file, before its pixels, and the length of the whole file."""
    line = spec.width * spec.bands * spec.dtype.itemsize
    rows = min(max(_STRIP // line, 1), spec.height)
    strips = -(-spec.height // rows)
    values: dict[int, tuple[int, NDArray[np.generic]]] = {
        256: (_LONG, np.array([spec.width])),
        257: (_LONG, np.array([spec.height])),
        258: (_SHORT, np.full(spec.bands, 8 * spec.dtype.itemsize)),
        259: (_SHORT, np.array([1])),  # not compressed
        262: (_SHORT, np.array([1 if spec.channels == 1 else 2])),  # gray, 0 is black; or RGB
        273: (_LONG8, np.arange(strips) * rows * line),  # from the first pixel on; the head's length is added below
        277: (_SHORT, np.array([spec.bands])),
        278: (_LONG, np.array([rows])),
        279: (_LONG8, np.minimum(spec.height - np.arange(strips) * rows, rows) * line),
        338: (_SHORT, np.full(int(spec.alpha), 2)),  # the last band is alpha, not premultiplied
        339: (_SHORT, np.full(spec.bands, 3 if spec.depth == "float" else 1)),
    }
    fields = {tag: (kind, v.astype(_TYPES[kind])) for tag, (kind, v) in values.items() if v.size}
    behind = 16 + 8 + 20 * len(fields) + 8
    start = behind + sum(v.nbytes for _, v in fields.values() if v.nbytes > 8)
    fields[273][1][:] += np.uint64(start)
    order, mark = ("<", b"II") if sys.byteorder == "little" else (">", b"MM")
    table, outside = struct.pack(order + "Q", len(fields)), b""
    for tag, (kind, value) in fields.items():
        data = value.tobytes()
        if len(data) > 8:
            data, outside = struct.pack(order + "Q", behind + len(outside)), outside + data
        table += struct.pack(order + "HHQ", tag, kind, value.size) + data.ljust(8, b"\0")
    head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16) + table + bytes(8) + outside
    return head, start + spec.height * line
