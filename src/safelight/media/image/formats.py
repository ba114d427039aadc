"""File formats that are read and written: how each is recognised, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from safelight.media.image.picture import PictureError, shown

FormatName = Literal["jpeg", "png", "webp", "tiff", "avif", "gif"]


@dataclass(frozen=True, slots=True)
class FormatCapabilities:
    """What a file format can hold, so that losses are known before encoding."""

    suffixes: tuple[str, ...]
    loader: str  # libvips' loader, named here so that no other loader can ever be chosen by a file's content
    max_side: int
    bits: int  # most integer bits a channel
    floats: bool = False
    alpha: bool = True
    gray: bool = True
    metadata: bool = True  # ICC, EXIF, XMP and DPI
    quality: int | None = None  # the default of a lossy format


# Qualities: chosen so that the loss of one save is hard to see.
# libjpeg stops at 65,500 pixels a side (its own constant), WebP at 16,383 and libvips' AVIF writer at 16,384.
CAPABILITIES: Mapping[str, FormatCapabilities] = MappingProxyType(
    {
        "jpeg": FormatCapabilities((".jpg", ".jpeg", ".jpe", ".jfif"), "jpegload", 65_500, 8, alpha=False, quality=95),
        "png": FormatCapabilities((".png",), "pngload", 2**31 - 1, 16),
        "webp": FormatCapabilities((".webp",), "webpload", 16_383, 8, gray=False, quality=90),
        "tiff": FormatCapabilities((".tif", ".tiff"), "tiffload", 2**31 - 1, 16, floats=True),
        "avif": FormatCapabilities((".avif",), "heifload", 16_384, 12, gray=False, quality=85),
        "gif": FormatCapabilities((".gif",), "gifload", 65_535, 8, gray=False, metadata=False),
    }
)

FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType({name: a.suffixes for name, a in CAPABILITIES.items()})
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# Number of first bytes that `sniff` and `describe_unsupported` need: SVG may begin with a long comment.
SNIFF_BYTES = 1024

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Formats that are not read, so that the message can name them.
_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "an EPS document"),
    (b"BM", "a BMP picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"\0\0\x01\0", "an icon"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"push graphic-context", "an ImageMagick script"),
)


def sniff(head: bytes) -> FormatName | None:
    """Return the format that a file's first bytes declare, or None; the file's name is not used.

    Example:
        >>> sniff(b"GIF89a...")
        'gif'
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    # A Canon CR2 file is a TIFF too, but its first directory is a small preview, not the photograph.
    if head.startswith(_TIFF_MAGIC) and head[8:10] != b"CR":
        return "tiff"
    if head[4:8] == b"ftyp" and _brands(head) & {b"avif", b"avis"}:
        return "avif"
    return None


def is_sequence(head: bytes) -> bool:
    """Return whether an AVIF file's first bytes declare an animation."""
    return b"avis" in _brands(head)


def describe_unsupported(head: bytes) -> str:
    """Describe in a few words a file that `sniff` does not recognise."""
    if head[4:8] == b"ftyp":
        heic = _brands(head) & {b"heic", b"heix", b"hevc", b"heim", b"mif1"}
        return "a HEIC picture" if heic else "a video or another ISO media file"
    if head.startswith(_TIFF_MAGIC):
        return "a camera raw file"
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith(b"<"):
        return "an XML document"
    return "no picture format known here"


def _brands(head: bytes) -> set[bytes]:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[i : i + 4] for i in range(16, size - 3, 4))}


def format_of(path: str | Path) -> str:
    """Return the format of a file name's suffix, such as "jpeg" for `a.JPG`.

    Raises:
        PictureError: the suffix is missing or unknown; the message lists the known ones.

    Example:
        >>> format_of("holiday/IMG_0001.JPG")
        'jpeg'
    """
    suffix = Path(path).suffix.lower()
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    known = " ".join(s for suffixes in FORMATS.values() for s in suffixes)
    got = f"the suffix {shown(suffix)}" if suffix else "no suffix"
    raise PictureError(f"{shown(path)}: expected a file name that ends in one of {known}, got {got}; rename the output")


def check_format(name: str) -> FormatCapabilities:
    """Return what a named format can hold.

    Raises:
        PictureError: the format is unknown.
    """
    if name not in CAPABILITIES:
        raise PictureError(f"expected a format out of {', '.join(CAPABILITIES)}, got {shown(name)}; choose one of them")
    return CAPABILITIES[name]
