"""The kinds of the Python face: the same comes out as went in."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from safelight.media import image
from safelight.media.image import Picture
from support.malformed_files import pil_bytes
from support.pictures import noise, ramps

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, ">u2"])
def test_arrays_come_back_as_they_were(shape, dtype):
    array = noise(*shape[:2], shape[2] if len(shape) == 3 else 1, np.uint16).reshape(shape)
    array = (array / 65535).astype(dtype) if dtype == np.float32 else array.astype(dtype)
    picture = image.from_any(array)
    assert (picture.height, picture.width) == (9, 7)
    back = image.to_kind(picture, array)
    assert back.dtype.name == array.dtype.name
    assert np.array_equal(back, array)


def test_a_gray_array_gets_the_colours_of_its_result():
    gray = np.zeros((9, 7), np.uint16)
    colour = image.to_kind(Picture(pixels=noise(9, 7)), gray)
    assert colour.shape == (9, 7, 3)
    assert colour.dtype == np.uint16


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 3, 9, 7), (1, 9, 7), (4, 9, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_come_back_as_they_were(shape, dtype):
    tensor = torch.rand(shape, dtype=torch.float32).to(dtype)
    back = image.to_kind(image.from_any(tensor), tensor)
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_pil_images_come_back_as_they_were(mode):
    if mode == "I;16":
        img = Image.fromarray(noise(channels=1, dtype=np.uint16)[..., 0])
    elif mode == "F":
        img = Image.fromarray(noise(channels=1, dtype=np.float32)[..., 0])
    else:
        img = Image.fromarray(noise(channels=len(mode)) if len(mode) > 1 else noise(channels=1)[..., 0], mode)
    assert img.mode == mode
    back = image.to_kind(image.from_any(img), img)
    assert back.mode == mode
    assert np.array_equal(np.asarray(back), np.asarray(img))


@pytest.mark.parametrize(
    ("mode", "after"), [("P", "RGB"), ("1", "L"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB")]
)
def test_other_pil_modes_become_plain_ones(mode, after):
    img = Image.fromarray(ramps()).convert(mode)
    back = image.to_kind(image.from_any(img), img)
    assert back.mode == after
    assert back.size == img.size


def test_pil_metadata_is_kept_and_the_rotation_baked_in():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    img = Image.fromarray(ramps(48, 64))
    data = pil_bytes(img, "png", exif=exif, icc_profile=SRGB, dpi=(300, 300))
    with Image.open(io.BytesIO(data)) as opened:
        picture = image.from_any(opened)
        back = image.to_kind(picture, opened)
    assert back.size == (48, 64)
    assert np.array_equal(np.asarray(back), np.rot90(ramps(48, 64), -1))
    assert back.info["icc_profile"] == SRGB
    again = pil_bytes(back, "jpeg", exif=back.info["exif"], quality=95)
    with Image.open(io.BytesIO(again)) as opened:
        assert opened.getexif()[0x0112] == 1
        assert opened.getexif()[0x010F] == "Maker"
    assert picture == replace(image.read(data), format=None, dpi=picture.dpi)


def test_paths_bytes_and_pictures(tmp_path):
    picture = Picture(pixels=ramps())
    path = tmp_path / "a.png"
    image.write(picture, path)
    got = image.from_any(path)
    assert image.to_kind(got, path) is got
    assert image.from_any(got) is got
    data = image.encode(picture, "webp")
    back = image.to_kind(image.from_any(data), data)
    assert isinstance(back, bytes)
    assert image.probe(back).format == "webp"


@pytest.mark.parametrize(
    "x",
    [
        None,
        [[1, 2]],
        np.zeros((4, 4, 3)),
        np.zeros((2, 4, 4, 3), np.uint8),
        torch.zeros(2, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
    ],
)
def test_other_kinds_are_refused_in_one_line(x):
    with pytest.raises(image.PictureError, match=r"^expected .*, got .*; [^\n]*$"):
        image.from_any(x)
