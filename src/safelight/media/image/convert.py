"""Conversion between Picture and the types of other libraries: numpy, torch, PIL, paths and bytes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from safelight.media.image import exif as exif_block
from safelight.media.image.formats import SNIFF_BYTES, sniff
from safelight.media.image.picture import DEPTHS, Depth, Picture, PictureError, to_depth
from safelight.media.image.reading import cmyk_to_srgb, read, upright
from safelight.media.image.writing import encode

Foreign: TypeAlias = Any  # what belongs to PIL or torch, neither of which may be imported here


def _pil() -> Foreign:
    # Whoever hands over a PIL image has imported PIL: nothing is imported here for those who have not.
    return sys.modules.get("PIL.Image")


def _torch() -> Foreign:
    return sys.modules.get("torch")


def _is_pil(x: object) -> bool:
    pil = _pil()
    return pil is not None and isinstance(x, pil.Image)


def _is_tensor(x: object) -> bool:
    torch = _torch()
    return torch is not None and isinstance(x, torch.Tensor)


def from_any(x: object) -> Picture:
    """Convert a path, bytes, array, tensor or PIL image to a Picture.

    Args:
        x: a path (read from disk), the bytes of a file, a Picture, a PIL image, a numpy array (H, W) or
            (H, W, 1 to 4) of uint8, uint16 or float32, or a torch tensor (C, H, W) or (1, C, H, W) of floats in
            [0, 1]. Two and four channels end with alpha.

    Raises:
        PictureError: the type, shape or dtype is none of these; or as `read`.

    Example:
        >>> from_any(np.zeros((4, 6), np.uint16)).depth
        '16-bit'
    """
    if isinstance(x, Picture):
        return x
    if isinstance(x, (str, Path, bytes)):
        return read(x)
    if isinstance(x, np.ndarray):
        return _from_array(cast("NDArray[Any]", x))
    if _is_pil(x):
        return _from_pil(x)
    if _is_tensor(x):
        return _from_tensor(x)
    raise PictureError(
        "expected a path, bytes, a Picture, a PIL image, a numpy array or a torch tensor, "
        f"got {type(x).__name__}; convert it to one of these"
    )


def to_kind(picture: Picture, like: object) -> Foreign:
    """Convert a picture to the type of `like`.

    A path or a Picture gives a Picture; bytes give bytes in the same format; a PIL image gives a PIL image with
    the profile, EXIF and resolution in `info`; an array or a tensor gives the same rank and dtype (and device).
    If `like` is gray and the picture has colours, the result has colours.

    Raises:
        PictureError: `like` is none of these, or its type can't hold the picture.
    """
    if isinstance(like, (Picture, str, Path)):
        return picture
    if isinstance(like, bytes):
        return encode(picture, sniff(like[:SNIFF_BYTES]) or picture.format or "png")
    if isinstance(like, np.ndarray):
        return _to_array(picture, cast("NDArray[Any]", like))
    if _is_pil(like):
        return _to_pil(picture, like)
    if _is_tensor(like):
        return _to_tensor(picture, like)
    raise PictureError(f"expected a kind that holds a picture, got {type(like).__name__}; see from_any")


def _split(array: NDArray[Any]) -> Picture:
    """Make a Picture of (H, W, 1 to 4)."""
    channels = array.shape[2]
    if channels in (2, 4):
        return Picture(pixels=array[..., :-1], alpha=array[..., -1])
    return Picture(pixels=array)


def _joined(picture: Picture) -> NDArray[Any]:
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate((picture.pixels, picture.alpha[..., None]), axis=2)


def _from_array(x: NDArray[Any]) -> Picture:
    if x.dtype.name not in ("uint8", "uint16", "float32") or x.ndim not in (2, 3):
        raise PictureError(
            "expected an array (H, W) or (H, W, 1 to 4) of uint8, uint16 or float32, "
            f"got shape {x.shape} as {x.dtype}; convert it, for example with x.astype('float32')"
        )
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    return _split(x[..., None] if x.ndim == 2 else x)


def _to_array(picture: Picture, like: NDArray[Any]) -> NDArray[Any]:
    array = _joined(to_depth(picture, DEPTHS[like.dtype.name]))
    return array[..., 0] if like.ndim == 2 and array.shape[2] == 1 else np.ascontiguousarray(array)


def _from_tensor(x: Foreign) -> Picture:
    shape = tuple(x.shape)
    if not x.is_floating_point() or shape[:-3] not in ((), (1,)) or len(shape) < 3 or shape[-3] not in (1, 2, 3, 4):
        raise PictureError(
            "expected a tensor (C, H, W) or (1, C, H, W) of floats in [0, 1] with 1 to 4 channels, "
            f"got shape {shape} as {x.dtype}; take one picture at a time and divide integers by their maximum"
        )
    array = x.detach().reshape(shape[-3:]).permute(1, 2, 0).float().cpu().contiguous().numpy()
    return _split(array)


def _to_tensor(picture: Picture, like: Foreign) -> Foreign:
    array = np.ascontiguousarray(_joined(to_depth(picture, "float")).transpose(2, 0, 1))
    tensor = _torch().from_numpy(array).to(device=like.device, dtype=like.dtype)
    return tensor[None] if like.ndim == 4 else tensor


def _from_pil(x: Foreign) -> Picture:
    # Loading first: PIL turns TIFF files upright by itself then, and clears their orientation.
    x.load()
    info: dict[str, Any] = x.info
    icc = info.get("icc_profile") or None
    notes: tuple[str, ...] = ()
    array = _pil_pixels(x)
    if x.mode == "CMYK":
        array, icc, notes = cmyk_to_srgb(array, icc)
    orientation = x.getexif().get(exif_block.ORIENTATION, 1)
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        array = upright(array, orientation)
    plain = _split(array)
    exif = exif_block.strip_prefix(info.get("exif") or b"") or None
    if exif is not None:
        try:
            exif = exif_block.normalize(exif, width=plain.width, height=plain.height, dpi=None)
        except exif_block.MalformedExifError as error:
            exif = None
            notes += (f"EXIF dropped: it is damaged ({error})",)
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or None
    dpi = info.get("dpi")
    return replace(
        plain,
        icc=icc,
        exif=exif,
        xmp=exif_block.normalize_xmp(xmp.encode() if isinstance(xmp, str) else xmp) if xmp else None,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        warnings=notes,
    )


def _pil_pixels(x: Foreign) -> NDArray[Any]:
    """Return (H, W, C) with 1 to 4 channels; four of them are CMYK for that mode."""
    mode: str = x.mode
    if mode.startswith("I"):
        values = np.asarray(x)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError(
                f"expected a PIL image of mode {mode} with values from 0 to 65,535, "
                f"got {values.min()} to {values.max()}; scale it first"
            )
        return values.astype(np.uint16)[..., None]
    if mode not in ("CMYK", "F"):
        transparent = mode[-1] in "Aa" or "transparency" in x.info
        gray = mode in ("1", "L", "LA", "La")
        x = x.convert(("LA" if transparent else "L") if gray else ("RGBA" if transparent else "RGB"))
    values = np.array(x)  # a copy: PIL's own memory is read-only
    return values if values.ndim == 3 else values[..., None]


def _to_pil(picture: Picture, like: Foreign) -> Foreign:
    mode: str = like.mode
    plain_gray = picture.channels == 1 and picture.alpha is None
    # PIL holds 16 bits and floats in a single channel only.
    depth: Depth = "8-bit"
    if plain_gray and mode.startswith("I"):
        depth = "16-bit"
    elif plain_gray and mode == "F":
        depth = "float"
    array = _joined(to_depth(picture, depth))
    image = _pil().fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))
    exif = picture.exif
    if exif is not None:
        exif = b"Exif\0\0" + exif_block.normalize(exif, width=picture.width, height=picture.height, dpi=picture.dpi)
    facts = {"icc_profile": picture.icc, "exif": exif, "xmp": picture.xmp, "dpi": picture.dpi}
    image.info.update({name: value for name, value in facts.items() if value is not None})
    return image
