"""Arithmetic on pictures: MATLAB's ``imresize``, Gaussian filtering, and the symmetries of the square.

Pure functions on tensors of shape (..., H, W). All of them are differentiable; none knows colour, files or devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# --- resizing as MATLAB does it ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kernel:
    """An interpolation kernel.

    ``weight`` maps distances in samples, (...) float64, to weights; it is zero beyond ``width / 2``. With
    ``antialias`` the kernel is stretched when a picture shrinks, as MATLAB does for all kernels but the box.
    """

    name: str
    weight: Callable[[Tensor], Tensor]
    width: float
    antialias: bool = True


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


_BLOCK = 64  # outputs in a product: dense enough for the processor, and the matrix stays in its cache

CUBIC = Kernel("cubic", _cubic, 4)
"""Keys' cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 1981), the "bicubic" of MATLAB, of Pillow and of the
super-resolution papers. OpenCV and ``torch.nn.functional.interpolate`` take a = -0.75 instead."""


def lanczos(lobes: int) -> Kernel:
    """Make the Lanczos kernel of so many lobes, a sinc under the main lobe of a sinc that many times as wide."""

    def weight(x: Tensor) -> Tensor:
        return torch.where(x.abs() < lobes, torch.sinc(x) * torch.sinc(x / lobes), 0.0)

    return Kernel(f"lanczos{lobes}", weight, 2 * lobes)


LANCZOS2 = lanczos(2)
LANCZOS3 = lanczos(3)

Border = Literal["mirrored", "repeated"]
"""What lies beyond a picture's border: its mirror image, the edge included, or the edge sample again and again."""


@dataclass(frozen=True, slots=True)
class Taps:
    """One axis of a resampling: output sample i is ``sum_t weight[i, t] * input[index[i, t]]``.

    ``index`` is (n_out, taps) int64 and ``weight`` (n_out, taps) float64 with rows that sum to 1; ``n_in`` is the
    length of the input axis.
    """

    index: Tensor
    weight: Tensor
    n_in: int

    def part(self, start: int, stop: int) -> tuple[Taps, int, int]:
        """Keep the outputs [start, stop): their taps, and the range of inputs [first, last) that they read."""
        index = self.index[start:stop]
        first, last = int(index.min()), int(index.max()) + 1
        return Taps(index - first, self.weight[start:stop], last - first), first, last

    def matrix(self) -> Tensor:
        """Write the taps as a dense matrix, (n_out, n_in) float64."""
        rows = torch.arange(self.index.shape[0])[:, None].expand_as(self.index)
        dense = torch.zeros(self.index.shape[0], self.n_in, dtype=torch.float64)
        return dense.index_put_(
            (rows, self.index), self.weight, accumulate=True
        )  # beyond the border, an index may repeat


@lru_cache(maxsize=256)
def taps(n_in: int, n_out: int, kernel: Kernel = CUBIC, zoom: float | None = None, border: Border = "mirrored") -> Taps:
    """Positions and weights that resize an axis from ``n_in`` to ``n_out`` samples, as MATLAB's ``imresize``.

    Output sample x (counted from 1) lies at u = x / zoom + (1 - 1 / zoom) / 2 of the input. Samples beyond the border
    mirror it with the edge repeated, the rule of today's MATLAB; old releases repeated the edge sample instead, which
    changes the outermost ring alone. The cache holds a few kilobytes an entry.

    Args:
        n_in: Samples of the input axis.
        n_out: Samples of the output axis.
        kernel: The interpolation kernel.
        zoom: The zoom factor, where it is not ``n_out / n_in`` (MATLAB's ``imresize(A, scale)`` rounds the size up).
        border: What lies beyond the border.

    Raises:
        ValueError: A size below 1.
    """
    if n_in < 1 or n_out < 1:
        raise ValueError(f"resize: expected sizes of at least 1 sample, got {n_in} to {n_out}")
    zoom = n_out / n_in if zoom is None else zoom
    stretch = zoom if kernel.antialias and zoom < 1 else 1.0
    width = kernel.width / stretch
    u = torch.arange(1, n_out + 1, dtype=torch.float64) / zoom + 0.5 * (1 - 1 / zoom)
    left = torch.floor(u - width / 2)
    index = left[:, None] + torch.arange(math.ceil(width) + 2, dtype=torch.float64)  # from 1, may leave [1, n_in]
    weight = stretch * kernel.weight(stretch * (u[:, None] - index))
    weight = weight / weight.sum(dim=1, keepdim=True)
    position = index.long() - 1
    if border == "repeated":
        position = position.clamp(0, n_in - 1)
    else:
        position = torch.remainder(position, 2 * n_in)  # mirror: 0 .. n-1, n-1 .. 0, and again
        position = torch.where(position < n_in, position, 2 * n_in - 1 - position)
    used = (weight != 0).any(dim=0)
    return Taps(position[:, used], weight[:, used], n_in)


