"""The quality of a JPEG file, by its quantisation tables: of every encoder's, and of hostile files none."""

import io
import struct

import numpy as np
import pytest
import pyvips
from PIL import Image

import safelight
from safelight.media import image
from safelight.media.image import JpegQuality, Picture, jpeg_quality

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def found(file):
    return jpeg_quality(lambda offset, length: file[offset : offset + length])


def by_pillow(pixels=PIXELS, **how):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", **how)
    return held.getvalue()


def by_libvips(pixels=PIXELS, **how):
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).jpegsave_buffer(**how)


def dqt(*tables, deep=False):
    """A DQT segment of (number, 64 steps)."""
    body = b"".join(
        bytes([(16 if deep else 0) + number]) + struct.pack(">64H" if deep else ">64B", *steps)
        for number, steps in tables
    )
    return b"\xff\xdb" + struct.pack(">H", 2 + len(body)) + body


def sof(*used, marker=0xC0):
    """A frame header whose components use these tables."""
    body = struct.pack(">BHHB", 8, 8, 8, len(used)) + b"".join(bytes([i, 0x11, n]) for i, n in enumerate(used))
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def made(*segments):
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda\0\2"


# --- every quality of those who build on the IJG's code ---------------------------------------------------------------


@pytest.mark.parametrize("quality", range(1, 101))
def test_every_quality_of_both_libraries(quality):
    expected = JpegQuality(quality, exact=True)
    gray = np.ascontiguousarray(PIXELS[..., 0])
    for file in (
        by_pillow(quality=quality, subsampling="4:4:4"),
        by_pillow(quality=quality, subsampling="4:2:0"),
        by_pillow(quality=quality, progressive=True),
        by_pillow(gray, quality=quality),
        by_libvips(Q=quality, subsample_mode="off"),
        by_libvips(Q=quality, subsample_mode="on", interlace=True),
        by_libvips(gray, Q=quality),
    ):
        assert found(file) == expected


def test_metadata_before_the_tables_is_passed_over():
    file = by_pillow(quality=37)
    exif = b"\xff\xe1\xff\xff" + b"\xff\xdb\0\x43" * ((0xFFFF - 2) // 4) + b"\0"  # looks like a table inside
    assert found(file[:2] + exif * 30 + b"\xff\xff\xff" + file[2:]) == JpegQuality(37, exact=True)


# --- other tables -----------------------------------------------------------------------------------------------------


def test_tables_of_another_maker_give_a_value_near_theirs():
    standard = Image.open(io.BytesIO(by_pillow(quality=60))).quantization
    rng = np.random.default_rng(1)
    tables = [[max(1, round(step * rng.uniform(0.85, 1.15))) for step in standard[i]] for i in (0, 1)]
    answer = found(by_pillow(qtables=tables))
    assert not answer.exact
    assert abs(answer.value - 60) <= 3


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 96])
def test_another_quality_of_the_chroma_is_not_exact_and_the_luma_counts(quality):
    luma = Image.open(io.BytesIO(by_pillow(quality=quality))).quantization[0]
    chroma = Image.open(io.BytesIO(by_pillow(quality=20))).quantization[1]
    assert found(by_pillow(qtables=[luma, chroma])) == JpegQuality(quality, exact=False)


def test_sixteen_bits_several_tables_in_one_segment_and_tables_that_are_sent_twice():
    flat = [1] * 64
    assert found(made(dqt((0, [300] * 64), (1, [400] * 64), deep=True), sof(0, 1, 1))).value < 15
    assert found(made(dqt((0, flat), (3, flat)), sof(0, 3, 3))) == JpegQuality(100, exact=True)
    assert found(made(dqt((0, [99] * 64)), dqt((0, flat)), sof(0))) == JpegQuality(100, exact=True)
    assert found(made(dqt((0, flat)), sof(0, marker=0xC2))).value == 100


