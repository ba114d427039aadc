"""The page on the layers of a network is what its program makes, and small."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from safelight.media import image

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / "docs" / "gallery"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["make_cnn101.py", "--out", str(folder)])
        runpy.run_path(str(ROOT / "tools" / "make_cnn101.py"), run_name="__main__")
    return folder


def test_the_page_is_fresh(made):
    stale = "stale; run: python tools/make_cnn101.py"
    text = (made / "cnn101.md").read_text(encoding="utf-8")
    assert text == (GALLERY / "cnn101.md").read_text(encoding="utf-8"), stale


def test_its_pictures_are_fresh_and_small(made):
    names = re.findall(r"\(cnn101/(\S+)\)", (made / "cnn101.md").read_text(encoding="utf-8"))
    assert sorted(names) == sorted(path.name for path in (GALLERY / "cnn101").iterdir())
    for name in names:
        ours, theirs = (image.read(home / "cnn101" / name).pixels.astype(int) for home in (made, GALLERY))
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 2, f"{name}: stale; run: python tools/make_cnn101.py"
        assert (GALLERY / "cnn101" / name).stat().st_size < 60_000


def test_the_formulas_are_those_of_the_lectures(made):
    """Each row is computed twice, by the formula and by what torch makes; both are in the table."""
    text = (made / "cnn101.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    sizes = [row for row in rows if len(row) == 6 and row[0].isdigit()]
    assert sizes
    for n, k, s, p, by_formula, by_torch in ([int(cell) for cell in row] for row in sizes):
        assert by_formula == by_torch == (n + 2 * p - k) // s + 1
    (counts,) = [row for row in rows if row[0].startswith("32x32x3")]
    assert [int(cell.replace(",", "")) for cell in counts[2:]] == [
        (32 * 32 * 3 + 1) * 32 * 32 * 16, 32 * 32 * (25 * 3 + 1) * 16, (25 * 3 + 1) * 16,
    ]  # fmt: skip
    assert [row[0] for row in rows if len(row) == 8][2:] == ["sigmoid", "tanh", "ReLU", "leaky ReLU", "maxout", "ELU"]
