"""Reading, depths and colour spaces."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from safelight.media import image
from safelight.media.image import Picture
from support.malformed_files import pil_bytes
from support.pictures import noise, ramps

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_the_module_imports_neither_pyvips_nor_pil_nor_torch():
    code = "import sys, safelight.media.image; print([m for m in ('pyvips', 'PIL', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- identity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("tiff", np.uint8), ("tiff", np.uint16), ("tiff", np.float32)],
)
def test_lossless_formats_return_every_bit(tmp_path, kind, dtype, channels, alpha):
    values = noise(channels=channels + alpha, dtype=dtype)
    picture = Picture(pixels=values[..., :channels], alpha=values[..., -1] if alpha else None, dpi=(300.0, 200.0))
    path = tmp_path / f"a.{kind}"
    image.write(picture, path)
    assert image.read(path) == replace(picture, format=kind)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_quality_100_is_lossless(kind, alpha):
    values = noise(channels=4)
    picture = Picture(pixels=values[..., :3], alpha=values[..., 3] if alpha else None)
    assert image.read(image.encode(picture, kind, quality=100)) == replace(picture, format=kind)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_lossy_defaults_are_hard_to_see(kind):
    picture = Picture(pixels=ramps())
    got = image.read(image.encode(picture, kind)).pixels.astype(float)
    assert np.sqrt(np.mean((got - picture.pixels) ** 2)) < 2.5
    coarse = image.encode(picture, kind, quality=10)
    assert len(coarse) < len(image.encode(picture, kind))


def test_jpeg_keeps_colour_at_full_resolution():
    with Image.open(io.BytesIO(image.encode(Picture(pixels=noise()), "jpeg"))) as img:
        assert [layer[1:3] for layer in img.layer] == [(1, 1)] * 3


def test_12_bit_avif_is_as_conform_says():
    picture = Picture(pixels=noise(dtype=np.uint16))
    held = image.conform(picture, "avif")
    assert held.warnings == ("16 bits rounded to 12: AVIF holds no more",)
    assert np.abs(held.pixels.astype(int) - picture.pixels).max() <= 8
    white = replace(picture, pixels=np.full((16, 16, 3), 65535, np.uint16))
    assert np.array_equal(image.read(image.encode(white, "avif", quality=100)).pixels, white.pixels)


@pytest.mark.parametrize("kind", list(image.FORMATS))
def test_the_same_picture_gives_the_same_bytes(kind):
    picture = Picture(pixels=ramps(), exif=None, icc=SRGB)
    assert image.encode(picture, kind) == image.encode(picture, kind)


@pytest.mark.parametrize("kind", list(image.FORMATS))
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_thin_pictures(kind, size):
    picture = Picture(pixels=noise(*size))
    assert image.read(image.encode(picture, kind)).pixels.shape == (*size, 3)


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(image.FORMATS))
def test_path_and_bytes_give_equal_pictures_and_the_name_plays_no_part(tmp_path, kind):
    data = image.encode(Picture(pixels=ramps(), icc=SRGB, dpi=(72.0, 72.0)), kind)
    path = tmp_path / "wrong.txt"
    path.write_bytes(data)
    assert image.read(path) == image.read(str(path)) == image.read(data)
    assert image.read(data).format == kind
    header = image.probe(path)
    assert (header.width, header.height, header.format, header.frames) == (64, 48, kind, 1)
    assert header == image.probe(data)


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "a.png"
    for value in (10, 200, 90):
        image.write(Picture(pixels=np.full((8, 8, 3), value, np.uint8)), path, overwrite=True)
        assert image.read(path).pixels[0, 0, 0] == value


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes_as_pil_reads_them(mode):
    img = Image.fromarray(noise(channels=4), "RGBA").convert("RGB").convert(mode)
    picture = image.read(pil_bytes(img, "png"))
    plain = {"1": "L", "P": "RGB"}.get(mode, mode)
    want = np.asarray(img.convert(plain))
    want = want if want.ndim == 3 else want[..., None]
    alpha = plain.endswith("A")
    assert np.array_equal(picture.pixels, want[..., : want.shape[2] - alpha])
    assert (picture.alpha is not None) == alpha
    assert picture.depth == "8-bit"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_modes_as_pil_reads_them(mode, compression):
    img = Image.fromarray(noise(channels=4), "RGBA").convert("RGB").convert(mode)
    picture = image.read(pil_bytes(img, "tiff", compression=compression))
    want = np.asarray(img.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
    want = want if want.ndim == 3 else want[..., None]
    assert np.array_equal(picture.pixels, want[..., : picture.channels])


def test_bilevel_fax_and_white_is_zero():
    img = Image.fromarray(noise(channels=1)[..., 0] > 100)
    assert np.array_equal(
        image.read(pil_bytes(img, "tiff", compression="group4")).pixels[..., 0], np.asarray(img) * 255
    )


def test_palette_with_transparency():
    img = Image.fromarray(ramps()).convert("P")
    picture = image.read(pil_bytes(img, "png", transparency=5))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, np.asarray(img) == 5)


def test_a_tiff_with_one_large_strip(tmp_path):
    # libvips by itself refuses strips over 50 MB.
    path = tmp_path / "a.tif"
    Image.new("L", (9000, 6000)).save(path, tiffinfo={278: 6000})
    assert image.read(path).pixels.shape == (6000, 9000, 1)


@pytest.mark.parametrize(
    ("kind", "what"), [("gif", "frames"), ("webp", "frames"), ("png", "frames"), ("tiff", "pages"), ("avif", "")]
)
def test_the_first_frame_is_taken_and_a_warning_says_so(kind, what):
    frames = [Image.fromarray(np.full((16, 16, 3), v, np.uint8)) for v in (30, 130, 230)]
    data = pil_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    picture = image.read(data)
    assert abs(int(picture.pixels[0, 0, 0]) - 30) <= 3
    assert picture.warnings == ((f"first of 3 {what}",) if what else ("first frame of a sequence",))
    if what:
        assert image.probe(data).frames == 3


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_without_a_profile(kind):
    inks = Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (0, 255, 255, 0)])
    data = pil_bytes(inks, kind)
    assert image.probe(data).colors == "cmyk"
    picture = image.read(data)
    red, green, blue = picture.pixels[4, 4]
    assert red > 180
    assert max(green, blue) < 80
    assert picture.warnings == ("CMYK converted to sRGB through a generic profile, as it has none of its own",)
    assert picture.icc is not None
    assert picture.icc[16:20] == b"RGB "


def test_cmyk_goes_through_its_own_profile():
    import pyvips

    profile = pyvips.Image.profile_load("cmyk")
    flat = np.full((16, 16, 4), (20, 200, 180, 10), np.uint8)
    inks = pyvips.Image.new_from_memory(flat.tobytes(), 16, 16, 4, "uchar").copy(interpretation="cmyk")
    plain = inks.tiffsave_buffer()
    inks = inks.copy()
    inks.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    tagged = image.read(inks.tiffsave_buffer())
    assert tagged.warnings == ("CMYK converted to sRGB through its profile",)
    assert tagged.icc is not None
    assert tagged.icc != profile
    assert tagged.icc[16:20] == b"RGB "
    # libvips' generic profile is the one attached here, so both ways agree.
    assert np.array_equal(tagged.pixels, image.read(plain).pixels)
    back = image.read(image.encode(tagged, "jpeg"))
    assert back.icc == tagged.icc


def test_lab_becomes_srgb():
    import pyvips

    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    lab = pyvips.Image.new_from_memory(red.tobytes(), 8, 8, 3, "uchar").copy(interpretation="srgb").colourspace("labs")
    picture = image.read(lab.tiffsave_buffer())
    assert np.abs(picture.pixels.astype(float) / np.iinfo(picture.pixels.dtype).max - red / 255).max() < 0.01
    assert any("converted to sRGB" in w for w in picture.warnings)


def test_32_bit_integers_become_float():
    import pyvips

    whole = np.full((4, 4), 2**32 - 1, np.uint32)
    uint = pyvips.Image.new_from_memory(whole.tobytes(), 4, 4, 1, "uint")
    picture = image.read(uint.tiffsave_buffer())
    assert np.array_equal(picture.pixels, np.ones((4, 4, 1), np.float32))
    assert picture.warnings == ("32-bit integer values converted to float",)


@pytest.mark.parametrize("kind", ["double", "short", "char", "complex"])
def test_pixels_that_a_picture_does_not_hold_are_refused(kind):
    import pyvips

    data = pyvips.Image.black(4, 4).cast(kind).tiffsave_buffer()
    with pytest.raises(image.DecodeError, match=r"expected .*, got .*; "):
        image.read(data)


# --- depths -----------------------------------------------------------------------------------------------------


def test_every_16_bit_value_rounds_to_the_nearest_8_bit_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    got = image.to_depth(Picture(pixels=values, alpha=values[..., 0]), "8-bit")
    want = np.round(values / 257).astype(np.uint8)
    assert np.array_equal(got.pixels, want)
    assert np.array_equal(got.alpha, want[..., 0])


def test_8_bits_survive_every_depth():
    values = Picture(pixels=np.arange(256, dtype=np.uint8).reshape(16, 16, 1))
    for depth in ("16-bit", "float"):
        assert image.to_depth(image.to_depth(values, depth), "8-bit") == values
    deep = Picture(pixels=np.arange(65536, dtype=np.uint16).reshape(256, 256, 1))
    assert image.to_depth(image.to_depth(deep, "float"), "16-bit") == deep


def test_conform_reports_what_is_lost():
    values = np.array([[[-0.5], [0.5], [2.0]]], np.float32)
    held = image.conform(Picture(pixels=values), "png")
    assert held.pixels.ravel().tolist() == [0, 32768, 65535]
    assert held.warnings == ("float rounded to 16 bits: PNG holds no more", "values outside [0, 1] clipped")
    alpha = Picture(pixels=np.full((2, 2, 3), 100, np.uint8), alpha=np.array([[0, 51], [204, 255]], np.uint8))
    flat = image.conform(alpha, "jpeg")
    assert flat.alpha is None
    assert flat.pixels[..., 0].tolist() == [[255, 224], [131, 100]]
    assert flat.warnings == ("alpha laid over white: JPEG holds none",)
    deep = image.conform(Picture(pixels=noise(dtype=np.uint16)), "jpeg")
    assert deep.depth == "8-bit"
    whole = Picture(pixels=noise(dtype=np.float32) * 3 - 1)
    assert image.conform(whole, "tiff") == whole
    assert "colours reduced to 256: GIF holds no more" in image.conform(alpha, "gif").warnings
    # Conforming twice changes nothing more.
    assert image.conform(flat, "jpeg") == flat


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_an_error_and_never_a_black_pixel(bad):
    values = noise(dtype=np.float32)
    values[3, 4, 1] = bad
    with pytest.raises(image.EncodeError, match="finite"):
        image.encode(Picture(pixels=values), "png")


def test_sizes_and_qualities_out_of_range():
    wide = Picture(pixels=np.zeros((1, 20_000, 1), np.uint8))
    with pytest.raises(image.EncodeError, match="at most 16,383 pixels a side for WEBP, got 20,000"):
        image.encode(wide, "webp")
    with pytest.raises(image.EncodeError, match="quality from 1 to 100, got 0"):
        image.encode(wide, "jpeg", quality=0)
    with pytest.raises(image.PictureError, match="got bmp"):
        image.encode(wide, "bmp")


def test_format_of():
    assert image.format_of("a/b.JPEG") == "jpeg"
    assert {image.format_of(f"x{s}") for suffixes in image.FORMATS.values() for s in suffixes} == set(image.FORMATS)
    with pytest.raises(image.PictureError, match=r"\.jpg .*\.avif \.gif, got the suffix \.bmp"):
        image.format_of("a.bmp")
    with pytest.raises(image.PictureError, match="got no suffix"):
        image.format_of("a")


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((4, 4), np.uint8), None),
        (np.zeros((4, 4, 2), np.uint8), None),
        (np.zeros((0, 4, 3), np.uint8), None),
        (np.zeros((4, 4, 3), np.float64), None),
        (np.zeros((4, 4, 3), ">u2"), None),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)),
    ],
)
def test_a_picture_checks_its_arrays(pixels, alpha):
    with pytest.raises(image.PictureError, match=r"expected .*, got "):
        Picture(pixels=pixels, alpha=alpha)
