"""Pictures read in rows: the same as read whole, in little memory."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import pyvips
from PIL import Image

from safelight.media import image
from safelight.media.image import Picture
from safelight.media.image.spec import picture_of
from support.malformed_files import mutants, pil_bytes, png, samples, smooth


def gathered(source, count, **options):
    """All rows of a picture, read so many at a time, as a Picture."""
    with image.open_rows(source, **options) as rows:
        spec = rows.spec
        bands = [rows.read(count) for _ in range(-(-spec.height // count))]
        assert rows.read(count).shape == (0, spec.width, spec.bands)
    assert [len(band) for band in bands[:-1]] == [count] * (len(bands) - 1)
    for band in bands:
        assert band.shape[1:] == (spec.width, spec.bands)
        assert band.dtype == spec.dtype
        assert band.flags.c_contiguous
        assert band.flags.writeable
    return picture_of(spec, np.concatenate(bands))


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("count", [1, 5, 1000])
def test_every_kind_of_file_gives_the_pixels_of_read(count, lenient):
    for name, (_, data) in samples().items():
        assert gathered(data, count, lenient=lenient) == image.read(data), name


def test_path_and_bytes(tmp_path):
    data = image.encode(Picture(pixels=smooth()), "png")
    (tmp_path / "a.gif").write_bytes(data)
    assert gathered(tmp_path / "a.gif", 7) == gathered(str(tmp_path / "a.gif"), 48) == gathered(data, 9)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pil_bytes(Image.fromarray(smooth(33, 50)), kind, exif=exif)
    whole = image.read(data)
    assert (whole.width, whole.height) == ((33, 50) if orientation >= 5 else (50, 33))
    assert gathered(data, 4) == whole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_depths_gray_and_alpha(dtype, channels, alpha):
    values = smooth()[..., [0, 1, 2, 0]].astype(dtype)
    picture = Picture(pixels=values[..., :channels], alpha=values[..., 3] if alpha else None, dpi=(300.0, 200.0))
    data = image.encode(picture, "tiff")
    assert gathered(data, 10) == image.read(data)
    assert np.array_equal(gathered(data, 10).pixels, picture.pixels)


def test_colours_that_are_converted():
    img = Image.fromarray(smooth())
    plain = pyvips.Image.new_from_array(smooth(), interpretation="srgb")
    for data, note in (
        (pil_bytes(img.convert("CMYK"), "jpeg"), "CMYK"),
        (pil_bytes(img.convert("CMYK"), "tiff", compression="tiff_lzw"), "CMYK"),
        (plain.colourspace("lab").tiffsave_buffer(), "LAB"),
        (plain.colourspace("labs").tiffsave_buffer(), "LABS"),
        (plain.cast("uint").copy(interpretation="rgb").tiffsave_buffer(), "32-bit"),
    ):
        whole = image.read(data)
        assert whole.warnings[0].startswith(note)
        assert gathered(data, 5) == whole


def test_interlaced_png_and_many_strips_or_tiles():
    pixels = smooth(300, 400)
    plain = pyvips.Image.new_from_array(pixels, interpretation="srgb")
    for data in (
        pil_bytes(Image.fromarray(pixels), "tiff", tiffinfo={278: 1}),
        pil_bytes(Image.fromarray(pixels), "tiff", tiffinfo={278: 300}),
        pil_bytes(Image.fromarray(pixels), "tiff", compression="jpeg", tiffinfo={278: 16}),
        plain.tiffsave_buffer(tile=True, tile_width=64, tile_height=32, compression="lzw"),
        plain.pngsave_buffer(interlace=True),
    ):
        assert gathered(data, 17) == image.read(data)


def test_mutated_files_give_the_same_rows_or_the_same_line(capfd):
    failed = 0
    for name, _, data in mutants(300, 5):
        for lenient in (False, True):
            said = []
            for how in (lambda d, o: image.read(d, **o), lambda d, o: gathered(d, 7, **o)):
                try:
                    got = how(data, {"lenient": lenient, "max_pixels": 10**6})
                    said.append(("read", got.pixels.tobytes(), got.exif, got.warnings))
                except image.DecodeError as error:
                    said.append((type(error), str(error)))
                    failed += 1
            assert said[0] == said[1], name
    assert failed > 300


def test_damage_behind_good_rows_shows_when_they_are_read_and_stays():
    data = image.encode(Picture(pixels=smooth(2000, 640)), "png")
    data = data[: len(data) * 2 // 3]
    with pytest.raises(image.DamagedError) as whole:
        image.read(data)
    with image.open_rows(data) as rows:
        assert rows.spec.height == 2000
        assert np.array_equal(rows.read(100), smooth(2000, 640)[:100])
        for _ in range(2):
            with pytest.raises(image.DamagedError) as caught:
                rows.read(1900)
            assert str(caught.value) == str(whole.value)


def test_the_limits_of_read_hold():
    data = image.encode(Picture(pixels=smooth()), "png")
    with pytest.raises(image.DecodeError, match="at most 3,071 pixels"), image.open_rows(data, max_pixels=3071):
        pass
    with pytest.raises(image.DecodeError, match="no picture format"), image.open_rows(b"hello"):
        pass


_MEASURED = """
import sys
sys.path.insert(0, "tests")
from support.processes import peak
from safelight.media import image
from safelight.media.image import Picture

