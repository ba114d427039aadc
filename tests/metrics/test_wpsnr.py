"""WPSNR by closed forms and against scipy's convolution."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

from safelight.metrics import psnr, wpsnr
from safelight.metrics.wpsnr import Variant


def wave(height: int, width: int, down: int, across: int) -> torch.Tensor:
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    return torch.cos(2 * math.pi * (down * rows[:, None] / height + across * columns / width))[None, None]


@pytest.mark.parametrize(
    ("height", "width", "down", "across"),
    [(48, 48, 0, 9), (48, 48, 7, 0), (48, 48, 6, 6), (40, 64, 5, 8), (48, 48, 0, 1)],
)
def test_one_wave_by_hand(height: int, width: int, down: int, across: int) -> None:
    # The filter scales a wave by its sensitivity at that frequency; the mean square of a cosine is a half.
    grey = torch.full((1, 1, height, width), 0.5, dtype=torch.float64)
    value = wpsnr(grey + 0.1 * wave(height, width, down, across), grey, channel="y", rounding="none").item()
    v, u = 120 * down / height, 120 * across / width
    f = math.hypot(u, v) / (0.85 + 0.15 * math.cos(4 * math.atan2(v, u)))
    seen = 2.6 * (0.0192 + 0.114 * f) * math.exp(-((0.114 * f) ** 1.1)) if f >= 7.8909 else 0.9809
    assert value == pytest.approx(-20 * math.log10(0.1 * seen / math.sqrt(2)), abs=1e-9)


@pytest.mark.parametrize("size", [(30, 36), (24, 50)])
def test_miyahara_equals_scipy(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    result, reference = torch.rand((2, 2, 1, *size), generator=generator, dtype=torch.float64)
    f = np.arange(-20, 21)
    u, v = np.meshgrid(f, f)
    w = 2 * np.pi * np.sqrt(u**2 + v**2) / 60
    steep = np.exp(8 * (w - 2 * np.pi * 11.13 / 60))
    # atan(v / u), as the formula has it; the fourth power of the cosine of twice the angle does not mind the quadrant.
    angle = np.arctan(v / (u + 1e-16))
    response = (1.5 * np.exp(-2 * w**2) - np.exp(-8 * w**2)) * (1 + steep * np.cos(2 * angle) ** 4) / (1 + steep)
    # The taps as a sum of the samples' waves, and not by a fast transform.
    basis = np.exp(2j * np.pi * np.outer(f, f) / 41)
    taps = (basis @ response @ basis.T).real / 41**2
    expected = []
    for a, b in zip(result, reference, strict=True):
        seen = signal.convolve2d((a - b)[0].numpy(), taps, mode="same")
        expected.append(-10 * np.log10(np.mean(seen**2)))
    values = wpsnr(result, reference, channel="y", rounding="none", variant="miyahara")
    torch.testing.assert_close(values, torch.tensor(np.array(expected)), atol=1e-8, rtol=0)


def test_mux_differs_for_pictures_that_are_not_square_only() -> None:
    generator = torch.Generator().manual_seed(0)
    result, reference = torch.rand((2, 1, 1, 40, 40), generator=generator)
    square = [wpsnr(result, reference, channel="y", variant=v).item() for v in ("mannos", "mux")]
    assert square[0] == pytest.approx(square[1], abs=1e-12)
    tall = [wpsnr(result[..., :30], reference[..., :30], channel="y", variant=v).item() for v in ("mannos", "mux")]
    # Divided by the height, which is larger, the frequencies across come out lower, where the eye sees more.
    assert tall[1] < tall[0] - 0.1


@pytest.mark.parametrize("variant", ["mannos", "mux", "miyahara"])
def test_properties(variant: Variant) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand((2, 2, 3, 31, 28), generator=generator)
    value = wpsnr(a, b, channel="y", variant=variant)
    assert (value.shape, value.dtype) == ((2,), torch.float64)
    torch.testing.assert_close(value, wpsnr(b, a, channel="y", variant=variant), atol=1e-9, rtol=0)
    assert bool((value > psnr(a, b, channel="y")).all())  # white noise: most of it is too fine to be seen
    assert wpsnr(a, a, channel="y", variant=variant).tolist() == [math.inf, math.inf]
    alone = wpsnr(a[1:], b[1:], channel="y", variant=variant)
    torch.testing.assert_close(alone, value[1:], atol=1e-9, rtol=0)
