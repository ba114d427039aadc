"""Memory: what a tile of the chosen size really takes, measured in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from support.processes import peak
from support.runners import random_runner
from safelight import catalog
from safelight.engine.tiles import Region, compute

torch.set_num_threads(1)
card, scale = catalog.find(sys.argv[1]), int(sys.argv[2])
runner = random_runner(card, scale=scale)
side = round(50e6 ** 0.5 / scale)
stages, tile = runner.stages(side, side, 3)
def read(region):
    return torch.rand(1, 3, region.height, region.width)
before = peak()
height, width = stages[-1].size
top, left = (height - tile[0]) // 2, (width - tile[1]) // 2
with torch.inference_mode():
    compute(stages, Region(top, top + tile[0], left, left + tile[1]), read)
print(peak() - before)
"""


@pytest.mark.parametrize(("name", "scale"), [("bicubic", 4), ("sharpen", 2), ("fsrcnn", 4), ("vdsr", 3), ("edsr", 4)])
def test_a_tile_of_a_50_megapixel_result_takes_less_than_1_gib(name, scale):
    """A result of 50 megapixels is made in such tiles, so that it needs less than 2 GiB beside its pixels."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(scale)],
        capture_output=True, text=True, check=True, cwd="tests", timeout=300,
    )  # fmt: skip
    assert float(run.stdout) < 1024


WHOLE = """
import sys
import numpy as np
from support.processes import peak
from safelight import catalog, inference
from safelight.media.image import Picture

side = round(50e6 ** 0.5 / 4)
picture = Picture(pixels=np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8))
before = peak()
request = inference.InferenceRequest(inputs={"scale": 4}, device="cpu")
result = inference.apply(catalog.find(sys.argv[1]), picture, request)
assert result.pixels.shape[0] == 4 * side
print(peak() - before - result.pixels.nbytes / 2**20)
"""


@pytest.mark.parametrize("name", ["bicubic", "fsrcnn"])
def test_a_whole_result_of_50_megapixels_takes_less_than_2_gib_beside_its_pixels(name):
    """The slow networks are held by the test above: their tiles are made one after the other in the same way."""
    run = subprocess.run(
        [sys.executable, "-c", WHOLE, name], capture_output=True, text=True, check=True, cwd="tests", timeout=300
    )
    assert float(run.stdout) < 2048
