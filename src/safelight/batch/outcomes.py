"""Outcomes of jobs: done, planned, skipped or failed, with messages for the user."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Literal

from safelight.batch.inputs import STREAM, BatchError
from safelight.batch.outputs import FileJob
from safelight.checkpoints.weights_file import CheckpointError
from safelight.core.card import MissingPackageError
from safelight.core.options import CardError
from safelight.engine.device import DeviceError
from safelight.features.backbone import BackboneError
from safelight.inference.runner import NumericError
from safelight.media import image
from safelight.media.image.picture import shown

Status = Literal["planned", "done", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What was written, and warnings for the user.

    Attributes:
        width: of the result in pixels; of the first of several. None: it is no picture.
        height: likewise.
        warnings: one sentence each.
        outputs: the files, where there are several.
        bytes: of a bitstream.
        value: of a task whose output is a number or a text.
        unit: of the value.
    """

    width: int | None = None
    height: int | None = None
    warnings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    bytes: int | None = None
    value: float | str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one job ended.

    Attributes:
        input: the input file, or ``-``.
        output: the output file, or ``-``.
        status: planned (a dry run), done, skipped or failed.
        seconds: from the start of the job until its file was complete.
        error: one line: why the job failed or was skipped.
        width: of the result, in pixels.
        height: of the result, in pixels.
        warnings: one sentence each.
        environment: the failure was caused by the disk, the memory or the device, not by the picture.
        trace: traceback of the failure, for ``--debug``.
        outputs: the files, where there are several.
        bytes: of a bitstream.
        value: of a task whose output is a number or a text.
        unit: of the value.
    """

    input: str
    output: str
    status: Status
    seconds: float
    error: str | None = None
    width: int | None = None
    height: int | None = None
    warnings: tuple[str, ...] = ()
    environment: bool = False
    trace: str = field(default="", repr=False)
    outputs: tuple[str, ...] = ()
    bytes: int | None = None
    value: float | str | None = None
    unit: str = ""


class NotNeededError(Exception):
    """The picture needs no correction and the user gave no output folder; the message is the reason."""


def succeeded(job: FileJob, facts: FileResult, seconds: float, status: Status = "done") -> Outcome:
    """Return the outcome of a successful job."""
    return Outcome(
        input=job.source.name, output=_output_name(job), status=status, seconds=seconds,
        width=facts.width, height=facts.height, warnings=facts.warnings, outputs=facts.outputs, bytes=facts.bytes,
        value=facts.value, unit=facts.unit,
    )  # fmt: skip


def skipped(job: FileJob, why: str) -> Outcome:
    """Return the outcome of a job whose output was left as it is; ``why`` continues after the output's name."""
    output = _output_name(job)
    return Outcome(input=job.source.name, output=output, status="skipped", seconds=0.0, error=f"{shown(output)} {why}")


def failed(job: FileJob, error: Exception, seconds: float) -> Outcome:
    """Return the outcome of a job that raised an error."""
    if job.on_exist == "skip" and isinstance(error, image.TargetExistsError):
        return skipped(job, "came to be during the work, and stays as it is")
    if isinstance(error, NotNeededError):
        return skipped(job, str(error))
    message, environment = explain(error)
    name = shown(job.source.name)
    if name not in message and (job.output is None or shown(job.output) not in message):
        message = f"{name}: {message}"
    return Outcome(
        input=job.source.name, output=_output_name(job), status="failed", seconds=seconds,
        error=message, environment=environment, trace="".join(traceback.format_exception(error)),
    )  # fmt: skip


def _output_name(job: FileJob) -> str:
    return STREAM if job.output is None else str(job.output)


def explain(error: Exception) -> tuple[str, bool]:
    """Return an error's message in one line, and whether the environment caused it: disk, folder, memory or device."""
    match error:
        case image.TargetExistsError():
            return str(error), False
        case image.TargetError() | DeviceError() | MissingPackageError():
            return str(error), True
        case MemoryError():
            return str(error) or "expected more free memory; use a smaller --memory or a smaller picture", True
        case image.PictureError() | CardError() | BackboneError() | CheckpointError() | NumericError() | BatchError():
            return str(error), False
        case OSError():
            return f"expected to read and write files, got: {error}; check the disk and the names", True
        case _:
            text = " ".join(str(error).split())
            return f"internal error: {type(error).__name__}: {text}; --debug shows where, please report it", False
