"""Reading a file into a Picture: recognised by content, checked for size before decoding, rotated upright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.media.image import exif as exif_block
from safelight.media.image.header import ImageFile, ImageHeader, OpenedImage, open_header, open_image_file, read_error
from safelight.media.image.picture import DamagedError, DecodeError, Depth, Picture
from safelight.media.image.spec import ImageSpec, picture_of
from safelight.media.image.vips import Vips, failures, libvips

# 160 million pixels: the largest camera sensors (151 megapixels) pass, the usual bomb of 13,000 x 13,000 does not.
DEFAULT_MAX_PIXELS = 160_000_000

_DEPTHS: Mapping[str, Depth] = MappingProxyType({"uchar": "8-bit", "ushort": "16-bit", "float": "float"})


def read(source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False) -> Picture:
    """Read a picture from a file or from a file's bytes. The content decides the format, never the name.

    The EXIF rotation is applied. Gray and RGB pixels stay as they are, with their ICC profile; other colour spaces
    (CMYK, Lab) become sRGB. Of an animation or a document the first frame is taken, and a warning says so.

    Args:
        source: path, or the bytes of a file.
        max_pixels: width times height above which the file is refused before anything is decoded.
        lenient: return what can be decoded of a damaged file, with a warning.

    Raises:
        DecodeError: the file is missing, unreadable, no picture, too large, or (DamagedError) damaged.
    """
    with open_image_file(source) as file:
        undecoded, array = decode(file, max_pixels=max_pixels, lenient=lenient)
        return picture_of(undecoded.spec, upright(array, undecoded.orientation))


def probe(source: str | Path | bytes) -> ImageHeader:
    """Read a picture's header only; no pixel is decoded, so this is quick and safe for a picture of any size.

    Raises:
        DecodeError: the file is missing, unreadable or no picture.
    """
    with open_image_file(source) as file:
        return open_header(file, "warning").header


@dataclass(frozen=True, slots=True)
class UndecodedImage:
    """A picture whose pixels are not decoded yet: they will be (H, W, at least spec.bands), as stored.

    Attributes:
        file: the open file.
        image: libvips' image, to be read once, from top to bottom.
        spec: of the upright picture.
        orientation: EXIF orientation, by which the pixels have to be rotated upright.
        repeat_bits: number of significant bits at the top of each 16-bit value, to be repeated below; 0 for none.
    """

    file: ImageFile
    image: Vips
    spec: ImageSpec
    orientation: int
    repeat_bits: int


def decode(file: ImageFile, *, max_pixels: int, lenient: bool) -> tuple[UndecodedImage, NDArray[Any]]:
    """Decode the whole picture, as it is stored (not rotated upright).

    Raises:
        DecodeError: as for `read`.
    """
    try:
        return _decode(file, max_pixels, lenient=False)
    except DamagedError as error:
        if not lenient:
            raise
        undecoded, array = _decode(file, max_pixels, lenient=True)
        note = f"damaged, what is missing is filled in ({error})"
        return replace(undecoded, spec=replace(undecoded.spec, warnings=(*undecoded.spec.warnings, note))), array


def _decode(file: ImageFile, max_pixels: int, *, lenient: bool) -> tuple[UndecodedImage, NDArray[Any]]:
    undecoded = prepare(file, max_pixels=max_pixels, lenient=lenient)
    try:
        data = undecoded.image.write_to_memory()
    except failures() as error:
        raise decode_error(file, error, lenient=lenient) from None
    array = array_of(data, int(undecoded.image.height), undecoded)
    if undecoded.repeat_bits:
        array |= array >> undecoded.repeat_bits
    return undecoded, array


def prepare(file: ImageFile, *, max_pixels: int, lenient: bool = False) -> UndecodedImage:
    """Read the header, and set up the conversion of the stored pixels to those of a Picture.

    Raises:
        DecodeError: the picture is too large, of an unsupported kind, or (DamagedError) its header is damaged.
    """
    opened = open_header(file, "none" if lenient else "warning")
    header = opened.header
    size = header.width * header.height
    if size > max_pixels:
        raise DecodeError(
            f"{file.name}: expected at most {max_pixels:,} pixels, got {header.width:,} x {header.height:,} = "
            f"{size:,}; if you trust the file, raise the limit (--max-pixels)"
        )
    try:
        image, icc, notes = _converted(opened)
    except failures() as error:
        raise decode_error(file, error, lenient=lenient) from None
    # libvips shifts 10 and 12 bits to the top of 16; repeated below, white becomes 65,535 and not 65,472.
    shifted = header.format == "avif" and image.format == "ushort"
    repeat_bits = int(image.get("bits-per-sample")) if shifted else 0
    return UndecodedImage(
        file, image, _spec(opened, image, icc, opened.warnings + notes), header.orientation, repeat_bits
    )


def decode_error(file: ImageFile, error: Exception, *, lenient: bool = False) -> DecodeError:
    """Return the error for pixels that libvips can't decode."""
    advice = "get a fresh copy" + ("" if lenient else ", or read what is left of it with lenient")
    return read_error(file, error, "one that breaks off or does not decode", advice)


