"""ICC, EXIF, XMP, resolution and rotation through every kind."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from safelight.media import image
from safelight.media.image import Picture, containers
from safelight.media.image import exif as exif_block

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="night"/></x:xmpmeta>'
HOLDING = ["jpeg", "png", "webp", "tiff", "avif"]
NOTE = bytes(range(256)) * 3  # a maker note that only its camera understands


def quadrants(height=24, width=40):
    """A picture whose corners differ, so that each of the eight orientations can be told apart."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    pixels[height // 2 :, width // 2 :] = (250, 250, 250)
    return pixels


def camera_exif(orientation=1, order="<", thumbnail=b""):
    """A block as cameras write it: main, Exif and GPS directories, a maker note, an unknown tag, a thumbnail."""

    def pack(entries, base, following=0):
        head = struct.pack(order + "H", len(entries))
        values = b""
        behind = base + 6 + 12 * len(entries)
        for tag, kind, count, value in sorted(entries):
            if len(value) > 4:
                head += struct.pack(order + "HHII", tag, kind, count, behind + len(values))
                values += value + b"\0" * (len(value) % 2)
            else:
                head += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        return head + struct.pack(order + "I", following) + values

    def short(v):
        return struct.pack(order + "H", v)

    def long(v):
        return struct.pack(order + "I", v)

    def ratio(*v):
        return struct.pack(f"{order}{len(v)}I", *v)

    gps_at, exif_at, main_at = 8, 200, 1200
    gps = pack([(1, 2, 2, b"N\0"), (2, 5, 3, ratio(52, 1, 31, 1, 12, 1))], gps_at)
    inner = pack(
        [
            (0x829A, 5, 1, ratio(1, 125)),
            (0x927C, 7, len(NOTE), NOTE),
            (0xA001, 3, 1, short(1)),
            (0xA002, 4, 1, long(40)),
            (0xA003, 4, 1, long(24)),
        ],
        exif_at,
    )
    main = [
        (0x010F, 2, 6, b"Maker\0"),
        (0x0112, 3, 1, short(orientation)),
        (0x8769, 4, 1, long(exif_at)),
        (0x8825, 4, 1, long(gps_at)),
        (0xC0DE, 7, 8, b"unknown!"),
    ]
    following_at = main_at + 6 + 12 * len(main) + 64
    body = pack(main, main_at, following_at if thumbnail else 0)
    start = following_at + 2 + 24 + 4
    second = pack([(0x0201, 4, 1, long(start)), (0x0202, 4, 1, long(len(thumbnail)))], following_at) + thumbnail
    block = (b"II*\0" if order == "<" else b"MM\0*") + long(main_at)
    block = block.ljust(gps_at, b"\0") + gps
    block = block.ljust(exif_at, b"\0") + inner
    block = block.ljust(main_at, b"\0") + body
    return block.ljust(following_at, b"\0") + second if thumbnail else block


def facts(data):
    """What an independent reader finds."""
    with Image.open(io.BytesIO(data)) as img:
        exif = img.getexif()
        inner, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        return {
            "maker": exif.get(0x010F),
            "unknown": exif.get(0xC0DE),
            "orientation": exif.get(0x0112, 1),
            "exposure": float(inner[0x829A]),
            "note": inner[0x927C],
            "colour": inner[0xA001],
            "size": (inner[0xA002], inner[0xA003]),
            "gps": (gps[1], tuple(float(v) for v in gps[2])),
            "icc": img.info.get("icc_profile"),
            "xmp": img.info.get("xmp"),
        }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("target", HOLDING)
@pytest.mark.parametrize("source", HOLDING)
def test_metadata_survives_from_every_format_to_every_other(source, target, order):
    picture = Picture(pixels=quadrants(), icc=SRGB, exif=camera_exif(6, order), xmp=XMP, dpi=(300.0, 300.0))
    first = image.read(image.encode(picture, source))
    data = image.encode(first, target)
    second = image.read(data)
    assert first.warnings == second.warnings == ()
    assert second.icc == SRGB
    assert second.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert second.dpi == (300.0, 300.0)
    found = facts(data)
    assert found["note"] == NOTE
    assert found["unknown"] == b"unknown!"
    assert found["icc"] == SRGB
    assert (found["maker"], found["orientation"], found["colour"], found["exposure"]) == ("Maker", 1, 1, 1 / 125)
    assert found["size"] == (40, 24)
    assert found["gps"] == ("N", (52.0, 31.0, 12.0))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_exif_that_is_true_already_keeps_every_byte(kind):
    block = camera_exif(1)
    picture = Picture(pixels=quadrants(), exif=block)
    assert image.read(image.encode(picture, kind)).exif == block


