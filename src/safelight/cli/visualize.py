"""The verb that looks into networks: ``visualize``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight import tasks
from safelight.cli.fetch import complete_backbone
from safelight.cli.flags import OnExist
from safelight.cli.method_flags import MethodVerb, completion_index, method_names, method_options
from safelight.cli.observer import write_preview
from safelight.cli.picture_inputs import read_picture
from safelight.cli.shell import Bar, Debug, DeviceFlag, Json, Quiet, Stop, UsageError, note, say, say_json, table

if TYPE_CHECKING:
    from safelight.core.inspector import InspectorOutput
    from safelight.core.solver_input import SolverProgress
    from safelight.features.inspected_network import InspectedNetwork
    from safelight.media.image import Picture

_PAUSE = 3.0  # seconds between two previews
LAYERS = "layers"
"""The kind that draws nothing, but lists the layers."""


def add(app: typer.Typer) -> None:
    """Add this file's verb."""
    app.command(cls=MethodVerb)(visualize)


def complete_view(incomplete: str) -> list[str]:
    """Complete the name of a way to look from the index: no inspector is imported.

    Example:
        >>> complete_view("f")
        ['feature', 'filters']
    """
    names = [inspector["name"] for inspector in completion_index()["inspectors"]]
    return sorted(name for name in (*names, LAYERS) if name.startswith(incomplete))


def complete_subject(incomplete: str) -> list[str]:
    """Complete the name of a network: a backbone's, or a method's with its task; nothing is imported."""
    methods = [f"{task}/{name}" for task in tasks.names() for name in method_names(task)]
    return [*complete_backbone(incomplete), *(name for name in methods if name.startswith(incomplete))]


