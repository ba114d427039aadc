"""From a Picture to a file: reduced knowingly, encoded, and put in place in one step."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np

from safelight.image import containers
from safelight.image import exif as exif_block
from safelight.image.formats import Ability, check_format, format_of
from safelight.image.picture import EncodeError, Picture, TargetError, TargetExistsError, shown, to_depth
from safelight.image.vips import Vips, failures, libvips, reason

# How unfinished files are named, so that a scan of a folder can pass over them and a later run can remove them.
TEMPORARY_PREFIX = ".safelight-"
TEMPORARY_SUFFIX = ".part"

_KINDS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
_CLASSIC_TIFF = 3_900_000_000  # bytes of pixels; with more, a TIFF file needs 64-bit offsets


def conform(picture: Picture, format: str) -> Picture:  # noqa: A002 - the public name
    """Reduce a picture to what a format can hold, and add a warning for every loss.

    `encode` and `write` do this by themselves; call it first to learn, and tell, what will be lost.
    Integers are rounded to the nearest; alpha is laid over white; metadata that has no place is dropped.

    Args:
        picture: any picture.
        format: a name out of `FORMATS`.

    Raises:
        PictureError: there is no such format.
        EncodeError: the picture has more pixels a side than the format can count, or has values that are not finite.

    Example:
        >>> conform(Picture(pixels=np.zeros((2, 2, 1), np.uint16)), "jpeg").warnings
        ('16 bits rounded to 8: JPEG holds no more',)
    """
    able, name = check_format(format), format.upper()
    side = max(picture.width, picture.height)
    if side > able.max_side:
        raise EncodeError(
            f"expected at most {able.max_side:,} pixels a side for {name}, got {side:,}; write PNG or TIFF instead"
        )
    notes: list[str] = []
    picture = _conform_depth(picture, able, name, notes)
    if picture.alpha is not None and not able.alpha:
        notes.append(f"alpha laid over white: {name} holds none")
        picture = _over_white(picture)
    if format == "gif":
        notes.append("colours reduced to 256: GIF holds no more")
        if picture.alpha is not None:
            notes.append("alpha reduced to clear or opaque: GIF holds no more")
    picture = _conform_metadata(picture, format, able, notes)
    new = tuple(note for note in notes if note not in picture.warnings)
    return replace(picture, warnings=picture.warnings + new)


def _conform_depth(picture: Picture, able: Ability, name: str, notes: list[str]) -> Picture:
    if picture.depth == "float" and not able.floats:
        low, high = float(picture.pixels.min()), float(picture.pixels.max())
        picture = to_depth(picture, "8-bit" if able.bits == 8 else "16-bit")
        notes.append(f"float rounded to {min(able.bits, 16)} bits: {name} holds no more")
        if low < 0 or high > 1:
            notes.append("values outside [0, 1] clipped")
    elif picture.depth == "16-bit" and able.bits < 16:
        notes.append(f"16 bits rounded to {able.bits}: {name} holds no more")
        if able.bits == 8:
            return to_depth(picture, "8-bit")
    if picture.depth == "16-bit" and 8 < able.bits < 16:
        # Each value becomes the one that the file will be read back as: the nearest, its bits repeated below.
        steps = (np.arange(65536) * (2**able.bits - 1) + 32767) // 65535
        table = (steps << (16 - able.bits) | steps >> (2 * able.bits - 16)).astype(np.uint16)
        alpha = None if picture.alpha is None else table[picture.alpha]
        return replace(picture, pixels=table[picture.pixels], alpha=alpha)
    return picture


def _over_white(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    # In the picture's own (display) values, as browsers and editors do it.
    top = 1.0 if picture.depth == "float" else float(np.iinfo(picture.pixels.dtype).max)
    out = np.empty_like(picture.pixels, order="C")
    for row in range(picture.height):  # a row at a time: no float copy of the whole picture
        opacity = picture.alpha[row, :, None].astype(np.float64) / top
        mixed = picture.pixels[row] * opacity + top * (1 - opacity)
        out[row] = mixed if picture.depth == "float" else np.floor(mixed + 0.5)
    return replace(picture, pixels=out, alpha=None)


def _conform_metadata(picture: Picture, target: str, able: Ability, notes: list[str]) -> Picture:
    name = target.upper()
    held = {"ICC profile": picture.icc, "EXIF": picture.exif, "XMP": picture.xmp, "DPI": picture.dpi}
    if not able.metadata:
        notes += [f"{what} dropped: {name} holds none" for what, value in held.items() if value]
        return replace(picture, icc=None, exif=None, xmp=None, dpi=None)
    icc, exif, xmp, dpi = picture.icc, picture.exif, picture.xmp, picture.dpi
    if dpi is not None and not all(0 < d < 1e6 for d in dpi):
        notes.append("DPI dropped: expected positive numbers")
        dpi = None
    space = b"GRAY" if picture.channels == 1 else b"RGB "
    if icc is not None and icc[16:20] != space:
        notes.append(f"ICC profile dropped: it isn't one for {'gray' if picture.channels == 1 else 'RGB'} pixels")
        icc = None
    if exif is not None:
        try:
            block = exif_block.strip_prefix(exif)
            exif = exif_block.settle(block, width=picture.width, height=picture.height, dpi=dpi)
        except exif_block.MalformedExifError as error:
            notes.append(f"EXIF dropped: it is damaged ({error})")
            exif = None
    if exif is not None and target == "tiff" and picture.pixels.nbytes > _CLASSIC_TIFF:
        notes.append("EXIF dropped: a TIFF file of this size holds none")
        exif = None
    if target in ("webp", "avif") and dpi is not None and (exif is None or _states_no(exif)):
        exif = exif_block.with_resolution(exif, dpi)  # these formats keep it nowhere else
    most = {"jpeg": containers.JPEG_EXIF, "avif": containers.AVIF_EXIF}.get(target)
    if exif is not None and most is not None and len(exif) > most:
        notes.append(f"EXIF dropped: it has {len(exif):,} bytes, {name} holds {most:,}")
        exif = None
    if target == "jpeg" and xmp is not None and len(xmp) > containers.JPEG_XMP:
        notes.append(f"XMP dropped: it has {len(xmp):,} bytes, JPEG holds {containers.JPEG_XMP:,}")
        xmp = None
    return replace(picture, icc=icc, exif=exif, xmp=xmp and exif_block.settle_xmp(xmp), dpi=dpi)


def _states_no(exif: bytes) -> bool:
    return exif_block.resolution(exif_block.reader(exif)) is None


def encode(picture: Picture, format: str, *, quality: int | None = None) -> bytes:  # noqa: A002 - the public name
    """Return the bytes of a file that holds the picture, as `conform` reduces it, with its metadata.

    The same picture gives the same bytes.

    Args:
        picture: any picture.
        format: a name out of `FORMATS`.
        quality: 1 (smallest) to 100 (best), for JPEG (95 when None), WebP (90) and AVIF (85); WebP and AVIF of 100
            are lossless. The other formats are lossless always (GIF but for its 256 colours) and ignore it.

    Raises:
        PictureError: there is no such format.
        EncodeError: the format can't hold the picture, or the quality is out of range.
    """
    able = check_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise EncodeError(f"expected a quality from 1 to 100, got {quality}; choose one in between")
    held = conform(picture, format)
    try:
        return _save(held, format, quality or able.quality or 0)
    except failures() as error:
        raise EncodeError(
            f"expected to encode {picture.width} x {picture.height} pixels as {format.upper()}, "
            f"got: {reason(error)}; choose another format"
        ) from None


def _image(picture: Picture, target: str) -> Vips:
    pixels = picture.pixels
    if picture.alpha is not None:
        pixels = np.concatenate((pixels, picture.alpha[..., None]), axis=2)
    pixels = np.ascontiguousarray(pixels)
    deep = picture.depth == "16-bit"
    space = ("grey16" if deep else "b-w") if picture.channels == 1 else ("rgb16" if deep else "srgb")
    pyvips = libvips()
    kind = _KINDS[pixels.dtype.name]
    image = pyvips.Image.new_from_memory(pixels.data, picture.width, picture.height, pixels.shape[2], kind)
    x, y = picture.dpi or (25.4, 25.4)
    image = image.copy(interpretation=space, xres=x / 25.4, yres=y / 25.4)
    blobs = {"icc-profile-data": picture.icc, "xmp-data": picture.xmp}
    if target == "avif" and picture.exif is not None:
        blobs["exif-data"] = containers.avif_room(picture.exif)
    for name, blob in blobs.items():
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, name, blob)
    return image


def _save(picture: Picture, target: str, quality: int) -> bytes:
    image, exif, dpi = _image(picture, target), picture.exif, picture.dpi
    flags = libvips().ForeignKeep
    keep = flags.ICC | flags.XMP
    match target:
        case "jpeg":
            # 4:4:4: a restored picture's colour edges are not thrown away in the last step.
            data = image.jpegsave_buffer(keep=keep, Q=quality, subsample_mode="off", optimize_coding=True)
            return containers.into_jpeg(data, exif, dpi)
        case "png":
            return containers.into_png(image.pngsave_buffer(keep=keep, compression=6, filter="all"), exif, dpi)
        case "webp":
            # exact: colours under full transparency stay, as alpha may be edited later.
            data = image.webpsave_buffer(
                keep=keep, Q=quality, lossless=quality == 100, exact=True, smart_subsample=True
            )
            return containers.into_webp(
                data, exif, width=picture.width, height=picture.height, alpha=picture.alpha is not None
            )
        case "tiff":
            big = picture.pixels.nbytes > _CLASSIC_TIFF
            predictor = "float" if picture.depth == "float" else "horizontal"
            data = image.tiffsave_buffer(
                keep=keep, compression="deflate", predictor=predictor, resunit="inch", bigtiff=big
            )
            return data if big else exif_block.into_tiff(data, exif, dpi)
        case "avif":
            if exif is not None:
                keep |= flags.EXIF
            bits = 12 if picture.depth == "16-bit" else 8
            how = {"Q": quality, "lossless": quality == 100, "bitdepth": bits, "subsample_mode": "off"}
            # libvips' own effort of 4 takes seven times as long (9 s a megapixel) for 3 % fewer bytes.
            data = image.heifsave_buffer(keep=keep, compression="av1", effort=2, **how)
            try:
                return data if exif is None else containers.into_avif(data, exif)
            except ValueError as error:  # another libheif, with a table of another form
                raise EncodeError(
                    f"expected to put EXIF into the AVIF file, got: {error}; drop the EXIF or write another format"
                ) from None
        case _:
            return image.gifsave_buffer(keep=flags.NONE)


def write(
    picture: Picture,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the public name
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a picture to a file in one step: the whole file appears under its name, or nothing does.

    A temporary file in the same folder is filled, flushed to the disk and renamed. A symbolic link is replaced, its
    target is not touched. What the format can't hold is reduced as `conform` says.

    Args:
        picture: any picture.
        path: the file; its folder must exist.
        format: a name out of `FORMATS`; None takes it from the path's suffix.
        quality: as in `encode`.
        overwrite: replace a file that exists; otherwise it is never touched, even if it appears meanwhile.

    Raises:
        PictureError: the suffix or the format is unknown.
        EncodeError: the format can't hold the picture.
        TargetError: the folder is missing or not writable, the disk is full, or (TargetExistsError) the file exists.
    """
    target = Path(path)
    name = format_of(target) if format is None else format
    check_format(name)
    _check_target(target, overwrite=overwrite)
    try:
        data = encode(picture, name, quality=quality)
    except EncodeError as error:
        raise EncodeError(f"{shown(target)}: {error}") from None
    write_bytes(data, target, overwrite=overwrite)


