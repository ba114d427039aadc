"""Information fidelity criterion.

H. R. Sheikh, A. C. Bovik, G. de Veciana: An Information Fidelity Criterion for Image Quality Assessment Using Natural
Scene Statistics, IEEE Transactions on Image Processing 14(12), 2005.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable
from safelight.metrics.spectral import correlate, eigen

SMALLEST = 65  # pixels: the coarsest of the four levels then has 9, three blocks, the outer of which are left out

_LEVELS = 4
_BLOCK = 3  # samples on a side: the vectors of the Gaussian scale mixture have 9
_NOISE = 1e-10  # added to the variance of the distortion, for samples of 0 to 255
_TOLERANCE = 1e-15

# The filters of the steerable pyramid with six directions, designed numerically by A. Karasaridis and E. Simoncelli (A
# Filter Design Technique for Steerable Pyramid Image Transforms, ICASSP 1996), who tabulate them as "sp5"; to six
# decimals. The low-pass filters have the symmetries of the square: row i of a triangle holds the taps i samples away
# from the middle on one axis, and 0 to i on the other. The derivative is odd along one axis and even along the other:
# the rows are those after the middle, the columns those from the middle on.
_SMOOTH_FIRST = (
    (0.403041,),
    (0.159256, 0.055870),
    (-0.038482, -0.015512, 0.003416),
)
_SMOOTH = (
    (0.201931,),
    (0.163392, 0.128527),
    (0.079628, 0.065541, 0.027935),
    (0.020060, 0.008212, -0.013222, -0.010466),
    (-0.019241, -0.018889, -0.007756, -0.004898, 0.001708),
)
_DERIVATIVE = (
    (0.117323, 0.082264, 0.030754, 0.010219),
    (-0.027552, -0.011899, 0.008931, 0.009869),
    (-0.014554, -0.010267, -0.004962, -0.002776),
)


def ifc(result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit") -> Tensor:
    """Information fidelity criterion: the information shared with the reference, in bits a pixel, for each picture.

    Both are split by a steerable pyramid of four levels. Of its six directions two are used, across and down. In each
    of these eight subbands the vectors of 3x3 samples are taken for Gaussian ones of one covariance, with eigenvalues
    l_j, times a factor s that differs from place to place (a Gaussian scale mixture), and the result for g times the
    reference plus noise of variance v, both found around each place. What is then told is the sum over subbands, places
    and j of log2(1 + g^2 s l_j / (v + 1e-10)), divided by the number of pixels.

    As the authors' `ifcvec.m`: windows of 17, 9, 5 and 3 samples from the finest level to the coarsest, places where
    they leave the subband left out, samples of 0 to 255. The pyramid is in the space of pixels, with the tabulated
    filters of Simoncelli's toolbox, "sp5", and mirrored borders. One made of ideal filters in the frequency domain
    was tried with the same model: its numbers were a quarter to a half smaller, so that it is no substitute.

    Bicubic on Set5 at x2, x3 and x4 has 6.08, 3.58 and 2.33 here, where the table of SRCNN (Dong et al., TPAMI 2016)
    has 6.10, 3.52 and 2.35: within 2 %, not equal. RGB is the mean over the three channels. It is not symmetric.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for the mean over the channels; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.

    Returns:
        `(B,)`, float64, in bits a pixel, at least 0. It has no fixed best value: an equal picture has some 70,
        depending on what it shows, and a sharpened one may have more than a faithful one. A flat reference has 0.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves less than 65x65 pixels.

    Example:
        >>> x, y = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
        >>> waves = (0.5 + 0.2 * torch.sin(x * y / 60) + 0.2 * torch.sin(x / 3))[None, None]
        >>> noise = torch.rand(waves.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        >>> [round(ifc(waves + a * noise, waves, channel="y", rounding="none").item(), 1) for a in (0.1, 0.2)]
        [5.1, 3.4]
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=SMALLEST)
    values = [
        torch.stack([_bits(made * 255, original * 255) for made, original in zip(a, b, strict=True)]).mean()
        for a, b in zip(x, y, strict=True)
    ]
    return torch.stack(values) / (x.shape[2] * x.shape[3])


def _bits(result: Tensor, reference: Tensor) -> Tensor:
    """The information that one plane `(H, W)` shares with another, in bits."""
    total = torch.zeros((), dtype=reference.dtype, device=reference.device)
    pairs = zip(_subbands(result), _subbands(reference), strict=True)
    for i, (made, original) in enumerate(pairs):
        level = i // 2
        total = total + _told(made, original, window=2 ** (_LEVELS - level) + 1)
    return total


