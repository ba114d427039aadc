"""Encoders: PNG, TIFF and JPEG encode while the rows arrive, the other formats when all rows are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

from numpy.typing import NDArray

from safelight.media.image import containers
from safelight.media.image import exif as exif_block
from safelight.media.image.output_file import Data, Sink, write_all
from safelight.media.image.reduction import needs_big_tiff, stack_rows
from safelight.media.image.row_source import RowSource
from safelight.media.image.spec import ImageSpec
from safelight.media.image.vips import Vips, failures, libvips, reason

_KINDS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}

# Measured on enlarged photographs, in megapixels a second of one core and bytes against libvips' slowest filters and
# level 6: level 3 behind the filter "up" is three to four times as fast (35 for 10) and 8 % larger, level 2 is 20 %
# faster still and 13 % larger. In TIFF, level 3 is twice as fast (32 for 14) and 5 % larger; LZW is slower and larger.
_PNG = {"compression": 3, "filter": "up"}
_TIFF = {"compression": "deflate", "level": 3, "resunit": "inch"}


class EncoderError(Exception):
    """The encoder failed; the message is one line. Unlike an EncodeError, it is never raised by the rows."""


def save(spec: ImageSpec, rows: Iterable[NDArray[Any]], sink: Sink, target: str, quality: int) -> None:
    """Encode a picture that its format can hold, as `FormatConverter` makes it, with its metadata.

    Exceptions from the rows or the sink pass through unchanged.

    Args:
        spec: the picture without its pixels.
        rows: all its rows, (h, width, bands), from top to bottom; each is copied before the next is requested.
        sink: gets the bytes; for TIFF it must also seek and read.
        target: a name out of `FORMATS`.
        quality: 1 to 100, where the format has it.

    Raises:
        EncoderError: libvips fails.
    """
    keep = libvips().ForeignKeep.ICC | libvips().ForeignKeep.XMP
    exif, dpi = spec.exif, spec.dpi
    match target:
        case "jpeg":
            # 4:4:4: a restored picture's colour edges are not thrown away in the last step. Tables made for the
            # picture would save 2 % of the bytes, take four times as long, and need all of it in memory.
            how = {"Q": quality, "subsample_mode": "off", "keep": keep}
            head = _HeaderRewriter(sink, lambda data: containers.jpeg_head(data, exif, dpi))
            _stream(spec, rows, head, target, lambda image, file: image.jpegsave_target(file, **how))
        case "png":
            how = {**_PNG, "keep": keep}
            head = _HeaderRewriter(sink, lambda data: containers.png_head(data, exif, dpi))
            _stream(spec, rows, head, target, lambda image, file: image.pngsave_target(file, **how))
        case "tiff":
            big = needs_big_tiff(spec)
            predictor = "float" if spec.depth == "float" else "horizontal"
            how = {**_TIFF, "predictor": predictor, "bigtiff": big, "keep": keep}
            _stream(spec, rows, sink, target, lambda image, file: image.tiffsave_target(file, **how))
            if not big:
                exif_block.write_to_tiff(sink, exif, dpi)
        case _:
            pixels = stack_rows(spec, rows)
            try:
                data = _save_whole(spec, pixels, target, quality)
            except failures() as error:
                raise _encoder_error(spec, target, error) from None
            write_all(sink, data)


def _stream(
    spec: ImageSpec, rows: Iterable[NDArray[Any]], sink: Sink, target: str, encode: Callable[[Vips, Vips], None]
) -> None:
    """Let libvips encode in a thread, and iterate over the rows in this one.

    The caller's thread has torch's modes, and receives interruptions.
    """
    source_rows, sink_target = RowSource(spec), _SinkTarget(sink)
    failed: list[BaseException] = []

    def work() -> None:
        source, custom = source_rows.source(), sink_target.custom()
        try:
            image = libvips().Image.tiffload_source(source, access="sequential", fail_on="warning")
            encode(_with_metadata(image, spec), custom)
        except BaseException as error:  # carried over to the thread that waits for it
            # Without its traceback: the images in its frames must be freed before the source and the target.
            failed.append(_encoder_error(spec, target, error.with_traceback(None)))
        finally:
            image = None
            source_rows.close()

    thread = Thread(target=work, name="safelight-encoder", daemon=True)
    thread.start()
    try:
        for some in rows:
            if not source_rows.put(some.tobytes()):
                break
        else:
            thread.join()
    finally:
        source_rows.close()
        sink_target.close()  # after an exception the rest of libvips' output is dropped
        thread.join()
    # What the sink raised is why libvips failed.
    for error in (sink_target.error, *failed):
        if error is not None:
            raise error


def _encoder_error(spec: ImageSpec, target: str, error: BaseException) -> BaseException:
    """Turn an exception of libvips into an EncoderError; return others unchanged."""
    if isinstance(error, MemoryError) or not isinstance(error, failures()):
        return error
    return EncoderError(
        f"expected to encode {spec.width} x {spec.height} pixels as {target.upper()}, "
        f"got: {reason(error)}; choose another format"
    )


class _SinkTarget:
    """Writes libvips' output to a sink. An exception must not pass through libvips: it is kept in ``error``."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._open = True
        self.error: BaseException | None = None

    def custom(self) -> Vips:
        """Return the libvips target."""
        target = libvips().TargetCustom()
        target.on_write(self._write)
        target.on_read(self._read)
        target.on_seek(self._seek)
        return target

    def close(self) -> None:
        """Reject further writes."""
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


