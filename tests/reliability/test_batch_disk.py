"""R5: a full disk and a folder that can't be written to end with 3, harm nothing, and are named."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from safelight.media import image
from support.batch_program import results, run, stale
from support.pictures import draw


@contextmanager
def disk(folder, size="2m"):
    """A small disk of its own at a folder, where this process may make one."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder):
    """A folder in which nothing can be written: by permissions, or by a mount where these do not bind (root)."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def pictures(tmp_path):
    for i in range(12):
        draw(tmp_path / f"in/{i:02d}.png", i, (128, 128))
    return tmp_path / "in"


def whole(folder):
    """Every file under a final name is a whole picture, and nothing is unfinished."""
    found = results(folder)
    for name in found:
        image.read(folder / name)
    assert not stale(folder)
    return found


def test_r5_a_disk_that_fills_up(tmp_path, pictures):
    out = tmp_path / "out"
    with disk(out, "1m"):
        told = run(pictures, "-o", out, "-m", "bicubic", "-s", "2")
        assert told.code == 3
        assert 1 <= told.summary["done"] < 12
        assert told.summary["done"] + told.summary["failed"] == 12
        assert all(f"full disk at {out}" in line for line in told.errors)
        first = whole(out)
        assert len(first) == told.summary["done"]
        again = run(pictures, "-o", out, "-m", "bicubic", "-s", "2", "--on-exist", "skip")
        assert again.code == 3
        assert {name: content for name, content in whole(out).items() if name in first} == first


def test_r5_a_limit_on_the_size_of_files(tmp_path, pictures):
    draw(pictures / "05b.png", 99, (400, 400))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    out = tmp_path / "out"
    told = run(pictures, "-o", out, "-m", "bicubic", "-s", "2", preexec_fn=limit)
    assert told.code == 3
    assert (told.summary["done"], told.summary["failed"]) == (12, 1)
    assert f"full disk at {out}" in told.errors[0]
    assert len(told.errors) == 1
    assert len(whole(out)) == 12


def test_r5_a_folder_that_is_read_only(tmp_path, pictures):
    out = tmp_path / "out"
    assert run(pictures, "-o", out, "-m", "bicubic", "-s", "2").code == 0
    before = whole(out)
    draw(pictures / "new.png", 77)
    with read_only(out):
        told = run(pictures, "-o", out, "-m", "bicubic", "-s", "2", "--on-exist", "skip")
        assert told.code == 3
        assert len(told.errors) == 1
        assert str(out) in told.errors[0]
    assert whole(out) == before


def test_r5_a_folder_below_that_is_read_only(tmp_path, pictures):
    for i in range(3):
        draw(pictures / f"sub/{i}.png", i)
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    draw(out / "sub/earlier.png", 5)
    before = results(out)
    with read_only(out / "sub"):
        told = run(pictures, "-o", out, "-m", "bicubic", "-s", "2")
        assert told.code == 3
        assert (told.summary["done"], told.summary["failed"]) == (12, 3)
        assert all(f"{out}/sub" in line for line in told.errors)
        assert len(told.errors) == 3
    assert {name: content for name, content in whole(out).items() if name in before} == before
