"""Make a result: decode, restore, encode. On this machine; ``ray_backend`` has the others."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch

from safelight import batch, inference
from safelight.core.outputs import Bitstream, Clip, Image, Images, Value
from safelight.core.solver_input import SolverProgress
from safelight.inference.autofix import AutoFix
from safelight.inference.runner import InferenceRequest
from safelight.media import image
from safelight.web.job import JobResult, ServerJob
from safelight.web.limits import ServerLimits
from safelight.web.parse_request import TYPES, TaskRequest, with_pictures

PATIENCE = 5.0  # seconds for a piece of a picture's decoding
MOST_TO_DECODE = 1 << 30  # bytes of memory
_READY = 16  # methods with their weights that a worker keeps


def use_cores(count: int) -> None:
    """Let this thread compute on so many cores."""
    torch.get_num_threads()  # a thread's first look sets it to what all have, and would do so later otherwise
    torch.set_num_threads(count)


class Workload(Protocol):
    """What is to be made, and who is told how it goes: a job, or one's place on another machine."""

    ask: TaskRequest
    cut: bool

    def progress(self, fraction: float) -> None:
        """Take in what is done; it may raise to end the work."""
        ...

    def observe(self, step: SolverProgress) -> bool:
        """Take in where an iteration stands, and say whether it may go on."""
        ...


class Backend(Protocol):
    """Who computes.

    Attributes:
        places: Jobs that it does at a time; ``None``: those of this machine.
    """

    places: int | None

    def open(self) -> None:
        """Make ready."""
        ...

    def make(self, job: ServerJob) -> JobResult:
        """Make a job's result; it is called by several threads."""
        ...

    def picture(self, file: bytes) -> image.Picture:
        """Decode a file."""
        ...

    def close(self) -> None:
        """End."""
        ...


class LocalBackend:
    """Computes in this process.

    Args:
        limits: What clients may have.
    """

    places: int | None = None

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._decoder = image.Decoder(workers=2, timeout=PATIENCE, memory=MOST_TO_DECODE)
        self._own = threading.local()  # what is ready in a thread: networks are not shared between them

    def open(self) -> None:
        """Start the processes that decode."""
        self._decoder.start()

    def close(self) -> None:
        """End them."""
        self._decoder.close()

    def make(self, job: Workload) -> JobResult:
        """Make a result.

        Raises:
            RequestError, CardError, PictureError: It can't be made.
        """
        ask = job.ask
        pictures = {name: tuple(self.picture(file) for file in files) for name, files in ask.pictures.items()}
        restorer = self._restorer(ask, with_pictures(ask, pictures))
        if batch.is_iterative(restorer):
            batch.set_observer(restorer, job.observe)
        began = time.monotonic()
        if not batch.is_streamed(restorer):
            assert isinstance(restorer, inference.Runner)
            return self._output(ask, restorer, job, began)
        warnings: list[str] = []
        with self._decoder.open(ask.picture, max_pixels=self._limits.pixels) as rows:
            spec, bands = restorer.stream(rows, job.progress, warnings.append)
            format = ask.format or batch.result_format(spec.format)  # noqa: A001
            if not ask.keep_metadata:
                spec = replace(spec, exif=None, xmp=None)
            file = io.BytesIO()
            warnings[:0] = image.write_rows(spec, bands, file, format=format, quality=ask.quality)
        if job.cut:
            most = self._limits.seconds
            warnings.append(f"ended after {most:g} s, the most that this server allows: this is the best so far")
        described = restorer.describe() if isinstance(restorer, inference.Runner) else batch.restorer_name(restorer)
        return JobResult(
            content=file.getvalue(), media_type=TYPES[format], size=(spec.width, spec.height), method=described,
            seconds=time.monotonic() - began, warnings=tuple(warnings),
        )  # fmt: skip

    def _output(self, ask: TaskRequest, runner: inference.Runner, job: Workload, began: float) -> JobResult:
        """Make other outputs: bytes as they are, several pictures as a ZIP archive, a value as JSON."""
        main = runner.task.main
        warnings: tuple[str, ...] = ()
        if main is None or main.kind == "bytes":
            output = runner.execute(None if main is None else ask.picture, job.progress)
        else:
            with self._decoder.open(ask.picture, max_pixels=self._limits.pixels) as rows:
                output = runner.execute(rows, job.progress)
        size: tuple[int, int] | None = None
        match output:
            case Image(picture=picture):
                format = ask.format or "png"  # noqa: A001
                content, media_type = image.encode(picture, format, quality=ask.quality), TYPES[format]
                size, warnings = (picture.width, picture.height), picture.warnings
            case Images(pictures=pictures) | Clip(frames=pictures):
                content, media_type = _archive(pictures, ask.format or "png", ask.quality), "application/zip"
                size, warnings = (pictures[0].width, pictures[0].height), pictures[0].warnings
            case Bitstream(data=content, warnings=warnings):
                media_type = "application/octet-stream"
            case Value(value=value, name=name, unit=unit):
                content = json.dumps({"name": name, "value": value, "unit": unit}).encode()
                media_type = "application/json"
        return JobResult(
            content=content, media_type=media_type, size=size, method=runner.describe(),
            seconds=time.monotonic() - began, warnings=warnings,
        )  # fmt: skip

    def picture(self, file: bytes) -> image.Picture:
        """Decode a file, in another process.

        Raises:
            DecodeError: It is no picture, is broken, or has too many pixels.
        """
        with self._decoder.open(file, max_pixels=self._limits.pixels) as rows:
            return image.picture_of(rows.spec, rows.read(rows.spec.height))

    def _restorer(self, ask: TaskRequest, settings: InferenceRequest) -> batch.Restorer:
        """Make the method ready, or take one that is."""
        ready: OrderedDict[str, batch.Restorer] | None = getattr(self._own, "ready", None)
        if ready is None:
            ready = OrderedDict()
            self._own.ready = ready
        key = "" if ask.pictures else f"{ask.verb} {ask.card and ask.card.id} {settings!r}"
        if key in ready:
            ready.move_to_end(key)
            return ready[key]
        made = AutoFix(settings) if ask.card is None else inference.prepare(ask.card, settings)
        if key:
            ready[key] = made
            while len(ready) > _READY:
                ready.popitem(last=False)
        return made


def _archive(pictures: Sequence[image.Picture], format: str, quality: int | None) -> bytes:  # noqa: A002
    """Put pictures into a ZIP archive, as ``1.png`` and so on."""
    held = io.BytesIO()
    suffix = "jpg" if format == "jpeg" else format
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for i, picture in enumerate(pictures):
            archive.writestr(zipfile.ZipInfo(f"{i + 1}.{suffix}"), image.encode(picture, format, quality=quality))
    return held.getvalue()
