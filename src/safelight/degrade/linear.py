"""Linear degradations: y = H x, and the transpose of H.

The ``adjoint`` is that transpose: <H x, y> = <x, H' y> for all x and y. ``forward_model`` puts together the H of a
picture that was blurred and sampled, H = S B, as the solvers of ``methods/upscale`` invert it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops

Border = Literal["mirror", "circular"]


class Linear(Protocol):
    """A matrix that is applied to every channel of pictures."""

    def __call__(self, x: Tensor) -> Tensor:
        """Degrade (B, C, H, W)."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose to what ``__call__`` gives."""
        ...


@dataclass(frozen=True, slots=True)
class Downsample:
    """Shrink by a whole factor with MATLAB's antialiased bicubic, the degradation of the super-resolution papers.

    The result is neither rounded nor clipped: the papers' older protocol feeds it to the network as it is.

    Example:
        >>> import torch
        >>> Downsample(2)(torch.ones(1, 1, 8, 6)).shape
        torch.Size([1, 1, 4, 3])
    """

    scale: int

    def __call__(self, x: Tensor) -> Tensor:
        """Degrade (B, C, H, W) to (B, C, H / scale, W / scale).

        Raises:
            ValueError: A side is not a multiple of the scale (see ``ops.crop_to_multiple``).
        """
        height, width = x.shape[-2:]
        if height % self.scale or width % self.scale:
            raise ValueError(
                f"Downsample({self.scale}): expected sides that are multiples of {self.scale}, got {height}x{width}; "
                "cut them with ops.crop_to_multiple"
            )
        return ops.resize(x, (height // self.scale, width // self.scale))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: (B, C, h, w) to (B, C, h * scale, w * scale)."""
        height, width = y.shape[-2:]
        vertical = ops.taps(height * self.scale, height)
        horizontal = ops.taps(width * self.scale, width)
        return ops.resample_adjoint(ops.resample_adjoint(y, horizontal, -1), vertical, -2)


@dataclass(frozen=True, slots=True, eq=False)
class Blur:
    """Convolve with a kernel. A kernel that is an outer product goes over rows and columns apart.

    Attributes:
        kernel: (kh, kw) float64 with odd sides, its centre in the middle, as ``blur_kernel`` makes it.
        border: ``"mirror"`` repeats the picture mirrored, its edge samples twice; ``"circular"`` repeats it as it is.

    Example:
        >>> box = torch.full((1, 3), 1 / 3, dtype=torch.float64)
        >>> Blur(box)(torch.tensor([[[[0.0, 3.0, 6.0]]]]))
        tensor([[[[1., 3., 5.]]]])
    """

    kernel: Tensor
    border: Border = "mirror"

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or any(side % 2 == 0 for side in self.kernel.shape):
            raise ValueError(
                f"Blur: expected a kernel (kh, kw) with odd sides, got {tuple(self.kernel.shape)}; pad it with zeros"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Blur (B, C, H, W)."""
        for kernel in self._passes():
            rows, columns = (self._around(x, kernel, dim) for dim in (-2, -1))
            framed = x.index_select(-2, rows).index_select(-1, columns)
            weight = kernel.flip(0, 1).to(x.device, x.dtype)[None, None]  # torch correlates
            x = F.conv2d(framed.flatten(0, 1).unsqueeze(1), weight).view_as(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose to (B, C, H, W)."""
        for kernel in reversed(self._passes()):
            rows, columns = (self._around(y, kernel, dim) for dim in (-2, -1))
            weight = kernel.flip(0, 1).to(y.device, y.dtype)[None, None]
            framed = F.conv_transpose2d(y.flatten(0, 1).unsqueeze(1), weight)
            framed = framed.view(*y.shape[:-2], *framed.shape[-2:])
            narrow = y.new_zeros(*framed.shape[:-1], y.shape[-1]).index_add_(-1, columns, framed)
            y = torch.zeros_like(y).index_add_(-2, rows, narrow)
        return y

    def _passes(self) -> tuple[Tensor, ...]:
        column, row = self.kernel.sum(1, keepdim=True), self.kernel.sum(0, keepdim=True)
        total = self.kernel.sum()
        if total != 0 and torch.allclose(column @ row / total, self.kernel, rtol=1e-9, atol=1e-14):
            return column / total, row
        return (self.kernel,)

    def _around(self, x: Tensor, kernel: Tensor, dim: int) -> Tensor:
        """The indices that frame an axis, (n + k - 1,)."""
        n, receptive_radius = x.shape[dim], kernel.shape[dim] // 2
        position = torch.arange(-receptive_radius, n + receptive_radius, device=x.device)
        if self.border == "circular":
            return position.remainder(n)
        position = position.remainder(2 * n)
        return torch.where(position < n, position, 2 * n - 1 - position)


@dataclass(frozen=True, slots=True)
class Decimate:
    """Keep one sample of each ``scale`` x ``scale`` cell: that in its middle, as ``ops.resize`` places pixels.

    An even cell has no middle sample: the mean of the four about its middle is kept, which is the picture between them.

    Example:
        >>> Decimate(3)(torch.arange(6.0).expand(1, 1, 3, 6))
        tensor([[[[1., 4.]]]])
        >>> Decimate(2)(torch.arange(4.0).expand(1, 1, 2, 4))
        tensor([[[[0.5000, 2.5000]]]])
    """

    scale: int

    def __call__(self, x: Tensor) -> Tensor:
        """Sample (B, C, H, W) to (B, C, H / scale, W / scale).

        Raises:
            ValueError: A side is not a multiple of the scale (see ``ops.crop_to_multiple``).
        """
        b, c, height, width = x.shape
        s = self.scale
        if height % s or width % s:
            raise ValueError(
                f"Decimate({s}): expected sides that are multiples of {s}, got {height}x{width}; "
                "cut them with ops.crop_to_multiple"
            )
        return x.view(b, c, height // s, s, width // s, s)[self._middle()].mean(dim=(3, 5))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: (B, C, h, w) to (B, C, h * scale, w * scale)."""
        b, c, h, w = y.shape
        s = self.scale
        cells = y.new_zeros(b, c, h, s, w, s)
        middle = cells[self._middle()]
        middle += y[:, :, :, None, :, None] / (middle.shape[3] * middle.shape[5])
        return cells.view(b, c, h * s, w * s)

    def _middle(self) -> tuple[slice, ...]:
        middle, every = slice((self.scale - 1) // 2, self.scale // 2 + 1), slice(None)
        return every, every, every, middle, every, middle


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Lose pixels: ``missing``, (B or 1, 1, H, W), is 1 where they are lost and 0 where they stay."""

    missing: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Set the lost pixels of (B, C, H, W) to 0."""
        return x * (1 - self.missing.to(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """The same: the matrix is diagonal."""
        return self(y)


@dataclass(frozen=True, slots=True)
class Then:
    """One degradation after another: ``second(first(x))``."""

    first: Linear
    second: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """Degrade (B, C, H, W)."""
        return self.second(self.first(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transposes in the reverse order."""
        return self.first.adjoint(self.second.adjoint(y))


def forward_model(scale: int, blur: Tensor | None, border: Border = "mirror") -> Linear:
    """Build the forward model H = S B, blur and then sampling, from a large picture to the small one.

    Args:
        scale: The whole factor by which it shrank, 1 where it kept its size.
        blur: The kernel that blurred the large picture, (kh, kw) with odd sides. ``None``: no blur at scale 1, and else
            the antialiased bicubic kernel, which is blur and sampling in one (``Downsample``; its border is a mirror).
        border: What lies beyond the border of the large picture.

    Example:
        >>> forward_model(3, torch.full((5, 5), 0.04))(torch.rand(1, 3, 12, 9)).shape
        torch.Size([1, 3, 4, 3])
    """
    if blur is None and scale > 1:
        return Downsample(scale)
    kernel = torch.ones(1, 1, dtype=torch.float64) if blur is None else blur
    return Blur(kernel, border) if scale == 1 else Then(Blur(kernel, border), Decimate(scale))
