"""SSIM against scikit-image and torchmetrics, by hand, and by its properties."""

import hypothesis
import pytest
import skimage.metrics
import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from safelight.metrics import ssim


def pair(channels: int, noise: float = 0.1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A batch of three noisy smooth pictures and its reference, (3, channels, 29, 37)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((3, channels, 5, 6), generator=generator, dtype=torch.float64)
    reference = torch.nn.functional.interpolate(coarse, (29, 37), mode="bilinear")
    noisy = reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return noisy.to(dtype), reference.to(dtype)


def bytes_of(batch: Tensor) -> Tensor:
    return (batch * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def by_skimage(result: Tensor, reference: Tensor, data_range: float) -> Tensor:
    """Its mean leaves out the five border pixels where the window does not fit: the valid region."""
    return torch.tensor(
        [
            skimage.metrics.structural_similarity(
                a.numpy(),
                b.numpy(),
                data_range=data_range,
                channel_axis=0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(result, reference, strict=True)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_scikit_image_on_floats(channels: int) -> None:
    result, reference = pair(channels)
    values = ssim(result, reference, channel="rgb", rounding="none")
    torch.testing.assert_close(values, by_skimage(result, reference, 1), atol=1e-10, rtol=0)


def test_equals_scikit_image_on_bytes() -> None:
    result, reference = pair(3)
    expected = by_skimage(bytes_of(result).double(), bytes_of(reference).double(), 255)
    torch.testing.assert_close(ssim(result, reference, channel="rgb"), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchmetrics(channels: int) -> None:
    result, reference = pair(channels)
    # Its mean takes in a mirrored border, so its map is cropped to the valid region before the mean.
    _, full_map = structural_similarity_index_measure(
        result, reference, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = full_map[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    values = ssim(result, reference, channel="rgb", rounding="none")
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)


def test_by_hand() -> None:
    # Two flat pictures have no structure to differ in; what is left is (2 x y + c1) / (x**2 + y**2 + c1) with
    # c1 = 0.01**2: (2 * 0.2 * 0.6 + 0.0001) / (0.04 + 0.36 + 0.0001) = 0.6000999750062484.
    dark, light = torch.full((1, 1, 12, 13), 51 / 255), torch.full((1, 1, 12, 13), 153 / 255)
    assert ssim(dark, light, channel="y").item() == pytest.approx(0.6000999750062484, abs=1e-7)


def test_one_window_by_hand() -> None:
    # Eleven by eleven pixels are one window. A white pixel in its middle, weight w = 0.0707622377639470 (the square
    # of 1 / sum(exp(-k**2 / 4.5)) over k from -5 to 5), against black: means w and 0, variance w - w**2, so that
    # SSIM = 0.0001 * 0.0009 / ((w**2 + 0.0001) * (w - w**2 + 0.0009)).
    black = torch.zeros(1, 1, 11, 11)
    point = black.clone()
    point[0, 0, 5, 5] = 1
    assert ssim(point, black, channel="y").item() == pytest.approx(0.0002643743162066147, rel=1e-9)


def test_shave_is_a_crop() -> None:
    result, reference = pair(3)
    cropped = ssim(result[..., 3:-3, 3:-3], reference[..., 3:-3, 3:-3], channel="y")
    assert torch.equal(ssim(result, reference, channel="y", shave=3), cropped)


def test_each_picture_has_its_own_number() -> None:
    result, reference = pair(3)
    values = ssim(result, reference, channel="y")
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    for i in range(3):
        alone = ssim(result[i : i + 1], reference[i : i + 1], channel="y")
        torch.testing.assert_close(values[i : i + 1], alone, atol=1e-13, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_is_computed_in_double_precision(dtype: torch.dtype) -> None:
    result, reference = pair(3, dtype=dtype)
    values = ssim(result, reference, channel="y")
    torch.testing.assert_close(values, ssim(result.double(), reference.double(), channel="y"), atol=0, rtol=0)


def test_falls_with_noise() -> None:
    values = [ssim(*pair(3, noise), channel="y").min().item() for noise in (0.01, 0.03, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)


def test_a_negative_has_negative_similarity() -> None:
    board = (torch.arange(24).view(-1, 1) + torch.arange(24)).remainder(2).float().view(1, 1, 24, 24)
    assert ssim(1 - board, board, channel="y").item() < -0.99


@hypothesis.given(seed=st.integers(0, 10_000), channels=st.sampled_from([1, 3]), shave=st.integers(0, 2))
@hypothesis.settings(max_examples=30, deadline=None)
def test_is_symmetric_in_range_and_one_for_itself(seed: int, channels: int, shave: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand((2, 1, channels, 17, 16), generator=generator)
    value = ssim(a, b, channel="y", shave=shave)
    assert torch.equal(value, ssim(b, a, channel="y", shave=shave))
    assert -1 <= value.item() <= 1
    assert ssim(a, a, channel="y", shave=shave).item() == 1