def write_bytes(data: bytes, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a file in one step, as `write` does; for reports, bitstreams and whatever else must never be torn.

    Raises:
        TargetError: the folder is missing or not writable, the disk is full, or (TargetExistsError) the file exists.
    """
    target = Path(path)
    mode = _check_target(target, overwrite=overwrite)
    # Short and unlike the target's name, which may itself be as long as the file system allows.
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        try:
            _fill(temporary, data, mode)
            if overwrite:
                temporary.replace(target)
            else:
                _place(temporary, target)
        finally:
            # Also after Ctrl-C; after success it is gone already, unless it was linked.
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _target_error(target, error) from None
    _flush_folder(target.parent)


def _check_target(target: Path, *, overwrite: bool) -> int | None:
    """Refuse early what can't work; return the permissions of the file that will be replaced."""
    try:
        found = target.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _target_error(target, error) from None
    if not overwrite:
        raise _target_error(target, FileExistsError(errno.EEXIST, "exists"))
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise TargetError(f"{shown(target)}: expected a file to replace, got {kind}; choose another name")
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _fill(temporary: Path, data: bytes, mode: int | None) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - pathlib opens no descriptor
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _place(temporary: Path, target: Path) -> None:
    """Give the finished file its name, unless that is taken; decided by the file system in one step."""
    if os.name == "nt":
        temporary.rename(target)  # Windows refuses a name that is taken
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (FAT, some network drives): claim the name, then replace the empty claim.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _flush_folder(folder: Path) -> None:
    # Makes the new name itself survive a power cut; not every system lets a folder be opened or flushed.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _target_error(target: Path, error: Exception) -> TargetError:
    folder, name = shown(target.parent), shown(target)
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EEXIST:
        return TargetExistsError(f"{name}: expected a new file, got one that exists; choose another name or overwrite")
    if code in (errno.ENOENT, errno.ENOTDIR):
        return TargetError(f"{name}: expected an existing folder {folder}, got none; make it first")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return TargetError(f"{name}: expected a folder to write to, got no permission for {folder}; choose another")
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TargetError(f"{name}: expected free space, got a full disk at {folder}; free some or choose another")
    if code == errno.ENAMETOOLONG:
        return TargetError(f"{name}: expected a shorter file name, got one over the file system's limit; shorten it")
    cause = error.strerror if isinstance(error, OSError) else str(error)
    return TargetError(f"{name}: expected to write to {folder}, got: {cause}; check the disk and the name")