with image.open_rows(sys.argv[1]) as rows:  # the library's own memory is not the picture's
    rows.read(1000)
before, total = peak(), 0
with image.open_rows(sys.argv[2]) as rows:
    while len(band := rows.read(64)):
        total += band.nbytes
print(total, peak() - before)
"""


def raw_tiff(width, height):
    """An RGB TIFF file without compression, a strip for each row, all of it a hole that takes no disk."""
    start = 8 + 2 + 12 * 10 + 4
    table = start + 4 * height  # of lengths, behind that of places
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, height, start), (277, 3, 1, 3), (278, 4, 1, 1), (279, 4, height, table), (284, 3, 1, 1),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    first = table + 4 * height
    places = first + 3 * width * np.arange(height, dtype="<u4")
    return head + places.tobytes() + np.full(height, 3 * width, "<u4").tobytes(), first + 3 * width * height


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize(
    ("kind", "width", "height"), [("jpeg", 6000, 4000), ("png", 16_000, 10_000), ("tiff", 16_000, 10_000)]
)
def test_a_large_picture_is_read_in_little_memory(tmp_path, kind, width, height):
    """24 megapixels of JPEG and 160 of PNG and TIFF, which are 72 and 480 MB, take under 100 MB."""
    large = tmp_path / "large"
    if kind == "tiff":
        head, length = raw_tiff(width, height)
        with large.open("wb") as file:
            file.write(head)
            file.truncate(length)
    else:
        band = np.tile(smooth(100, 200), (1, width // 200, 1))
        buffer = io.BytesIO()
        if kind == "jpeg":
            Image.fromarray(np.tile(band, (height // 100, 1, 1))).save(buffer, "jpeg")
            large.write_bytes(buffer.getvalue())
        else:
            row = b"\0" + band[0].tobytes()
            large.write_bytes(png(width, height, pixels=row * height))
    (tmp_path / "small").write_bytes(image.encode(Picture(pixels=smooth()), kind))
    command = [sys.executable, "-c", _MEASURED, str(tmp_path / "small"), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    total, megabytes = done.stdout.split()
    assert int(total) == width * height * 3
    assert float(megabytes) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_a_turned_picture_lies_in_memory_once(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.tile(smooth(100, 200), (40, 30, 1))  # 72 MB
    Image.fromarray(pixels).save(tmp_path / "large.jpg", exif=exif)
    Image.fromarray(smooth()).save(tmp_path / "small.jpg", exif=exif)
    command = [sys.executable, "-c", _MEASURED, str(tmp_path / "small.jpg"), str(tmp_path / "large.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout.split()[1]) < pixels.nbytes / 2**20 + 60
