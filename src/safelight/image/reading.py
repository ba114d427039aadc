"""From a file to a Picture: recognised by content, bounded before decoding, upright."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from safelight.image import exif as exif_block
from safelight.image.header import Header, Input, Opened, open_header, opened_input
from safelight.image.picture import DamagedError, DecodeError, Picture
from safelight.image.vips import Vips, failures, libvips, reason

# 160 million pixels: the largest camera sensors (151 megapixels) pass, the usual bomb of 13,000 x 13,000 does not.
DEFAULT_MAX_PIXELS = 160_000_000

_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}


def read(source: str | Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, lenient: bool = False) -> Picture:
    """Read a picture from a file or from a file's bytes. The content decides the format, never the name.

    The EXIF rotation is baked in. Gray and RGB pixels stay as they are, with their ICC profile; other colour spaces
    (CMYK, Lab) become sRGB. Of an animation or a document the first frame is taken, and a warning says so.

    Args:
        source: path, or the bytes of a file.
        max_pixels: width times height above which the file is refused before anything is decoded.
        lenient: take what can be decoded of a damaged file, and say so in a warning.

    Raises:
        DecodeError: the file is missing, unreadable, no picture, too large, or (DamagedError) damaged.
    """
    with opened_input(source) as file:
        try:
            return _read(file, "warning", max_pixels)
        except DamagedError as error:
            if not lenient:
                raise
            rest = _read(file, "none", max_pixels)
            return replace(rest, warnings=(*rest.warnings, f"damaged, what is missing is filled in ({error})"))


def _read(file: Input, fail_on: Literal["warning", "none"], max_pixels: int) -> Picture:
    opened = open_header(file, fail_on)
    header = opened.header
    size = header.width * header.height
    if size > max_pixels:
        raise DecodeError(
            f"{file.name}: expected at most {max_pixels:,} pixels, got {header.width:,} x {header.height:,} = "
            f"{size:,}; if you trust the file, raise the limit (--max-pixels)"
        )
    try:
        array, icc, notes = _decode(opened)
    except failures() as error:
        advice = "get a fresh copy" + (", or read what is left of it with lenient" if fail_on == "warning" else "")
        raise DamagedError(
            f"{file.name}: expected an undamaged {file.format.upper()} file, got one that breaks off or does not "
            f"decode ({reason(error)}); {advice}"
        ) from None
    return _picture(opened, array, icc, opened.warnings + notes)


def probe(source: str | Path | bytes) -> Header:
    """Read a picture's header only; no pixel is decoded, so this is quick and safe for a picture of any size.

    Raises:
        DecodeError: the file is missing, unreadable or no picture.
    """
    with opened_input(source) as file:
        return open_header(file, "warning").header


def _decode(opened: Opened) -> tuple[NDArray[Any], bytes | None, tuple[str, ...]]:
    """Decode the pixels to (H, W, bands), in a colour space that a Picture can hold, with its profile and notes."""
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
    flat: NDArray[Any] = np.frombuffer(image.write_to_memory(), _DTYPES[str(image.format)])
    array = flat.reshape(int(image.height), int(image.width), int(image.bands))
    if opened.header.format == "avif" and deep:
        # libvips shifts 10 and 12 bits to the top of 16; repeated below, white becomes 65,535 and not 65,472.
        array |= array >> int(image.get("bits-per-sample"))
    return array, icc, notes


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


def _picture(opened: Opened, array: NDArray[Any], icc: bytes | None, warnings: tuple[str, ...]) -> Picture:
    header = opened.header
    array = upright(array, header.orientation)
    colors = 1 if header.channels == 1 else 3
    exif = opened.exif
    if exif is not None:
        try:
            exif = exif_block.settle(exif, width=header.width, height=header.height, dpi=header.dpi)
        except exif_block.MalformedExifError as error:
            exif = None
            warnings += (f"EXIF dropped: it is damaged ({error})",)
    return Picture(
        pixels=array[..., :colors],
        alpha=array[..., colors] if header.has_alpha else None,
        icc=icc,
        exif=exif,
        xmp=None if opened.xmp is None else exif_block.settle_xmp(opened.xmp),
        dpi=header.dpi,
        format=header.format,
        warnings=warnings,
    )


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels upright: EXIF orientations 2 to 4 mirror, 5 to 8 also swap the sides."""
    if orientation == 1:
        return array
    if orientation >= 5:
        array = array.transpose(1, 0, 2)
    # Where the first stored row and column lie: 2 right, 3 right and bottom, 4 bottom; after the swap 6 right, ...
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    # A copy: torch takes no array with negative strides.
    return np.ascontiguousarray(array)
