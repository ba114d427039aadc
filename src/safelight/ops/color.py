"""Colour spaces as pure functions on tensors: linear light, YCbCr, Lab, HSV and opponent colours.

Every function takes and returns `(..., C, H, W)` tensors of any floating dtype, usually `(B, 3, H, W)`, with sRGB in
[0, 1]. All are differentiable, with finite gradients everywhere, black and gray included. Nothing is clamped: a colour
that sRGB cannot show comes out outside [0, 1]. A tensor without three channels is a `ValueError`.

The matrices are written out as sums of products with Python numbers. So the constants have the precision of the
tensor, no constant travels to a device, and no matrix product is rounded to TF32 behind the caller's back.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor

_Row = tuple[float, float, float]
_Matrix = tuple[_Row, _Row, _Row]


def _inverse(matrix: _Matrix) -> _Matrix:
    a, b, c = np.linalg.inv(np.array(matrix, dtype=np.float64))
    return (
        (float(a[0]), float(a[1]), float(a[2])),
        (float(b[0]), float(b[1]), float(b[2])),
        (float(c[0]), float(c[1]), float(c[2])),
    )


# ITU-R BT.601, studio range, on the 8-bit scale and for RGB in [0, 1]: the numbers of MATLAB's rgb2ycbcr.
_YCBCR_OFFSET: _Row = (16.0, 128.0, 128.0)
_YCBCR_FROM_RGB: _Matrix = (
    (65.481, 128.553, 24.966),
    (-37.797, -74.203, 112.0),
    (112.0, -93.786, -18.214),
)
_RGB_FROM_YCBCR = _inverse(_YCBCR_FROM_RGB)

# Linear sRGB to CIE XYZ, and the D65 white of the 2 degree observer: the six digits that scikit-image and OpenCV use.
_XYZ_FROM_RGB: _Matrix = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_RGB_FROM_XYZ = _inverse(_XYZ_FROM_RGB)
_WHITE: _Row = (0.95047, 1.0, 1.08883)

# CIE Lab is a cube root above this ratio to white, and its tangent below (CIE 15:2004, 8.2.1).
_LAB_KNEE = 6 / 29


def _planes(picture: Tensor, space: str) -> tuple[Tensor, Tensor, Tensor]:
    if picture.ndim < 3 or picture.shape[-3] != 3:
        raise ValueError(
            f"expected {space} of shape (..., 3, H, W), got {tuple(picture.shape)}; "
            "do not convert a gray picture, and move channels that come last with permute"
        )
    if not picture.is_floating_point():
        raise ValueError(f"expected a floating dtype, got {picture.dtype}; do picture.float() / 255 for 8-bit samples")
    first, second, third = picture.unbind(-3)
    return first, second, third


def _weighted(row: _Row, planes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return row[0] * planes[0] + row[1] * planes[1] + row[2] * planes[2]


def rgb_to_y(rgb: Tensor) -> Tensor:
    """Luma of ITU-R BT.601 in studio range, as the first channel of MATLAB's `rgb2ycbcr`.

    Args:
        rgb: `(..., 3, H, W)`, sRGB in [0, 1].

    Returns:
        Y, `(..., 1, H, W)`, from 16/255 (black) to 235/255 (white), not rounded.

    Raises:
        ValueError: `rgb` does not have three channels of a floating dtype.

    Example:
        >>> white = torch.ones(1, 3, 1, 1)
        >>> round(rgb_to_y(white).item() * 255, 3)
        235.0
    """
    planes = _planes(rgb, "RGB")
    return ((_weighted(_YCBCR_FROM_RGB[0], planes) + _YCBCR_OFFSET[0]) / 255).unsqueeze(-3)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """YCbCr of ITU-R BT.601 in studio range, as MATLAB's `rgb2ycbcr`.

    Args:
        rgb: `(..., 3, H, W)`, sRGB in [0, 1].

    Returns:
        Y, Cb, Cr, `(..., 3, H, W)`, not rounded: Y in 16/255 to 235/255, Cb and Cr in 16/255 to 240/255 with 128/255
        for gray.

    Raises:
        ValueError: `rgb` does not have three channels of a floating dtype.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> [round(x, 3) for x in (rgb_to_ycbcr(red) * 255).flatten().tolist()]
        [81.481, 90.203, 240.0]
    """
    planes = _planes(rgb, "RGB")
    return torch.stack(
        [(_weighted(row, planes) + offset) / 255 for row, offset in zip(_YCBCR_FROM_RGB, _YCBCR_OFFSET, strict=True)],
        dim=-3,
    )


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of `rgb_to_ycbcr`, by the inverse of its matrix in double precision.

    Args:
        ycbcr: Y, Cb, Cr, `(..., 3, H, W)`, BT.601 studio range over 255.

    Returns:
        sRGB, `(..., 3, H, W)`; outside [0, 1] where the YCbCr triple is no RGB colour.

    Raises:
        ValueError: `ycbcr` does not have three channels of a floating dtype.

    Example:
        >>> gray = torch.tensor([125.5, 128.0, 128.0]).view(1, 3, 1, 1) / 255
        >>> [round(x, 3) for x in ycbcr_to_rgb(gray).flatten().tolist()]
        [0.5, 0.5, 0.5]
    """
    y, cb, cr = _planes(ycbcr, "YCbCr")
    centred = (y * 255 - _YCBCR_OFFSET[0], cb * 255 - _YCBCR_OFFSET[1], cr * 255 - _YCBCR_OFFSET[2])
    return torch.stack([_weighted(row, centred) for row in _RGB_FROM_YCBCR], dim=-3)


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1).

    Args:
        srgb: any shape and number of channels, sRGB samples in [0, 1]; below 0 the straight part goes on.

    Returns:
        Linear light, same shape, in [0, 1].

    Example:
        >>> round(srgb_to_linear(torch.tensor(0.5)).item(), 4)
        0.214
    """
    # The clamp keeps the power away from where it would be NaN: where() passes on a NaN gradient of the untaken side.
    curve = ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= 0.04045, srgb / 12.92, curve)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Apply the sRGB transfer curve (IEC 61966-2-1); inverse of `srgb_to_linear` to 1e-7, the standard's own gap.

    Args:
        linear: any shape and number of channels, linear light in [0, 1]; below 0 the straight part goes on.

    Returns:
        sRGB samples, same shape, in [0, 1].

    Example:
        >>> round(linear_to_srgb(torch.tensor(0.214)).item(), 4)
        0.5
    """
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, curve)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE 1976 L*a*b* under D65 for the 2 degree observer, as scikit-image's `rgb2lab`.

    Args:
        rgb: `(..., 3, H, W)`, sRGB in [0, 1].

    Returns:
        L, a, b, `(..., 3, H, W)`: L in 0 to 100, a in about -86 to 98, b in about -108 to 94. The six-digit matrix and
        white point leave gray with |a| and |b| up to 0.005.

    Raises:
        ValueError: `rgb` does not have three channels of a floating dtype.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> [round(x, 2) for x in rgb_to_lab(red).flatten().tolist()]
        [53.24, 80.09, 67.2]
    """
    r, g, b = _planes(rgb, "RGB")
    linear = (srgb_to_linear(r), srgb_to_linear(g), srgb_to_linear(b))
    f_x, f_y, f_z = (
        _lab_curve(_weighted(row, linear) / white) for row, white in zip(_XYZ_FROM_RGB, _WHITE, strict=True)
    )
    return torch.stack([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Inverse of `rgb_to_lab`.

    Args:
        lab: L in 0 to 100, a, b, `(..., 3, H, W)`.

    Returns:
        sRGB, `(..., 3, H, W)`; outside [0, 1] where the Lab triple is no sRGB colour.

    Raises:
        ValueError: `lab` does not have three channels of a floating dtype.

    Example:
        >>> middle = torch.tensor([50.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> [round(x, 3) for x in lab_to_rgb(middle).flatten().tolist()]
        [0.466, 0.466, 0.466]
    """
    lightness, a, b = _planes(lab, "Lab")
    f_y = (lightness + 16) / 116
    x, y, z = (
        _lab_curve_inverse(f) * white for f, white in zip((f_y + a / 500, f_y, f_y - b / 200), _WHITE, strict=True)
    )
    return torch.stack([linear_to_srgb(_weighted(row, (x, y, z))) for row in _RGB_FROM_XYZ], dim=-3)