def visualize(
    ctx: typer.Context,
    *,
    kind: Annotated[
        str | None,
        typer.Argument(
            help="filters, activations, inversion, feature, receptive or attribution; layers lists a network's layers. "
            "If not given, all kinds are listed.",
            autocompletion=complete_view,
            show_default=False,
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK",
            help="A backbone, such as lens, or a trained method, such as upscale/edsr.",
            autocompletion=complete_subject,
            show_default=False,
        ),
    ] = None,
    picture: Annotated[Path | None, typer.Argument(help="The input of the network.", show_default=False)] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file of the sheet; - for standard output, as PNG."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer", help="A layer, such as body.8 or relu2_1; several are separated by commas.", show_default=False
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="Channels of the layer, counted from 0: 12, or 3,5 or 0-7.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="X,Y",
            help="The top left corner of a patch, in pixels of the network's result.",
            show_default=False,
        ),
    ] = None,
    side: Annotated[
        int | None, typer.Option("--side", help="The side of the patch, in pixels of the result; 16 if not given.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", help="Side of the picture that is made; of one that is shown, the longer side at most."),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option("--scale", "-s", help="The scale of a network that enlarges; its largest if not given."),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network", metavar="NAME=VALUE", help="An option of the network, such as variant=B.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A weights file: of your own training, or a published one.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The seed of all random numbers.")] = 0,
    device: DeviceFlag = "auto",
    preview: Annotated[
        Path | None,
        typer.Option("--preview", metavar="FILE", help="Write the current picture into FILE every few seconds."),
    ] = None,
    on_exist: Annotated[
        OnExist | None,
        typer.Option("--on-exist", help="What to do if the sheet exists; error if not given.", show_default=False),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the kinds, and draw nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Visualize a network: its filters, activations, features and receptive field.

    It works for backbones and for the networks of methods. JSON: an object for the sheet, with what was measured,
    or one for each layer or kind that is listed.
    """
    if kind is None or listed:
        return _list(json=json)
    if kind == LAYERS:
        _refuse(picture=picture, out=out, layer=layer, channel=channel, at=at, side=side, size=size)
        return _list_layers(_load(subject, scale, network, weights, device, gray=False), json=json)
    from safelight import catalog
    from safelight.core.options import make_options
    from safelight.inference import inspection

    view = catalog.find_inspector(kind)
    options = method_options(ctx)
    make_options(view, options)  # refused before anything is loaded
    request = inspection.InspectionRequest(
        layers=tuple(name for part in layer or () for name in part.split(",") if name), channels=_channels(channel),
        at=_place(at), side=side, size=size, seed=seed, options=options,
    )  # fmt: skip
    target = _target(out, picture, on_exist)
    if target is None:
        note(f"safelight: {out} skipped: exists")
        return 0
    if preview is not None:
        _check_preview(preview, target, replace=on_exist == "overwrite")
    shown = None if picture is None else read_picture(picture, "the picture")
    loaded = _load(subject, scale, network, weights, device, gray=shown is not None and shown.channels == 1)
    start = time.perf_counter()
    with Bar(1, f"{kind} of {loaded.name}", quiet=quiet) as bar, Stop() as stop:
        watcher = _Watcher(bar, stop, preview)
        drawing = inspection.draw(view, loaded, shown, request, watcher)
    _write(drawing, target, replace=on_exist == "overwrite")
    seconds = time.perf_counter() - start
    height, width = drawing.sheet.shape[-2:]
    piped = target == "-"
    if json:
        facts = {
            "view": view.name, "network": loaded.name, "output": None if piped else str(target), "width": width,
            "height": height, "seconds": round(seconds, 3), "facts": dict(drawing.facts),
            "notes": list(drawing.notes), "stopped": stop.asked,
        }  # fmt: skip
        say_json(facts, err=piped)
        return 0
    for remark in drawing.notes:
        if not quiet:
            note(f"safelight: {remark}")
    if not quiet:
        tell = note if piped else say
        tell(f"{target}  {width}x{height}  {view.name} of {loaded.name}  {seconds:.1f} s")
        tell(", ".join(f"{name} {_shown(value)}" for name, value in drawing.facts.items()))
    return 0


class _Watcher:
    """Follows the work: moves the bar, writes the preview, and ends it when the user wants that."""

    def __init__(self, bar: Bar, stop: Stop, preview: Path | None) -> None:
        self._bar, self._stop, self._preview = bar, stop, preview
        self._next = 0.0

    def __call__(self, step: SolverProgress) -> bool:
        self._bar.show(step.fraction, step.remark)
        if self._preview is not None and time.monotonic() >= self._next:
            write_preview(step, self._preview)
            self._next = time.monotonic() + _PAUSE
        return not self._stop.asked


# --- from flags to what is asked --------------------------------------------------------------------------------------


def _load(
    name: str | None,
    scale: int | None,
    network: Sequence[str] | None,
    weights: Path | None,
    device: DeviceFlag,
    *,
    gray: bool,
) -> InspectedNetwork:
    if name is None:
        raise UsageError("expected the name of a network, got none; such as lens or upscale/edsr")
    from safelight.inference import inspection

    chosen: dict[str, str] = {}
    for part in network or ():
        option, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--network: expected NAME=VALUE, such as variant=B, got {part!r}")
        chosen[option] = value
    return inspection.load(name, scale=scale, network=chosen or None, weights=weights, device=device, gray=gray)


def _refuse(**given: object) -> None:
    """Refuse flags that a list of layers has no use for."""
    for name, value in given.items():
        if value is not None:
            flag = "a picture" if name == "picture" else f"--{name}"
            raise UsageError(f"visualize layers takes no {flag.removeprefix('a ')}; leave it out")


def _channels(text: str | None) -> tuple[int, ...]:
    """Read channels such as 12, 3,5 or 0-7.

    Example:
        >>> _channels("0-2,7")
        (0, 1, 2, 7)
    """
    channels: list[int] = []
    for part in () if text is None else text.split(","):
        first, dash, last = part.partition("-")
        try:
            span = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            span = range(0)
        if not 0 < len(span) <= 4096:
            raise UsageError(f"--channel: expected numbers such as 12, 3,5 or 0-7, got {text!r}")
        channels += span
    return tuple(channels)


def _place(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        x, y = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"--at: expected X,Y, such as 40,52, got {text!r}") from None
    return x, y


# --- where the sheet goes ---------------------------------------------------------------------------------------------


def _target(out: str | None, picture: Path | None, on_exist: OnExist | None) -> Path | str | None:
    """Settle where the sheet goes, before any work.

    Returns:
        Its path; "-" for standard output; ``None`` if it is there and to be skipped.

    Raises:
        UsageError: There is no such place, or a sheet cannot go there.
        TargetExistsError: It exists, and nobody said what to do then.
    """
    from safelight.media import image
    from safelight.media.image.picture import shown

    if out is None:
        raise UsageError("expected -o FILE for the sheet, got none; such as -o sheet.png")
    if out == "-":
        if sys.stdout.isatty():
            raise UsageError("expected a pipe or a file for the sheet, got a terminal; use -o FILE, or > FILE")
        return out
    path = Path(out)
    try:
        image.format_of(path)
    except image.PictureError as error:
        raise UsageError(str(error)) from None
    if not path.parent.is_dir():
        raise UsageError(f"{shown(path)}: expected a folder that exists, got {shown(path.parent)}; make it first")
    if not os.path.lexists(path):
        return path
    if picture is not None and picture.resolve() == path.resolve():
        raise UsageError(
            f"expected a sheet that is not the picture, got {shown(path)} for both; choose another with -o"
        )
    if on_exist == "skip":
        return None
    if on_exist == "rename":
        n = 2
        while os.path.lexists(path.with_name(f"{path.stem}-{n}{path.suffix}")):
            n += 1
        return path.with_name(f"{path.stem}-{n}{path.suffix}")
    if on_exist != "overwrite":
        raise image.TargetExistsError(
            f"{shown(path)}: expected a new file, got one that exists; choose another with -o, or say --on-exist skip, "
            "overwrite or rename"
        )
    return path


def _check_preview(path: Path, target: Path | str, *, replace: bool) -> None:
    from safelight.media import image

    try:
        image.format_of(path)
    except image.PictureError as error:
        raise UsageError(f"--preview: {error}") from None
    if not path.parent.is_dir():
        raise UsageError(f"--preview: expected a folder that exists, got {path.parent}; make it first")
    if path.resolve() == Path(target).resolve() or (path.exists() and not replace):
        raise UsageError(f"--preview: expected a file of its own that is not there yet, got {path}; choose another")


def _write(drawing: InspectorOutput, target: Path | str, *, replace: bool) -> None:
    import numpy as np

    from safelight.engine.samples import to_samples
    from safelight.media import image

    sheet: Picture = image.Picture(pixels=to_samples(drawing.sheet, np.dtype(np.uint8)))
    if isinstance(target, Path):
        image.write(sheet, target, overwrite=replace)
    else:
        sys.stdout.buffer.write(image.encode(sheet, "png"))


# --- lists ------------------------------------------------------------------------------------------------------------


def _list(*, json: bool) -> int:
    from safelight import catalog

    rows: list[tuple[str, str, str]] = []
    for view in catalog.INSPECTORS:
        if json:
            say_json(
                {
                    "view": view.name,
                    "title": view.title,
                    "summary": view.summary,
                    "accepts": sorted(view.accepts),
                    "needs": sorted(view.needs),
                    "paper": None if view.paper is None else view.paper.link,
                }
            )
        rows.append((view.name, view.summary, ", ".join(sorted(view.needs)) or "nothing"))
    if not json:
        table(["kind", "what it shows", "needs"], [*rows, (LAYERS, "The layers of a network, as a list.", "nothing")],
              left=(0, 1, 2), wrap=(1,))  # fmt: skip
        say("such as: safelight visualize feature upscale/edsr --layer body.8 --channel 12 -o sheet.png")
    return 0


def _list_layers(subject: InspectedNetwork, *, json: bool) -> int:
    layers = [subject.layer(name) for name in subject.layers]
    if json:
        for layer in layers:
            say_json({"layer": layer.name, "channels": layer.channels, "stride": layer.stride, "field": layer.field})
        return 0
    rows = [
        (layer.name, f"{layer.channels}", f"{layer.stride:.3g}", "all" if layer.field is None else f"{layer.field}")
        for layer in layers
    ]
    table(["layer", "channels", "stride", "sees"], rows)
    say(f"stride and sight are in pixels of what {subject.name} is given")
    return 0


def _shown(value: float | int | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
