"""The protocol, on pixels made by hand."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from safelight import metrics
from safelight.metrics.protocol import SR_NEWER, SR_OLDER, Protocol, comparable, round_to_8_bits


def pixel(*samples: float) -> Tensor:
    """One pixel of these 8-bit samples, (1, C, 1, 1)."""
    return torch.tensor(samples, dtype=torch.float64).view(1, -1, 1, 1) / 255


def prepared(picture: Tensor, protocol: Protocol) -> float:
    result, reference = comparable(picture, picture, protocol, smallest=1)
    assert torch.equal(result, reference)
    return result.item() * 255


def test_halves_go_up_and_the_rest_is_clipped() -> None:
    # torch.round and numpy.round would give 0, 2, 2, 4: halves to even.
    samples = torch.tensor([0.5, 1.5, 2.5, 3.5, 2.4999, -3.0, 254.5, 300.0], dtype=torch.float64) / 255
    assert (round_to_8_bits(samples) * 255).round().tolist() == [1, 2, 3, 4, 2, 0, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_8_bit_sample_stays_itself(dtype: torch.dtype) -> None:
    samples = torch.arange(256, dtype=torch.float64)
    rounded = round_to_8_bits((samples / 255).to(dtype).double())
    torch.testing.assert_close(rounded * 255, samples, atol=1e-12, rtol=0)


def test_y_of_a_pixel_under_each_rounding() -> None:
    # By hand: 16 + (65.481 * 10 + 128.553 * 20 + 24.966 * 30) / 255 = 31.5876...
    assert prepared(pixel(10, 20, 30), Protocol("y", rounding="none")) == pytest.approx(31.5876471, abs=1e-6)
    assert prepared(pixel(10, 20, 30), SR_NEWER) == pytest.approx(31.5876471, abs=1e-6)
    assert prepared(pixel(10, 20, 30), SR_OLDER) == pytest.approx(32, abs=1e-9)
    # The picture is rounded first: 9.6, 20.4, 30.4 are 10, 20, 30 in a file.
    assert prepared(pixel(9.6, 20.4, 30.4), SR_NEWER) == pytest.approx(31.5876471, abs=1e-6)
    assert prepared(pixel(9.6, 20.4, 30.4), Protocol("y", rounding="none")) == pytest.approx(31.7257459, abs=1e-6)


def test_an_exact_half_of_luma_goes_up() -> None:
    # 194 of the 8-bit colours have a Y of exactly half a level; plain floor(Y + 0.5) in doubles misses 63 of them.
    #   [(r, g, b) for r in range(256) for g in range(256) for b in range(256)
    #    if (65481 * r + 128553 * g + 24966 * b) % 255000 == 127500]
    for r, g, b in [(0, 204, 68), (4, 194, 109), (8, 184, 150), (15, 195, 75), (31, 155, 239), (255, 51, 187)]:
        below = 16 + (65481 * r + 128553 * g + 24966 * b) // 255000
        assert prepared(pixel(r, g, b), SR_OLDER) == pytest.approx(below + 1, abs=1e-9)


def test_gray_is_y_as_it_is() -> None:
    # Sent through RGB, 100 would become 16 + 219 * 100 / 255 = 101.88.
    for protocol in (SR_OLDER, SR_NEWER, Protocol("y", rounding="none")):
        assert prepared(pixel(100), protocol) == pytest.approx(100, abs=1e-9)
        assert prepared(pixel(100, 100, 100), protocol) == pytest.approx(101.88, abs=0.13)


def test_shave_cuts_every_side() -> None:
    picture = torch.zeros(1, 1, 7, 9)
    picture[..., 2:-2, 2:-2] = 1
    inner, _ = comparable(picture, picture, Protocol("y", shave=2), smallest=1)
    assert inner.shape == (1, 1, 3, 5)
    assert inner.min() == 1


def test_rounding_makes_a_small_error_vanish_and_counts_a_large_one() -> None:
    reference = torch.full((1, 3, 16, 16), 100 / 255)
    small, large = reference + 0.4 / 255, reference + 0.6 / 255
    assert metrics.psnr(small, reference, channel="rgb").item() == float("inf")
    # One level in 255: 20 log10(255) = 48.1308 dB.
    assert metrics.psnr(large, reference, channel="rgb").item() == pytest.approx(48.1308036, abs=1e-6)
    assert metrics.psnr(large, reference, channel="rgb", rounding="none").item() == pytest.approx(52.5678, abs=1e-3)


def test_descriptions_tell_the_protocols_apart() -> None:
    protocols = [SR_OLDER, SR_NEWER, SR_NEWER.with_shave(2), Protocol("y", rounding="none"), Protocol("rgb")]
    assert len({protocol.describe() for protocol in protocols}) == len(protocols)
    assert all("\n" not in protocol.describe() for protocol in protocols)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Protocol("y", shave=-1), "shave of 0 pixels or more, got -1; do"),
        (lambda: Protocol("rgb", rounding="8-bit-y"), "for RGB, got '8-bit-y'; do"),
        # From untyped callers, such as a command line or a JSON file.
        (lambda: Protocol(cast(Any, "luma")), "channel 'y' or 'rgb', got 'luma'; do"),
        (lambda: Protocol("y", rounding=cast(Any, "int8")), "got 'int8'; do"),
    ],
)
def test_impossible_protocols_are_refused(make: Callable[[], Protocol], message: str) -> None:
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        make()


GOOD = torch.full((2, 3, 176, 176), 0.5)  # the smallest that all metrics take
OF_SAMPLES = [metric for metric in metrics.METRICS if isinstance(metric, metrics.Metric)]


@pytest.mark.parametrize("metric", OF_SAMPLES, ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("result", "reference", "shave", "message"),
    [
        pytest.param(GOOD[:, :1], GOOD, 0, r"one shape, got \(2, 1, 176, 176\) and \(2, 3, 176, 176\)", id="channels"),
        pytest.param(GOOD[..., 1:], GOOD, 0, "one shape, got", id="size"),
        pytest.param(GOOD[0], GOOD[0], 0, r"\(B, 1 or 3, H, W\), got \(3, 176, 176\)", id="no batch"),
        pytest.param(GOOD[:, :2], GOOD[:, :2], 0, r"\(B, 1 or 3, H, W\), got", id="two channels"),
        pytest.param(GOOD, GOOD, 88, "pixels after a shave of 88, got 0x0", id="nothing left"),
        pytest.param(GOOD, (GOOD * 255).byte(), 0, "floating reference .* got torch.uint8", id="bytes"),
        pytest.param((GOOD * 255).byte(), GOOD, 0, "floating result .* got torch.uint8", id="byte result"),
        pytest.param(GOOD * float("nan"), GOOD, 0, "finite result", id="nan"),
        pytest.param(GOOD, GOOD / 0, 0, "finite reference", id="infinite"),
        pytest.param(GOOD, GOOD * 255, 0, r"reference in \[0, 1\], got 127.5 to 127.5", id="range"),
    ],
)
def test_incomparable_pictures_are_refused(
    metric: metrics.Metric, result: Tensor, reference: Tensor, shave: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"expected .*{message}.*; do"):
        metric.function(result, reference, channel="rgb", shave=shave)


def test_a_border_smaller_than_the_window_is_refused() -> None:
    picture = torch.full((1, 1, 16, 30), 0.5)
    assert metrics.ssim(picture, picture, channel="y", shave=2).item() == 1
    with pytest.raises(ValueError, match="expected at least 11x11 pixels after a shave of 3, got 24x10; do"):
        metrics.ssim(picture, picture, channel="y", shave=3)


@pytest.mark.parametrize("metric", [m for m in OF_SAMPLES if m.smallest > 1], ids=lambda metric: metric.name)
def test_a_picture_smaller_than_the_metric_needs_is_refused(metric: metrics.Metric) -> None:
    side = metric.smallest
    picture = torch.full((1, 1, side + 2, side + 9), 0.5)
    assert metric.score(picture, picture, Protocol("y", shave=1)).shape == (1,)
    with pytest.raises(
        ValueError, match=f"at least {side}x{side} pixels after a shave of 2, got {side + 5}x{side - 2}"
    ):
        metric.score(picture, picture, Protocol("y", shave=2))


def test_metrics_are_found_by_name() -> None:
    assert [metric.name for metric in metrics.METRICS] == [
        "psnr", "ssim", "ms_ssim", "ms_ssim[mux]", "ifc", "nqm", "wpsnr", "wpsnr[mux]", "wpsnr[miyahara]", "lpips",
        "fid", "kid",
    ]  # fmt: skip
    for metric in metrics.METRICS:
        assert metrics.find(metric.name) is metric
    assert [metric.name for metric in OF_SAMPLES if metric.usual] == ["psnr", "ssim", "ms_ssim", "ifc", "nqm", "wpsnr"]
    assert {metric.name for metric in OF_SAMPLES if metric.unit == "dB"} == {
        "psnr", "nqm", "wpsnr", "wpsnr[mux]", "wpsnr[miyahara]",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"expected a metric out of psnr, ssim, .* got 'pnsr'; do you mean psnr"):
        metrics.find("pnsr")
    with pytest.raises(ValueError, match="got 'dists'; do "):
        metrics.find("dists")


def test_no_metric_falls_when_the_error_does() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 24, 24), generator=generator)
    reference = torch.nn.functional.interpolate(coarse, (192, 192), mode="bicubic").clamp(0, 1)
    noise = torch.randn(reference.shape, generator=generator)
    for metric in OF_SAMPLES:
        values = [metric.score(reference + a * noise, reference, SR_NEWER).item() for a in (0.2, 0.05, 0.01, 0)]
        assert values == sorted(values), metric.name
        assert len(set(values)) == 4, metric.name


@pytest.mark.parametrize("metric", OF_SAMPLES, ids=lambda metric: metric.name)
def test_a_record_and_its_function_agree(metric: metrics.Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    result, reference = torch.rand((2, 2, 3, 182, 190), generator=generator)
    protocol = SR_OLDER.with_shave(3)
    by_hand = metric.function(result, reference, channel="y", shave=3, rounding="8-bit-y")
    assert torch.equal(metric.score(result, reference, protocol), by_hand)
    assert not torch.equal(metric.score(result, reference, SR_NEWER.with_shave(3)), by_hand)
