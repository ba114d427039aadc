"""A process that decodes pictures for a Decoder: ``python -m safelight.media.image.decode_worker BYTES``.

It reads requests from standard input and answers on standard output (see `worker_protocol`): first that it is ready,
then once for each request except "close". It exits at the end of its input. Its memory is limited where the system
supports that. If it crashes, only one file is lost.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, suppress
from io import FileIO, RawIOBase
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from safelight.media.image.header import open_image_file
from safelight.media.image.picture import DecodeError, PictureError
from safelight.media.image.rows import Rows, rows_of
from safelight.media.image.vips import libvips
from safelight.media.image.worker_protocol import MOST_METADATA, PipeError, receive, receive_bytes, send, send_spec

_Task: TypeAlias = tuple[dict[str, Any], bytes]


def main(memory: int) -> None:
    """Serve requests until the input ends.

    Args:
        memory: bytes that decoding may use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = FileIO(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not get between the answers
    tasks: SimpleQueue[_Task] = SimpleQueue()
    Thread(target=_listen, args=(FileIO(0, "rb"), tasks), daemon=True).start()
    try:
        libvips()
        _limit(memory)
        send(answers, {})
    except PictureError as error:
        send(answers, {"error": type(error).__name__, "text": str(error)})
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)  # output of libraries is discarded from here on
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with suppress(PipeError):
        _serve(tasks, answers)


def _listen(stream: RawIOBase, tasks: SimpleQueue[_Task]) -> None:
    """Queue the requests, and exit at their end, even while a file is being decoded."""
    try:
        while True:
            message = receive(stream)
            tasks.put((message, bytes(receive_bytes(stream, message["bytes"]))))
    finally:
        os._exit(0)


def _limit(memory: int) -> None:
    try:
        import resource
    except ImportError:  # as on Windows
        return
    with suppress(ValueError, OSError):  # a system that has the call but not the limit
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Not the address space: it counts what is only reserved, hundreds of megabytes for a few threads.
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (memory if most < 0 else min(memory, most), most))


def _serve(tasks: SimpleQueue[_Task], answers: RawIOBase) -> None:
    rows: Rows | None = None
    name = ""
    with ExitStack() as opened:
        while True:
            task, data = tasks.get()
            try:
                if task["do"] != "read":
                    rows = None
                    opened.close()
                if task["do"] == "open":
                    name = task["name"]
                    file = opened.enter_context(open_image_file(os.fsdecode(data) if task["path"] else data, name))
                    rows = rows_of(file, max_pixels=task["max_pixels"], lenient=task["lenient"])
                    metadata = sum(len(blob or b"") for blob in (rows.spec.icc, rows.spec.exif, rows.spec.xmp))
                    if metadata > MOST_METADATA:
                        raise DecodeError(
                            f"{name}: expected at most {MOST_METADATA >> 20} MB of metadata, got "
                            f"{metadata / 2**20:.0f} MB; strip it if you trust the file"
                        )
                    send_spec(answers, rows.spec)
                elif rows is not None:
                    band = rows.read(task["count"])
                    send(answers, {"bytes": band.nbytes}, band.data.cast("B"))
            except PipeError:
                raise
            except PictureError as error:
                send(answers, {"error": type(error).__name__, "text": str(error)})
            except Exception as error:
                got = "needs more memory than there is" if isinstance(error, MemoryError) else f"ends in {error!r}"
                text = f"{name}: expected a picture that decodes, got one that {got}; save it anew as a TIFF file"
                send(answers, {"error": DecodeError.__name__, "text": text})


if __name__ == "__main__":
    main(int(sys.argv[1]))
