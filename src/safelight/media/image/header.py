"""File headers, read before any pixel is decoded, in bounded time and memory."""

from __future__ import annotations

import errno
import io
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from safelight.media.image import containers
from safelight.media.image import exif as exif_block
from safelight.media.image.formats import (
    CAPABILITIES,
    SNIFF_BYTES,
    FormatName,
    describe_unsupported,
    is_sequence,
    sniff,
)
from safelight.media.image.jpeg import jpeg_quality
from safelight.media.image.picture import DamagedError, DecodeError, Depth, source_name
from safelight.media.image.vips import Vips, failures, is_out_of_memory, libvips, reason

_DEPTHS: dict[str, Depth] = {"uchar": "8-bit", "ushort": "16-bit", "float": "float", "uint": "float"}
_DIRECT_SPACES = ("b-w", "grey16", "srgb", "rgb16", "scrgb", "rgb", "multiband")

Colors = Literal["gray", "rgb", "cmyk", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Header of a picture file, read without decoding any pixel.

    Attributes:
        width: pixels from left to right, upright (after the EXIF rotation).
        height: pixels from top to bottom, upright.
        channels: 1 or 3, as `read` returns them; alpha is not counted.
        depth: as `read` returns it.
        format: the format that the content declares.
        frames: frames of an animation or pages of a document; `read` takes the first.
        orientation: EXIF orientation as stored, 1 to 8.
        colors: colour space as stored.
        has_alpha: the picture has transparency.
        has_icc: there is an ICC profile.
        has_exif: there is EXIF.
        has_xmp: there is XMP.
        dpi: pixels per inch, horizontal and vertical, upright, if the file says so.
        jpeg_quality: estimated quality of a JPEG file, 1 to 100; None for other formats.
    """

    width: int
    height: int
    channels: int
    depth: Depth
    format: str
    frames: int
    orientation: int
    colors: Colors
    has_alpha: bool
    has_icc: bool
    has_exif: bool
    has_xmp: bool
    dpi: tuple[float, float] | None
    jpeg_quality: int | None


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An open file, and the format that its content declares."""

    name: str
    handle: BinaryIO
    data: bytes | None
    format: FormatName
    sequence: bool  # an AVIF animation, whose frames libvips doesn't count

    def at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`; don't use it once libvips reads, which shares the file position."""
        self.handle.seek(offset)
        return self.handle.read(length)


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A file whose header is read: libvips' image (not decoded yet) and the metadata."""

    image: Vips
    header: ImageHeader
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ScannedFacts:
    """Metadata that is read here because libvips ignores or guesses it."""

    orientation: int | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    frames: int = 1
    jpeg_quality: int | None = None
    note: str | None = None


@contextmanager
def open_image_file(source: str | Path | bytes, name: str | None = None) -> Generator[ImageFile]:
    """Open a source and recognise its format.

    Args:
        source: path, or the bytes of a file.
        name: name in messages; by default that of the source.

    Raises:
        DecodeError: it is missing, unreadable, empty or of no known format.
    """
    name = source_name(source) if name is None else name
    with _handle(source, name) as handle:
        try:
            head = handle.read(SNIFF_BYTES)
        except OSError as error:
            raise DecodeError(f"{name}: expected a readable file, got {error.strerror}; check the disk") from None
        if not head:
            raise DecodeError(f"{name}: expected a picture, got an empty file; get a fresh copy")
        found = sniff(head)
        if found is None:
            known = ", ".join(f.upper() for f in CAPABILITIES)
            raise DecodeError(
                f"{name}: expected a picture ({known}), got {describe_unsupported(head)}; "
                "convert it to one of these first"
            )
        data = source if isinstance(source, bytes) else None
        yield ImageFile(name, handle, data, found, found == "avif" and is_sequence(head))


def _handle(source: str | Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    path = Path(source)
    try:
        mode = path.stat().st_mode
        # Opening a named pipe would wait for a writer, perhaps for ever.
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise DecodeError(f"{name}: expected a picture file, got {kind}; name a file")
        return path.open("rb", buffering=0)  # libvips shares the position, so a buffer would lie
    except OSError as error:
        causes = {
            errno.ENOENT: "no such file; check the name",
            errno.ENOTDIR: "no such file; check the name",
            errno.EACCES: "no permission to read it; change its permissions",
            errno.EPERM: "no permission to read it; change its permissions",
            errno.ELOOP: "a link that leads in a circle; name the file itself",
            errno.ENAMETOOLONG: "a name that is too long; check the name",
        }
        cause = causes.get(error.errno or 0, f"{error.strerror}; check the file and the disk")
        raise DecodeError(f"{name}: expected a picture file, got {cause}") from None
    except ValueError:  # a NUL in the name
        raise DecodeError(f"{name}: expected a file name, got one with a NUL in it; check the name") from None


def open_header(file: ImageFile, fail_on: Literal["warning", "none"]) -> OpenedImage:
    """Read a file's header.

    Args:
        file: the open file.
        fail_on: what stops libvips. "warning" rejects every truncated file of every format in the tests and no intact
            one; the milder "error" accepts some damaged JPEG and TIFF files.

    Raises:
        DecodeError: the header is damaged, or the pixels are of a kind that a Picture doesn't hold.
    """
    own = _scan(file)
    image = _load(file, fail_on)
    fields: set[str] = set(image.get_fields())
    bands, kind, stored = int(image.bands), str(image.format), str(image.interpretation)
    alpha = bool(image.hasalpha())
    colors: Colors = "cmyk" if stored == "cmyk" else "other" if stored not in _DIRECT_SPACES else "rgb"
    if colors == "rgb" and bands - alpha == 1:
        colors = "gray"
    known = kind in _DEPTHS or stored == "labs"
    if not known or (colors != "cmyk" and bands - alpha not in (1, 3)):
        raise DecodeError(
            f"{file.name}: expected gray or colour pixels of 8 or 16 bits or float, got {bands} channels "
            f"as {kind}; convert it to one of these first"
        )
    notes = [] if own.note is None else [own.note]
    orientation, dpi, exif = own.orientation or 1, own.dpi, own.exif
    if file.format == "tiff" and own.orientation is None and "orientation" in fields:
        orientation = int(image.get("orientation"))  # BigTIFF
    if file.format != "tiff":
        exif = exif_block.strip_prefix(_blob(image, fields, "exif-data")) or None
    if file.format == "jpeg" and "resolution-unit" in fields:
        # Without a unit libvips says 72. It keeps the resolution per millimetre.
        dpi = (image.xres * 25.4, image.yres * 25.4)
    if exif is not None:
        read = exif_block.reader(exif)
        try:
            # AVIF rotates by a property of its own, which libvips has obeyed: its EXIF only repeats it.
            if file.format not in ("avif", "tiff"):
                orientation = exif_block.orientation(read)
            dpi = dpi or exif_block.resolution(read)
        except exif_block.MalformedExifError as error:
            notes.append(f"EXIF dropped: it is damaged ({error})")
            exif = None
    frames = int(image.get("n-pages")) if "n-pages" in fields else own.frames
    if frames > 1:
        notes.append(f"first of {frames} {'pages' if file.format == 'tiff' else 'frames'}")
    elif file.sequence:
        notes.append("first frame of a sequence")
    width, height = int(image.width), int(image.height)
    dpi = None if dpi is None else (_neat(dpi[0]), _neat(dpi[1]))
    if orientation >= 5:
        width, height = height, width
        dpi = None if dpi is None else (dpi[1], dpi[0])
    icc, xmp = _blob(image, fields, "icc-profile-data"), _blob(image, fields, "xmp-data")
    header = ImageHeader(
        width=width,
        height=height,
        channels=1 if colors == "gray" else 3,
        depth="8-bit" if stored == "lab" else _DEPTHS.get(kind, "16-bit"),
        format=file.format,
        frames=frames,
        orientation=orientation,
        colors=colors,
        has_alpha=alpha,
        has_icc=bool(icc),
        has_exif=exif is not None,
        has_xmp=bool(xmp),
        dpi=dpi,
        jpeg_quality=own.jpeg_quality,
    )
    return OpenedImage(image, header, icc or None, exif, xmp or None, tuple(notes))


def _scan(file: ImageFile) -> _ScannedFacts:
    if file.format == "png":
        try:
            png = containers.png_facts(file.at)
        except ValueError as error:
            raise DecodeError(f"{file.name}: expected {error}; strip its metadata if you trust the file") from None
        return _ScannedFacts(dpi=png.dpi, frames=png.frames)
    if file.format == "jpeg":
        quality = jpeg_quality(file.at)
        return _ScannedFacts(jpeg_quality=None if quality is None else quality.value)
    if file.format != "tiff":
        return _ScannedFacts()
    try:
        raw = exif_block.is_camera_raw(file.at)
        orientation, dpi = exif_block.orientation(file.at), exif_block.resolution(file.at)
    except exif_block.MalformedExifError:
        return _ScannedFacts()  # BigTIFF, or damage that libvips will name
    if raw:
        raise DecodeError(
            f"{file.name}: expected a picture, got a camera raw file; develop it to a TIFF or JPEG file first"
        )
    try:
        return _ScannedFacts(orientation, dpi, exif_block.from_tiff(file.at))
    except exif_block.MalformedExifError as error:
        return _ScannedFacts(orientation, dpi, note=f"EXIF dropped: it is damaged ({error})")


def _load(file: ImageFile, fail_on: str) -> Vips:
    pyvips = libvips()
    # Warnings that a lenient reading passed over would be taken for the cause of this file's failure.
    pyvips.vips_lib.vips_error_clear()
    options: dict[str, object] = {"access": "sequential", "fail_on": fail_on}
    if file.format == "tiff":
        # Otherwise one strip or tile may hold at most 50 MB, which healthy scans exceed; max_pixels is the bound.
        options["unlimited"] = True
    try:
        if file.data is None:
            file.handle.seek(0)
            # libvips duplicates the descriptor, so that it may outlive the handle.
            source = pyvips.Source.new_from_descriptor(file.handle.fileno())
        else:
            source = pyvips.Source.new_from_memory(file.data)
        return getattr(pyvips.Image, f"{CAPABILITIES[file.format].loader}_source")(source, **options)
    except failures() as error:
        raise read_error(file, error, "a header that does not read", "get a fresh copy") from None


def read_error(file: ImageFile, error: Exception, got: str, advice: str) -> DecodeError:
    """Return the error for a file that libvips can't read: damaged, unless memory was short.

    Args:
        file: the file.
        error: libvips' error.
        got: what was found instead of an undamaged file.
        advice: what to do about the damage.
    """
    if is_out_of_memory(error):
        return DecodeError(
            f"{file.name}: expected a picture that decodes in the memory there is, got one that needs more "
            f"({reason(error)}); save it as a TIFF file first, which is decoded in strips"
        )
    return DamagedError(
        f"{file.name}: expected an undamaged {file.format.upper()} file, got {got} ({reason(error)}); {advice}"
    )


def _blob(image: Vips, fields: set[str], name: str) -> bytes:
    return bytes(image.get(name)) if name in fields else b""


def _neat(dpi: float) -> float:
    # PNG counts whole pixels per metre, in steps of 0.0254 dpi: 300 dpi comes back as 299.9994.
    near = round(dpi)
    return float(near) if near and abs(dpi - near) <= 0.0127 else round(dpi, 4)
