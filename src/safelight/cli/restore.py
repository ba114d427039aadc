"""The verbs that turn picture files into picture files: one a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli import picture_inputs
from safelight.cli.cluster import check_flags, work_on_cluster
from safelight.cli.file_request import FileRequest, check_inputs, work
from safelight.cli.flags import (
    Backbone,
    ExecutionFlags,
    MethodFlags,
    OutputFlags,
    PathFlags,
    Sigma,
    Size,
    Strength,
    spread,
)
from safelight.cli.method_flags import MethodVerb, method_options
from safelight.cli.shell import UsageError, Verb, amount, the_card
from safelight.tasks import Task

if TYPE_CHECKING:
    from safelight.batch import Restorer
    from safelight.inference.request import StylePicture
    from safelight.inference.runner import InferenceRequest
    from safelight.media.image import Decoder


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    for verb in (upscale, denoise, deblock, inpaint, stylize):
        app.command(cls=MethodVerb)(spread(verb))
    app.command(cls=Verb)(spread(fix))


def upscale(
    ctx: typer.Context,
    *,
    places: PathFlags,
    scale: Annotated[
        float | None,
        typer.Option("--scale", "-s", help="The zoom, whole or not, 1 to 32. 4 if neither it nor --size is given."),
    ] = None,
    size: Size = None,
    sigma: Sigma = None,
    blur: Annotated[
        str | None,
        typer.Option("--blur", help="What blurred the picture: gaussian:SIGMA, none, or a file with a kernel."),
    ] = None,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="Change a network's result so that shrinking it gives the input back.")
    ] = False,
    how: MethodFlags,
    flags: ExecutionFlags,
    talk: OutputFlags,
) -> int:
    """Enlarge pictures, by a formula, a network, or from several frames of one scene.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    A method for several frames (multiframe) makes one picture of all inputs.
    """
    if scale is not None and size is not None:
        raise UsageError("expected --scale or --size, got both; leave one out")
    own = _Own(task="upscale", scale=scale, size=size, sigma=sigma, blur=blur, consistent=consistent)
    return run(places, flags, talk, partial(_prepare, ctx, how, own))


def denoise(
    ctx: typer.Context,
    *,
    places: PathFlags,
    sigma: Sigma = None,
    strength: Strength = 1.0,
    how: MethodFlags,
    flags: ExecutionFlags,
    talk: OutputFlags,
) -> int:
    """Remove noise from pictures, of a level that you tell or that the method finds out.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    own = _Own(task="denoise", tag="denoised", sigma=sigma, strength=strength)
    return run(places, flags, talk, partial(_prepare, ctx, how, own))


def deblock(
    ctx: typer.Context,
    *,
    places: PathFlags,
    strength: Strength = 1.0,
    how: MethodFlags,
    flags: ExecutionFlags,
    talk: OutputFlags,
) -> int:
    """Remove what a strong JPEG compression leaves: blocks and ringing.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    own = _Own(task="deblock", tag="deblocked", strength=strength)
    return run(places, flags, talk, partial(_prepare, ctx, how, own))


def inpaint(
    ctx: typer.Context,
    *,
    places: PathFlags,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="A picture of the same size, white (or opaque) where to fill.", show_default=False),
    ] = None,
    sigma: Sigma = None,
    how: MethodFlags,
    flags: ExecutionFlags,
    talk: OutputFlags,
) -> int:
    """Fill in what a mask marks.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    own = _Own(task="inpaint", tag="inpainted", mask=mask, sigma=sigma)
    return run(places, flags, talk, partial(_prepare, ctx, how, own))


def stylize(
    ctx: typer.Context,
    *,
    places: PathFlags,
    style: Annotated[
        list[Path] | None,
        typer.Option("--style", help="A picture whose style is taken; several are mixed.", show_default=False),
    ] = None,
    style_weights: Annotated[
        str | None,
        typer.Option("--style-weights", help="Of several styles, such as 0.7,0.3; equal without.", show_default=False),
    ] = None,
    style_mask: Annotated[
        list[Path] | None,
        typer.Option(
            "--style-mask",
            help="Where a style is seen: a picture of the content's size, white there; one for each --style.",
            show_default=False,
        ),
    ] = None,
    size: Size = None,
    backbone: Backbone = None,
    begin: Annotated[
        Path | None,
        typer.Option("--begin-with", help="A picture of the content's size to begin with.", show_default=False),
    ] = None,
    how: MethodFlags,
    flags: ExecutionFlags,
    talk: OutputFlags,
) -> int:
    """Give pictures the style of another one, or of a network trained for a style; or make a texture of any size.

    Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked.
    """
    styles = picture_inputs.read_styles(style or (), style_weights, style_mask or ())
    own = _Own(task="stylize", tag="stylized", size=size, styles=styles, backbone=backbone, begin=begin)
    return run(places, flags, talk, partial(_prepare, ctx, how, own))


def fix(*, places: PathFlags, flags: ExecutionFlags, talk: OutputFlags) -> int:
    """Look at pictures and do what they need: remove what a strong JPEG compression left, then noise.

    It says what and why. A picture that needs nothing is left alone; a folder named by -o gets a copy of it.
    """
    return run(places, flags, talk, _prepare_fix)


