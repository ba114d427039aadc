"""What passes between a Decoder and its workers: a length, that many bytes of JSON, and raw bytes behind them.

Nothing is pickled. The reading side believes no length and no type that it has not checked: a worker may have been
taken over by the file that it decodes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from io import RawIOBase
from typing import Any, cast

from safelight.media.image.picture import DEPTHS, shown
from safelight.media.image.spec import ImageSpec

MOST_METADATA = 64 << 20  # bytes of ICC, EXIF and XMP together

_LENGTH = struct.Struct(">I")
_LONGEST = 1 << 20  # bytes of JSON
_BLOBS = ("icc", "exif", "xmp")
_FACTS = ("width", "height", "channels", "depth", "alpha", "dpi", "format", "jpeg_quality", "warnings")


class PipeError(Exception):
    """The other side has gone, or sends what can't be."""


def send(stream: RawIOBase, message: Mapping[str, object], *blobs: bytes | memoryview) -> None:
    """Send a message and the raw bytes (views count bytes too) that belong to it.

    Raises:
        PipeError: nobody reads.
    """
    text = json.dumps(message).encode()
    for blob in (_LENGTH.pack(len(text)) + text, *blobs):
        rest = memoryview(blob)
        while rest:
            try:
                rest = rest[stream.write(rest) or 0 :]
            except (OSError, ValueError) as error:  # ValueError: closed on this side
                raise PipeError(str(error)) from None


def receive(stream: RawIOBase) -> dict[str, Any]:
    """Receive a message; what raw bytes belong to it, it has to say itself.

    Raises:
        PipeError: nobody sends, or something else than messages.
    """
    (length,) = _LENGTH.unpack(take(stream, _LENGTH.size))
    if length > _LONGEST:
        raise PipeError(f"a message of {length:,} bytes")
    try:
        message = json.loads(take(stream, length))
    except ValueError as error:
        raise PipeError(str(error)) from None
    if not isinstance(message, dict):
        raise PipeError("a message of another form")
    return cast("dict[str, Any]", message)


def take(stream: RawIOBase, length: int) -> bytearray:
    """Receive so many raw bytes.

    Raises:
        PipeError: there are not so many.
    """
    out = bytearray(length)
    fill(stream, memoryview(out))
    return out


def fill(stream: RawIOBase, out: memoryview) -> None:
    """Receive raw bytes until a view of bytes is full.

    Raises:
        PipeError: there are not so many.
    """
    rest = out
    while rest:
        try:
            count = stream.readinto(rest)
        except (OSError, ValueError) as error:
            raise PipeError(str(error)) from None
        if not count:
            raise PipeError("the end")
        rest = rest[count:]


def send_spec(stream: RawIOBase, frame: ImageSpec) -> None:
    """Send what a picture is.

    Raises:
        PipeError: nobody reads.
    """
    blobs = {name: blob for name in _BLOBS if (blob := getattr(frame, name)) is not None}
    facts = {name: getattr(frame, name) for name in _FACTS}
    send(stream, {"frame": facts, "blobs": {name: len(blob) for name, blob in blobs.items()}}, *blobs.values())


def receive_spec(stream: RawIOBase, message: Mapping[str, Any], max_pixels: int) -> ImageSpec:
    """Receive the rest of what a picture is, behind its message.

    Raises:
        PipeError: it is not such as a ImageSpec can be.
    """
    try:
        facts, lengths = message["frame"], message["blobs"]
        width, height, dpi, form = facts["width"], facts["height"], facts["dpi"], facts["format"]
        quality = facts["jpeg_quality"]
        sound = (
            all(type(side) is int and side > 0 for side in (width, height))
            and width * height <= max_pixels
            and facts["channels"] in (1, 3)
            and facts["depth"] in DEPTHS.values()
            and (quality is None or (type(quality) is int and 1 <= quality <= 100))
            and (dpi is None or (len(dpi) == 2 and all(type(d) is float for d in dpi)))
            and all(name in _BLOBS and type(length) is int and length >= 0 for name, length in lengths.items())
        )
        if not sound or sum(lengths.values()) > MOST_METADATA:
            raise PipeError("a picture that can't be")
        return ImageSpec(
            width=width,
            height=height,
            channels=facts["channels"],
            depth=facts["depth"],
            alpha=facts["alpha"] is True,
            dpi=None if dpi is None else (dpi[0], dpi[1]),
            format=None if form is None else shown(form),
            jpeg_quality=quality,
            warnings=tuple(shown(warning) for warning in facts["warnings"]),
            **{name: bytes(take(stream, length)) for name, length in lengths.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise PipeError(f"a picture that can't be ({error!r})") from None
