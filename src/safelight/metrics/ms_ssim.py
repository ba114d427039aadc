"""Structural similarity at several scales.

Z. Wang, E. P. Simoncelli, A. C. Bovik: Multi-scale Structural Similarity for Image Quality Assessment, Asilomar
Conference on Signals, Systems and Computers, 2003.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable
from safelight.metrics.ssim import C2, moments

Variant = Literal["wang", "mux"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, from the finest: table 1 of the paper
SMALLEST = 176  # pixels: the 11x11 window at the fifth scale

# The low-pass filter of the biorthogonal 9/7 wavelet, from its middle: A. Cohen, I. Daubechies, J.-C. Feauveau, 1992;
# the numbers of JPEG 2000, ITU-T T.800 table F.2. They sum to 1.
_LOW_PASS = (0.6029490182363579, 0.2668641184428723, -0.07822326652898785, -0.01686411844287495, 0.02674875741080976)


def ms_ssim(
    result: Tensor,
    reference: Tensor,
    *,
    channel: Channel,
    shave: int = 0,
    rounding: Rounding = "8-bit",
    variant: Variant = "wang",
) -> Tensor:
    """Structural similarity over five scales, each half as large as the one before, of each picture for itself.

    With l, c and s the luminance, contrast and structure of SSIM, averaged over the picture, and w the weights of the
    five scales (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):

    - "wang", the usual one: the product over scales 1 to 4 of mean(c s)^w, times mean(l c s)^w of scale 5. Between two
      scales each 2x2 pixels become their mean. As `msssim.m` of the authors.
    - "mux": the product over all scales of mean(c)^w mean(s)^w, times mean(l)^w of scale 5. Between two scales the
      low-pass filter of the 9/7 wavelet is applied and every second pixel kept. So the MeTriX MuX package has it, with
      which the table of SRCNN (Dong et al., TPAMI 2016) was made: bicubic on Set5 at x2, x3 and x4 has 0.9915, 0.9754
      and 0.9516 there, and here. The usual one gives 0.9942, 0.9783 and 0.9618.

    Beyond the border both mirror the picture, with the edge repeated. A mean below 0, as of a negative, counts as 0.
    RGB is the mean over the three channels.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for the mean over the channels; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.
        variant: "wang" or "mux"; their numbers are not comparable.

    Returns:
        `(B,)`, float64, in [0, 1]; 1 where the pictures are equal.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves less than 176x176 pixels.

    Example:
        >>> ramp = torch.linspace(0, 1, 192).expand(1, 1, 192, 192)
        >>> round(ms_ssim(ramp.square(), ramp, channel="y", rounding="none").item(), 4)
        0.9237
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=SMALLEST)
    batch, channels = x.shape[:2]
    value = torch.ones(batch, channels, dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        last = scale == len(WEIGHTS) - 1
        m = moments(x, y)
        luminance = m.luminance() if last else torch.ones_like(m.covariance)
        if variant == "wang":
            similarity = luminance * (2 * m.covariance + C2) / (m.variance_x + m.variance_y + C2)
            value = value * _mean(similarity) ** weight
        else:
            deviations = m.variance_x.clamp(min=0).sqrt() * m.variance_y.clamp(min=0).sqrt()
            contrast = (2 * deviations + C2) / (m.variance_x + m.variance_y + C2)
            structure = (m.covariance + C2 / 2) / (deviations + C2 / 2)
            value = value * (_mean(contrast) * _mean(structure) * _mean(luminance)) ** weight
        if not last:
            x, y = (_halve(plane, variant) for plane in (x, y))
    return value.mean(dim=1)


def _mean(planes: Tensor) -> Tensor:
    # Clamped: a negative number has no power of 0.1333.
    return planes.mean(dim=(2, 3)).clamp(min=0)


def _halve(planes: Tensor, variant: Variant) -> Tensor:
    """Smooth planes and keep every second row and column: `(B, C, H, W)` to `(B, C, ceil(H / 2), ceil(W / 2))`."""
    batch, channels, height, width = planes.shape
    flat = planes.reshape(batch * channels, 1, height, width)
    if variant == "wang":
        # Mirroring the edge repeats the last sample of an odd side.
        flat = functional.avg_pool2d(functional.pad(flat, (0, width % 2, 0, height % 2), mode="replicate"), 2)
    else:
        half = torch.tensor(_LOW_PASS, dtype=planes.dtype, device=planes.device)
        filter = torch.cat([half.flip(0), half[1:]])  # noqa: A001
        receptive_radius = len(_LOW_PASS) - 1
        for axis in (2, 3):
            start, end = (
                flat.narrow(axis, 0, receptive_radius),
                flat.narrow(axis, flat.shape[axis] - receptive_radius, receptive_radius),
            )
            flat = torch.cat([start.flip(axis), flat, end.flip(axis)], axis)
        flat = functional.conv2d(flat, filter.view(1, 1, -1, 1), stride=(2, 1))
        flat = functional.conv2d(flat, filter.view(1, 1, 1, -1), stride=(1, 2))
    return flat.view(batch, channels, flat.shape[2], flat.shape[3])
