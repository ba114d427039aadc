"""Blur kernels, as people name them."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from safelight import ops


class BlurError(ValueError):
    """A blur that cannot be understood. The message is one line."""


def blur_kernel(blur: str | Path) -> Tensor:
    """Make the kernel that a user names: (kh, kw) float64 with odd sides, sum 1, its centre in the middle.

    Args:
        blur: ``"none"``, ``"gaussian:SIGMA"`` with SIGMA in pixels of the large picture, or a file of numbers, a row a
            line, with spaces or commas between.

    Raises:
        BlurError: Another word, a SIGMA out of (0, 50], no such file, an even side, or a sum that is not positive.

    Example:
        >>> blur_kernel("none")
        tensor([[1.]], dtype=torch.float64)
        >>> tuple(blur_kernel("gaussian:1.6").shape)
        (11, 11)
    """
    text = str(blur)
    if text == "none":
        return torch.ones(1, 1, dtype=torch.float64)
    if text.startswith("gaussian:"):
        try:
            sigma = float(text.removeprefix("gaussian:"))
        except ValueError:
            sigma = math.nan
        if not 0 < sigma <= 50:
            raise BlurError(f"expected a blur such as gaussian:1.6, of 0 to 50 pixels, got {text!r}")
        receptive_radius = ops.gaussian_radius(sigma)
        t = torch.arange(-receptive_radius, receptive_radius + 1, dtype=torch.float64)
        g = torch.exp(-(t**2) / (2 * sigma**2))
        return torch.outer(g, g) / g.sum() ** 2
    return _read_kernel(Path(blur))


def _read_kernel(path: Path) -> Tensor:
    try:
        text = path.read_text(encoding="ascii", errors="strict")[: 1 << 20]
    except (OSError, UnicodeDecodeError):
        raise BlurError(f"expected a blur: none, gaussian:SIGMA or a text file of numbers, got {str(path)!r}") from None
    try:
        rows = [[float(word) for word in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()]
    except ValueError:
        rows = []
    if not rows or len({len(row) for row in rows}) != 1 or len(rows) % 2 == 0 or len(rows[0]) % 2 == 0:
        raise BlurError(f"{path}: expected a kernel of numbers in rows of equal length, with odd sides")
    kernel = torch.tensor(rows, dtype=torch.float64)
    total = float(kernel.sum())
    if not (math.isfinite(total) and total > 0):
        raise BlurError(f"{path}: expected a kernel with a positive sum, got {total:g}")
    return kernel / total
