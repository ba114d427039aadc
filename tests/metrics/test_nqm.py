"""NQM against plain numpy, by hand, and by its properties."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from safelight.metrics import nqm


def pair(height: int, width: int, channels: int = 1, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((2, channels, height // 6, width // 6), generator=generator, dtype=torch.float64)
    reference = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return noisy.clamp(0, 1), reference


def by_numpy(result: np.ndarray, reference: np.ndarray) -> float:
    """The definition, sample by sample, on one gray picture; bands by their cosine of log2(r) about each centre."""
    height, width = reference.shape

    def ctf(f: float) -> float:
        return 1.0 / (200.0 * (2.6 * (0.0192 + 0.114 * f) * math.exp(-((0.114 * f) ** 1.1))))

    def split(picture: np.ndarray) -> list[np.ndarray]:
        spectrum = np.fft.fft2(picture)
        parts = [np.zeros_like(spectrum) for _ in range(6)]
        for i in range(height):
            for j in range(width):
                r = math.hypot(min(i, height - i), min(j, width - j))
                if r <= 2:
                    parts[0][i, j] = spectrum[i, j] * 0.5 * (1 + math.cos(math.pi * math.log2(r + 2) - math.pi))
                for k in range(1, 6):
                    if 2 ** (k - 1) <= r <= 2 ** (k + 1):
                        gain = 0.5 * (1 + math.cos(math.pi * math.log2(r) - math.pi * k))
                        parts[k][i, j] = spectrum[i, j] * gain
        return [np.fft.ifft2(part).real for part in parts]

    x, y = split(result), split(reference)
    seen_x, seen_y = np.zeros_like(reference), np.zeros_like(reference)
    angle = 1 / 3.5 * 180 / math.pi
    for k in range(1, 6):
        below_x, below_y = sum(x[:k]), sum(y[:k])
        for place in np.ndindex(height, width):
            cx, cy = x[k][place] / below_x[place], y[k][place] / below_y[place]
            ct = ctf(k)
            limited = 1.0 if abs(cx) > 1 else cx
            masked = abs(limited - cy) < ct * (0.86 * (cy / ct - 1) + 0.3)
            if abs(cy) >= ctf(2**k / angle):
                seen_y[place] += y[k][place]
            if abs(cx) >= ctf(2**k / angle):
                seen_x[place] += y[k][place] if masked else x[k][place]
    return 10 * math.log10((seen_y**2).sum() / ((seen_x - seen_y) ** 2).sum())


@pytest.mark.parametrize("size", [(48, 48), (37, 50)])
def test_equals_plain_numpy(size: tuple[int, int]) -> None:
    result, reference = pair(*size)
    values = nqm(result, reference, channel="y", rounding="none")
    expected = [by_numpy(a[0].numpy(), b[0].numpy()) for a, b in zip(result, reference, strict=True)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0)


def test_one_wave_by_hand() -> None:
    # A wave of 8 cycles a picture lies in the middle of the third band, whole; its contrast is a over the mean. Where
    # the result's is twice the reference's, the error is as strong as the reference but where it is masked or unseen:
    # 0 dB at most. Visible: 0.2 > t(8 / 16.37) = 1 / (520 (0.0192 + 0.0557) exp(-0.042)) = 0.0268, near the crests.
    wave = 0.1 * torch.cos(2 * math.pi * 8 * torch.arange(64, dtype=torch.float64) / 64).expand(1, 1, 64, 64)
    value = nqm(0.5 + 2 * wave, 0.5 + wave, channel="y", rounding="none").item()
    # Cosines at 8 samples a cycle: 1, 0.7071, 0, and so on. Masked where |2c - c| < 0.86 c - 0.56 t(3), never. So sums
    # are of a^2 and (2a - a)^2.
    assert value == pytest.approx(0, abs=1e-9)
    # A contrast of 1.1 times: masked where 0.1 c < 0.86 c - 0.56 t(3), t(3) = 1 / (520 0.3612 exp(-0.307)) = 0.00724:
    # where c is positive. Where it is negative the error is a tenth: 10 log10(2 / 0.01) = 23.01.
    assert nqm(0.5 + 1.1 * wave, 0.5 + wave, channel="y", rounding="none").item() == pytest.approx(23.0103, abs=1e-4)


def test_brightness_is_no_noise_but_its_structure_is() -> None:
    _, reference = pair(48, 48)
    darker = nqm(0.8 * reference, reference, channel="y", rounding="none")
    noisy = nqm(pair(48, 48, noise=0.1)[0], reference, channel="y", rounding="none")
    assert bool((darker > noisy + 5).all())


def test_extremes() -> None:
    result, reference = pair(40, 40)
    flat = torch.full_like(reference, 0.5)
    assert nqm(reference, reference, channel="y").tolist() == [math.inf, math.inf]
    assert nqm(flat, flat + 0.1, channel="y").tolist() == [math.inf, math.inf]  # no contrast in either
    assert nqm(result, flat, channel="y").tolist() == [-math.inf, -math.inf]
    black = torch.zeros(1, 1, 40, 40)
    assert nqm(black, black, channel="y").item() == math.inf
    assert nqm(black, reference[:1], channel="y").item() == pytest.approx(0, abs=1e-9)  # all of the picture is lost


def test_colour_is_one_sum_over_the_channels() -> None:
    result, reference = pair(40, 44, 3)
    gray = [nqm(result[:, c : c + 1], reference[:, c : c + 1], channel="y", rounding="none") for c in range(3)]
    together = nqm(result, reference, channel="rgb", rounding="none")
    assert bool((together >= torch.stack(gray).min(dim=0).values).all())
    assert bool((together <= torch.stack(gray).max(dim=0).values).all())
    same = nqm(result[:, :1].expand(-1, 3, -1, -1), reference[:, :1].expand(-1, 3, -1, -1), channel="rgb")
    torch.testing.assert_close(same, nqm(result[:, :1], reference[:, :1], channel="y"), atol=1e-9, rtol=0)
