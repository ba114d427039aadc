"""What must be refused: broken, foreign, oversized and poisoned files, each in one line.

How long it takes is in reliability/test_timing.py.
"""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from safelight.media import image
from safelight.media.image import Picture
from support.malformed_files import chunk, gif, jpeg, pil_bytes, png, smooth, text, tiff


def refused(source, words=""):
    """The one line that a refused source gives."""
    with pytest.raises(image.DecodeError) as caught:
        image.read(source)
    line = str(caught.value)
    assert "\n" not in line
    assert "expected" in line
    assert "got" in line
    assert line.isprintable()
    assert words in line
    assert len(line) < 600
    return line


@pytest.fixture(scope="module")
def samples():
    picture = Picture(pixels=smooth())
    found = {kind: image.encode(picture, kind) for kind in image.FORMATS}
    for name, kind, options in (
        ("progressive", "jpeg", {"progressive": True}),
        ("raw tiff", "tiff", {"compression": "raw"}),
        ("interlaced", "gif", {"interlace": 1}),
    ):
        found[name] = pil_bytes(Image.fromarray(smooth()), kind, **options)
    found["cmyk"] = pil_bytes(Image.fromarray(smooth()).convert("CMYK"), "jpeg")
    found["deep png"] = image.encode(image.to_depth(picture, "16-bit"), "png")
    found["lossless webp"] = image.encode(picture, "webp", quality=100)
    return found


# --- the file ---------------------------------------------------------------------------------------------------


def test_missing_folder_empty_and_strange(tmp_path):
    assert str(tmp_path / "no.png") in refused(tmp_path / "no.png", "no such file")
    refused(tmp_path, "got a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "an empty file")
    refused(b"", "an empty file")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "circle")
    refused("a\0b.png", "NUL")
    refused(tmp_path / ("x" * 300), "too long")
    (tmp_path / "text.jpg").write_text("hello")
    refused(tmp_path / "text.jpg", "no picture format known here")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "a device or a pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path):
    path = tmp_path / "a.png"
    image.write(Picture(pixels=smooth()), path)
    path.chmod(0)
    refused(path, "no permission")


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    image.write(Picture(pixels=smooth()), path)

    def no(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", no)
    refused(path, "no permission to read it")


def test_a_name_with_control_characters_stays_on_one_line(tmp_path):
    name = os.fsdecode(b"new\nline\x1b[31m\xff.png")
    refused(tmp_path / name, r"new\nline\x1b[31m")
    path = tmp_path / name
    image.write(Picture(pixels=smooth()), path)
    assert image.read(path).width == 64


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<?xml version='1.0'?><!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript document"),
        (b"BM" + bytes(60), "a BMP picture"),
        (b"push graphic-context\nviewbox 0 0 1 1", "an ImageMagick script"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a video"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera raw file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"P6 1 1 255 abc", "no picture format known here"),
        (b"#?RADIANCE\n", "a Radiance HDR picture"),
    ],
)
def test_other_formats_are_named_and_refused(tmp_path, data, words):
    refused(data, words)
    for suffix in ("png", "jpg", "svg"):  # whatever the file calls itself
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(data)
        refused(path, words)


def test_a_camera_raw_preview_is_not_taken_for_the_photograph():
    refused(pil_bytes(Image.fromarray(smooth()), "tiff", tiffinfo={0xC612: b"\1\4\0\0"}), "a camera raw file")


# --- damage -----------------------------------------------------------------------------------------------------


