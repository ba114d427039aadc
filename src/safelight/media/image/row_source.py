"""Rows on their way into libvips, which asks for them from threads of its own.

libvips takes pixels that come bit by bit from a file only. So they are given to it as an uncompressed TIFF file that
exists nowhere: its head is made up front, and its pixels are the rows, in their own byte order and depth.
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
_MOST = 32 << 20  # bytes that wait to be encoded: a band, so that the next one is computed while one is encoded

_SHORT, _LONG, _LONG8 = 3, 4, 16
_TYPES = {_SHORT: np.uint16, _LONG: np.uint32, _LONG8: np.uint64}


class Feed:
    """A file that is read while it is written: one thread puts pixels in, libvips' threads take them out in order.

    It holds 32 MB at most beside what is being put in.
    """

    def __init__(self, frame: ImageSpec) -> None:
        self._head, self._length = _head(frame)
        self._changed = Condition()
        self._waiting: deque[memoryview] = deque()
        self._held = 0  # bytes in there
        self._position = 0
        self._taken = len(self._head)  # the file has been given out up to here
        self._open = True

    def put(self, data: bytes) -> bool:
        """Add pixels, as soon as there is room; False if nobody will take them any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._held < _MOST)
            if self._open:
                self._waiting.append(memoryview(data))
                self._held += len(data)
                self._changed.notify_all()
            return self._open

    def close(self) -> None:
        """Let both sides go: nothing more will be put in, or taken out."""
        with self._changed:
            self._open = False
            self._waiting.clear()
            self._changed.notify_all()

    def source(self) -> Vips:
        """Return libvips' end of it, which must outlive every image that is made of it."""
        source = libvips().SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    def _seek(self, offset: int, whence: int) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = start + offset
        return self._position

    def _read(self, count: int) -> bytes | memoryview | None:
        """Return bytes at the position; None, which libvips takes for the end of the file, if they won't come."""
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


def _head(frame: ImageSpec) -> tuple[bytes, int]:
    """Return all of a BigTIFF file that stands before its pixels, and the length of the whole file."""
    line = frame.width * frame.bands * frame.dtype.itemsize
    rows = min(max(_STRIP // line, 1), frame.height)
    strips = -(-frame.height // rows)
    values: dict[int, tuple[int, NDArray[np.generic]]] = {
        256: (_LONG, np.array([frame.width])),
        257: (_LONG, np.array([frame.height])),
        258: (_SHORT, np.full(frame.bands, 8 * frame.dtype.itemsize)),
        259: (_SHORT, np.array([1])),  # not compressed
        262: (_SHORT, np.array([1 if frame.channels == 1 else 2])),  # gray, 0 is black; or RGB
        273: (_LONG8, np.arange(strips) * rows * line),  # from the first pixel on; the head's length is added below
        277: (_SHORT, np.array([frame.bands])),
        278: (_LONG, np.array([rows])),
        279: (_LONG8, np.minimum(frame.height - np.arange(strips) * rows, rows) * line),
        338: (_SHORT, np.full(int(frame.alpha), 2)),  # the last band is alpha, not premultiplied
        339: (_SHORT, np.full(frame.bands, 3 if frame.depth == "float" else 1)),
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
    return head, start + frame.height * line
