"""Memory of writing: a picture of 384 megapixels takes what one of 96 takes."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, "tests")
from support.processes import peak
from safelight.media import image
from safelight.media.image import ImageSpec

width, height = 24_000, int(sys.argv[3]) * 1_000_000 // 24_000
# Rows that compress about as a photograph does: a slope under noise of two bits. Made without a peak of their own.
slope = (np.arange(width)[:, None] * 200 // width + np.array([0, 20, 40])).astype(np.uint8)
band = slope + np.random.default_rng(0).integers(0, 4, (250, width, 3), np.uint8)

def rows():
    for top in range(0, height, 250):
        yield band[: height - top]

image.encode(image.Picture(pixels=np.zeros((300, 300, 3), np.uint8)), "png")
before = peak()
spec = ImageSpec(width=width, height=height, channels=3, depth="8-bit")
image.write_rows(spec, rows(), sys.argv[1], format=sys.argv[2])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg"])
def test_384_megapixels_take_less_than_150_mb_and_what_96_take(tmp_path, kind):
    """Beside the band that is in flight."""
    peaks: list[float] = []
    for megapixels in (96, 384):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / str(megapixels)), kind, str(megapixels)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        peaks.append(float(done.stdout))
    assert 10 < peaks[1] < 150, "less than what waits on the way would mean that nothing was measured"
    assert peaks[1] < 1.2 * peaks[0]
