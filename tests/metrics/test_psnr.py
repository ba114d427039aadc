"""PSNR against scikit-image and torchmetrics, by hand, and by its properties."""

import hypothesis
import pytest
import skimage.metrics
import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from safelight.metrics import SR_NEWER, SR_OLDER, psnr
from safelight.ops.color import rgb_to_y


def pair(channels: int, noise: float = 0.1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A batch of three noisy pictures and its reference, (3, channels, 25, 31)."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand((3, channels, 25, 31), generator=generator, dtype=torch.float64)
    noisy = reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return noisy.to(dtype), reference.to(dtype)


def bytes_of(batch: Tensor) -> Tensor:
    return (batch * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_scikit_image_on_floats(channels: int) -> None:
    result, reference = pair(channels)
    expected = [
        skimage.metrics.peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1)
        for a, b in zip(result, reference, strict=True)
    ]
    values = psnr(result, reference, channel="rgb", rounding="none")
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


def test_equals_scikit_image_on_bytes() -> None:
    result, reference = pair(3)
    expected = [
        skimage.metrics.peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=255)
        for a, b in zip(bytes_of(result), bytes_of(reference), strict=True)
    ]
    values = psnr(result, reference, channel="rgb")
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize("shave", [0, 4])
def test_equals_torchmetrics_on_luma(shave: int) -> None:
    result, reference = pair(3)
    inside = slice(shave, -shave if shave else None)
    expected = peak_signal_noise_ratio(
        rgb_to_y(result)[..., inside, inside],
        rgb_to_y(reference)[..., inside, inside],
        data_range=1.0,
        reduction="none",
        dim=(1, 2, 3),
    )
    values = psnr(result, reference, channel="y", shave=shave, rounding="none")
    # torchmetrics takes its logarithm of 10 in float32, whatever the pictures are.
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


def test_by_hand() -> None:
    # One sample of 16 is off by 51 levels: MSE = 51**2 / 16, 10 log10(255**2 / MSE) = 10 log10(25 * 16) = 26.0206.
    reference = torch.zeros(1, 1, 4, 4)
    result = reference.clone()
    result[0, 0, 1, 2] = 51 / 255
    assert psnr(result, reference, channel="y").item() == pytest.approx(26.0205999, abs=1e-6)
    # The same error in the border is shaved away.
    assert psnr(result, reference, channel="y", shave=1).item() == pytest.approx(20.0, abs=1e-6)
    assert psnr(result.roll((1, 1), (2, 3)).roll(1, 3), reference, channel="y", shave=1).item() == float("inf")


def test_protocols_of_the_papers_by_hand() -> None:
    # Y of (10, 20, 30) is 31.587647, of (12, 20, 30) is 32.101224: 32 and 32 when rounded.
    reference = torch.tensor([10, 20, 30]).view(1, 3, 1, 1).expand(1, 3, 4, 4) / 255
    result = torch.tensor([12, 20, 30]).view(1, 3, 1, 1).expand(1, 3, 4, 4) / 255
    assert psnr(result, reference, channel="y", rounding=SR_OLDER.rounding).item() == float("inf")
    # 20 log10(255 / (2 * 65.481 / 255)) = 53.918...
    newer = psnr(result, reference, channel="y", rounding=SR_NEWER.rounding).item()
    assert newer == pytest.approx(53.9187, abs=1e-4)


def test_each_picture_has_its_own_number() -> None:
    result, reference = pair(3)
    result[1] = reference[1]
    values = psnr(result, reference, channel="y")
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    assert values.isinf().tolist() == [False, True, False]
    for i in range(3):
        assert torch.equal(values[i : i + 1], psnr(result[i : i + 1], reference[i : i + 1], channel="y"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_is_computed_in_double_precision(dtype: torch.dtype) -> None:
    result, reference = pair(3, dtype=dtype)
    values = psnr(result, reference, channel="y")
    torch.testing.assert_close(values, psnr(result.double(), reference.double(), channel="y"), atol=0, rtol=0)


def test_falls_with_noise() -> None:
    values = [psnr(*pair(3, noise), channel="y").min().item() for noise in (0.01, 0.03, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)


@hypothesis.given(seed=st.integers(0, 10_000), channels=st.sampled_from([1, 3]), shave=st.integers(0, 3))
@hypothesis.settings(max_examples=30, deadline=None)
def test_is_symmetric_and_does_not_mind_flips(seed: int, channels: int, shave: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand((2, 1, channels, 9, 8), generator=generator)
    value = psnr(a, b, channel="y", shave=shave)
    assert torch.equal(value, psnr(b, a, channel="y", shave=shave))
    torch.testing.assert_close(value, psnr(a.flip(-1), b.flip(-1), channel="y", shave=shave), atol=1e-9, rtol=0)