def test_sixteen_bits_of_a_low_quality_are_the_ijgs_without_baseline():
    rows = Image.open(io.BytesIO(by_pillow(quality=50))).quantization[0]
    zigzag = dqt_order(rows)
    steps = [max(1, (step * 1000 + 50) // 100) for step in zigzag]  # quality 5: ten times the standard's
    assert max(steps) > 255
    assert found(made(dqt((0, steps), deep=True), sof(0))) == JpegQuality(5, exact=True)


def dqt_order(rows):
    """The steps in the order of a file, as Pillow 8.3 and later gives them in rows."""
    file = by_pillow(np.ascontiguousarray(PIXELS[..., 0]), qtables=[list(rows)])
    start = file.index(b"\xff\xdb") + 5
    return list(file[start : start + 64])


# --- hostile files ----------------------------------------------------------------------------------------------------

FLAT = [1] * 64
BAD = {
    "nothing": b"",
    "two bytes": b"\xff\xd8",
    "no tables": made(sof(0)),
    "no frame": made(dqt((0, FLAT))),
    "a table that is not there": made(dqt((0, FLAT)), sof(0, 1)),
    "a table of number 200": made(dqt((0, FLAT)), sof(200)),
    "a step of zero": made(dqt((0, [0, *FLAT[1:]])), sof(0)),
    "a number above 3": made(dqt((7, FLAT)), sof(0)),
    "a precision above 1": made(b"\xff\xdb\0\x43" + bytes([0x20]) + bytes(FLAT), sof(0)),
    "a length of zero": b"\xff\xd8\xff\xdb\0\0" + bytes(100),
    "a length of one": b"\xff\xd8\xff\xdb\0\1" + bytes(100),
    "a length beyond the end": b"\xff\xd8\xff\xdb\xff\xff\0" + bytes(FLAT),
    "half a table": made(b"\xff\xdb\0\x22\0" + bytes([1] * 31), sof(0)),
    "a frame of 255 components, and no bytes for them": made(dqt((0, FLAT)), b"\xff\xc0\0\x08\x08\0\x08\0\x08\xff"),
    "a frame that is cut": made(dqt((0, FLAT)), b"\xff\xc0\0\4\x08\0"),
    "fill bytes without end": b"\xff\xd8" + b"\xff" * 1_000_000,
    "segments without end": b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000 + dqt((0, FLAT)) + sof(0),
    "bare markers without end": b"\xff\xd8" + b"\xff\xd0" * 1_000_000,
    "noise": np.random.default_rng(3).bytes(5000),
}


@pytest.mark.parametrize("file", BAD.values(), ids=BAD.keys())
def test_what_is_no_table_gives_none(file):
    assert found(file) is None


def test_every_cut_and_a_thousand_changes_raise_nothing():
    file = by_pillow(quality=55)
    for end in range(700):
        assert found(file[:end]) in (None, JpegQuality(55, exact=True))
    rng = np.random.default_rng(4)
    for _ in range(1000):
        changed = bytearray(file[:700])
        for place in rng.integers(2, 700, 3):
            changed[place] = rng.integers(256)
        answer = found(bytes(changed))
        assert answer is None or 1 <= answer.value <= 100


# --- on its way -------------------------------------------------------------------------------------------------------


def test_a_picture_knows_it_in_every_way_of_reading_and_only_of_a_jpeg():
    file = by_libvips(Q=42)
    assert image.probe(file).jpeg_quality == image.read(file).jpeg_quality == 42
    with image.open_rows(file) as rows:
        assert rows.spec.jpeg_quality == 42
    with image.Decoder(workers=1) as decoder, decoder.open(file) as rows:
        assert rows.spec.jpeg_quality == 42
    for format in ("png", "webp", "tiff", "avif", "gif"):  # noqa: A001
        assert image.read(image.encode(image.read(file), format)).jpeg_quality is None
    assert image.from_any(PIXELS).jpeg_quality is None


def test_a_result_is_not_that_file():
    picture = image.read(by_libvips(Q=42))
    assert safelight.upscale(picture, scale=2, method="bicubic").jpeg_quality is None
    assert image.read(image.encode(picture, "jpeg", quality=90)).jpeg_quality == 90
    assert Picture(pixels=PIXELS).jpeg_quality is None
