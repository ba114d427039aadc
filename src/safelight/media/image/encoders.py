"""From rows to a file's bytes: PNG, TIFF and JPEG while the rows come, the other formats when all are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

from numpy.typing import NDArray

from safelight.media.image import containers
from safelight.media.image import exif as exif_block
from safelight.media.image.output_file import Data, Sink, write_all
from safelight.media.image.reduction import gather, needs_big_tiff
from safelight.media.image.row_source import Feed
from safelight.media.image.spec import ImageSpec
from safelight.media.image.vips import Vips, failures, libvips, reason

_KINDS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}

# Measured on enlarged photographs, in megapixels a second of one core and bytes against libvips' slowest filters and
# level 6: level 3 behind the filter "up" is three to four times as fast (35 for 10) and 8 % larger, level 2 is 20 %
# faster still and 13 % larger. In TIFF, level 3 is twice as fast (32 for 14) and 5 % larger; LZW is slower and larger.
_PNG = {"compression": 3, "filter": "up"}
_TIFF = {"compression": "deflate", "level": 3, "resunit": "inch"}


class EncoderError(Exception):
    """The encoder failed; the text says it in one line. Unlike an EncodeError, it never comes from the rows."""


def save(frame: ImageSpec, rows: Iterable[NDArray[Any]], sink: Sink, target: str, quality: int) -> None:
    """Encode a picture that its format can hold, as `Reduction` makes it, and put its metadata where they belong.

    What the rows or the sink raise comes out as it is.

    Args:
        frame: the picture but for its pixels.
        rows: exactly its rows, (h, width, bands), from top to bottom; each is copied before the next is asked for.
        sink: takes the bytes; for TIFF it can seek and read as well.
        target: a name out of `FORMATS`.
        quality: 1 to 100, where the format has it.

    Raises:
        EncoderError: libvips fails.
    """
    keep = libvips().ForeignKeep.ICC | libvips().ForeignKeep.XMP
    exif, dpi = frame.exif, frame.dpi
    match target:
        case "jpeg":
            # 4:4:4: a restored picture's colour edges are not thrown away in the last step. Tables made for the
            # picture would save 2 % of the bytes, take four times as long, and need all of it in memory.
            how = {"Q": quality, "subsample_mode": "off", "keep": keep}
            head = _Headed(sink, lambda data: containers.jpeg_head(data, exif, dpi))
            _stream(frame, rows, head, target, lambda image, file: image.jpegsave_target(file, **how))
        case "png":
            how = {**_PNG, "keep": keep}
            head = _Headed(sink, lambda data: containers.png_head(data, exif, dpi))
            _stream(frame, rows, head, target, lambda image, file: image.pngsave_target(file, **how))
        case "tiff":
            big = needs_big_tiff(frame)
            predictor = "float" if frame.depth == "float" else "horizontal"
            how = {**_TIFF, "predictor": predictor, "bigtiff": big, "keep": keep}
            _stream(frame, rows, sink, target, lambda image, file: image.tiffsave_target(file, **how))
            if not big:
                exif_block.into_tiff(sink, exif, dpi)
        case _:
            pixels = gather(frame, rows)
            try:
                data = _save_whole(frame, pixels, target, quality)
            except failures() as error:
                raise _told(frame, target, error) from None
            write_all(sink, data)


def _stream(
    frame: ImageSpec, rows: Iterable[NDArray[Any]], sink: Sink, target: str, encode: Callable[[Vips, Vips], None]
) -> None:
    """Let libvips encode in a thread what this one gets row by row.

    The rows are asked for here, in the caller's thread: it holds torch's modes, and an interruption arrives in it.
    """
    feed, onward = Feed(frame), _Onward(sink)
    failed: list[BaseException] = []

    def work() -> None:
        source, custom = feed.source(), onward.custom()
        try:
            image = libvips().Image.tiffload_source(source, access="sequential", fail_on="warning")
            encode(_dressed(image, frame), custom)
        except BaseException as error:  # carried over to the thread that waits for it
            # Without its frames: the images in them must go before the source and the target do.
            failed.append(_told(frame, target, error.with_traceback(None)))
        finally:
            image = None
            feed.close()

    thread = Thread(target=work, name="safelight-encoder", daemon=True)
    thread.start()
    try:
        for some in rows:
            if not feed.put(some.tobytes()):
                break
        else:
            thread.join()
    finally:
        feed.close()
        onward.close()  # after an exception nobody wants what libvips still has in hand
        thread.join()
    # What the sink raised is why libvips failed.
    for error in (onward.error, *failed):
        if error is not None:
            raise error


def _told(frame: ImageSpec, target: str, error: BaseException) -> BaseException:
    """Return what an exception of libvips means; others stay as they are."""
    if isinstance(error, MemoryError) or not isinstance(error, failures()):
        return error
    return EncoderError(
        f"expected to encode {frame.width} x {frame.height} pixels as {target.upper()}, "
        f"got: {reason(error)}; choose another format"
    )


class _Onward:
    """Carries what libvips writes to a sink. An exception must not enter libvips: it is kept for who waits."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._open = True
        self.error: BaseException | None = None

    def custom(self) -> Vips:
        """Return libvips' end of it."""
        target = libvips().TargetCustom()
        target.on_write(self._write)
        target.on_read(self._read)
        target.on_seek(self._seek)
        return target

    def close(self) -> None:
        """Refuse what libvips still wants to write."""
        self._open = False

    def _write(self, data: Any) -> int:  # noqa: ANN401 - cffi's buffer
        if not self._open:
            return -1
        try:
            write_all(self._sink, bytes(data))  # a copy: libvips' memory is gone when this returns
        except BaseException as error:  # the same in all three
            self.error = error
            return -1
        return len(data)

    def _read(self, count: int) -> bytes:
        try:
            return self._sink.read(count)
        except BaseException as error:
            self.error = error
            return b""

    def _seek(self, offset: int, whence: int) -> int:
        try:
            return self._sink.seek(offset, whence)
        except BaseException as error:
            self.error = error
            return -1


