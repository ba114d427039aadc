"""Colour spaces against scikit-image, against literals, and against themselves there and back."""

from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
import skimage.color
import torch
from hypothesis import strategies as st
from torch import Tensor

from safelight.ops import color

Function = Callable[[Tensor], Tensor]

THERE_AND_BACK = [
    pytest.param(color.rgb_to_ycbcr, color.ycbcr_to_rgb, 1e-13, id="ycbcr"),
    pytest.param(color.srgb_to_linear, color.linear_to_srgb, 1e-7, id="linear"),
    pytest.param(color.rgb_to_lab, color.lab_to_rgb, 1e-7, id="lab"),
    pytest.param(color.rgb_to_hsv, color.hsv_to_rgb, 1e-13, id="hsv"),
]
TO_OTHERS = [
    color.rgb_to_y,
    color.rgb_to_ycbcr,
    color.srgb_to_linear,
    color.linear_to_srgb,
    color.rgb_to_lab,
    color.rgb_to_hsv,
]
FROM_OTHERS = [color.ycbcr_to_rgb, color.lab_to_rgb, color.hsv_to_rgb]


def corners() -> Tensor:
    """Every RGB of a 9-level grid, with black, white, grays, primaries and all ties of channels: (1, 3, 27, 27)."""
    levels = torch.linspace(0, 1, 9, dtype=torch.float64)
    return torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 27, 27)


def by_skimage(function: Callable[..., np.ndarray], picture: Tensor) -> Tensor:
    return torch.from_numpy(function(picture.movedim(-3, -1).numpy())).movedim(-1, -3)


@pytest.mark.parametrize(("there", "back", "tolerance"), THERE_AND_BACK)
def test_there_and_back_on_a_grid(there: Function, back: Function, tolerance: float) -> None:
    torch.testing.assert_close(back(there(corners())), corners(), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("there", "back", "tolerance"), THERE_AND_BACK)
@hypothesis.given(rgb=st.tuples(*[st.floats(0, 1, allow_subnormal=False)] * 3))
@hypothesis.settings(max_examples=60, deadline=None)
def test_there_and_back(there: Function, back: Function, tolerance: float, rgb: tuple[float, float, float]) -> None:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(back(there(pixel)), pixel, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "scale", "tolerance"),
    [
        pytest.param(color.rgb_to_ycbcr, skimage.color.rgb2ycbcr, 255, 1e-12, id="ycbcr"),
        pytest.param(color.rgb_to_lab, skimage.color.rgb2lab, 1, 1e-3, id="lab"),
        pytest.param(color.rgb_to_hsv, skimage.color.rgb2hsv, 1, 1e-12, id="hsv"),
    ],
)
def test_equals_scikit_image(ours: Function, theirs: Callable[..., np.ndarray], scale: float, tolerance: float) -> None:
    torch.testing.assert_close(ours(corners()) * scale, by_skimage(theirs, corners()), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("there", "back", "theirs", "scale", "tolerance"),
    [
        pytest.param(color.rgb_to_ycbcr, color.ycbcr_to_rgb, skimage.color.ycbcr2rgb, 255, 1e-12, id="ycbcr"),
        pytest.param(color.rgb_to_lab, color.lab_to_rgb, skimage.color.lab2rgb, 1, 1e-4, id="lab"),
        pytest.param(color.rgb_to_hsv, color.hsv_to_rgb, skimage.color.hsv2rgb, 1, 1e-12, id="hsv"),
    ],
)
def test_back_equals_scikit_image(
    there: Function, back: Function, theirs: Callable[..., np.ndarray], scale: float, tolerance: float
) -> None:
    picture = there(corners())
    torch.testing.assert_close(back(picture), by_skimage(theirs, picture * scale), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("rgb", "ycbcr"),
    [
        # ITU-R BT.601-7, 8-bit studio range; the 75 % colour bars are the broadcaster's (SMPTE EG 1) own numbers.
        pytest.param((0, 0, 0), (16, 128, 128), id="black"),
        pytest.param((1, 1, 1), (235, 128, 128), id="white"),
        pytest.param((0, 0, 1), (41, 240, 110), id="blue"),
        pytest.param((0.75, 0.75, 0), (162, 44, 142), id="yellow bar"),
        pytest.param((0, 0.75, 0.75), (131, 156, 44), id="cyan bar"),
        pytest.param((0.75, 0, 0), (65, 100, 212), id="red bar"),
    ],
)
def test_ycbcr_of_known_colours(rgb: tuple[float, ...], ycbcr: tuple[float, ...]) -> None:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)
    assert (color.rgb_to_ycbcr(pixel) * 255).round().flatten().tolist() == list(ycbcr)


