"""The wheel and the source archive: built, installed into a fresh environment, and used there."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight.media import image
from safelight.media.image import Picture

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LIMIT = 100 * 10**6  # bytes of a wheel: what package indexes take


def build(source, out, *kinds):
    """Build distributions with the project's own build back end, which the extra ``test`` brings."""
    targets = [word for kind in kinds for word in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *targets]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source archive, made of this tree."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "wheel", "sdist")
    (wheel,) = out.glob("*.whl")
    (archive,) = out.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(built[1]) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def fresh(built, tmp_path_factory):
    """A fresh environment with the wheel in it; what the wheel depends on is looked up where these tests have it.

    The packages that a dependency needs are gigabytes, and a test uses no network. So after the wheel is installed, a
    path file leads to the packages of this environment. Those that lie in folders of their own, as an editable
    Safelight does, are not reached by it.
    """
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built[0])]
    subprocess.run(command, check=True, timeout=300)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def called(fresh, folder, *arguments):
    """Run a command of the fresh environment, away from this tree."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(fresh.parent / arguments[0]), *map(str, arguments[1:])]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=300
    ).stdout


def test_the_wheel_holds_the_package_and_nothing_else(built):
    wheel, _ = built
    assert wheel.stat().st_size < LIMIT
    assert wheel.name == f"safelight-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    here = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/safelight").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == here
    assert {"safelight/py.typed", "safelight/weights/lamp-x4.safetensors"} <= names


def test_the_source_archive_gives_the_same_wheel(built, unpacked, tmp_path):
    build(unpacked, tmp_path, "wheel")
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built[0]) as first, zipfile.ZipFile(again) as second:
        assert {(item.filename, item.CRC) for item in first.infolist()} == {
            (item.filename, item.CRC) for item in second.infolist()
        }


def test_the_source_archive_has_what_make_test_needs(unpacked):
    for name in ("Makefile", "tests", "docs", "tools", "results", "examples", "CITATION.cff", "SECURITY.md", "LICENSE"):
        assert (unpacked / name).exists(), name
    fresh = [sys.executable, "docs/generate.py", "--check"]
    environment = os.environ | {"PYTHONPATH": str(unpacked / "src")}
    subprocess.run(fresh, cwd=unpacked, env=environment, check=True, timeout=300)


def test_the_installed_program_works(fresh, tmp_path):
    asked = "import safelight; print(safelight.__version__, safelight.__file__)"
    version, place = called(fresh, tmp_path, fresh.name, "-c", asked).split(maxsplit=1)
    assert version == PROJECT["version"]
    assert Path(place).is_relative_to(fresh.parents[1])
    assert called(fresh, tmp_path, "safelight", "--version").strip() == f"safelight {version}"

    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    image.write(Picture(pixels=pixels), tmp_path / "small.png")
    called(fresh, tmp_path, "safelight", "upscale", "small.png", "-o", "large.png", "--scale", "2", "--device", "cpu")
    large = image.read(tmp_path / "large.png").pixels
    assert np.array_equal(large, safelight.upscale(pixels, scale=2, device="cpu"))
    assert "upscale/lamp" in called(fresh, tmp_path, "safelight", "methods")