def _lab_curve(ratio: Tensor) -> Tensor:
    root = ratio.clamp(min=_LAB_KNEE**3) ** (1 / 3)  # clamped: the slope of the root at 0 is infinite
    return torch.where(ratio > _LAB_KNEE**3, root, ratio / (3 * _LAB_KNEE**2) + 4 / 29)


def _lab_curve_inverse(f: Tensor) -> Tensor:
    return torch.where(f > _LAB_KNEE, f**3, 3 * _LAB_KNEE**2 * (f - 4 / 29))


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Hue, saturation and value (Smith 1978), as scikit-image's `rgb2hsv`.

    Args:
        rgb: `(..., 3, H, W)`, sRGB in [0, 1].

    Returns:
        H, S, V, `(..., 3, H, W)`, all in [0, 1]: red is 0, green 1/3, blue 2/3. Gray has hue and saturation 0, and
        its hue has gradient 0; close to gray the gradient of the hue grows as one over the saturation.

    Raises:
        ValueError: `rgb` does not have three channels of a floating dtype.

    Example:
        >>> teal = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
        >>> rgb_to_hsv(teal).flatten().tolist()
        [0.5, 1.0, 0.5]
    """
    r, g, b = _planes(rgb, "RGB")
    # amax and amin share the gradient among ties, so on gray it cancels instead of picking a channel.
    value = rgb.amax(dim=-3)
    spread = value - rgb.amin(dim=-3)
    colourless = spread == 0
    divisor = torch.where(colourless, torch.ones_like(spread), spread)
    sixths = torch.where(
        value == r,
        (g - b) / divisor,
        torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor),
    )
    hue = torch.where(colourless, torch.zeros_like(spread), (sixths / 6) % 1)
    saturation = spread / torch.where(colourless, torch.ones_like(value), value)
    return torch.stack([hue, saturation, value], dim=-3)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """Inverse of `rgb_to_hsv`.

    Args:
        hsv: H, S, V, `(..., 3, H, W)`, all in [0, 1]; the hue is periodic.

    Returns:
        sRGB, `(..., 3, H, W)`, in [0, 1].

    Raises:
        ValueError: `hsv` does not have three channels of a floating dtype.

    Example:
        >>> orange = torch.tensor([1 / 12, 1.0, 1.0]).view(1, 3, 1, 1)
        >>> [round(x, 3) for x in hsv_to_rgb(orange).flatten().tolist()]
        [1.0, 0.5, 0.0]
    """
    hue, saturation, value = _planes(hsv, "HSV")
    channels: list[Tensor] = []
    for start in (5, 3, 1):  # red, green and blue are one trapezoid of the hue, a third of a turn apart
        k = (start + 6 * hue) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=-3)


_ROOTS = (3**-0.5, 2**-0.5, 6**-0.5)
_OPPONENT: _Matrix = (
    (_ROOTS[0], _ROOTS[0], _ROOTS[0]),
    (_ROOTS[1], 0.0, -_ROOTS[1]),
    (_ROOTS[2], -2 * _ROOTS[2], _ROOTS[2]),
)
_FROM_OPPONENT = _inverse(_OPPONENT)


def rgb_to_opponent(rgb: Tensor) -> Tensor:
    """Turn RGB into opponent colours, O1 to O3: gray, red against blue, green against both.

    The matrix is orthonormal: white noise stays white noise of the same standard deviation, while the picture gathers
    in O1. So a denoiser for gray pictures does better on these than on red, green and blue.

    Args:
        rgb: `(..., 3, H, W)`.

    Returns:
        `(..., 3, H, W)`, O1 in [0, 1.74] for RGB in [0, 1], the others around 0.

    Raises:
        ValueError: `rgb` does not have three channels of a floating dtype.

    Example:
        >>> gray = torch.full((1, 3, 1, 1), 0.5)
        >>> [round(abs(x), 3) for x in rgb_to_opponent(gray).flatten().tolist()]
        [0.866, 0.0, 0.0]
    """
    planes = _planes(rgb, "RGB")
    return torch.stack([_weighted(row, planes) for row in _OPPONENT], dim=-3)


def opponent_to_rgb(opponent: Tensor) -> Tensor:
    """Inverse of `rgb_to_opponent`.

    Args:
        opponent: O1, O2, O3, `(..., 3, H, W)`.

    Returns:
        RGB, `(..., 3, H, W)`.

    Raises:
        ValueError: `opponent` does not have three channels of a floating dtype.

    Example:
        >>> x = torch.rand(1, 3, 4, 4)
        >>> bool(torch.allclose(opponent_to_rgb(rgb_to_opponent(x)), x, atol=1e-6))
        True
    """
    planes = _planes(opponent, "opponent colours")
    return torch.stack([_weighted(row, planes) for row in _FROM_OPPONENT], dim=-3)


def match_covariance(x: Tensor, like: Tensor) -> Tensor:
    """Match the mean and the covariance of one picture's colours to another's.

    ``A x + b`` with ``A = cov_like^(1/2) cov_x^(-1/2)``: of all such A the one that turns colours least (Gatys, Bethge,
    Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style Transfer", 2016).

    Args:
        x: (1, 3, h, w), sRGB.
        like: (1, 3, H, W).

    Example:
        >>> like = torch.rand(1, 3, 8, 8) * 0.4 + 0.3
        >>> torch.allclose(match_covariance(like.flip(1) * 0.5, like).mean((2, 3)), like.mean((2, 3)), atol=1e-3)
        True
    """
    pixels, wanted = x[0].flatten(1).double(), like[0].flatten(1).double()
    change = _power(torch.cov(wanted, correction=0), 0.5) @ _power(torch.cov(pixels, correction=0), -0.5)
    matched = change @ (pixels - pixels.mean(dim=1, keepdim=True)) + wanted.mean(dim=1, keepdim=True)
    return matched.view_as(x).to(x.dtype)


def _power(covariance: Tensor, exponent: float) -> Tensor:
    eye = torch.eye(3, dtype=covariance.dtype, device=covariance.device)
    values, vectors = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(covariance + 1e-6 * eye))
    return vectors @ torch.diag(values.clamp(min=1e-6) ** exponent) @ vectors.mT