def test_y_is_the_first_channel_of_ycbcr() -> None:
    assert torch.equal(color.rgb_to_y(corners()), color.rgb_to_ycbcr(corners())[:, :1])


def test_the_srgb_curve_meets_its_standard() -> None:
    # By hand from IEC 61966-2-1: 0.04045 / 12.92 and ((0.5 + 0.055) / 1.055) ** 2.4.
    srgb = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)
    linear = torch.tensor([0.0, 0.0031308049535604, 0.21404114048223255, 1.0], dtype=torch.float64)
    torch.testing.assert_close(color.srgb_to_linear(srgb), linear, atol=1e-12, rtol=0)


@pytest.mark.parametrize("hue", [0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6])
def test_hue_is_periodic(hue: float) -> None:
    hsv = torch.tensor([hue, 0.8, 0.6], dtype=torch.float64).view(3, 1, 1)
    turned = hsv + torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(color.hsv_to_rgb(turned), color.hsv_to_rgb(hsv), atol=1e-12, rtol=0)


@pytest.mark.parametrize("space", [color.rgb_to_ycbcr, color.rgb_to_hsv, color.rgb_to_lab])
def test_gray_has_no_colour(space: Function) -> None:
    gray = torch.linspace(0, 1, 256, dtype=torch.float64).expand(3, 1, 256)
    result = space(gray)
    if space is color.rgb_to_ycbcr:
        torch.testing.assert_close(result[1:], torch.full_like(result[1:], 128 / 255), atol=1e-12, rtol=0)
    elif space is color.rgb_to_hsv:
        assert torch.equal(result[:2], torch.zeros_like(result[:2]))
    else:
        assert result[1:].abs().max() < 0.005


@pytest.mark.parametrize("function", [*TO_OTHERS, *FROM_OTHERS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_leading_shape_are_kept(function: Function, dtype: torch.dtype) -> None:
    picture = torch.rand((2, 4, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = function(picture.to(dtype))
    assert result.dtype == dtype
    assert result.shape == (2, 4, 1 if function is color.rgb_to_y else 3, 5, 7)
    assert result.isfinite().all()
    # Not equal bit by bit: the vectorised powers differ from the scalar ones in the last place.
    torch.testing.assert_close(result[1, 2], function(picture.to(dtype)[1, 2]))


@pytest.mark.parametrize("function", [*TO_OTHERS, *FROM_OTHERS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(function: Function, dtype: torch.dtype) -> None:
    # The traps are black and gray: the root of Lab, the powers of sRGB, the divisions of HSV, and colours out of range.
    grid = corners().to(dtype)
    for picture in (grid, grid * 1.4 - 0.2):
        picture.requires_grad_()
        function(picture).sum().backward()
        assert picture.grad is not None
        assert picture.grad.isfinite().all()


@pytest.mark.parametrize("function", [*TO_OTHERS, *FROM_OTHERS])
def test_gradients_are_right(function: Function) -> None:
    # Away from the kinks of HSV, where there is no gradient to compare with.
    picture = torch.tensor([0.62, 0.31, 0.17, 0.02, 0.55, 0.9], dtype=torch.float64).view(2, 3, 1, 1)
    assert torch.autograd.gradcheck(function, picture.requires_grad_())


@pytest.mark.parametrize("function", [color.srgb_to_linear, color.linear_to_srgb, color.rgb_to_lab])
def test_gradients_are_right_at_black_and_gray(function: Function) -> None:
    picture = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5, 0.5], dtype=torch.float64).view(2, 3, 1, 1)
    assert torch.autograd.gradcheck(function, picture.requires_grad_())


@pytest.mark.parametrize(
    "function", [f for f in [*TO_OTHERS, *FROM_OTHERS] if f not in (color.srgb_to_linear, color.linear_to_srgb)]
)
def test_other_tensors_are_refused(function: Function) -> None:
    with pytest.raises(ValueError, match=r"expected .*\(\.\.\., 3, H, W\), got \(1, 1, 4, 4\); do"):
        function(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"expected a floating dtype, got torch\.uint8; do"):
        function(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
