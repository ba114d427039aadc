"""The verb that sets results side by side: ``compare``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight import tasks
from safelight.cli.flags import Sigma
from safelight.cli.method_flags import complete_task
from safelight.cli.score import BackboneFlag, ChannelFlag, RoundingFlag, figure, scorer_of
from safelight.cli.shell import (
    Bar,
    Debug,
    DeviceFlag,
    Json,
    Quiet,
    UsageError,
    Verb,
    finite,
    note,
    say,
    say_json,
    table,
    the_card,
)
from safelight.core.task import Task

if TYPE_CHECKING:
    from safelight.core.card import Card
    from safelight.inference.runner import InferenceRequest
    from safelight.media.image import Picture


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=Verb)(compare)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One row of a comparison."""

    name: str
    picture: Picture
    seconds: float | None
    detail: str
    scores: dict[str, float]


def compare(
    candidates: Annotated[
        list[str],
        typer.Argument(metavar="A B ...", help="Two or more pictures; with --input, also methods.", show_default=False),
    ],
    input: Annotated[  # noqa: A002 - the flag's name
        Path | None, typer.Option("--input", "-i", help="A picture that each method is run on.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="The original that results are compared with.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The report: one HTML file.")] = Path("report.html"),
    scale: Annotated[
        float | None, typer.Option("--scale", "-s", help="The scale to enlarge by; 4 if not given.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="The task of the methods; the first that all of them serve if not given.",
            autocompletion=complete_task,
        ),
    ] = None,
    sigma: Sigma = None,
    metric: Annotated[
        str, typer.Option("--metric", help="Metrics, separated by commas: psnr, ssim, ms_ssim, ifc, nqm, wpsnr, lpips.")
    ] = "psnr,ssim",
    channel: ChannelFlag = "y",
    shave: Annotated[
        int | None,
        typer.Option(
            "--shave", min=0, help="Pixels to cut from each side; if not given, the scale with --input, else 0."
        ),
    ] = None,
    rounding: RoundingFlag = "8-bit",
    backbone: BackboneFlag = "lens",
    device: DeviceFlag = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that exists.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Compare pictures or methods side by side, in one HTML file with a slider, times and scores.

    JSON: an object a candidate (name, width, height, seconds, a number for each metric), then one summary.
    """
    if len(candidates) < 2:
        raise UsageError(f"expected at least 2 pictures or methods, got {len(candidates)}; name one more")
    if not overwrite and out.exists():
        raise UsageError(f"{out}: expected a new file, got one that exists; choose another with -o, or say --overwrite")
    methods = [name for name in candidates if input is not None and not Path(name).is_file()]
    chosen = _task(methods, task, scale)
    zoom = (4.0 if scale is None else scale) if tasks.find(chosen).output.size == "scaled" else None
    cut = (0 if input is None or zoom is None else math.ceil(zoom)) if shave is None else shave
    scorer = scorer_of(metric, channel, cut, rounding, device, backbone)
    if scorer.of_sets:
        raise UsageError(f"expected metrics of two pictures, got {scorer.of_sets[0].title}; choose another")

    from safelight.evaluation import report
    from safelight.inference.runner import InferenceRequest
    from safelight.media import image

    original = None if reference is None else image.read(reference)
    small = None if input is None else image.read(input)
    entries: list[_Entry] = []
    with Bar(len(candidates), "compare", quiet=quiet) as bar:
        for i, name in enumerate(candidates):
            bar.show(i, name)
            if name in methods and small is not None:
                request = InferenceRequest(task=chosen, inputs={"scale": zoom, "sigma": sigma}, device=device)
                picture, seconds, detail = _make(the_card(name, chosen), small, request)
            else:
                picture, seconds, detail = image.read(Path(name)), None, ""
            scores: dict[str, float] = {}
            if original is not None:
                try:
                    scores = scorer.pair(original, picture)
                except ValueError as error:
                    note(f"safelight: {name}: not measured: {error}")
            entries.append(_Entry(name=name, picture=picture, seconds=seconds, detail=detail, scores=scores))
    titles = {column.name: column.title for column in scorer.of_pairs}
    candidates_shown = [
        report.candidate(
            e.name, e.picture, seconds=e.seconds, detail=e.detail, scores={titles[k]: v for k, v in e.scores.items()}
        )
        for e in entries
    ]
    if original is not None and reference is not None:
        candidates_shown.append(report.candidate(reference.name, original, detail="the original"))
    title = f"{len(candidates)} pictures"
    if input is not None:
        title = f"{input.name}, {chosen}" if zoom is None else f"{input.name} x{zoom:g}"
    measured = scorer.protocol.describe() if any(e.scores for e in entries) else ""
    notes = [] if input is None else ["Time: of one run on this machine, with the network loaded."]
    page = report.render(f"{title}, compared", candidates_shown, protocol=measured, notes=notes)
    image.write_bytes(page.encode(), out, overwrite=overwrite)

    if json:
        for e in entries:
            facts: dict[str, Any] = {"name": e.name, "width": e.picture.width, "height": e.picture.height}
            facts["seconds"] = None if e.seconds is None else round(e.seconds, 4)
            say_json(facts | {c.name: finite(e.scores[c.name]) if e.scores else None for c in scorer.of_pairs})
        say_json({"summary": True, "total": len(entries), "report": str(out), "protocol": measured or None})
    elif not quiet:
        shown = [c for c in scorer.of_pairs if any(c.name in e.scores for e in entries)]
        table(
            ["", "size", "time", *(c.title for c in shown)],
            [
                [
                    e.name,
                    f"{e.picture.width}x{e.picture.height}",
                    "" if e.seconds is None else f"{e.seconds:.2f} s",
                    *(figure(c, e.scores[c.name]) if e.scores else "" for c in shown),
                ]
                for e in entries
            ],
        )
        if measured:
            say(f"protocol: {measured}")
        say(f"report: {out}")
    return 0


def _task(methods: Sequence[str], task: str | None, scale: float | None) -> Task:
    """Settle what the methods are to do: as the user says, else the first of the tasks that all of them have.

    Raises:
        UsageError: There is no such task, or none that all of them have.
    """
    if task is not None:
        named: list[Task] = [known for known in tasks.names() if known == task]
        if not named:
            raise UsageError(f"--task: expected one of {', '.join(tasks.names())}, got {task!r}; choose one of them")
        return named[0]
    scaled = [known.name for known in tasks.TASKS if known.output.size == "scaled"]
    if not methods or scale is not None:
        return scaled[0]
    from safelight import catalog

    left: list[Task] = [
        known for known in tasks.names() if all(_serves(name, known, catalog.of_task(known)) for name in methods)
    ]
    if left:
        return left[0]
    for name in methods:
        the_card(name, None)  # a name that nothing has is told as such
    raise UsageError(f"expected methods of one task, got {', '.join(methods)}; compare those of one task")


def _serves(name: str, task: Task, cards: Sequence[Card]) -> bool:
    """Say whether a name means a method that serves a task; ``task/name`` speaks of that task first."""
    return any(name in (card.id, card.name, f"{task}/{card.name}") for card in cards)


def _make(card: Card, small: Picture, request: InferenceRequest) -> tuple[Picture, float, str]:
    """Run a method on the input; with the seconds that it took."""
    from dataclasses import replace

    from safelight import inference

    if "sigma" not in card.accepts:
        request = replace(request, inputs={**request.inputs, "sigma": None})
    runner = inference.prepare(card, request)
    if not card.method.iterates:
        # The network is loaded and the processor woken by a corner of the picture, so that the time is the work's.
        alpha = None if small.alpha is None else small.alpha[:32, :32]
        runner(replace(small, pixels=small.pixels[:32, :32], alpha=alpha))
    start = time.perf_counter()
    picture = runner(small)
    return picture, time.perf_counter() - start, runner.describe()
