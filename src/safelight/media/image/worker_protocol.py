"""Messages between a Decoder and its workers: a length, that many bytes of JSON, and raw bytes after them.

Nothing is pickled. The reading side checks every length and type, since a hostile file may have taken over the worker.
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
    """The other side has exited, or sends invalid messages."""


def send(stream: RawIOBase, message: Mapping[str, object], *blobs: bytes | memoryview) -> None:
    """Send a message and the raw bytes that belong to it.

    Raises:
        PipeError: the pipe is closed.
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
    """Receive a message, without the raw bytes that belong to it.

    Raises:
        PipeError: the pipe is closed, or the message is invalid.
    """
    (length,) = _LENGTH.unpack(receive_bytes(stream, _LENGTH.size))
    if length > _LONGEST:
        raise PipeError(f"a message of {length:,} bytes")
    try:
        message = json.loads(receive_bytes(stream, length))
    except ValueError as error:
        raise PipeError(str(error)) from None
    if not isinstance(message, dict):
        raise PipeError("a message of another form")
    return cast("dict[str, Any]", message)


def receive_bytes(stream: RawIOBase, length: int) -> bytearray:
    """Receive ``length`` raw bytes.

    Raises:
        PipeError: the pipe ends before.
    """
    out = bytearray(length)
    receive_into(stream, memoryview(out))
    return out


def receive_into(stream: RawIOBase, out: memoryview) -> None:
    """Receive raw bytes until ``out`` is full.

    Raises:
        PipeError: the pipe ends before.
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


def send_spec(stream: RawIOBase, spec: ImageSpec) -> None:
    """Send a spec.

    Raises:
        PipeError: the pipe is closed.
    """
    blobs = {name: blob for name in _BLOBS if (blob := getattr(spec, name)) is not None}
    facts = {name: getattr(spec, name) for name in _FACTS}
    send(stream, {"spec": facts, "blobs": {name: len(blob) for name, blob in blobs.items()}}, *blobs.values())


def receive_spec(stream: RawIOBase, message: Mapping[str, Any], max_pixels: int) -> ImageSpec:
    """Make the spec of a message, and receive its metadata.

    Raises:
        PipeError: it is not a valid ImageSpec.
    """
    try:
        facts, lengths = message["spec"], message["blobs"]
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
            raise PipeError("an invalid picture")
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
            **{name: bytes(receive_bytes(stream, length)) for name, length in lengths.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise PipeError(f"an invalid picture ({error!r})") from None