def test_the_jpeg_prefix_is_accepted():
    picture = Picture(pixels=quadrants(), exif=b"Exif\0\0" + camera_exif())
    assert image.read(image.encode(picture, "png")).exif == camera_exif()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_the_eight_orientations_come_out_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options = {"jpeg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    stored = Image.fromarray(quadrants())
    if kind == "tiff":
        stored.save(buffer, kind, tiffinfo={0x0112: orientation})
    else:
        stored.save(buffer, kind, exif=exif, **options)
    stored.getexif()[0x0112] = orientation
    want = np.asarray(ImageOps.exif_transpose(stored)).astype(int)

    header = image.probe(buffer.getvalue())
    picture = image.read(buffer.getvalue())
    assert header.orientation == orientation
    assert (header.width, header.height) == (picture.width, picture.height) == (want.shape[1], want.shape[0])
    assert np.abs(picture.pixels.astype(int) - want).max() < 30
    assert picture.pixels.flags.c_contiguous
    for target in HOLDING:
        data = image.encode(picture, target)
        with Image.open(io.BytesIO(data)) as img:
            assert img.getexif().get(0x0112, 1) == 1
            assert img.size == (picture.width, picture.height)
        again = image.read(data)
        assert np.abs(again.pixels.astype(int) - want).mean() < 12


def test_a_rotated_avif_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(quadrants()).save(buffer, "avif", exif=exif, quality=95)
    picture = image.read(buffer.getvalue())
    assert (picture.width, picture.height) == (24, 40)
    assert np.abs(picture.pixels[5, 20].astype(int) - (250, 10, 10)).max() < 40


def test_resolution_turns_with_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 8
    buffer = io.BytesIO()
    Image.fromarray(quadrants()).save(buffer, "png", exif=exif, dpi=(300, 200))
    assert image.read(buffer.getvalue()).dpi == (200.0, 300.0)
    assert image.probe(buffer.getvalue()).dpi == (200.0, 300.0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_goes_and_the_size_is_corrected(order):
    thumbnail = b"\xff\xd8THUMBNAIL OF THE PICTURE BEFORE\xff\xd9"
    picture = Picture(pixels=quadrants(96, 160), exif=camera_exif(6, order, thumbnail))
    for kind in HOLDING:
        data = image.encode(picture, kind)
        assert b"THUMBNAIL" not in data
        assert facts(data)["size"] == (160, 96)
        with Image.open(io.BytesIO(data)) as img:
            assert not img.getexif().get_ifd(1)


@pytest.mark.parametrize("kind", HOLDING)
@pytest.mark.parametrize("dpi", [(300.0, 300.0), (72.0, 72.0), (600.0, 300.0), None])
def test_resolution(kind, dpi):
    data = image.encode(Picture(pixels=quadrants(), dpi=dpi), kind)
    assert image.read(data).dpi == dpi
    with Image.open(io.BytesIO(data)) as img:
        shown = img.info.get("dpi")
        if kind in ("webp", "avif"):
            exif = img.getexif()
            shown = (float(exif[0x011A]), float(exif[0x011B])) if 0x011A in exif else None
    if dpi is None:
        # No invented resolution: 1 x 1 without a unit is how JPEG and TIFF say "unknown".
        assert shown in (None, (1, 1), (1.0, 1.0))
    else:
        assert shown == pytest.approx(dpi, abs=0.02)


def test_resolution_of_exif_follows():
    picture = Picture(
        pixels=quadrants(), exif=exif_block.with_resolution(camera_exif(), (72.0, 72.0)), dpi=(300.0, 300.0)
    )
    for kind in HOLDING:
        with Image.open(io.BytesIO(image.encode(picture, kind))) as img:
            assert float(img.getexif()[0x011A]) == 300.0


def test_bigtiff_comes_out_upright():
    import pyvips

    stored = pyvips.Image.new_from_memory(quadrants().tobytes(), 40, 24, 3, "uchar").copy(interpretation="srgb")
    stored.set_type(pyvips.GValue.gint_type, "orientation", 6)
    picture = image.read(stored.tiffsave_buffer(bigtiff=True))
    assert np.array_equal(picture.pixels, np.rot90(quadrants(), -1))


def test_resolution_of_a_rare_unit():
    buffer = io.BytesIO()
    Image.fromarray(quadrants()).save(buffer, "tiff", resolution=100, resolution_unit=3)
    assert image.read(buffer.getvalue()).dpi == (254.0, 254.0)
    buffer = io.BytesIO()
    Image.fromarray(quadrants()).save(buffer, "tiff", resolution=100, resolution_unit=1)
    assert image.read(buffer.getvalue()).dpi is None


def test_what_a_format_cannot_hold_is_dropped_and_said():
    picture = Picture(pixels=quadrants(), icc=SRGB, exif=camera_exif(), xmp=XMP, dpi=(300.0, 300.0))
    held = image.conform(picture, "gif")
    assert (held.icc, held.exif, held.xmp, held.dpi) == (None,) * 4
    assert [w for w in held.warnings if "dropped" in w] == [
        f"{what} dropped: GIF holds none" for what in ("ICC profile", "EXIF", "XMP", "DPI")
    ]
    long = camera_exif()
    long += bytes(70_000 - len(long))
    large = replace(picture, exif=long, xmp=XMP + b" " * 70_000)
    held = image.conform(large, "jpeg")
    assert (held.exif, held.xmp) == (None, None)
    assert [w[:4] for w in held.warnings] == ["EXIF", "XMP "]
    assert image.conform(large, "avif").exif is None
    for kind in ("png", "webp", "tiff"):
        got = image.read(image.encode(large, kind))
        assert got.xmp is not None
        assert len(got.xmp) > 70_000
        assert got.exif is not None


@pytest.mark.parametrize(("kind", "most"), [("jpeg", 65_527), ("avif", 65_000)])
def test_the_longest_exif(kind, most):
    block = camera_exif().ljust(most, b"z")
    picture = Picture(pixels=quadrants(), exif=block)
    assert image.read(image.encode(picture, kind)).exif == block
    assert image.conform(replace(picture, exif=block + b"z"), kind).exif is None


def test_an_avif_file_of_an_unknown_form_is_an_error_and_never_holds_the_wrong_exif(monkeypatch):
    def other(_data, _first):
        raise ValueError("no table of places in the expected form")

    monkeypatch.setattr(containers, "_avif_length_entry", other)
    with pytest.raises(image.EncodeError, match=r"expected to put EXIF .*; drop the EXIF"):
        image.encode(Picture(pixels=quadrants(), exif=camera_exif()), "avif")


def test_a_profile_of_other_colours_is_not_written():
    gray = Picture(pixels=quadrants()[..., :1], icc=SRGB)
    assert image.conform(gray, "png").warnings == ("ICC profile dropped: it isn't one for gray pixels",)
    assert image.read(image.encode(gray, "png")).icc is None


def test_a_large_profile_and_odd_lengths():
    profile = SRGB[:-1] + np.random.default_rng(0).bytes(200_000) + b"z"
    profile = struct.pack(">I", len(profile)) + profile[4:]
    picture = Picture(pixels=quadrants(), icc=profile, xmp=XMP + b" ", exif=camera_exif() + b"x")
    for kind in HOLDING:
        got = image.read(image.encode(picture, kind))
        assert got.icc == profile
        assert got.exif is not None


def test_webp_alpha_survives_the_metadata():
    alpha = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40)
    picture = Picture(pixels=quadrants(), alpha=alpha, exif=camera_exif())
    data = image.encode(picture, "webp", quality=100)
    got = image.read(data)
    assert np.array_equal(got.alpha, alpha)
    with Image.open(io.BytesIO(data)) as img:
        assert img.mode == "RGBA"
        assert np.array_equal(np.asarray(img)[..., 3], alpha)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"garbage",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\xff\xff\xff\xff",
        camera_exif()[:1210],
    ],
)
def test_damaged_exif_is_dropped_and_never_fatal(block):
    picture = Picture(pixels=quadrants(), exif=block)
    for kind in HOLDING:
        assert image.read(image.encode(picture, kind)).exif is None


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_exif_is_handled(data):
    block = bytearray(camera_exif(6, data.draw(st.sampled_from("<>")), b"thumbnail"))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(block[: data.draw(st.integers(0, len(block)))])
    for work in (
        lambda: exif_block.normalize(cut, width=70_000, height=5, dpi=(300.0, 300.0)),
        lambda: exif_block.orientation(exif_block.reader(cut)),
        lambda: exif_block.resolution(exif_block.reader(cut)),
        lambda: exif_block.from_tiff(exif_block.reader(cut)),
        lambda: exif_block.with_resolution(cut, (300.0, 300.0)),
    ):
        try:
            result = work()
        except exif_block.MalformedExifError:
            continue
        assert not isinstance(result, bytes) or len(result) < 200_000
