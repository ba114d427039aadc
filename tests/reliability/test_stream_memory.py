"""Very large results: the memory of the whole program, its decoding worker included, through the command line."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from safelight.media import image

RUNS = {6: 3, 24: 1}  # by the megapixels of the input; the results have sixteen times as many


def resident(pid):
    """The resident memory of a process and its children, in MiB."""
    try:
        own = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return 0  # it has just ended
    return (int(own[1]) / 1024 if own else 0) + sum(resident(child) for child in children)


def photograph(path, megapixels):
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = np.tile(noise, (height // 64 + 1, round(1.5 * height) // 64 + 1, 1))[:height, : round(1.5 * height)]
    image.write(image.Picture(pixels=np.ascontiguousarray(pixels)), path)


def peak_of(*arguments):
    """The most memory that a command of the program takes, in MiB."""
    process = subprocess.Popen([sys.executable, "-m", "safelight", *map(str, arguments), "--quiet"])
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0
    return round(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_384_megapixels_take_under_one_and_a_half_gib(tmp_path, suffix, record_property):
    """A JPEG of 24 megapixels, four times as large; and hardly more than a quarter of it takes.

    How full the buffers between reading, computing and writing become is a matter of time, 0.1 GiB from run to run, so
    the smaller picture is given three runs to show the most that it takes.
    """
    peaks = {}
    for megapixels, runs in RUNS.items():
        source, target = tmp_path / f"{megapixels}.jpg", tmp_path / f"{megapixels}.{suffix}"
        photograph(source, megapixels)
        peaks[megapixels] = []
        for _ in range(runs):
            peaks[megapixels].append(peak_of("upscale", source, "-o", target, "--method", "fsrcnn"))
            header = image.probe(target)
            assert header.width * header.height > 15.9e6 * megapixels
            target.unlink()
    record_property("peaks_mib", peaks)
    assert max(peaks[24]) < 1536
    assert max(peaks[24]) <= 1.2 * max(peaks[6])
