"""libvips, imported when it is first used."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any, TypeAlias

from safelight.media.image.picture import PictureError, one_line, shown

Vips: TypeAlias = Any  # pyvips' module and images, whose methods are made at run time


@cache
def libvips() -> Vips:
    """Import and configure pyvips, and return the module.

    Raises:
        PictureError: pyvips or the libvips library is missing.
    """
    # libvips' warnings are raised as exceptions or ignored with `lenient`; hundreds of log lines about one damaged
    # file don't help, unless the level of this logger was set.
    logger = logging.getLogger("pyvips")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.ERROR)
    try:
        pyvips: Vips = importlib.import_module("pyvips")
    except Exception as error:  # pyvips raises a bare Exception or OSError when the library does not load
        raise PictureError(
            f"expected the package pyvips with its library, got {error}; run: pip install 'pyvips[binary]'"
        ) from None
    # A cached operation would answer for a file that has changed since, and would keep pictures in memory.
    pyvips.cache_set_max(0)
    # The rows that wait between two steps grow with the threads: on 64 cores a wide picture would take 500 MB of them.
    # What takes its time, decoding and encoding, is done by one thread anyway.
    pyvips.concurrency_set(min(pyvips.concurrency_get(), 4))
    return pyvips


def failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of libvips' calls; messages that quote damaged bytes raise UnicodeDecodeError."""
    return (libvips().Error, UnicodeDecodeError, MemoryError)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether libvips or its codec failed for lack of memory."""
    said = (
        "out of memory",  # libvips
        "Insufficient memory (case",  # libjpeg
        "No space for data buffer",  # libtiff
        "Memory allocation error (",  # libheif, as the next
        "bytes failed (6.0)",
    )
    return isinstance(error, MemoryError) or any(words in _detail(error) for words in said)


def reason(error: Exception) -> str:
    """Return in a few words why libvips failed: the first line of its messages that names the cause."""
    # Of several threads that fail together, those behind the first say "load error", and may say it before; and the
    # search for the end of an AVIF file, which libvips takes for failed seeks, comes before what is wrong with it.
    known = [shown(one_line(line)) for line in _detail(error).splitlines() if line.strip()]
    lines = [line for line in known if not (line.endswith(": load error") or line.startswith("source: bad seek"))]
    text = lines[0] if lines else "damaged data"
    return text if len(text) <= 120 else text[:117] + "..."


def _detail(error: Exception) -> str:
    return str(getattr(error, "detail", ""))  # a UnicodeDecodeError has none