class _HeaderRewriter:
    """A sink that buffers a file's header until it is complete, and writes a changed one."""

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


def _with_metadata(image: Vips, spec: ImageSpec) -> Vips:
    """Return an image with the spec's colour space and the metadata that libvips writes."""
    deep = spec.depth == "16-bit"
    space = ("grey16" if deep else "b-w") if spec.channels == 1 else ("rgb16" if deep else "srgb")
    x, y = spec.dpi or (25.4, 25.4)
    image = image.copy(interpretation=space, xres=x / 25.4, yres=y / 25.4)
    _attach(image, {"icc-profile-data": spec.icc, "xmp-data": spec.xmp})
    return image


def _attach(image: Vips, blobs: dict[str, bytes | None]) -> None:
    for name, blob in blobs.items():
        if blob is not None:
            image.set_type(libvips().GValue.blob_type, name, blob)


def _save_whole(spec: ImageSpec, pixels: NDArray[Any], target: str, quality: int) -> bytes:
    pyvips = libvips()
    kind = _KINDS[pixels.dtype.name]
    memory = pyvips.Image.new_from_memory(pixels.data, spec.width, spec.height, spec.bands, kind)
    image, exif, flags = _with_metadata(memory, spec), spec.exif, pyvips.ForeignKeep
    keep = flags.ICC | flags.XMP
    match target:
        case "webp":
            # exact: colours under full transparency stay, as alpha may be edited later.
            how = {"Q": quality, "lossless": quality == 100, "exact": True, "smart_subsample": True}
            data = image.webpsave_buffer(keep=keep, **how)
            return containers.add_webp_exif(data, exif, width=spec.width, height=spec.height, alpha=spec.alpha)
        case "avif":
            if exif is not None:
                _attach(image, {"exif-data": containers.avif_exif_placeholder(exif)})
                keep |= flags.EXIF
            bits = 12 if spec.depth == "16-bit" else 8
            how = {"Q": quality, "lossless": quality == 100, "bitdepth": bits, "subsample_mode": "off"}
            # libvips' own effort of 4 takes seven times as long (9 s a megapixel) for 3 % fewer bytes.
            data = image.heifsave_buffer(keep=keep, compression="av1", effort=2, **how)
            try:
                return data if exif is None else containers.fill_avif_placeholder(data, exif)
            except ValueError as error:  # another libheif, with a table of another form
                raise EncoderError(
                    f"expected to put EXIF into the AVIF file, got: {error}; drop the EXIF or write another format"
                ) from None
        case _:
            return image.gifsave_buffer(keep=flags.NONE)
