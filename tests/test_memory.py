"""Memory: what a tile of the chosen size really takes, measured in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from tests_support import random_runner
from safelight import catalog
from safelight.engine.tiles import Region, compute

torch.set_num_threads(1)
card, scale = catalog.find(sys.argv[1]), int(sys.argv[2])
runner = random_runner(card, scale=scale)
side = round(50e6 ** 0.5 / scale)
stages, tile = runner.stages(side, side, 3)
def read(region):
    return torch.rand(1, 3, region.height, region.width)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.inference_mode():
    compute(stages, Region(tile, 2 * tile, tile, 2 * tile), read)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize(("name", "scale"), [("bicubic", 4), ("sharpen", 2), ("fsrcnn", 4), ("vdsr", 3), ("edsr", 4)])
def test_a_tile_of_a_50_megapixel_result_takes_less_than_1_gib(name, scale):
    """A result of 50 megapixels is made in such tiles, so that it needs less than 2 GiB beside its pixels."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(scale)],
        capture_output=True, text=True, check=True, cwd="tests", timeout=300,
    )  # fmt: skip
    assert float(run.stdout) < 1024
