"""Peak signal-to-noise ratio of the error as an eye would see it.

There is no one definition. What is here: J. L. Mannos, D. J. Sakrison, The Effects of a Visual Fidelity Criterion on
the Encoding of Images, IEEE Transactions on Information Theory 20(4), 1974, less for oblique lines as in T. Mitsa,
K. L. Varkur, Evaluation of Contrast Sensitivity Functions for the Formulation of Quality Measures Incorporated in
Halftoning Algorithms, ICASSP 1993; and M. Miyahara, K. Kotani, V. R. Algazi, Objective Picture Quality Scale (PQS) for
Image Coding, IEEE Transactions on Communications 46(9), 1998.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable
from safelight.metrics.spectral import centred_taps, correlate, fourier_transform, frequencies

Variant = Literal["mannos", "mux", "miyahara"]

_SAMPLES_A_DEGREE = 120  # so that the finest waves, of two samples each, are 60 cycles a degree
_REACH = 20  # of Miyahara's filter, which has 41x41 taps


def wpsnr(
    result: Tensor,
    reference: Tensor,
    *,
    channel: Channel,
    shave: int = 0,
    rounding: Rounding = "8-bit",
    variant: Variant = "mannos",
) -> Tensor:
    """Peak signal-to-noise ratio of the filtered error, 10 log10(1 / mean((h * e)^2)), of each picture for itself.

    The filter h has the contrast sensitivity of the eye as its frequency response, f in cycles a degree:

    - "mannos": 2.6 (0.0192 + 0.114 g) exp(-(0.114 g)^1.1), and 0.9809 where g < 7.8909, in the direction t with
      g = f / (0.85 + 0.15 cos 4t). The picture has 120 samples a degree and counts as periodic.
    - "mux": the same as the MeTriX MuX package has it, which divides the frequencies of both axes by the height. It
      differs for pictures that are not square only.
    - "miyahara": S(w) O(w, t), w = 2 pi f / 60, S = 1.5 exp(-2 w^2) - exp(-8 w^2),
      O = (1 + exp(8 (w - v)) cos(2t)^4) / (1 + exp(8 (w - v))), v = 2 pi 11.13 / 60, sampled at -20 to 20 cycles a
      degree on both axes: 41x41 taps, with zeros beyond the border.

    **No published table is claimed.** That of SRCNN (Dong et al., TPAMI 2016) has 50.06, 41.65 and 37.21 dB for bicubic
    on Set5 at x2, x3 and x4, and does not say how. Here "mannos" gives 49.26, 40.63 and 35.57, which comes nearest,
    "mux" 48.46, 40.06 and 35.16, and "miyahara" 48.12, 39.33 and 34.58. RGB: one mean over all channels.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for all channels together; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.
        variant: the sensitivity of the eye; their numbers are not comparable.

    Returns:
        `(B,)`, float64, in dB; infinite where the pictures are equal.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves nothing.

    Example:
        >>> reference = torch.full((1, 1, 8, 8), 0.5)
        >>> round(wpsnr(reference + 0.1, reference, channel="y", rounding="none").item(), 2)
        20.17
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=1)
    error = x - y
    if variant == "miyahara":
        seen = correlate(functional.pad(error, (_REACH, _REACH, _REACH, _REACH)), _miyahara(error))
        power = seen.square().mean(dim=(1, 2, 3))
    else:
        spectrum = fourier_transform(error) * _mannos(error, square=variant == "mux")
        # Parseval: the sum of squares of a spectrum is that of its picture, times the pixels.
        power = spectrum.abs().square().mean(dim=(1, 2, 3)) / (error.shape[2] * error.shape[3])
    return -10 * power.log10()


def _mannos(planes: Tensor, *, square: bool) -> Tensor:
    """The eye's sensitivity to each entry of a spectrum, `(H, W)`; `square` counts in parts of the height alone."""
    height, width = planes.shape[-2:]
    rows, columns = frequencies(planes)
    vertical = rows / height * _SAMPLES_A_DEGREE
    horizontal = columns / (height if square else width) * _SAMPLES_A_DEGREE
    angle = torch.atan2(vertical.expand(height, width), horizontal.expand(height, width))
    frequency = torch.hypot(vertical, horizontal) / (0.85 + 0.15 * torch.cos(4 * angle))
    sensitivity = 2.6 * (0.0192 + 0.114 * frequency) * torch.exp(-((0.114 * frequency) ** 1.1))
    return sensitivity.where(frequency >= 7.8909, 0.9809)


def _miyahara(planes: Tensor) -> Tensor:
    """The filter of 41x41 taps whose frequency response goes through the samples of the sensitivity."""
    f = torch.arange(-_REACH, _REACH + 1, dtype=planes.dtype, device=planes.device)
    w = 2 * math.pi / 60 * torch.hypot(f[:, None], f)
    angle = torch.atan2(*torch.meshgrid(f, f, indexing="ij"))
    sensitivity = 1.5 * torch.exp(-2 * w**2) - torch.exp(-8 * w**2)
    fine = torch.exp(8 * (w - 2 * math.pi / 60 * 11.13))
    oblique = (1 + fine * torch.cos(2 * angle) ** 4) / (1 + fine)
    return centred_taps(sensitivity * oblique)