def test_every_cut_file_is_refused_and_lenient_takes_what_is_left(samples):
    taken = 0
    for name, data in samples.items():
        for length in range(1, len(data), max(1, len(data) // 20)):
            cut = data[:length]
            if length < len(data) - 16:  # a PNG file's last chunk holds no pixels
                refused(cut)
            try:
                picture = image.read(cut, lenient=True)
            except image.DecodeError:
                continue
            if length >= len(data) - 16 and np.array_equal(picture.pixels, image.read(data).pixels):
                continue
            taken += 1
            assert picture.pixels.shape == (48, 64, 3), name
            assert picture.warnings[-1].startswith("damaged")
            assert "\n" not in picture.warnings[-1]
    assert taken > 50


def test_seeded_mutations_give_a_picture_or_one_line_and_a_silent_terminal(samples, capfd):
    rng = random.Random(7)
    lines = []
    for data in samples.values():
        for _ in range(40):
            mutant = bytearray(data)
            kind = rng.choice(("flip", "bytes", "splice"))
            if kind == "flip":
                mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
            elif kind == "bytes":
                for _ in range(rng.randrange(1, 9)):
                    mutant[rng.randrange(len(mutant))] = rng.randrange(256)
            else:
                a, b, n = rng.randrange(len(mutant)), rng.randrange(len(mutant)), rng.randrange(1, 200)
                mutant[a : a + n] = mutant[b : b + n]
            for lenient in (False, True):
                try:
                    picture = image.read(bytes(mutant), lenient=lenient, max_pixels=1_000_000)
                except image.DecodeError as error:
                    lines.append(str(error))
                else:
                    assert picture.pixels.ndim == 3
    assert len(lines) > 200
    assert not any("\n" in line for line in lines)
    assert capfd.readouterr() == ("", "")


def test_healthy_files_are_not_refused():
    img = Image.fromarray(smooth())
    data = pil_bytes(img, "jpeg")
    assert image.read(data + b"trailing bytes" * 9).width == 64
    assert image.read(pil_bytes(img, "jpeg", restart_marker_blocks=1)).width == 64
    assert image.read(pil_bytes(img, "png") + b"trailing bytes").width == 64
    private = {65000: "private", 33550: (1.0, 1.0, 0.0)}
    assert image.read(pil_bytes(img, "tiff", tiffinfo=private)).width == 64
    assert image.read(pil_bytes(img, "tiff", compression="jpeg")).width == 64


# --- bombs ------------------------------------------------------------------------------------------------------

_MEASURED = """
import sys
sys.path.insert(0, "tests")
from safelight.media import image
from support.processes import peak
image.read(sys.argv[1])  # the library's own memory is not the bomb's
before = peak()
try:
    picture = image.read(sys.argv[2])
    print("read", picture.width, picture.height)
except image.PictureError as error:
    print(error)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: png(13_000, 13_000), "13,000 x 13,000 = 169,000,000"),
        (lambda: png(20_000, 20_000), "at most 160,000,000 pixels, got 20,000 x 20,000"),
        (lambda: png(2**31 - 1, 2**31 - 1), "expected"),
        (lambda: jpeg(65_500, 65_500), "65,500 x 65,500"),
        (lambda: tiff(60_000, 60_000), "60,000 x 60,000"),
        (lambda: gif(1, 65_535, 65_535, (65_535, 65_535)), "65,535 x 65,535"),
        (lambda: gif(10_000), "read 100 100"),
        (lambda: png(10, 10, text(b"zTXt", b"k\0\0", 40_000_000, 20)), "at most 32 MB of text"),
        (lambda: png(10, 10, text(b"iTXt", b"k\0\1\0\0\0", 4_000_000, 50)), "at most 32 MB of text"),
        (lambda: png(10, 10, text(b"iCCP", b"k\0\0", 60_000_000, 1)), "at most 32 MB of text"),
        (lambda: png(10, 10, chunk(b"tEXt", b"k\0v") * 100_000), "at most 1,000 chunks"),
    ],
    ids=["13k", "20k", "2g", "jpeg", "tiff", "wide gif", "frames", "zTXt", "iTXt", "iCCP", "chunks"],
)
def test_bombs_cost_under_50_mb(tmp_path, make, words):
    (tmp_path / "bomb").write_bytes(make())
    (tmp_path / "small").write_bytes(image.encode(Picture(pixels=smooth()), "png"))
    command = [sys.executable, "-c", _MEASURED, str(tmp_path / "small"), str(tmp_path / "bomb")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said, megabytes = done.stdout.strip().split("\n")
    assert words in said
    assert float(megabytes) < 50
    assert done.stderr == ""


def test_the_pixel_limit_is_exact_and_can_be_set():
    data = image.encode(Picture(pixels=smooth()), "png")
    assert image.read(data, max_pixels=64 * 48).width == 64
    with pytest.raises(image.DecodeError, match="at most 3,071 pixels, got 64 x 48 = 3,072"):
        image.read(data, max_pixels=64 * 48 - 1)
    assert image.probe(png(20_000, 20_000)).width == 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_decoding_takes_the_pixels_and_little_more(tmp_path, kind):
    pixels = np.tile(smooth(), (50, 60, 1))  # 2,400 x 3,840: 26 MB
    (tmp_path / "large").write_bytes(image.encode(Picture(pixels=pixels), kind))
    (tmp_path / "small").write_bytes(image.encode(Picture(pixels=smooth()), kind))
    command = [sys.executable, "-c", _MEASURED, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout.split()[-1]) < pixels.nbytes / 2**20 + 20
