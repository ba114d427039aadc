"""The pages on adding a task and a method, followed word by word in a copy of the sources."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safelight.media import image

ROOT = Path(__file__).resolve().parents[2]
FILE = re.compile(r"^```python\n# (src/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(copy, *arguments):
    """Run Python on the copied sources."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=copy, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(path, *changes):
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, (path, old)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_the_page_on_adding_a_task(copy):
    page = (ROOT / "docs/adding-a-task.md").read_text(encoding="utf-8")
    files = FILE.findall(page)
    assert len(files) == 3
    for name, content in files:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(content, encoding="utf-8")
    edit(
        copy / "src/safelight/tasks/__init__.py",
        ("from safelight.tasks.stylize import STYLIZE\n",
         "from safelight.tasks.outline import OUTLINE\nfrom safelight.tasks.stylize import STYLIZE\n"),
        ("INPAINT, STYLIZE)", "INPAINT, STYLIZE, OUTLINE)"),
    )  # fmt: skip
    edit(
        copy / "src/safelight/catalog.py",
        ("from safelight.methods.stylize import", "from safelight.methods.outline import gradient\n"
         "from safelight.methods.stylize import"),
        ("    nearest.CARD,\n", "    gradient.CARD,\n    nearest.CARD,\n"),
    )  # fmt: skip
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, 4:] = 25
    image.write(image.Picture(pixels=pixels), copy / "photo.png")
    verb, *arguments = re.search(r"^safelight (outline .*)$", page, re.MULTILINE)[1].replace(".jpg", ".png").split()
    facts = json.loads(run(copy, "-m", "safelight", verb, *arguments, "--json").splitlines()[0])
    assert facts["method"] == "outline/gradient"
    made = image.read(copy / "photo-outlined.png").pixels
    assert (made[:, 3] == 255 - 8 * 25).all()
    assert (np.delete(made, 3, axis=1) == 255).all()
    told = run(copy, "-c", "import safelight; print(safelight.outline('photo.png', gain=8).pixels[0, 3, 0])")
    assert told.strip() == "55"
    assert "outline" in run(copy, "-m", "safelight", "--help")
    routes = run(
        copy, "-c",
        "from safelight.web.request_fields import fields_of, verbs; print('outline' in verbs(), *fields_of('outline'))",
    )  # fmt: skip
    assert routes.startswith("True method gain")


def test_the_page_on_adding_a_method(copy):
    """A copy of the file that the page shows, under another name, is a method after its two lines."""
    own = copy / "src/safelight/methods/upscale"
    shutil.copy(own / "bicubic.py", own / "mine.py")
    edit(
        copy / "src/safelight/catalog.py",
        ("    nearest,\n", "    mine,\n    nearest,\n"), ("    nearest.CARD,\n", "    nearest.CARD,\n    mine.CARD,\n"),
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image.write(image.Picture(pixels=pixels), copy / "photo.png")
    assert "upscale/mine" in run(copy, "-m", "safelight", "info", "upscale/mine")
    for method in ("mine", "bicubic"):
        run(copy, "-m", "safelight", "upscale", "photo.png", "-m", method, "-s", "2", "-o", f"{method}.png")
    assert np.array_equal(image.read(copy / "mine.png").pixels, image.read(copy / "bicubic.png").pixels)