class _Headed:
    """A sink that holds a file's head back until it is whole, and passes it on changed."""

    def __init__(self, sink: Sink, change: Callable[[bytearray], bytes | None]) -> None:
        self._sink = sink
        self._change = change
        self._head: bytearray | None = bytearray()

    def write(self, data: Data) -> int:
        if self._head is None:
            return self._sink.write(data)
        self._head += data
        changed = self._change(self._head)
        if changed is not None:
            self._head = None
            write_all(self._sink, changed)
        return len(data)

    def read(self, count: int) -> bytes:
        return self._sink.read(count)

    def seek(self, offset: int, whence: int) -> int:
        return self._sink.seek(offset, whence)


def _dressed(image: Vips, frame: ImageSpec) -> Vips:
    """Return an image of a frame's pixels with its colour space and what libvips writes of its metadata."""
    deep = frame.depth == "16-bit"
    space = ("grey16" if deep else "b-w") if frame.channels == 1 else ("rgb16" if deep else "srgb")
    x, y = frame.dpi or (25.4, 25.4)
    image = image.copy(interpretation=space, xres=x / 25.4, yres=y / 25.4)
    _attach(image, {"icc-profile-data": frame.icc, "xmp-data": frame.xmp})
    return image


def _attach(image: Vips, blobs: dict[str, bytes | None]) -> None:
    for name, blob in blobs.items():
        if blob is not None:
            image.set_type(libvips().GValue.blob_type, name, blob)


def _save_whole(frame: ImageSpec, pixels: NDArray[Any], target: str, quality: int) -> bytes:
    pyvips = libvips()
    kind = _KINDS[pixels.dtype.name]
    memory = pyvips.Image.new_from_memory(pixels.data, frame.width, frame.height, frame.bands, kind)
    image, exif, flags = _dressed(memory, frame), frame.exif, pyvips.ForeignKeep
    keep = flags.ICC | flags.XMP
    match target:
        case "webp":
            # exact: colours under full transparency stay, as alpha may be edited later.
            how = {"Q": quality, "lossless": quality == 100, "exact": True, "smart_subsample": True}
            data = image.webpsave_buffer(keep=keep, **how)
            return containers.into_webp(data, exif, width=frame.width, height=frame.height, alpha=frame.alpha)
        case "avif":
            if exif is not None:
                _attach(image, {"exif-data": containers.avif_room(exif)})
                keep |= flags.EXIF
            bits = 12 if frame.depth == "16-bit" else 8
            how = {"Q": quality, "lossless": quality == 100, "bitdepth": bits, "subsample_mode": "off"}
            # libvips' own effort of 4 takes seven times as long (9 s a megapixel) for 3 % fewer bytes.
            data = image.heifsave_buffer(keep=keep, compression="av1", effort=2, **how)
            try:
                return data if exif is None else containers.into_avif(data, exif)
            except ValueError as error:  # another libheif, with a table of another form
                raise EncoderError(
                    f"expected to put EXIF into the AVIF file, got: {error}; drop the EXIF or write another format"
                ) from None
        case _:
            return image.gifsave_buffer(keep=flags.NONE)
