"""MS-SSIM against torchmetrics, against plain numpy, by hand, and by its properties."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from safelight.metrics import ms_ssim
from safelight.metrics.ms_ssim import Variant

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def pair(height: int, width: int, channels: int = 1, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """A batch of two noisy smooth pictures and its reference."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((2, channels, height // 8, width // 8), generator=generator, dtype=torch.float64)
    reference = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return noisy, reference


def by_numpy(x: np.ndarray, y: np.ndarray, variant: Variant) -> float:
    """One gray picture: scipy's filters over the whole picture, of which the valid part is taken."""
    k = np.exp(-(np.arange(-5.0, 6) ** 2) / 4.5)
    k /= k.sum()

    def window(a: np.ndarray) -> np.ndarray:
        return ndimage.correlate1d(ndimage.correlate1d(a, k, axis=0), k, axis=1)[5:-5, 5:-5]

    # Cohen, Daubechies, Feauveau: the 9/7 wavelet's low-pass, from the roots of its polynomial and not from a table.
    # With P(y) = 1 + 4 y + 10 y^2 + 20 y^3, y = sin^2(w / 2), the long filter is (1 - y)^2 times P's complex factor.
    roots = np.roots([20, 10, 4, 1])
    a = next(r for r in roots if abs(r.imag) > 1e-9)
    one = np.array([1.0])
    y_taps, rest = np.array([-0.25, 0.5, -0.25]), np.array([0.25, 0.5, 0.25])  # y and 1 - y as filters
    squared = np.convolve(y_taps, y_taps)
    factor = squared + np.pad(-2 * a.real * y_taps, 1) + np.pad(abs(a) ** 2 * one, 2)
    long = np.convolve(np.convolve(rest, rest), factor)
    long /= long.sum()

    def halved(a: np.ndarray) -> np.ndarray:
        if variant == "mux":
            a = ndimage.correlate1d(ndimage.correlate1d(a, long, axis=0, mode="reflect"), long, axis=1, mode="reflect")
        else:
            # MATLAB's imfilter with ones(2) / 4 and 'symmetric': the sample and its next ones.
            a = ndimage.correlate(a, np.full((2, 2), 0.25), mode="reflect", origin=-1)
        return a[::2, ::2]

    c1, c2 = 0.01**2, 0.03**2
    value = 1.0
    for scale, weight in enumerate(WEIGHTS):
        mx, my = window(x), window(y)
        vx, vy, cov = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        if variant == "wang":
            cs = (2 * cov + c2) / (vx + vy + c2)
            value *= np.mean(luminance * cs if scale == 4 else cs) ** weight
        else:
            sd = np.sqrt(np.maximum(vx, 0)) * np.sqrt(np.maximum(vy, 0))
            value *= (
                np.mean((2 * sd + c2) / (vx + vy + c2)) ** weight * np.mean((cov + c2 / 2) / (sd + c2 / 2)) ** weight
            )
            if scale == 4:
                value *= np.mean(luminance) ** weight
        x, y = halved(x), halved(y)
    return float(value)


@pytest.mark.parametrize("variant", ["wang", "mux"])
@pytest.mark.parametrize("size", [(176, 192), (177, 181)])
def test_equals_plain_numpy(variant: Variant, size: tuple[int, int]) -> None:
    result, reference = pair(*size)
    values = ms_ssim(result, reference, channel="y", rounding="none", variant=variant)
    expected = [by_numpy(a[0].numpy(), b[0].numpy(), variant) for a, b in zip(result, reference, strict=True)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchmetrics(channels: int) -> None:
    # Sides that halve evenly: at odd ones torchmetrics drops the last row, and the authors' code repeats it. Its means
    # take in a mirrored border at each scale, which costs digits. It takes the product over scales of all channels'
    # means, so that channels go in one by one.
    result, reference = pair(192, 176, channels)
    expected = torch.stack(
        [
            multiscale_structural_similarity_index_measure(
                result[:, c : c + 1], reference[:, c : c + 1], sigma=1.5, data_range=1.0, reduction="none"
            )
            for c in range(channels)
        ]
    ).mean(dim=0)
    values = ms_ssim(result, reference, channel="rgb", rounding="none")
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", ["wang", "mux"])
def test_by_hand(variant: Variant) -> None:
    # Flat pictures differ in luminance alone, which counts at the last scale with the weight 0.1333:
    # (2 * 0.2 * 0.6 + 0.0001) / (0.04 + 0.36 + 0.0001) = 0.6000999750062484.
    dark, light = torch.full((1, 1, 176, 180), 51 / 255), torch.full((1, 1, 176, 180), 153 / 255)
    value = ms_ssim(dark, light, channel="y", variant=variant).item()
    assert value == pytest.approx(0.6000999750062484**0.1333, abs=1e-9)


@pytest.mark.parametrize("variant", ["wang", "mux"])
def test_properties(variant: Variant) -> None:
    result, reference = pair(176, 184, 3)
    value = ms_ssim(result, reference, channel="y", variant=variant)
    assert value.shape == (2,)
    assert value.dtype == torch.float64
    made = result.clamp(0, 1)
    both = [ms_ssim(*two, channel="y", variant=variant) for two in ((made, reference), (reference, made))]
    torch.testing.assert_close(both[0], both[1], atol=1e-12, rtol=0)
    equal = ms_ssim(reference, reference, channel="y", variant=variant)
    torch.testing.assert_close(equal, torch.ones_like(equal), atol=1e-12, rtol=0)
    alone = ms_ssim(result[1:], reference[1:], channel="y", variant=variant)
    torch.testing.assert_close(alone, value[1:], atol=1e-12, rtol=0)


def test_a_negative_counts_as_nothing_alike() -> None:
    _, reference = pair(176, 176)
    values = ms_ssim(1 - reference, reference, channel="y")
    assert values.tolist() == [0, 0]
