"""The lines of docs/server.md do what they say."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight.media import image
from support.server import drawn

TEXT = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "curl" in block]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    mask = np.zeros((72, 80), np.uint8)
    mask[20:30, 20:30] = 255
    for name, pixels in (
        ("photo.jpg", drawn(height=72, width=80)),
        ("painting.jpg", drawn(height=80, width=96, seed=3)),
        ("mask.png", mask),
    ):
        safelight.write(pixels, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"-o (\w+)|$", block)[1] or "telling")
def test_the_lines_for_curl(server, folder, block):
    assert shutil.which("curl"), "this test needs curl"
    script = "set -e\n" + block.replace("http://127.0.0.1:7860", server.url)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"-o (\S+)", block):
        assert image.probe(folder / name).format == "jpeg"
    if "events" in block:
        assert "event: done" in done.stdout


def test_the_lines_for_python(server, folder):
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names = {"safelight": safelight}
    exec(block.replace("http://127.0.0.1:7860", server.url).replace('"dip"', '"tv"'), names)
    assert names["large"].width == 160
    assert np.array_equal(names["clean"].pixels, safelight.denoise("photo.jpg", method="tv").pixels)


def test_every_limit_is_told():
    from safelight.web.limits import ServerLimits

    limits = ServerLimits()
    assert f"{limits.upload >> 20} MB in a request's body" in TEXT
    assert f"{limits.pixels // 10**6} million in a picture" in TEXT
    assert f"{limits.made // 10**6} million pixels in a result" in TEXT
    assert f"{limits.in_flight // 10**6} million pixels, in and out" in TEXT
    assert f"{limits.held >> 20} MB of bodies" in TEXT
    assert f"{limits.queue} jobs that wait" in TEXT
    assert f"{limits.each} requests of one address" in TEXT
    assert f"{limits.seconds:g} seconds for a job" in TEXT
    assert f"within {limits.grace:g} seconds" in TEXT
    assert f"slower than {limits.slowest >> 10} kB a second" in TEXT