def array_of(data: Any, height: int, undecoded: UndecodedImage) -> NDArray[Any]:  # noqa: ANN401 - cffi's buffer
    """Return rows in libvips' memory as an array (height, W, bands), without a copy."""
    flat: NDArray[Any] = np.frombuffer(data, undecoded.spec.dtype)
    return flat.reshape(height, int(undecoded.image.width), int(undecoded.image.bands))


def _converted(opened: OpenedImage) -> tuple[Vips, bytes | None, tuple[str, ...]]:
    """Return libvips' image in a colour space and depth that a Picture can hold, with its profile and notes."""
    image, icc = opened.image, opened.icc
    notes: tuple[str, ...] = ()
    deep = image.format in ("ushort", "short")
    if opened.header.colors == "cmyk":
        image, note = _srgb_of_cmyk(image, icc, 16 if deep else 8)
        notes += (note,)
        icc = bytes(image.get("icc-profile-data"))
    elif opened.header.colors == "other":
        notes += (f"{str(image.interpretation).upper()} colours converted to sRGB",)
        image = image.colourspace("rgb16" if deep else "srgb")
        icc = None  # the profile of the colours before; without one, sRGB is meant
    if image.format == "uint":
        image = (image / 0xFFFFFFFF).cast("float")
        notes += ("32-bit integer values converted to float",)
    return image, icc, notes


def _srgb_of_cmyk(image: Vips, icc: bytes | None, bits: int) -> tuple[Vips, str]:
    usable = icc is not None and icc[16:20] == b"CMYK"
    # As print shops and editors convert: relative colorimetric, with the blacks matched.
    how = {"intent": "relative", "black_point_compensation": True, "depth": bits}
    image = image.icc_transform("srgb", embedded=usable, input_profile="cmyk", **how)
    through = "its profile" if usable else "a generic profile, as it has none of its own"
    return image, f"CMYK converted to sRGB through {through}"


def cmyk_to_srgb(array: NDArray[Any], icc: bytes | None) -> tuple[NDArray[Any], bytes, tuple[str, ...]]:
    """Convert CMYK values (H, W, 4) of uint8, 255 = full ink, through a profile.

    Returns:
        sRGB values (H, W, 3), the sRGB profile, and what was done as a warning.
    """
    pyvips = libvips()
    height, width, bands = array.shape
    values = np.ascontiguousarray(array)
    image = pyvips.Image.new_from_memory(values.data, width, height, bands, "uchar").copy(interpretation="cmyk")
    if icc is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    image, note = _srgb_of_cmyk(image, icc, 8)
    out = np.frombuffer(image.write_to_memory(), np.uint8).reshape(height, width, 3)
    return out, bytes(image.get("icc-profile-data")), (note,)


def _spec(opened: OpenedImage, image: Vips, icc: bytes | None, warnings: tuple[str, ...]) -> ImageSpec:
    header = opened.header
    exif = opened.exif
    if exif is not None:
        try:
            exif = exif_block.normalize(exif, width=header.width, height=header.height, dpi=header.dpi)
        except exif_block.MalformedExifError as error:
            exif = None
            warnings += (f"EXIF dropped: it is damaged ({error})",)
    return ImageSpec(
        width=header.width,
        height=header.height,
        channels=1 if header.channels == 1 else 3,
        depth=_DEPTHS[str(image.format)],
        alpha=header.has_alpha,
        icc=icc,
        exif=exif,
        xmp=None if opened.xmp is None else exif_block.normalize_xmp(opened.xmp),
        dpi=header.dpi,
        format=header.format,
        jpeg_quality=header.jpeg_quality,
        warnings=warnings,
    )


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return stored pixels rotated upright, contiguous."""
    # A copy: torch takes no array with negative strides.
    return np.ascontiguousarray(oriented(array, orientation))


def oriented(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of stored pixels, upright: EXIF orientations 2 to 4 mirror, 5 to 8 also swap the sides."""
    if orientation >= 5:
        array = array.transpose(1, 0, 2)
    # Where the first stored row and column lie: 2 right, 3 right and bottom, 4 bottom; after the swap 6 right, ...
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array
