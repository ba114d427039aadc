"""Flags that several verbs share. A verb takes a record of flags as one parameter, which ``spread`` takes apart."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from safelight.cli.method_flags import complete_method
from safelight.cli.shell import Debug, DeviceFlag, Json, Precision, Quiet

OnExist = Literal["error", "skip", "overwrite", "rename"]
Format = Literal["jpeg", "png", "webp", "tiff", "avif", "gif"]

Sigma = Annotated[
    float | None,
    typer.Option(
        "--sigma", help="Standard deviation of the noise, in units of 0 to 255, if you know it.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFlags:
    """Where pictures come from and where they go."""

    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS",
            help="Files, folders (searched whole), patterns such as 'a/**/*.png', or - for standard input. "
            "A name that starts with a dash goes after --.",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A file for one input; a folder for several, which keeps the folders of the inputs; - for standard "
            "output. A result keeps the format of its input; only a GIF becomes a PNG, since a GIF loses colours. "
            "If not given: beside the input, under a name such as NAME-x4 or NAME-denoised.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFlags:
    """Which method, and how it runs."""

    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="The name of the method; 'safelight methods' lists them.",
            autocompletion=complete_method,
        ),
    ] = None
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A weights file: of your own training, or a published .pth.")
    ] = None
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Average over the 8 rotations and reflections of the picture: better, but 8 times the work.",
        ),
    ] = False
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            metavar="FILE",
            help="Write the current picture into FILE every few seconds; for methods that iterate.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFlags:
    """Where it runs, how files are read and written, and over how many machines."""

    device: DeviceFlag = "auto"
    precision: Annotated[
        Precision,
        typer.Option("--precision", help="exact: float32. fast: a 16-bit format, if the device is faster with it."),
    ] = "exact"
    memory: Annotated[
        str, typer.Option("--memory", help="The most memory that a tile may take, such as 500M or 2G.")
    ] = "1G"
    format: Annotated[Format | None, typer.Option("--format", "-f", help="The file format of all results.")] = None
    quality: Annotated[
        int | None,
        typer.Option(
            "--quality", min=1, max=100, help="The quality of JPEG (95 if not given), WebP (90) and AVIF (85) files."
        ),
    ] = None
    on_exist: Annotated[
        OnExist | None,
        typer.Option(
            "--on-exist",
            help="What to do if an output exists; error if not given. skip: continue a batch that was stopped; in a "
            "folder of results, one whose input or settings have changed since is made again. rename: write NAME-2, "
            "NAME-3, ...",
            show_default=False,
        ),
    ] = None
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="A file with the names of more inputs, one on each line or each ended by a NUL; - for standard input. "
            "Their folders are kept below OUT.",
        ),
    ] = None
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep running, and process pictures that are added to the folders or changed, until Ctrl-C."
        ),
    ] = False
    max_pixels: Annotated[
        str | None,
        typer.Option("--max-pixels", help="Refuse inputs with more pixels than this, such as 250M. [default: 160M]"),
    ] = None
    lenient: Annotated[bool, typer.Option("--lenient", help="Use what can be decoded of a damaged file.")] = False
    strip: Annotated[
        bool, typer.Option("--strip", help="Remove the EXIF and XMP metadata, such as place, time and camera.")
    ] = False
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Run on a Ray cluster: auto, HOST:PORT, or local to start one on this machine. INPUTS and OUT may "
            "then be URLs, such as s3://bucket/photos.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="The number of actors on the cluster; as many as it has room for if not given."
        ),
    ] = None
    cpus_per_worker: Annotated[
        int, typer.Option("--cpus-per-worker", min=1, help="The number of cores, and of threads, of each actor.")
    ] = 1
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFlags:
    """What is printed, and how."""

    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def spread(verb: Callable[..., int]) -> Callable[..., int]:
    """Replace each parameter of a verb that is a record of flags by the fields of the record, one flag each."""
    records: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb, eval_str=True).parameters.items():
        record: Any = parameter.annotation
        if not dataclasses.is_dataclass(record):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        records[name] = record
        hints = get_type_hints(record, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in dataclasses.fields(record)
        ]

    @functools.wraps(verb)
    def with_flags(**values: Any) -> int:  # noqa: ANN401 - values as typer parsed them
        for name, record in records.items():
            values[name] = record(**{field.name: values.pop(field.name) for field in dataclasses.fields(record)})
        return verb(**values)

    with_flags.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_flags
