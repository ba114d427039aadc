"""How a picture gets worse. Shared by training, the benchmark and every solver that inverts a degradation.

A linear degradation has an ``adjoint``, its transpose: <H x, y> = <x, H' y> for all x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from safelight import ops


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
