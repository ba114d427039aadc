"""What a new family costs: six test-only methods, each trained for seconds and run through the command line and Python.

No line of ``cli``, ``api``, ``web``, ``batch`` or ``engine`` knows them: each is one file of ``tests/fitness``.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import safelight
from fitness import codec, dictionary, gan_enlarger, generator, translation, two_frames
from safelight import catalog, tasks
from safelight.cli import app
from safelight.media import image

MODULES = (codec, dictionary, gan_enlarger, generator, translation, two_frames)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    own = (generator.TASK, codec.COMPRESS, codec.DECOMPRESS, translation.TASK, two_frames.TASK)
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, *own))
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, *(module.CARD for module in MODULES)))


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def train(card, out, *arguments):
    """Train by the command line, in seconds."""
    run("train", card.id, *arguments, "-o", out, "--quiet")
    assert out.exists()
    return out


def waves(height=48, width=48, phase=0.0, tint=(1.0, 1.0, 1.0), seed=0):
    """A picture of smooth waves with edges."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(4, 9, 2)
    y, x = np.mgrid[0:height, 0:width]
    field = 0.5 + 0.3 * np.sin((x + phase) / a) * np.cos(y / b) + 0.15 * np.sign(np.sin((x + phase + y) / 11))
    return (field[..., None] * np.array(tint) * 255).clip(0, 255).astype(np.uint8)


def draw(folder, count=12, **how):
    folder.mkdir(parents=True)
    for i in range(count):
        image.write(image.Picture(pixels=waves(seed=i, **how)), folder / f"{i:02}.png")
    return folder


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_it_is_short(module):
    assert len(Path(module.__file__).read_text().splitlines()) < 80


@pytest.mark.parametrize("module", [gan_enlarger, dictionary], ids=["gan", "dictionary"])
def test_enlargers(module, tmp_path):
    """A network against a discriminator, and fitted arrays: better than repeated pixels on a picture not seen."""
    card, data = module.CARD, draw(tmp_path / "data")
    weights = train(card, tmp_path / "w.safetensors", "--data", data, "--scale", 2)
    whole = waves(seed=99)
    small = whole.reshape(24, 2, 24, 2, 3).mean((1, 3)).round().astype(np.uint8)
    image.write(image.Picture(pixels=small), tmp_path / "small.png")
    run("upscale", tmp_path / "small.png", "-m", card.name, "--weights", weights, "-s", 2, "-o", tmp_path / "made.png")
    made = image.read(tmp_path / "made.png").pixels
    assert np.array_equal(made, safelight.upscale(small, scale=2, method=card.name, weights=weights))
    assert psnr(made, whole) > psnr(safelight.upscale(small, scale=2, method="nearest"), whole) + 1
    tiled = safelight.upscale(np.tile(small, (8, 8, 1)), scale=2, method=card.name, weights=weights)
    assert tiled.shape == (384, 384, 3)


def test_a_generator(tmp_path):
    data = draw(tmp_path / "data", tint=(1.0, 0.4, 0.1))
    weights = train(generator.CARD, tmp_path / "w.safetensors", "--data", data)
    done = run("generate", "--count", 3, "--seed", 5, "--weights", weights, "-o", tmp_path / "dots.png", "--json")
    outputs = json.loads(done.stdout.splitlines()[0])["outputs"]
    made = [image.read(path).pixels for path in outputs]
    again = safelight.generate(count=3, seed=5, weights=weights)
    assert all(np.array_equal(one, other.pixels) for one, other in zip(made, again, strict=True))
    assert not np.array_equal(made[0], made[1])
    mean = np.mean([picture.pixels.mean((0, 1)) for picture in safelight.generate(count=32, weights=weights)], axis=0)
    real = waves(tint=(1.0, 0.4, 0.1)).mean((0, 1))
    assert np.abs(mean - real).max() < 40
    assert mean[0] > mean[1] > mean[2]


def test_a_codec(tmp_path):
    weights = train(codec.CARD, tmp_path / "w.safetensors", "--data", draw(tmp_path / "data"))
    pixels = waves(50, 46, seed=99)
    image.write(image.Picture(pixels=pixels), tmp_path / "a.png")
    run("compress", tmp_path / "a.png", "--weights", weights)
    bits = (tmp_path / "a.tiny").read_bytes()
    assert bits == safelight.compress(pixels, weights=weights)
    assert len(bits) < pixels.size / 8
    run("decompress", tmp_path / "a.tiny", "--weights", weights, "-o", tmp_path / "back.png")
    back = image.read(tmp_path / "back.png").pixels
    assert np.array_equal(back, safelight.decompress(bits, weights=weights).pixels)
    assert back.shape == pixels.shape
    assert psnr(back, pixels) > 24


def test_a_translation(tmp_path):
    warm, cold = draw(tmp_path / "summer", tint=(1, 0.7, 0.3)), draw(tmp_path / "winter", tint=(0.3, 0.6, 1))
    weights = train(translation.CARD, tmp_path / "w.safetensors", "--data-a", warm, "--data-b", cold)
    run("translate", warm / "00.png", "--weights", weights, "-o", tmp_path / "made.png")
    made = image.read(tmp_path / "made.png").pixels
    assert np.array_equal(made, safelight.translate(image.read(warm / "00.png").pixels, weights=weights))
    assert np.abs(made.mean((0, 1)) - waves(tint=(0.3, 0.6, 1)).mean((0, 1))).max() < 30
    back = safelight.translate(made, weights=tmp_path / "w-back.safetensors")
    assert psnr(back, image.read(warm / "00.png").pixels) > 20


def test_two_frames(tmp_path):
    for clip in range(6):
        folder = tmp_path / f"clips/{clip}"
        folder.mkdir(parents=True)
        for frame in range(4):
            image.write(image.Picture(pixels=waves(phase=2.0 * frame, seed=clip)), folder / f"{frame}.png")
    weights = train(two_frames.CARD, tmp_path / "w.safetensors", "--data", tmp_path / "clips")
    first, middle, last = (waves(phase=2.0 * frame, seed=99) for frame in range(3))
    for name, pixels in (("first", first), ("last", last)):
        image.write(image.Picture(pixels=pixels), tmp_path / f"{name}.png")
    run("between", tmp_path / "first.png", tmp_path / "last.png", "--weights", weights, "-o", tmp_path / "made.png")
    made = image.read(tmp_path / "made.png").pixels
    assert np.array_equal(made, safelight.between(first, frames=[last], weights=weights))
    assert psnr(made, middle) > psnr((first.astype(float) + last) / 2, middle) + 1
