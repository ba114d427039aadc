"""The blind estimate of noise: right on drawn pictures, robust where pictures end, and quick."""

import math

import pytest
import torch

from safelight.ops import noise
from support.pictures import noisy, shapes


@pytest.mark.parametrize("sigma", [1, 5, 15, 25, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_finds_the_noise(sigma, channels):
    found = noise.estimate(noisy(shapes(160, 200, channels), sigma))
    assert 255 * found.sigma == pytest.approx(sigma, rel=0.05)
    assert len(found.channels) == channels
    assert found.patches >= 1000


def test_each_channel_for_itself():
    x = shapes(160, 200, 3)
    levels = (5.0, 10.0, 20.0)
    for channel, level in enumerate(levels):
        x[:, channel] = noisy(x[:, channel], level, channel)
    found = noise.estimate(x)
    assert [255 * sigma for sigma in found.channels] == pytest.approx(levels, rel=0.06)
    assert 255 * found.sigma == pytest.approx(math.sqrt(sum(level**2 for level in levels) / 3), rel=0.05)


def test_a_clean_picture_has_next_to_none():
    # The disc and the stripes fill patches, and are put aside.
    assert 255 * noise.estimate(shapes(160, 200)).sigma < 0.2


def test_a_flat_picture_has_none():
    assert noise.estimate(torch.full((1, 3, 40, 40), 0.4)).sigma == pytest.approx(0, abs=1e-6)


def test_texture_does_not_pass_for_noise():
    # Two thirds of the picture are a texture ten times as strong as the noise.
    x = shapes(160, 200)
    checks = torch.rand(1, 1, 40, 67, generator=torch.Generator().manual_seed(3)).repeat_interleave(2, 2)
    x[..., :80, :134] = 0.3 + 0.4 * checks.repeat_interleave(2, 3)
    assert 255 * noise.estimate(noisy(x, 5)).sigma == pytest.approx(5, abs=1)


def test_clipped_skies_and_shadows_are_left_out():
    x = shapes(160, 200)
    x[..., :60, :] = 1.0
    x[..., 130:, :] = 0.0
    clipped = noisy(x, 15).clamp(0, 1)
    assert 255 * noise.estimate(clipped).sigma == pytest.approx(15, rel=0.1)


def test_rounding_to_8_bits_does_not_matter():
    rounded = (noisy(shapes(160, 200), 4) * 255).round() / 255
    assert 255 * noise.estimate(rounded).sigma == pytest.approx(math.hypot(4, 1 / math.sqrt(12)), rel=0.05)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 9), (5, 5), (4, 40), (8, 8), (11, 13)])
def test_small_pictures_do_no_harm(size):
    found = noise.estimate(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))
    assert math.isfinite(found.sigma)
    if not found.patches:
        assert found.sigma == 0
        assert "too small" in found.describe()


def test_a_picture_of_16x16_is_enough():
    found = noise.estimate(noisy(torch.full((1, 1, 16, 16), 0.5), 20))
    assert 255 * found.sigma == pytest.approx(20, rel=0.25)


def test_it_is_the_same_each_time_and_says_so_in_units_of_255():
    x = noisy(shapes(400, 400), 25)
    assert noise.estimate(x) == noise.estimate(x)
    assert noise.estimate(x).describe() == "the noise was estimated as about 25 (of 255)"
