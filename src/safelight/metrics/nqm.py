"""Noise quality measure.

N. Damera-Venkata, T. D. Kite, W. S. Geisler, B. L. Evans, A. C. Bovik: Image Quality Assessment Based on a Degradation
Model, IEEE Transactions on Image Processing 9(4), 2000. The eye behind it: E. Peli, Contrast in Complex Images, Journal
of the Optical Society of America A 7(10), 1990.
"""

import math

import torch
from torch import Tensor

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable
from safelight.metrics.spectral import fourier_transform, frequencies, inverse_fourier_transform

SMALLEST = 32  # pixels: smaller pictures lack the frequencies that count
_BANDS = 5  # centred at 2, 4, 8, 16 and 32 cycles a picture
_ANGLE = math.degrees(1 / 3.5)  # the picture seen from 3.5 times its height, in degrees: 16.37


def nqm(result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit") -> Tensor:
    """Noise quality measure: the signal-to-noise ratio after a model of contrast perception, for each picture.

    Each picture is split into bands of one octave, centred at 2^k cycles a picture, k = 1 to 5, by log-cosine filters.
    The contrast of a band, c_k, is it divided by the sum of all lower bands. With the threshold of the eye

        t(f) = 1 / (520 (0.0192 + 0.114 f) exp(-(0.114 f)^1.1)),    f in cycles a degree,

    a sample of the result becomes that of the reference where the reference masks the difference,
    |c'_k - c_k| < 0.86 (c_k - t(k)) + 0.3 t(k), and a sample of either becomes 0 where |c_k| < t(2^k / 16.37). With y
    and y' the sums of what is left of the bands, NQM = 10 log10(sum y^2 / sum (y - y')^2).

    The picture is taken to be 16.37 degrees high and wide, seen from 3.5 times its height. As in `nqm_modified.m` of
    the MeTriX MuX package, the masking takes the number k of the band for a frequency, and c'_k > 1 counts as 1. With
    this, bicubic on Set5 at x2, x3 and x4 has 36.74, 27.53 and 21.41 dB, where the table of SRCNN (Dong et al., TPAMI
    2016) has 36.73, 27.54 and 21.42. RGB: both sums go over all three channels.

    It is not symmetric: what is compared is the reference's visible part.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for all channels together; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.

    Returns:
        `(B,)`, float64, in dB; infinite where no difference can be seen, minus infinite where nothing but an error can.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves less than 32x32 pixels.

    Example:
        >>> ramp = torch.linspace(0.2, 1, 64).expand(1, 1, 64, 64)
        >>> round(nqm(ramp.square(), ramp, channel="y", rounding="none").item(), 2)
        15.62
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=SMALLEST)
    radius = _radius(x)
    spectrum_x, spectrum_y = fourier_transform(x), fourier_transform(y)
    # What lies below the bands: the mean, and a little of the slowest waves.
    rest = torch.where(radius <= 2, 0.5 * (1 - torch.cos(math.pi * (radius + 2).log2())), 0.0)
    below_x, below_y = (inverse_fourier_transform(spectrum * rest) for spectrum in (spectrum_x, spectrum_y))
    seen_x, seen_y = torch.zeros_like(x), torch.zeros_like(y)
    for k in range(1, _BANDS + 1):
        octaves = radius.clamp(min=1e-9).log2() - k
        filter = torch.where(octaves.abs() <= 1, 0.5 * (1 + torch.cos(math.pi * octaves)), 0.0)  # noqa: A001
        band_x, band_y = (inverse_fourier_transform(spectrum * filter) for spectrum in (spectrum_x, spectrum_y))
        contrast_x, contrast_y = _contrast(band_x, below_x), _contrast(band_y, below_y)
        masking = 0.86 * (contrast_y - _threshold(k)) + 0.3 * _threshold(k)
        masked = (contrast_x.where(contrast_x.abs() <= 1, 1.0) - contrast_y).abs() < masking
        visible = _threshold(2**k / _ANGLE)
        seen_x += band_y.where(masked, band_x).where(contrast_x.abs() >= visible, 0.0)
        seen_y += band_y.where(contrast_y.abs() >= visible, 0.0)
        below_x, below_y = below_x + band_x, below_y + band_y
    signal, noise = (part.square().sum(dim=(1, 2, 3)) for part in (seen_y, seen_x - seen_y))
    return torch.where(noise == 0, math.inf, 10 * (signal / noise).log10())


def _radius(planes: Tensor) -> Tensor:
    """The frequency of each entry of a spectrum, in cycles a picture, `(H, W)`."""
    return torch.hypot(*frequencies(planes))


def _threshold(frequency: float) -> float:
    """The smallest contrast that is seen at so many cycles a degree."""
    sensitivity = 2.6 * (0.0192 + 0.114 * frequency) * math.exp(-((0.114 * frequency) ** 1.1))
    return 1 / (200 * sensitivity)


def _contrast(band: Tensor, below: Tensor) -> Tensor:
    return torch.where(below == 0, 0.0, band / below)  # black on black is no contrast
