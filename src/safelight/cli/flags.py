"""Flags that several verbs share, each declared once: a verb takes a record of them as one parameter (``spread``)."""

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
        "--sigma", help="Standard deviation of the noise, in units of 0 to 255, where you know it.", show_default=False
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
            help="A file for one input; a folder for several, in which the tree of the inputs is kept; - for standard "
            "output. A result keeps the format of its input, but a GIF becomes a PNG, since a GIF loses colours. "
            "Without it: beside the input, under a name that says what was done, such as NAME-x4 or NAME-denoised.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFlags:
    """Which method, and how it runs."""

    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See: safelight methods.", autocompletion=complete_method),
    ] = None
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights: your own, or a published .pth.")] = None
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the 8 turns and mirrorings: better, 8 times the work.")
    ] = False
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            metavar="FILE",
            help="Write the picture as it forms into FILE every few seconds; of methods that iterate.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFlags:
    """Where it runs, how files are read and written, and over how many machines."""

    device: DeviceFlag = "auto"
    precision: Annotated[
        Precision, typer.Option("--precision", help="fast: with half the digits, where the device gains by it.")
    ] = "exact"
    memory: Annotated[str, typer.Option("--memory", help="Most memory for the work on a tile.")] = "1G"
    format: Annotated[Format | None, typer.Option("--format", "-f", help="The format of all results.")] = None
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG (95), WebP (90) and AVIF (85).")
    ] = None
    on_exist: Annotated[
        OnExist | None,
        typer.Option(
            "--on-exist",
            help="What to do where an output exists: error if not given. skip goes on with a batch that was stopped, "
            "and makes again what was made from another state of its input, or by other settings. rename: NAME-2, "
            "NAME-3, ...",
            show_default=False,
        ),
    ] = None
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="More inputs: their names, one a line or each ended by a NUL, in a file, or - for standard input. The "
            "tree of the names is kept below OUT.",
        ),
    ] = None
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Stay, and do pictures that come into the folders or change, until Ctrl-C."),
    ] = False
    max_pixels: Annotated[
        str | None,
        typer.Option("--max-pixels", help="Refuse inputs with more, such as 250M, before decoding. [default: 160M]"),
    ] = None
    lenient: Annotated[bool, typer.Option("--lenient", help="Take what is left of damaged files.")] = False
    strip: Annotated[bool, typer.Option("--strip", help="Drop EXIF and XMP: place, time, camera.")] = False
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Work on a Ray cluster: auto or HOST:PORT, or local to start one on this machine. INPUTS and OUT may "
            "then be URLs, such as s3://bucket/photos.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Actors on the cluster, if not as many as it has room for."),
    ] = None
    cpus_per_worker: Annotated[
        int, typer.Option("--cpus-per-worker", min=1, help="Cores, and so threads, of each actor.")
    ] = 1
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFlags:
    """What is told."""

    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def spread(verb: Callable[..., int]) -> Callable[..., int]:
    """Give a verb, in place of each parameter that is a record of flags, the fields of the record as its flags."""
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
    def told(**values: Any) -> int:  # noqa: ANN401 - as the command line gives them
        for name, record in records.items():
            values[name] = record(**{field.name: values.pop(field.name) for field in dataclasses.fields(record)})
        return verb(**values)

    told.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return told