# --- the pyramid ------------------------------------------------------------------------------------------------------


def _subbands(plane: Tensor) -> list[Tensor]:
    """The two subbands of each level, finest first."""
    half = torch.tensor(_DERIVATIVE, dtype=plane.dtype, device=plane.device)
    half = torch.cat([half.flip(1)[:, :-1], half], 1)
    down = torch.cat([-half.flip(0), torch.zeros_like(half[:1]), half], 0)
    low = _filtered(plane, _square(_SMOOTH_FIRST, plane))
    found: list[Tensor] = []
    for _ in range(_LEVELS):
        found += [_filtered(low, down), _filtered(low, down.T)]
        low = _filtered(low, _square(_SMOOTH, plane))[::2, ::2]
    return found


def _square(triangle: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Unfold a triangle of taps by the symmetries of the square."""
    receptive_radius = len(triangle) - 1
    rows = [
        [triangle[max(abs(i), abs(j))][min(abs(i), abs(j))] for j in range(-receptive_radius, receptive_radius + 1)]
        for i in range(-receptive_radius, receptive_radius + 1)
    ]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _filtered(plane: Tensor, taps: Tensor) -> Tensor:
    """Correlate, with the picture mirrored at its border and the edge not repeated ("reflect1")."""
    receptive_radius = taps.shape[0] // 2
    padded = functional.pad(
        plane[None, None], (receptive_radius, receptive_radius, receptive_radius, receptive_radius), mode="reflect"
    )[0, 0]
    return correlate(padded, taps)


# --- the model --------------------------------------------------------------------------------------------------------


def _told(result: Tensor, reference: Tensor, window: int) -> Tensor:
    """The information that a subband shares with that of the reference, in bits."""
    rows, columns = (n // _BLOCK for n in reference.shape)
    x = result[: rows * _BLOCK, : columns * _BLOCK]
    y = reference[: rows * _BLOCK, : columns * _BLOCK]

    overlapping = y.unfold(0, _BLOCK, 1).unfold(1, _BLOCK, 1).reshape(-1, _BLOCK**2)
    values, vectors = eigen(torch.cov(overlapping.T, correction=0))
    blocks = y.reshape(rows, _BLOCK, columns, _BLOCK).permute(0, 2, 1, 3).reshape(rows, columns, _BLOCK**2)
    # In directions that nothing points to there is nothing to tell.
    inverse = torch.where(values > values.max() * 1e-14, 1 / values, 0.0)
    factor = ((blocks @ vectors).square() * inverse).mean(dim=2)

    area = window**2
    mean_x, mean_y = _block_sums(x, window) / area, _block_sums(y, window) / area
    shared = _block_sums(x * y, window) - area * mean_x * mean_y
    power_x = (_block_sums(x * x, window) - area * mean_x * mean_x).clamp(min=0)
    power_y = (_block_sums(y * y, window) - area * mean_y * mean_y).clamp(min=0)
    gain = shared / (power_y + _TOLERANCE)
    noise = (power_x - gain * shared) / area
    # Nothing there, nothing arrived, or its opposite: all of it is noise, or none.
    noise = noise.where(power_y >= _TOLERANCE, power_x)
    gain = gain.where(power_y >= _TOLERANCE, 0.0)
    noise = noise.where(power_x >= _TOLERANCE, 0.0)
    gain = gain.where(power_x >= _TOLERANCE, 0.0)
    noise = noise.where(gain >= 0, power_x).clamp(min=_TOLERANCE)
    gain = gain.clamp(min=0)

    cut = math.ceil(window // 2 / _BLOCK)
    inside = (slice(cut, rows - cut), slice(cut, columns - cut))
    ratio = (gain.square() * factor / (noise + _NOISE))[inside]
    return torch.log2(1 + ratio[..., None] * values).sum()


def _block_sums(plane: Tensor, window: int) -> Tensor:
    """Sums over the window around the middle of each block, `(H, W)` to `(H / 3, W / 3)`."""
    receptive_radius = window // 2
    padded = functional.pad(
        plane[None, None], (receptive_radius, receptive_radius, receptive_radius, receptive_radius), mode="reflect"
    )
    padded = padded[..., _BLOCK // 2 :, _BLOCK // 2 :]
    sums = functional.avg_pool2d(padded, (window, 1), stride=(_BLOCK, 1))
    return functional.avg_pool2d(sums, (1, window), stride=(1, _BLOCK))[0, 0] * window**2
