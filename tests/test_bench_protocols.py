"""The protocols of denoise and deblock, and their anchors, on drawn pictures."""

import hashlib
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from safelight.core.benchmark import INPUT
from safelight.evaluation import bench
from safelight.evaluation.bench import checks, quality
from safelight.media import image
from safelight.media.image import Picture
from safelight.training.datasets import DataError
from support.bench_sets import silent, texture, to_pixels, write_sets

DENOISE, DEBLOCK = bench.find("denoise"), bench.find("deblock")
FACTS = quality.metric_facts(DENOISE)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"))


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "sigma"), [("Set12", 15), ("Set12", 50), ("BSD100", 25)])
def test_noise_is_what_the_protocol_says(sets, folder, sigma):
    """Seeded by the picture's shape and samples, added in units of 0 to 255, neither clipped nor rounded."""
    pixels = to_pixels(sets / folder / "0.png")
    sample = DENOISE.degrade(pixels, sigma)
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()).hexdigest()
    generator = torch.Generator().manual_seed(int(digest[:15], 16))
    noise = torch.randn(1, *pixels.shape, generator=generator) * sigma
    expected = (pixels + noise)[0].permute(1, 2, 0) / 255
    assert sample.picture.pixels.dtype == np.float32
    assert np.abs(sample.picture.pixels - expected.numpy()).max() < 1e-6
    assert sample.picture.pixels.min() < 0 or sigma == 15  # nothing was clipped
    assert sample.picture.pixels.max() > 1 or sigma == 15
    assert torch.equal((sample.reference[0] * 255).round().to(torch.uint8), pixels)
    assert "the first 15 hexadecimal digits of the SHA-256 of its shape and samples" in DENOISE.protocol


def test_noise_at_two_levels_differs_in_strength_alone(sets):
    pixels = to_pixels(sets / "Set12" / "0.png")
    weak, strong = (
        DENOISE.degrade(pixels, sigma).picture.pixels - pixels.permute(1, 2, 0).numpy() / 255.0 for sigma in (15, 30)
    )
    assert np.abs(2 * weak - strong).max() < 1e-6
    other = to_pixels(sets / "Set12" / "1.png")[..., :48]
    elsewhere = DENOISE.degrade(other, 15).picture.pixels - other.permute(1, 2, 0).numpy() / 255.0
    assert np.abs(weak - elsewhere).max() > 0.1


def test_the_anchor_is_the_noise_before_clipping(sets):
    assert {level: round(checks.known_numbers(DENOISE, "any", level)["psnr"], 2) for level in DENOISE.levels} == {
        15: 24.61, 25: 20.17, 50: 14.15,
    }  # fmt: skip
    (set12,) = quality.read_sets(DENOISE, sets, ["Set12"])
    found = quality.score(DENOISE, [], set12, 50, silent)
    values = []
    for original in set12.originals:
        noisy = DENOISE.degrade(original.y, 50).picture.pixels * 255.0
        clean = original.y.permute(1, 2, 0).numpy().astype(float)
        values.append(10 * math.log10(255**2 / np.mean((noisy - clean) ** 2)))
    assert found.input["psnr"] == pytest.approx(np.mean(values), abs=1e-3)
    assert found.input["psnr"] == pytest.approx(14.15, abs=0.3)  # of pictures with 2,700 samples
    assert found.methods == ()


def test_another_noise_fails_its_anchor():
    right = {("Set12", 25): {"psnr": 20.16, "ssim": 0.5}}
    assert [a.passed for a in checks.check_anchors(DENOISE, FACTS, right)] == [True]
    (anchor,) = checks.check_anchors(
        DENOISE, FACTS, {("Set12", 25): {"psnr": 20.6, "ssim": 0.5}}
    )  # as if it were clipped
    assert (anchor.method, anchor.metric, anchor.passed) == (INPUT, "psnr", False)
    (text,) = (item.text for item in checks.list_shortfalls(DENOISE, FACTS, anchors=[anchor]))
    assert text == "input sigma 25 Set12: PSNR 20.6, where 20.172 is known and 0.02 of difference is allowed"


# --- JPEG -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["classic5", "BSD100"])
def test_jpegs_go_through_a_real_file(sets, folder, monkeypatch):
    """The bytes are a JPEG of libjpeg's tables, which Pillow reads to the same samples, but for its own rounding."""
    written = []
    encode = image.encode
    monkeypatch.setattr(image, "encode", lambda *a, **k: written.append(encode(*a, **k)) or written[-1])
    pixels = to_pixels(sets / folder / "0.png")
    sample = DEBLOCK.degrade(pixels, 10)
    (content,) = written
    assert content[:3] == b"\xff\xd8\xff"
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.quantization[0][:3] == [80, 55, 50]  # Table K.1 begins 16 11 10; times 5 at quality 10
        decoded = np.asarray(opened)
    decoded = decoded if decoded.ndim == 3 else decoded[..., None]
    assert sample.picture.pixels.dtype == np.uint8
    assert np.abs(sample.picture.pixels.astype(int) - decoded).max() <= 1
    assert torch.equal((sample.reference[0] * 255).round().to(torch.uint8), pixels)


def test_the_anchors_of_deblock_are_the_literatures():
    known = {(quality_, metric): checks.known_numbers(DEBLOCK, "classic5", quality_)[metric]
             for quality_ in DEBLOCK.levels for metric in ("psnr", "ssim")}  # fmt: skip
    assert [known[level, "psnr"] for level in (10, 20, 30, 40)] == [27.82, 30.12, 31.48, 32.43]
    assert [known[level, "ssim"] for level in (10, 20, 30, 40)] == [0.7595, 0.8344, 0.8666, 0.8849]
    assert checks.known_numbers(DEBLOCK, "BSD20 RGB", 10) == {}
    assert [
        a.passed for a in checks.check_anchors(DEBLOCK, FACTS, {("classic5", 10): {"psnr": 27.825, "ssim": 0.7598}})
    ] == [True, True]
    assert [
        a.passed for a in checks.check_anchors(DEBLOCK, FACTS, {("classic5", 10): {"psnr": 27.84, "ssim": 0.7601}})
    ] == [False, False]


# --- the sets ---------------------------------------------------------------------------------------------------------


def test_gray_pictures_are_no_set_of_colours(sets, tmp_path):
    for name in ("classic5", "BSD100"):
        (tmp_path / name).mkdir()
        image.write(Picture(pixels=texture(64, 64, 1, 0)), tmp_path / name / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected a picture in colour for BSD20 RGB, got a gray one"):
        quality.read_sets(DEBLOCK, tmp_path)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="expected the folders Set12, BSD68_gray, BSD100 in"):
        quality.read_sets(DENOISE, tmp_path)
