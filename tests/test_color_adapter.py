"""How colours get to a network and back: each way against its formula, bit by bit, and which way a card chooses."""

import pytest
import torch
from torch import nn

from safelight import ops
from safelight.catalog import find
from safelight.ops import color_adapter
from safelight.ops.color import rgb_to_ycbcr, ycbcr_to_rgb


def pictures(channels):
    return torch.rand(2, channels, 5, 7, generator=torch.Generator().manual_seed(channels))


def enlarging(channels, scale=2):
    """A network whose channels differ, so that a swapped one shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(channels, channels * scale * scale, 3, padding=1)
    return nn.Sequential(conv, nn.PixelShuffle(scale)).requires_grad_(False)


def test_the_luma_is_enlarged_by_the_network_and_the_chroma_by_the_bicubic_kernel():
    x, run = pictures(3), enlarging(1)
    ycbcr = rgb_to_ycbcr(x)
    chroma = ops.resize(ycbcr[:, 1:], (10, 14))
    expected = ycbcr_to_rgb(torch.cat([run(ycbcr[:, :1]), chroma], dim=1))
    assert torch.equal(color_adapter.luma_and_bicubic_chroma(x, run, (10, 14)), expected)


def test_planes_go_one_by_one():
    x, run = pictures(3), enlarging(1, scale=1)
    expected = torch.cat([run(x[:, i : i + 1]) for i in range(3)], dim=1)
    torch.testing.assert_close(color_adapter.rgb_planes(x, run, (5, 7)), expected)
    y = rgb_to_ycbcr(x)
    expected = ycbcr_to_rgb(torch.cat([run(y[:, i : i + 1]) for i in range(3)], dim=1))
    torch.testing.assert_close(color_adapter.ycbcr_planes(x, run, (5, 7)), expected)


@pytest.mark.parametrize("name", ["luma_and_bicubic_chroma", "rgb_planes", "ycbcr_planes"])
def test_a_gray_picture_is_the_one_channel(name):
    x, run = pictures(1), enlarging(1)
    assert torch.equal(getattr(color_adapter, name)(x, run, (10, 14)), run(x))


def test_a_network_of_rgb_sees_gray_as_three_equal_channels():
    run = enlarging(3)
    assert torch.equal(color_adapter.rgb_or_equal_channels(pictures(3), run, (10, 14)), run(pictures(3)))
    x = pictures(1)
    expected = run(torch.cat([x, x, x], dim=1)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(color_adapter.rgb_or_equal_channels(x, run, (10, 14)), expected)


@pytest.mark.parametrize(
    ("name", "options", "scale", "task", "adapter"),
    [
        ("upscale/espcn", {}, 3, "upscale", color_adapter.luma_and_bicubic_chroma),
        ("upscale/edsr", {}, 2, "upscale", color_adapter.rgb_or_equal_channels),
        ("denoise/dncnn", {"variant": "B"}, 1, "denoise", color_adapter.rgb_planes),
        ("denoise/dncnn", {"variant": "CB"}, 1, "denoise", color_adapter.rgb_or_equal_channels),
        ("denoise/lamp", {}, 1, "deblock", color_adapter.rgb_or_equal_channels),
        ("deblock/dncnn3", {}, 1, "deblock", color_adapter.ycbcr_planes),
        ("deblock/dncnn3", {}, 1, "denoise", color_adapter.rgb_planes),
        ("deblock/dncnn3", {}, 2, "upscale", color_adapter.luma_and_bicubic_chroma),
    ],
)
def test_a_card_chooses_by_its_channels_the_zoom_and_the_task(name, options, scale, task, adapter):
    card = find(name)
    assert card.method.network.color_adapter(card.options(**options), scale, task) is adapter
