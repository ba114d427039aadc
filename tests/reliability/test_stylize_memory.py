"""A stylisation of 12 megapixels: its memory and its time on one core, through the command line."""

import sys
import time

import numpy as np
import pytest
from test_stream_memory import peak_of

from safelight import catalog
from safelight.checkpoints import weights_file
from safelight.media import image
from safelight.methods.stylize import johnson
from support.runners import random_network

LIMIT = 180  # seconds; about 40 on a core of an AMD EPYC


def random_weights(path):
    """Weights of the default network: what is measured is the same for all."""
    card = catalog.find("johnson")
    header = weights_file.WeightsHeader(method=card.id, options={"look": "auto", "width": 16}, scales=(1,))
    weights_file.save(path, random_network(card, 1, johnson.Options()).state_dict(), header)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("method", ["johnson", "adain"])
def test_12_megapixels_take_under_two_gib_and_three_minutes(tmp_path, method, record_property):
    """The whole program, its decoding worker included. The result is not flat, nor cut into tiles that can be seen."""
    yy, xx = np.mgrid[0:3000, 0:4000].astype(np.float32)
    wave = 127 + 100 * np.sin(xx / 40) * np.cos(yy / 31)
    pixels = np.stack([wave, wave[::-1], 255 - wave], axis=-1).astype(np.uint8)
    source, target = tmp_path / "in.jpg", tmp_path / "out.png"
    image.write(image.Picture(pixels=pixels), source)
    if method == "johnson":
        random_weights(tmp_path / "w.safetensors")
        chosen = ["--weights", tmp_path / "w.safetensors"]
    else:
        style = tmp_path / "style.png"
        image.write(image.Picture(pixels=np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)), style)
        chosen = ["--style", style]
    start = time.perf_counter()
    peak = peak_of("stylize", source, "-o", target, "--method", method, *chosen)
    seconds = time.perf_counter() - start
    record_property("peak_mib", peak)
    record_property("seconds", round(seconds, 1))
    result = image.read(target)
    assert (result.width, result.height) == (4000, 3000)
    assert result.pixels.std() > 3
    assert peak < 2048
    assert seconds < LIMIT
