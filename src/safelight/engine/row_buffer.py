"""Input rows of the engine: read one after another, and kept only while they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from safelight.engine.samples import to_tensor
from safelight.engine.tiles import Region
from safelight.media.image import Picture, Rows, spec_of


class PictureRows:
    """A picture in memory that is read row by row."""

    def __init__(self, picture: Picture) -> None:
        self.spec = spec_of(picture)
        self._picture, self._next = picture, 0

    def read(self, count: int) -> NDArray[Any]:
        """Return the next rows, (h, width, bands)."""
        picture, top = self._picture, self._next
        self._next += count
        pixels = picture.pixels[top : top + count]
        if picture.alpha is None:
            return pixels
        return np.concatenate([pixels, picture.alpha[top : top + count, :, None]], axis=2)


class RowBuffer:
    """The rows of the input that were read and are still needed."""

    def __init__(self, source: Rows, warn: Callable[[str], None]) -> None:
        self._source, self._warn, self._channels = source, warn, source.spec.channels
        self._first = self._end = 0
        self._rows: NDArray[Any] = np.empty((0, source.spec.width, source.spec.bands), source.spec.dtype)
        self._clipped = self._held = False

    def colors(self, region: Region) -> Tensor:
        """Return the colours of a region, (1, C, h, w); integers are scaled to [0, 1]."""
        part = self._part(region)[..., : self._channels]
        return to_tensor(part)

    def coverage(self, region: Region) -> Tensor:
        """Return the alpha of a region, (1, 1, h, w)."""
        return to_tensor(self._part(region)[..., self._channels :])

    def _part(self, region: Region) -> NDArray[Any]:
        if region.bottom > self._end:
            new = self._source.read(region.bottom - self._end)
            if new.dtype == np.float32 and not self._clipped and (new.min() < 0 or new.max() > 1):
                self._clipped = True
                self._warn("samples outside [0, 1] were clipped")
            self._rows = np.concatenate([self._rows, new]) if len(self._rows) else new
            self._end = region.bottom
        top = region.top - self._first
        return self._rows[top : top + region.height, region.left : region.right]

    def hold(self) -> None:
        """Read the whole picture and keep it."""
        self._part(Region(0, self._source.spec.height, 0, 1))
        self._held = True

    def forget(self, before: int) -> None:
        """Drop the rows above ``before``."""
        if self._held:
            return
        drop = min(before, self._end) - self._first
        if drop > 0:
            self._rows = self._rows[drop:].copy()
            self._first += drop
