"""Size of the result, the native scales by which it is reached, and tile sizes."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

from safelight.core.options import CardError

LARGEST_ZOOM = 32  # a larger one is taken for a typing error: it asks for a thousand times the pixels


class SizeError(CardError):
    """An invalid scale or size. The message says what was expected."""


def target_size(scale: float | None, size: str | tuple[int, int] | None, width: int, height: int) -> tuple[int, int]:
    """Return the (W, H) of the result for a picture of ``width`` x ``height``.

    Args:
        scale: The zoom factor, from 1 to 32, may be fractional. ``None`` without a size means 4.
        size: The target instead: ``"3840x2160"``, ``"3840x"`` or ``"x2160"`` (the other side follows), or (W, H).
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Raises:
        SizeError: Both are given, or one is malformed, not positive, or asks for more than 32 times the picture.

    Example:
        >>> target_size(None, "300x", 200, 100)
        (300, 150)
    """
    if size is not None and scale is not None:
        raise SizeError("expected a scale or a size, got both; leave one out")
    if size is None:
        zoom = 4.0 if scale is None else float(scale)
        if not 1 <= zoom <= LARGEST_ZOOM:
            raise SizeError(f"expected a scale from 1 to {LARGEST_ZOOM}, got {zoom:g}; give a --size to shrink")
        return max(1, math.ceil(width * zoom - 1e-9)), max(1, math.ceil(height * zoom - 1e-9))
    if isinstance(size, str):
        sides = size.lower().split("x")
        if (
            len(sides) != 2
            or not any(sides)
            or not all((side.isascii() and side.isdigit()) or not side for side in sides)
        ):
            raise SizeError(f"expected a size such as 3840x2160, 3840x or x2160, got {size!r}")
        w, h = (int(side) if side else None for side in sides)
    else:
        w, h = size
    if w is None:
        assert h is not None
        w = max(1, round(width * h / height))
    if h is None:
        h = max(1, round(height * w / width))
    if w < 1 or h < 1 or w > width * LARGEST_ZOOM or h > height * LARGEST_ZOOM:
        raise SizeError(f"expected a size from 1x1 to {LARGEST_ZOOM} times {width}x{height}, got {w}x{h}")
    return w, h


def scale_chain(scales: tuple[int, ...], zoom: float) -> tuple[int, ...]:
    """Choose the native scales whose product is the smallest that reaches ``zoom``, in as few steps as possible.

    Example:
        >>> [scale_chain((2, 3, 4), zoom) for zoom in (2.5, 6, 8, 1)]
        [(3,), (3, 2), (4, 2), ()]
    """
    if zoom <= 1:
        return ()
    steps = math.ceil(math.log(zoom, min(scales)) - 1e-9)
    largest_first = sorted(scales, reverse=True)
    candidates = [c for n in range(1, steps + 1) for c in combinations_with_replacement(largest_first, n)]
    return min((c for c in candidates if math.prod(c) >= zoom - 1e-9), key=lambda c: (math.prod(c), len(c), c[-1]))


def affordable_tile(
    size: tuple[int, int], receptive_radius: int, column: int, pixel: int, memory: int
) -> tuple[int, int]:
    """Choose the (H, W) of a tile whose border costs least, among those that fit into memory.

    Each tile also computes a border of ``receptive_radius`` pixels, except at the picture's edge. All sizes are in
    pixels of the stage's input.

    Args:
        size: (H, W) of the picture.
        receptive_radius: Pixels around a pixel that influence it.
        column: Bytes that a column of the tile takes, border included, independent of its height.
        pixel: Bytes that a pixel of the tile takes, border included.
        memory: Available bytes.

    Example:
        >>> affordable_tile((1080, 1920), 10, 1000, 100, 1 << 30)
        (1080, 1920)
        >>> affordable_tile((8000, 8000), 10, 1000, 100, 1 << 28)
        (1627, 1600)
    """
    best, cost = (16, 16), math.inf
    parts = 1
    while True:
        width = math.ceil(size[1] / parts)
        wide = min(size[1], width + 2 * receptive_radius)
        high = int((memory / wide - column) / pixel)
        height = size[0] if high >= size[0] else high - 2 * receptive_radius
        if height >= 1:
            tall = min(size[0], height + 2 * receptive_radius)
            extra = wide * tall / (width * height)
            if extra < cost:
                best, cost = (height, width), extra
        if width <= 16:
            return best
        parts += 1 if parts < 16 else parts // 8
