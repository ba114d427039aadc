"""The verbs that turn picture files into picture files: one a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from safelight.cli.cluster import check_flags, work_on_cluster
from safelight.cli.shell import (
    Debug,
    DeviceFlag,
    Json,
    MethodVerb,
    Precision,
    Quiet,
    UsageError,
    amount,
    complete_method,
    method_options,
    the_card,
)
from safelight.cli.work import Ask, check_inputs, work

OnExist = Literal["error", "skip", "overwrite", "rename"]
Format = Literal["jpeg", "png", "webp", "tiff", "avif", "gif"]


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=MethodVerb)(upscale)


def upscale(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS",
            help="Files, folders (searched whole), patterns such as 'a/**/*.png', or - for standard input. "
            "A name that starts with a dash goes after --.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A file for one input; a folder for several, in which the tree of the inputs is kept; - for standard "
            "output. A result keeps the format of its input, but a GIF becomes a PNG, since a GIF loses colours. "
            "Without it: beside the input, as NAME-x4.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option("--scale", "-s", help="The zoom, whole or not, 1 to 32. 4 if neither it nor --size is given."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="The size instead: 3840x2160, 3840x or x2160.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See: safelight methods.", autocompletion=complete_method),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights: your own, or a published .pth.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the 8 turns and mirrorings: better, 8 times the work.")
    ] = False,
    device: DeviceFlag = "auto",
    precision: Annotated[
        Precision, typer.Option("--precision", help="fast: with half the digits, where the device gains by it.")
    ] = "exact",
    memory: Annotated[str, typer.Option("--memory", help="Most memory for the work on a tile.")] = "1G",
    format: Annotated[  # noqa: A002 - the flag's name
        Format | None, typer.Option("--format", "-f", help="The format of all results.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG (95), WebP (90) and AVIF (85).")
    ] = None,
    on_exist: Annotated[
        OnExist | None,
        typer.Option(
            "--on-exist",
            help="What to do where an output exists: error if not given. skip goes on with a batch that was stopped, "
            "and makes again what was made from another state of its input, or by other settings. rename: NAME-2, "
            "NAME-3, ...",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="More inputs: their names, one a line or each ended by a NUL, in a file, or - for standard input. The "
            "tree of the names is kept below OUT.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Stay, and do pictures that come into the folders or change, until Ctrl-C."),
    ] = False,
    max_pixels: Annotated[
        str | None,
        typer.Option("--max-pixels", help="Refuse inputs with more, such as 250M, before decoding. [default: 160M]"),
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Take what is left of damaged files.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop EXIF and XMP: place, time, camera.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Work on a Ray cluster: auto or HOST:PORT, or local to start one on this machine. INPUTS and OUT may "
            "then be URLs, such as s3://bucket/photos.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Actors on the cluster, if not as many as it has room for."),
    ] = None,
    cpus_per_worker: Annotated[
        int, typer.Option("--cpus-per-worker", min=1, help="Cores, and so threads, of each actor.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Enlarge pictures, by a formula or a network.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    if scale is not None and size is not None:
        raise UsageError("expected --scale or --size, got both; leave one out")
    check_inputs(inputs or (), listed)
    work_memory = amount(memory, "--memory", step=1024)
    most = None if max_pixels is None else amount(max_pixels, "--max-pixels", step=1000)

    from safelight import image

    alone = listed is None and len(inputs or ()) == 1 and Path((inputs or ("",))[0]).is_file()
    with image.Decoder(workers=1 if alone else 2) as decoder:
        if not dry_run and cluster is None:
            decoder.start()  # its processes come up while torch is imported

        from safelight import batch, infer

        check_flags(inputs or (), out, cluster=cluster, workers=workers, watch=watch)
        settings = infer.Settings(
            scale=scale, size=size, options=method_options(ctx), weights=weights, device=device, precision=precision,
            ensemble=ensemble, memory=work_memory,
        )  # fmt: skip
        # The machine that drives a cluster need not have the device of its workers.
        here = settings if cluster is None else replace(settings, device="cpu")
        runner = infer.prepare(the_card(method, "upscale"), here)
        side = 1 << 20  # any large side: a size that is malformed is told before anything runs
        tag = f"x{runner.size(side, side)[0] / side:g}" if size is None else _tag(size, runner.size(side, side))
        files = batch.Files(
            max_pixels=image.DEFAULT_MAX_PIXELS if most is None else most, lenient=lenient, quality=quality, strip=strip
        )
        ask = Ask(
            inputs=tuple(inputs or ()), listed=listed, out=out, tag=tag, format=format, on_exist=on_exist, watch=watch,
            dry_run=dry_run, json=json, quiet=quiet, debug=debug, files=files,
        )  # fmt: skip
        if cluster is not None:
            from safelight.batch.cluster import Pool

            pool = Pool(address=cluster, workers=workers, cpus=cpus_per_worker)
            return work_on_cluster(ask, runner, settings, pool)
        return work(ask, runner, decoder)


def _tag(size: str, made: tuple[int, int]) -> str:
    if size.lower().endswith("x"):
        return f"w{made[0]}"
    return f"h{made[1]}" if size.lower().startswith("x") else f"{made[0]}x{made[1]}"