def resample(x: Tensor, axis: Taps, dim: int) -> Tensor:
    """Resample one axis, as products with small matrices: neighbouring outputs read nearly the same inputs.

    Args:
        x: (..., H, W) floating point; the axis has ``axis.n_in`` samples.
        axis: The taps, as ``taps`` gives them.
        dim: The axis, -1 or -2.
    """
    parts: list[Tensor] = []
    for start, stop in chunk_ranges(axis.index.shape[0], _BLOCK):
        part, first, last = axis.part(start, stop)
        matrix = part.matrix().to(x.device, x.dtype)
        read = x.narrow(dim, first, last - first)
        parts.append(read @ matrix.T if dim == -1 else matrix @ read)
    return torch.cat(parts, dim)


def resample_adjoint(y: Tensor, axis: Taps, dim: int) -> Tensor:
    """Apply the transpose of ``resample``, that for which <resample(x), y> = <x, adjoint(y)>."""
    shape = [1] * y.ndim
    shape[dim] = -1
    index, weight = axis.index.to(y.device), axis.weight.to(y.device, y.dtype)
    size = list(y.shape)
    size[dim] = axis.n_in
    out = y.new_zeros(size)
    for t in range(index.shape[1]):
        out = out.index_add(dim, index[:, t], y * weight[:, t].view(shape))
    return out


def resize(
    x: Tensor,
    size: tuple[int, int] | None = None,
    *,
    zoom: float | None = None,
    kernel: Kernel = CUBIC,
    border: Border = "mirrored",
) -> Tensor:
    """Resize pictures exactly as MATLAB's ``imresize``.

    The axis with the smaller zoom goes first, the vertical one when they are equal. Floating point is neither rounded
    nor clipped; ``uint8`` is rounded (half up) and clipped after each of the two passes, as MATLAB does it, and then
    every sample equals MATLAB's.

    Args:
        x: (..., H, W), floating point of any range, or uint8.
        size: The output's (H, W). Give this or ``zoom``.
        zoom: One factor for both axes; the size is rounded up.
        kernel: The interpolation kernel, stretched against aliasing when shrinking.
        border: What lies beyond the border; MATLAB mirrors the picture there.

    Returns:
        (..., H', W') of the same type.

    Raises:
        ValueError: Neither or both of ``size`` and ``zoom``, a zoom that is not positive, or a size below 1.

    Example:
        >>> resize(torch.tensor([[0.0, 1.0]]), (1, 4))
        tensor([[-0.0938,  0.2031,  0.7969,  1.0938]])
    """
    if (size is None) == (zoom is None):
        raise ValueError(f"resize: expected either size or zoom, got size={size}, zoom={zoom}")
    height, width = x.shape[-2:]
    if size is None:
        assert zoom is not None
        if not zoom > 0:
            raise ValueError(f"resize: expected a zoom above 0, got {zoom}")
        # The tolerance keeps 510 * (1 / 3) at 170 samples: binary fractions must not round a size up.
        size = (math.ceil(height * zoom - 1e-9), math.ceil(width * zoom - 1e-9))
    vertical = taps(height, size[0], kernel, zoom, border), -2
    horizontal = taps(width, size[1], kernel, zoom, border), -1
    vertical_first = zoom is not None or size[0] / height <= size[1] / width
    passes = (vertical, horizontal) if vertical_first else (horizontal, vertical)
    if x.dtype == torch.uint8:
        for axis, dim in passes:
            x = round_half_up(resample(x.double(), axis, dim)).clamp(0, 255).to(torch.uint8)
        return x
    for axis, dim in passes:
        x = resample(x, axis, dim)
    return x


