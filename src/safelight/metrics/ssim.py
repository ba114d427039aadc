"""Structural similarity.

Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment: From Error Visibility to Structural Similarity,
IEEE Transactions on Image Processing 13(4), 2004.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable

SIDE = 11  # of the window
C1, C2 = 0.01**2, 0.03**2  # the data range is 1
_SIGMA = 1.5


def ssim(
    result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit"
) -> Tensor:
    """Mean structural similarity of each picture for itself.

    The authors' `ssim_index.m`: 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, population variances, and
    only those places where the whole window lies in the picture. No downsampling beforehand. RGB is the mean over the
    three channels.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for the mean over the channels; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.

    Returns:
        `(B,)`, float64, in [-1, 1]; 1 where the pictures are equal.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves less than the 11x11 window.

    Example:
        >>> import torch
        >>> ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
        >>> round(ssim(ramp.flip(-1), ramp, channel="y", rounding="none").item(), 4)
        -0.8266
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=SIDE)
    m = moments(x, y)
    structure = (2 * m.covariance + C2) / (m.variance_x + m.variance_y + C2)
    return (m.luminance() * structure).mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class LocalMoments:
    """Weighted means, population variances and covariance around each place, all `(B, C, H - 10, W - 10)`."""

    mean_x: Tensor
    mean_y: Tensor
    variance_x: Tensor
    variance_y: Tensor
    covariance: Tensor

    def luminance(self) -> Tensor:
        """The luminance term: `(2 mx my + C1) / (mx^2 + my^2 + C1)`."""
        x, y = self.mean_x, self.mean_y
        return (2 * x * y + C1) / (x * x + y * y + C1)


def moments(x: Tensor, y: Tensor) -> LocalMoments:
    """Look at two pictures through the window, wherever it fits whole.

    Args:
        x: `(B, C, H, W)`, float64, at least 11x11.
        y: same shape.

    Example:
        >>> pixels = torch.linspace(0, 1, 121).view(1, 1, 11, 11)
        >>> round(moments(pixels, pixels).mean_x.item(), 4)
        0.5
    """
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    return LocalMoments(
        mean_x=mean_x,
        mean_y=mean_y,
        variance_x=_window_mean(x * x) - mean_x * mean_x,
        variance_y=_window_mean(y * y) - mean_y * mean_y,
        covariance=_window_mean(x * y) - mean_x * mean_y,
    )


def _window_mean(planes: Tensor) -> Tensor:
    """Gaussian mean around every place where the whole window fits: `(B, C, H, W)` to `(B, C, H - 10, W - 10)`."""
    offset = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    weights = torch.exp(-(offset**2) / (2 * _SIGMA**2))
    halves = cast(list[float], (weights / weights.sum())[SIDE // 2 :].tolist())
    for axis in (2, 3):
        # Shifted sums: several times as fast in float64 as torch's convolution.
        inside, middle = planes.shape[axis] - SIDE + 1, SIDE // 2
        mean = halves[0] * planes.narrow(axis, middle, inside)
        for receptive_radius, weight in enumerate(halves[1:], start=1):
            sides = planes.narrow(axis, middle - receptive_radius, inside) + planes.narrow(
                axis, middle + receptive_radius, inside
            )
            mean += weight * sides
        planes = mean
    return planes