# --- from flags to work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What the flags of one verb alone say; ``tag`` marks a result beside its input, ``None``: by its size."""

    task: Task
    tag: str | None = None
    scale: float | None = None
    size: str | None = None
    sigma: float | None = None
    blur: str | None = None
    strength: float = 1.0
    mask: Path | None = None
    consistent: bool = False
    styles: tuple[StylePicture, ...] = ()
    backbone: str | None = None
    begin: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A command that is checked: what to do, by what as it is here, and the settings for the workers of a cluster."""

    ask: FileRequest
    runner: Restorer
    settings: InferenceRequest


Prepare = Callable[[FileRequest, "ExecutionFlags", "Decoder"], Ready]


def run(places: PathFlags, flags: ExecutionFlags, talk: OutputFlags, prepare: Prepare) -> int:
    """Do what a verb that makes picture files is asked to, and return the exit code.

    Args:
        places: Where pictures come from and go to.
        flags: How and where the work is done.
        talk: What is told.
        prepare: Makes the method ready.

    Raises:
        UsageError, CardError, BatchError: It can't be meant; nothing was done.
    """
    inputs = tuple(places.inputs or ())
    check_inputs(inputs, flags.listed)
    most = None if flags.max_pixels is None else amount(flags.max_pixels, "--max-pixels", step=1000)
    amount(flags.memory, "--memory", step=1024)

    from safelight.media import image

    alone = flags.listed is None and len(inputs) == 1 and Path(inputs[0]).is_file()
    with image.Decoder(workers=1 if alone else 2) as decoder:
        if not flags.dry_run and flags.cluster is None:
            decoder.start()  # its processes come up while torch is imported

        from safelight import batch

        check_flags(inputs, places.out, cluster=flags.cluster, workers=flags.workers, watch=flags.watch)
        files = batch.Files(
            max_pixels=image.DEFAULT_MAX_PIXELS if most is None else most, lenient=flags.lenient,
            quality=flags.quality, strip=flags.strip,
        )  # fmt: skip
        ask = FileRequest(
            inputs=inputs, listed=flags.listed, out=places.out, format=flags.format, on_exist=flags.on_exist,
            watch=flags.watch, dry_run=flags.dry_run, json=talk.json, quiet=talk.quiet, debug=talk.debug, files=files,
        )  # fmt: skip
        ready = prepare(ask, flags, decoder)
        if flags.cluster is not None:
            from safelight.batch.cluster import Pool

            pool = Pool(address=flags.cluster, workers=flags.workers, cpus=flags.cpus_per_worker)
            return work_on_cluster(ready.ask, ready.runner, ready.settings, pool)
        return work(ready.ask, ready.runner, decoder)


def _prepare(
    ctx: typer.Context, how: MethodFlags, own: _Own, ask: FileRequest, flags: ExecutionFlags, decoder: Decoder
) -> Ready:
    from safelight import inference

    card = the_card(how.method, own.task)
    settings = inference.InferenceRequest(
        task=own.task, scale=own.scale, size=own.size, options=method_options(ctx), weights=how.weights,
        device=flags.device, precision=flags.precision, ensemble=how.ensemble,
        memory=amount(flags.memory, "--memory", step=1024), sigma=own.sigma, blur=own.blur, strength=own.strength,
        mask=None if own.mask is None else picture_inputs.read_picture(own.mask, "--mask"), seed=how.seed,
        consistent=own.consistent, styles=own.styles, backbone=own.backbone,
        begin=None if own.begin is None else picture_inputs.read_picture(own.begin, "--begin-with"),
    )  # fmt: skip
    # The machine that drives a cluster need not have the device of its workers.
    device = flags.device if flags.cluster is None else "cpu"
    runner = inference.prepare(card, replace(settings, device=device))
    if "frames" in card.accepts:
        ask, frames = picture_inputs.take_frames(ask, decoder)
        settings = replace(settings, frames=frames)
        runner = inference.prepare(card, replace(settings, device=device))
    if settings.mask is not None:
        picture_inputs.check_mask(settings.mask, ask)
    if how.preview is not None:
        picture_inputs.check_preview(how.preview, card, ask, on_cluster=flags.cluster is not None)
    side = 1 << 20  # any large side: a size that is malformed is told before anything runs
    made = runner.size(side, side)
    tag = own.tag or (f"x{made[0] / side:g}" if own.size is None else _tag(own.size, made))
    return Ready(ask=replace(ask, tag=tag, preview=how.preview), runner=runner, settings=settings)


def _tag(size: str, made: tuple[int, int]) -> str:
    if size.lower().endswith("x"):
        return f"w{made[0]}"
    return f"h{made[1]}" if size.lower().startswith("x") else f"{made[0]}x{made[1]}"


def _prepare_fix(ask: FileRequest, flags: ExecutionFlags, decoder: Decoder) -> Ready:  # noqa: ARG001 - as all of them are called
    from safelight import inference
    from safelight.inference.autofix import AutoFix

    settings = inference.InferenceRequest(
        device=flags.device, precision=flags.precision, memory=amount(flags.memory, "--memory", step=1024)
    )
    fixer = AutoFix(settings if flags.cluster is None else replace(settings, device="cpu"))
    return Ready(ask=replace(ask, tag="fixed"), runner=fixer, settings=settings)