def shrink_to_side(x: Tensor, side: int) -> Tensor:
    """Reduce pictures (B, C, H, W) in [0, 1] until the shorter side is at most ``side`` pixels; keep smaller ones."""
    zoom = side / min(x.shape[-2:])
    return resize(x, zoom=zoom).clamp(0, 1) if zoom < 1 else x


def round_half_up(x: Tensor) -> Tensor:
    """Round to the nearest integer, halves up: MATLAB's ``uint8`` and ``round`` for values that are not negative.

    ``torch.round`` rounds halves to even, and gives another picture.
    """
    return torch.floor(x + 0.5)


# --- filters and frames -----------------------------------------------------------------------------------------------


def gaussian_radius(sigma: float) -> int:
    """The radius, in pixels, at which ``gaussian_blur`` cuts its kernel: 3 sigma, and at least 1."""
    return max(1, math.ceil(3 * sigma))


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Filter with a Gaussian of ``sigma`` pixels, mirroring the border with the edge repeated.

    Args:
        x: (B, C, H, W) floating point.
        sigma: Standard deviation in pixels, above 0.
    """
    receptive_radius = gaussian_radius(sigma)
    t = torch.arange(-receptive_radius, receptive_radius + 1, dtype=torch.float64, device=x.device)
    g = torch.exp(-(t**2) / (2 * sigma**2))
    g = (g / g.sum()).to(x.dtype)
    for dim in (-2, -1):
        n = x.shape[dim]
        position = torch.remainder(torch.arange(-receptive_radius, n + receptive_radius, device=x.device), 2 * n)
        position = torch.where(position < n, position, 2 * n - 1 - position)
        padded = x.index_select(dim, position)
        kernel = g.view(1, 1, -1, 1) if dim == -2 else g.view(1, 1, 1, -1)
        x = F.conv2d(padded.flatten(0, 1).unsqueeze(1), kernel).view(*x.shape)
    return x


def crop_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Cut rows at the bottom and columns at the right until both sides are multiples (MATLAB's ``modcrop``)."""
    height, width = x.shape[-2:]
    return x[..., : height - height % multiple, : width - width % multiple]


def dihedral(x: Tensor, k: int) -> Tensor:
    """Apply one of the eight symmetries of the square: ``k % 4`` quarter turns, then a flip if k > 3; k in 0..7."""
    x = torch.rot90(x, k % 4, (-2, -1))
    return x.flip(-1) if k > 3 else x


def dihedral_inverse(x: Tensor, k: int) -> Tensor:
    """Undo ``dihedral`` with the same ``k``."""
    x = x.flip(-1) if k > 3 else x
    return torch.rot90(x, -(k % 4), (-2, -1))


def self_ensemble(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Average a network over the eight symmetries of the square (the "+" of the papers; Timofte et al. 2016, EDSR).

    Args:
        network: Maps (B, C, H, W) to (B, C', s H, s W).
        x: (B, C, H, W).
    """
    total = network(x)
    for k in range(1, 8):
        total = total + dihedral_inverse(network(dihedral(x, k)), k)
    return total / 8


def chunk_ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges (start, stop) of at most ``step`` that cover [0, length)."""
    for start in range(0, length, step):
        yield start, min(start + step, length)
