"""``--consistent``: the result shrinks to exactly the input, in tiles as in one piece, and the distance is told."""

import re

import numpy as np
import pytest
import torch

from safelight import inference, ops
from safelight.catalog import CARDS, find
from safelight.core.card import Trained
from safelight.core.options import CardError
from safelight.engine.consistent import LEAST_ZOOM, ConsistencyStage, inverse_taps
from safelight.engine.samples import to_tensor
from safelight.engine.tiles import Region, Renderer
from safelight.inference.runner import InferenceRequest
from safelight.media.image import Picture
from support.runners import random_runner

UPSCALERS = [card for card in CARDS if card.task == "upscale" and isinstance(card.method, Trained)]


def picture(height, width, channels=3, dtype=np.float32, seed=0):
    """Noise in the middle of the range, so that hardly anything is clipped."""
    pixels = 0.3 + 0.4 * np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)
    return Picture(pixels=pixels if dtype == np.float32 else (pixels * np.iinfo(dtype).max).astype(dtype))


def raw(runner, source, tile):
    """The result before clipping and rounding, computed in tiles of a size."""
    height, width, channels = source.pixels.shape
    w, h = runner.size(width, height)
    stages, _ = runner.stages(width, height, channels)
    out = torch.full((1, channels, h, w), float("nan"))

    def write(g, x):
        assert out[..., g.top : g.bottom, g.left : g.right].isnan().all(), "a pixel was computed twice"
        out[..., g.top : g.bottom, g.left : g.right] = x

    def read(g):
        return to_tensor(source.pixels[g.top : g.bottom, g.left : g.right])

    with torch.inference_mode():
        Renderer((tile, tile)).render(stages, Region(0, h, 0, w), read, write)
    return out, stages


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(1, 3), (2, 3), (5, 6), (40, 42), (50, 100), (91, 273), (300, 1000), (37, 300)]
)
def test_the_inverse_is_one_and_the_least(n_in, n_out):
    down, up = ops.taps(n_out, n_in).matrix(), inverse_taps(n_in, n_out).matrix()
    torch.testing.assert_close(down @ up, torch.eye(n_in, dtype=torch.float64), rtol=0, atol=1e-6)
    # Independent: LAPACK's pseudo-inverse, the one of least norm.
    torch.testing.assert_close(up, torch.linalg.pinv(down), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"scale": 2}, {"scale": 3}, {"scale": 6}, {"scale": 8}, {"scale": 2.5}, {"scale": 1.1}, {"size": (53, 95)}],
    ids=["x2", "x3", "x6", "x8", "x2.5", "x1.1", "53x95"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_gives_the_input_back(settings, channels):
    made = random_runner(find("fsrcnn", "upscale"), consistent=True, **settings)
    source = picture(23, 31, channels)
    result, _ = raw(made, source, 10_000)
    torch.testing.assert_close(ops.resize(result, (23, 31)), to_tensor(source.pixels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("card", UPSCALERS, ids=lambda card: card.id)
def test_every_network_can_be_consistent(card):
    source = picture(12, 9)
    result, stages = raw(random_runner(card, consistent=True, scale=2), source, 10_000)
    torch.testing.assert_close(ops.resize(result, (12, 9)), to_tensor(source.pixels), rtol=0, atol=1e-4)
    assert isinstance(stages[-1], ConsistencyStage)


@pytest.mark.parametrize("settings", [{"scale": 3}, {"scale": 6}, {"size": (200, 130)}], ids=["x3", "x6", "200x130"])
def test_tiles_equal_the_whole_and_so_does_what_is_told(settings):
    made = random_runner(find("espcn", "upscale"), consistent=True, **settings)
    source = picture(52, 61)
    whole, whole_stages = raw(made, source, 10_000)
    tiled, tiled_stages = raw(made, source, 37)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    for one, other in zip(_distances(whole_stages), _distances(tiled_stages), strict=True):
        assert other.count == one.count == source.pixels.size
        assert other.rms == pytest.approx(one.rms, rel=1e-4, abs=1e-3)
        assert other.largest == pytest.approx(one.largest, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("settings", [{"scale": 2}, {"scale": 2.5}, {"scale": 6}], ids=["x2", "x2.5", "x6"])
def test_bands_that_forget_what_is_done_equal_the_whole(settings):
    source = picture(60, 21)
    whole = random_runner(find("fsrcnn", "upscale"), consistent=True, **settings)
    banded = random_runner(find("fsrcnn", "upscale"), consistent=True, **settings)
    banded._executor.stages = lambda *args: (whole._executor.stages(*args)[0], (17, 40))
    np.testing.assert_allclose(banded(source).pixels, whole(source).pixels, rtol=0, atol=1e-5)


def _distances(stages):
    return stages[-1]._before, stages[-1]._after


def test_a_pixel_far_away_is_never_read():
    runner = random_runner(find("espcn", "upscale"), consistent=True, scale=2)
    stages, _ = runner.stages(500, 400, 3)
    read = stages[-1].input_region(Region(300, 310, 500, 510))
    assert (read.top, read.left) > (100, 200)
    assert (read.bottom, read.right) < (200, 300)


def test_the_shipped_network_is_told_by_how_much_it_was_off():
    source = picture(40, 44, dtype=np.uint8)
    plain = inference.prepare(find("fsrcnn", "upscale"), InferenceRequest(inputs={"scale": 2}, device="cpu"))(source)
    result = inference.prepare(
        find("fsrcnn", "upscale"), InferenceRequest(inputs={"scale": 2, "consistent": True}, device="cpu")
    )(source)
    (told,) = [warning for warning in result.warnings if warning.startswith("consistent:")]
    numbers = [float(text) for text in re.findall(r"\d+\.\d+", told)]
    y = to_tensor(source.pixels)
    before, after = ((ops.resize(to_tensor(p.pixels), (40, 44)) - y) * 255 for p in (plain, result))
    rms, most = float(after.square().mean().sqrt()), float(after.abs().max())
    assert numbers[2] == pytest.approx(rms, abs=0.006)
    assert numbers[3] == pytest.approx(most, abs=0.06)
    assert numbers[0] == pytest.approx(float(before.square().mean().sqrt()), rel=0.1)
    assert rms < 0.3 < numbers[0]  # rounding alone leaves 0.29 / 2 or so
    assert not [warning for warning in plain.warnings if "consistent" in warning]


def test_alpha_goes_its_own_way():
    source = picture(14, 12, dtype=np.uint16)
    alpha = np.random.default_rng(1).integers(0, 65536, (14, 12), dtype=np.uint16)
    source = Picture(pixels=source.pixels, alpha=alpha)
    made = [random_runner(find("fsrcnn", "upscale"), scale=3, consistent=c)(source) for c in (False, True)]
    assert np.array_equal(made[0].alpha, made[1].alpha)
    assert not np.array_equal(made[0].pixels, made[1].pixels)
    shrunk = ops.resize(to_tensor(made[1].pixels), (14, 12))
    assert float((shrunk - to_tensor(source.pixels)).abs().median()) < 1e-4


@pytest.mark.parametrize("size", [(31, 46), (31, 23), (32, 60), (20, 40), f"{31 * 2}x{23}"])
def test_a_size_that_is_hardly_larger_is_refused_in_a_line(size):
    runner = random_runner(find("fsrcnn", "upscale"), consistent=True, size=size)
    with pytest.raises(CardError, match=f"at least {LEAST_ZOOM} times 31x23 .*; enlarge more") as caught:
        runner(picture(23, 31))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "task"), [("bicubic", "upscale"), ("sharpen", "upscale"), ("dncnn", "denoise")])
def test_only_enlarging_networks_take_it(name, task):
    with pytest.raises(CardError, match="consistent"):
        inference.prepare(find(name, task), InferenceRequest(task=task, inputs={"consistent": True}))
