"""How busy the method is in a batch, how much memory the program needs, and what a small file costs."""

import subprocess
import sys

import numpy as np
from skimage import data

from safelight import ops
from safelight.engine.samples import to_samples, to_tensor
from safelight.media import image
from safelight.media.image import Picture
from support.batch_program import run
from support.pictures import draw

PHOTOS = (data.astronaut, data.chelsea, data.coffee, data.rocket)

BASELINE = """
import re, torch
torch.nn.functional.conv2d(torch.rand(1, 16, 256, 256), torch.rand(16, 16, 3, 3))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
"""


def photographs(folder, count, width, height):
    """JPEG files cut and enlarged from photographs, no two of them equal."""
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = PHOTOS[i % len(PHOTOS)]()[i : 280 + i, i : 380 + i]
        enlarged = ops.resize(to_tensor(np.ascontiguousarray(pixels)), (height, width))
        image.write(Picture(pixels=to_samples(enlarged, np.dtype(np.uint8))), folder / f"{i:03d}.jpg")


def torch_alone():
    """MiB that torch takes by itself, once it has convolved."""
    done = subprocess.run([sys.executable, "-c", BASELINE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_the_method_is_at_work_nine_tenths_of_the_time(tmp_path, record_property):
    """24 photographs of a megapixel, by the fastest network: the others give files more time to be read and written."""
    photographs(tmp_path / "in", 24, 1176, 864)
    told = run(tmp_path / "in", "-o", tmp_path / "out", "-m", "fsrcnn", timeout=580)
    assert told.code == 0
    assert told.summary["done"] == 24
    baseline = torch_alone()
    record_property("busy", f"{told.summary['busy']}, {told.summary['seconds']} s")
    record_property("memory", f"{told.peak:.0f} MiB, torch alone {baseline:.0f} MiB")
    assert told.summary["busy"] >= 0.9


def test_r2_memory_does_not_grow_with_the_number_of_files(tmp_path, record_property):
    """As much for 500 files as for 50; and 10 ms a small file, all in all."""
    baseline = torch_alone()
    peaks = []
    for count in (50, 500):
        for i in range(count):
            draw(tmp_path / f"in{count}/{i:03d}.png", i)
        told = run(tmp_path / f"in{count}", "-o", tmp_path / f"out{count}", "-m", "bicubic", "-s", "2")
        assert told.summary["done"] == count
        peaks.append(told.peak)
    rate = 500 / told.summary["seconds"]
    record_property("memory", f"{peaks[0]:.0f} and {peaks[1]:.0f} MiB, torch alone {baseline:.0f} MiB")
    record_property("small", f"{rate:.0f} files a second")
    assert peaks[1] <= 1.1 * peaks[0]
    assert rate >= 100


def test_r2_the_program_takes_300_mib_beside_torch(tmp_path, record_property):
    """With pictures of a megapixel and 16 of result under way in all three stages; tiles have --memory beside that."""
    photographs(tmp_path / "in", 12, 1176, 864)
    baseline = torch_alone()
    told = run(tmp_path / "in", "-o", tmp_path / "out", "-m", "bicubic")
    assert told.summary["done"] == 12
    record_property("memory", f"{told.peak:.0f} MiB, torch alone {baseline:.0f} MiB")
    assert told.peak <= baseline + 300
