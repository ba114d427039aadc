"""Pictures and their files: the only part of Safelight that knows an image library.

`read` returns a `Picture` (pixels at their own depth, upright, with their metadata), `write` writes one atomically;
`from_any` and `to_kind` convert from and to pictures in memory.
`open_rows` reads a picture row by row, so that it is never in memory as a whole; a `Decoder` does so in worker
processes, which a hostile file may crash, block or exhaust without harm.

Kept are 8 and 16 bits, float (TIFF), alpha, ICC, EXIF, XMP and resolution. Thumbnails are dropped, since they show the
picture before it was restored; so are comments, IPTC, further frames and pages, and gain maps.
Decoding takes the memory of the pixels once; a rotated picture takes one more copy for a moment.
"""

from safelight.media.image.convert import from_any, to_kind
from safelight.media.image.decoder import Decoder, OpenPicture
from safelight.media.image.formats import FORMATS, SUFFIXES, format_of
from safelight.media.image.header import ImageHeader
from safelight.media.image.jpeg import JpegQuality, jpeg_quality
from safelight.media.image.output_file import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, remove_temporary_files, write_bytes
from safelight.media.image.picture import (
    DamagedError,
    DecodeError,
    Depth,
    EncodeError,
    Picture,
    PictureError,
    TargetError,
    TargetExistsError,
    to_depth,
)
from safelight.media.image.reading import DEFAULT_MAX_PIXELS, probe, read
from safelight.media.image.reduction import conform
from safelight.media.image.rows import Rows, open_rows
from safelight.media.image.spec import ImageSpec, picture_of, spec_of
from safelight.media.image.writing import encode, write, write_rows

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "SUFFIXES",
    "TEMPORARY_PREFIX",
    "TEMPORARY_SUFFIX",
    "DamagedError",
    "DecodeError",
    "Decoder",
    "Depth",
    "EncodeError",
    "ImageHeader",
    "ImageSpec",
    "JpegQuality",
    "OpenPicture",
    "Picture",
    "PictureError",
    "Rows",
    "TargetError",
    "TargetExistsError",
    "conform",
    "encode",
    "format_of",
    "from_any",
    "jpeg_quality",
    "open_rows",
    "picture_of",
    "probe",
    "read",
    "remove_temporary_files",
    "spec_of",
    "to_depth",
    "to_kind",
    "write",
    "write_bytes",
    "write_rows",
]
