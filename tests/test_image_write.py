"""Writing: whole or not at all, and never over a file unasked."""

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safelight.media import image
from safelight.media.image import Picture, writing
from support.folders import names

PICTURE = Picture(pixels=np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3))


def one_line(caught):
    line = str(caught.value)
    assert "\n" not in line
    assert line.isprintable()
    return line


def test_the_suffix_decides_unless_a_format_is_given(tmp_path):
    image.write(PICTURE, tmp_path / "a.PNG")
    image.write(PICTURE, tmp_path / "b.dat", format="tiff")
    assert [image.probe(tmp_path / n).format for n in names(tmp_path)] == ["png", "tiff"]
    with pytest.raises(image.PictureError, match=r"\.bmp"):
        image.write(PICTURE, tmp_path / "c.bmp")
    assert names(tmp_path) == ["a.PNG", "b.dat"]


def test_an_existing_file_is_never_touched_unasked(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(image.TargetExistsError, match="one that exists"):
        image.write(PICTURE, path)
    assert path.read_bytes() == b"precious"
    image.write(PICTURE, path, overwrite=True)
    assert image.read(path).width == 64
    assert names(tmp_path) == ["a.png"]


def test_a_file_that_appears_meanwhile_is_not_touched(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save = writing.save

    def slow(*args):
        path.write_bytes(b"precious")
        save(*args)

    monkeypatch.setattr(writing, "save", slow)
    with pytest.raises(image.TargetExistsError):
        image.write(PICTURE, path)
    assert path.read_bytes() == b"precious"
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_one_wins(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", _raiser(errno.EPERM))
    outcomes = []

    def work(value):
        picture = replace(PICTURE, pixels=np.full((40, 40, 3), value, np.uint8))
        try:
            image.write(picture, tmp_path / "a.png")
            outcomes.append(value)
        except image.TargetExistsError:
            pass

    threads = [threading.Thread(target=work, args=(v,)) for v in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert image.read(tmp_path / "a.png").pixels[0, 0, 0] == outcomes[0]
    assert names(tmp_path) == ["a.png"]


def _raiser(code):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("step", ["open", "fsync", "place"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "a full disk"),
        (errno.EROFS, "no permission"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "check"),
    ],
)
def test_trouble_leaves_nothing_and_names_the_folder(tmp_path, monkeypatch, step, code, words, overwrite):
    path = tmp_path / "a.png"
    if overwrite:
        path.write_bytes(b"before")
    if step == "place":
        monkeypatch.setattr(Path, "replace", _raiser(code))
        monkeypatch.setattr(os, "link", _raiser(code))
    else:
        monkeypatch.setattr(os, step, _raiser(code))
    with pytest.raises(image.TargetError) as caught:
        image.write(PICTURE, path, overwrite=overwrite)
    line = one_line(caught)
    assert words in line
    assert str(tmp_path) in line
    monkeypatch.undo()
    assert names(tmp_path) == (["a.png"] if overwrite else [])
    if overwrite:
        assert path.read_bytes() == b"before"


@pytest.mark.parametrize("where", ["save", "fsync", "link"])
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, where):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing if where == "save" else os, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        image.write(PICTURE, tmp_path / "a.png")
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_a_picture_that_does_not_encode_leaves_nothing_and_names_the_file(tmp_path):
    wide = Picture(pixels=np.zeros((1, 17_000, 1), np.uint8))
    with pytest.raises(image.EncodeError, match=r"a\.webp: expected at most"):
        image.write(wide, tmp_path / "a.webp")
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_file_size_limit_is_a_target_error(tmp_path):
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from safelight.media import image\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)\n"
        "try:\n    image.write(image.Picture(pixels=noise), sys.argv[1])\n"
        "except image.TargetError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "a full disk" in done.stdout
    assert names(tmp_path) == []


def test_names_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("é" * 123 + ".png")  # 250 bytes
    image.write(PICTURE, path)
    assert image.read(path).width == 64
    with pytest.raises(image.TargetError) as caught:
        image.write(PICTURE, tmp_path / ("x" * 300 + ".png"))
    assert "shorter file name" in one_line(caught)


def test_places_that_are_no_place(tmp_path):
    with pytest.raises(image.TargetError) as caught:
        image.write(PICTURE, tmp_path / "missing" / "a.png")
    assert f"an existing folder {tmp_path / 'missing'}, got none" in one_line(caught)
    (tmp_path / "file").touch()
    with pytest.raises(image.TargetError, match="existing folder"):
        image.write(PICTURE, tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    for overwrite in (False, True):
        with pytest.raises(image.TargetError):
            image.write(PICTURE, tmp_path / "folder.png", overwrite=overwrite)
    # A device must not be replaced by a file, whatever was asked.
    with pytest.raises(image.TargetError, match="a device or a pipe"):
        image.write(PICTURE, "/dev/null", format="png", overwrite=True)
    with pytest.raises(image.TargetError):
        image.write(PICTURE, tmp_path / "a\0.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(image.TargetError, match="no permission"):
        image.write(PICTURE, tmp_path / "a.png")
    tmp_path.chmod(0o700)


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "other").write_bytes(b"precious")
    link = tmp_path / "a.png"
    link.symlink_to("other")
    with pytest.raises(image.TargetExistsError):
        image.write(PICTURE, link)
    image.write(PICTURE, link, overwrite=True)
    assert not link.is_symlink()
    assert (tmp_path / "other").read_bytes() == b"precious"
    dangling = tmp_path / "b.png"
    dangling.symlink_to("nowhere")
    with pytest.raises(image.TargetExistsError):
        image.write(PICTURE, dangling)
    assert names(tmp_path) == ["a.png", "b.png", "other"]


def test_permissions(tmp_path):
    path = tmp_path / "a.png"
    old = os.umask(0o027)
    try:
        image.write(PICTURE, path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    image.write(PICTURE, path, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o604


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_writer_never_leaves_part_of_a_file(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from safelight.media import image\n"
        "noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)\n"
        "picture = image.Picture(pixels=noise)\n"
        "print('ready', flush=True)\n"
        "for i in range(10_000):\n    image.write(picture, f'{sys.argv[1]}/{i}.png')\n"
    )
    for k in range(4):
        folder = tmp_path / str(k)
        folder.mkdir()
        worker = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        with worker.stdout:
            worker.stdout.readline()
            time.sleep(0.05 + 0.03 * k)
            worker.kill()
            worker.wait()
        final = [p for p in folder.iterdir() if not p.name.startswith(image.TEMPORARY_PREFIX)]
        rest = [p for p in folder.iterdir() if p not in final]
        for path in final:
            assert image.read(path).width == 300
        # At most the one that was being written, under a name that is known.
        assert len(rest) <= 1
        assert all(p.name.endswith(image.TEMPORARY_SUFFIX) for p in rest)


def test_write_bytes(tmp_path):
    image.write_bytes(b"report", tmp_path / "r.html")
    with pytest.raises(image.TargetExistsError):
        image.write_bytes(b"other", tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes() == b"report"
    image.write_bytes(b"", tmp_path / "empty")
    assert names(tmp_path) == ["empty", "r.html"]
