"""The verbs of those who make methods: ``train`` and ``bench``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from safelight import tasks
from safelight.cli.method_flags import MethodVerb, complete_method, complete_task, method_options
from safelight.cli.shell import (
    FAILED,
    INTERRUPTED,
    Bar,
    Debug,
    DeviceFlag,
    Json,
    Quiet,
    Stop,
    UsageError,
    Verb,
    note,
    say,
    say_json,
    the_card,
)
from safelight.core.task import Task

if TYPE_CHECKING:
    from safelight.core.card import Card, Trained
    from safelight.core.training import Recipe
    from safelight.training.loop import Progress, TrainConfig


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=MethodVerb)(train)
    app.command(cls=Verb)(bench)


def train(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="Such as upscale/fsrcnn.", autocompletion=complete_method)],
    data: Annotated[list[Path], typer.Option("--data", help="A folder of pictures; may be given again.")],
    scale: Annotated[
        int | None,
        typer.Option("--scale", "-s", help="Not needed by networks that serve all scales or keep the size."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The weights. A .csv log and a .state to resume from lie beside. [default: by method, options, scale]",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="The recipe's, if not given.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Crops in a step.")] = None,
    patch: Annotated[
        int | None, typer.Option("--patch", min=1, help="Side of a crop, of enlargers in low-resolution pixels.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="The peak learning rate.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights at the start and of the crops.")] = 0,
    validate_every: Annotated[int, typer.Option("--validate-every", min=1, help="Steps between validations.")] = 500,
    start: Annotated[
        Path | None, typer.Option("--start", help="Weights to begin from, such as another scale's.")
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Option("--style", help="Of methods of stylize: a picture of the style, or a folder; may be given again."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Of methods of stylize: the network that pictures are compared by.  [lens]"),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Do not let the network grow: all its channels train from the first step.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, over what an earlier run left.")] = False,
    device: DeviceFlag = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option("--precision", help="auto: bfloat16 where it is faster.")
    ] = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Train a method by its recipe. A run that was stopped goes on exactly where it was: run the same command again.

    JSON: an object a validation (step, steps, loss, psnr or validation_loss, crops_per_second, seconds_left), then one
    summary.
    """
    from safelight.training import loop as training

    card = the_card(method, None)
    trained = _trained(card)
    scales, recipe = _scales(card, trained, scale), trained.training.recipe
    options = _options(card, method_options(ctx))
    _check_styles(card, trained, style, backbone)
    if whole and not recipe.stages:
        raise UsageError(f"{card.id} does not grow; leave --whole out")
    path = out or Path(f"{_name(card, trained, options, scales)}.safetensors")
    if path.exists() and not path.with_suffix(".state").exists() and not restart:
        raise UsageError(
            f"{path}: expected new weights or a run to go on with, got weights; choose another -o, or --restart"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = training.TrainConfig(
        card=card,
        options=options,
        scales=scales,
        recipe=_recipe(
            recipe, steps=steps, batch=batch, patch=patch, rate=rate, whole=whole, started=start is not None
        ),
        folders=tuple(data),
        out=path,
        start=start,
        styles=tuple(style or ()),
        backbone=backbone or "lens",
        device=device,
        precision=precision,
        seed=seed,
        validate_every=validate_every,
    )
    if recipe.start not in (None, *scales) and start is None and not quiet:
        note(f"safelight: the recipe begins x{scales[0]} from weights for x{recipe.start}: give them by --start")
    return _follow(plan, resume=not restart, json=json, quiet=quiet)


def _trained(card: Card) -> Trained:
    from safelight.core.card import Trained

    if not isinstance(card.method, Trained):
        raise UsageError(f"expected a method that is trained, got {card.id}, no network; see: safelight methods")
    return card.method


def _scales(card: Card, trained: Trained, scale: int | None) -> tuple[int, ...]:
    if trained.network.scale_agnostic:
        if scale is not None:
            raise UsageError(f"{card.id}: expected no --scale, got {scale}; one network serves all that it does")
        return trained.network.scales
    if scale is None and trained.network.scales == (1,):
        return trained.network.scales
    if scale not in trained.network.scales:
        raise UsageError(
            f"{card.id}: expected --scale out of {_list(trained.network.scales)}, got {scale or 'none'}; choose one"
        )
    return (scale,)


def _check_styles(card: Card, trained: Trained, style: list[Path] | None, backbone: str | None) -> None:
    from safelight.core.training import Perceptual

    if isinstance(trained.training.algorithm, Perceptual) and not style:
        raise UsageError(f"{card.id}: expected a picture of the style, got none; give one by --style")
    if not isinstance(trained.training.algorithm, Perceptual) and (style or backbone is not None):
        raise UsageError(f"{card.id} learns no style; leave --style and --backbone out")


def _list(scales: tuple[int, ...]) -> str:
    return ", ".join(map(str, scales))


def _options(card: Card, given: dict[str, str]) -> Any:  # noqa: ANN401 - each method has its own Options class
    from safelight.core.card import Trained
    from safelight.core.options import make_options
    from safelight.core.training import Perceptual

    options = make_options(card, given)
    method = card.method
    if (
        isinstance(method, Trained)
        and method.network.resolve_options is not None
        and not isinstance(method.training.algorithm, Perceptual)
    ):
        # What depends on a picture: as for one that is gray.
        return method.network.resolve_options(options, card.task, True, None)
    return options


def _name(card: Card, trained: Trained, options: Any, scales: tuple[int, ...]) -> str:  # noqa: ANN401 - as above
    """Name the weights by the method, the options that are not the usual ones, and the scale where it tells."""
    usual = card.options()
    chosen = [
        str(getattr(options, field.name))
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != getattr(usual, field.name)
    ]
    scale = [] if trained.network.scale_agnostic or scales == (1,) else [f"x{scales[0]}"]
    return "-".join([card.name, *chosen, *scale])


def _recipe(
    recipe: Recipe,
    *,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    rate: float | None,
    whole: bool,
    started: bool,
) -> Recipe:
    if rate is not None and not 0 < rate <= 1:
        raise UsageError(
            f"--rate: expected a number above 0 and at most 1, got {rate:g}; the recipe has {recipe.rate:g}"
        )
    usual = recipe.steps_after_start if started and recipe.steps_after_start is not None else recipe.steps
    return dataclasses.replace(
        recipe,
        steps=usual if steps is None else steps,
        batch=recipe.batch if batch is None else batch,
        patch=recipe.patch if patch is None else patch,
        rate=recipe.rate if rate is None else rate,
        stages=() if whole or started else recipe.stages,  # what starts from weights is grown
    )


def _follow(plan: TrainConfig, *, resume: bool, json: bool, quiet: bool) -> int:
    from safelight.training import loop as training

    last: Progress | None = None
    with Bar(plan.recipe.steps, plan.card.id, quiet=quiet) as bar, Stop() as stop:

        def report(progress: Progress) -> None:
            nonlocal last
            last = progress
            stop.check()
            score = _score(progress)
            bar.show(
                progress.step,
                f"{plan.card.id}  loss {progress.loss:.3g}{score and '  ' + score}  {progress.rate:.0f} crops/s",
            )
            if progress.step % plan.validate_every == 0 or progress.step == progress.steps:
                bar.above(lambda: _validated(progress, json=json, quiet=quiet))

        try:
            header = training.train(plan, report, resume=resume)
        except KeyboardInterrupt:
            step = 0 if last is None else last.step
            note(
                f"safelight: stopped at step {step} of {plan.recipe.steps}; "
                "the same command again goes on from the last saved state"
            )
            return INTERRUPTED
    if json:
        say_json({"summary": True, "weights": str(plan.out), **dataclasses.asdict(header)})
    elif not quiet:
        scores = ", ".join(
            f"{name} {value:.2f}" + (" dB" if "PSNR" in name else "") for name, value in header.scores.items()
        )
        say(f"{plan.out}: {scores or 'the run was complete already'}")
    return 0


def _score(progress: Progress) -> str:
    if progress.judged is not None:
        return f"loss {progress.judged:.4g}"
    return "" if progress.psnr is None else f"{progress.psnr:.2f} dB"


def _validated(progress: Progress, *, json: bool, quiet: bool) -> None:
    if json:
        say_json(
            {
                "step": progress.step, "steps": progress.steps, "loss": progress.loss,
                **({"psnr": progress.psnr} if progress.judged is None else {"validation_loss": progress.judged}),
                "crops_per_second": round(progress.rate, 1), "seconds_left": round(progress.seconds_left, 1),
            }
        )  # fmt: skip
    elif not quiet:
        score = _score(progress)
        say(
            f"step {progress.step}/{progress.steps}: loss {progress.loss:.3g}, "
            f"{score and 'validation ' + score + ', '}{progress.rate:.0f} crops/s, "
            f"{progress.seconds_left:.0f} s left"
        )


def bench(
    task: Annotated[str, typer.Argument(help="Such as upscale.", autocompletion=complete_task)],
    data: Annotated[Path, typer.Option("--data", help="The folder that holds the test sets: Set5, Set14, ...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the results.")] = Path("results"),
    methods: Annotated[
        str | None, typer.Option("--methods", help="Some only, with commas.", autocompletion=complete_method)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only what needs under 10,000 multiply-adds per pixel of the result.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Measure methods on the test sets, as the papers do, and write the results beside the published numbers."""
    chosen: Task | None = next((known for known in tasks.names() if known == task), None)
    if chosen is None:
        raise UsageError(f"expected a task out of {', '.join(tasks.names())}, got {task!r}; choose one of them")
    if not data.is_dir():
        raise UsageError(f"--data: expected a folder of test sets, got {data}; it does not exist or is a file")
    from safelight import catalog
    from safelight.evaluation import bench as benchmark
    from safelight.inference import describe

    names = None if methods is None else [the_card(name.strip(), chosen).id for name in methods.split(",")]
    if quick:
        names = [
            name
            for name in names or [card.id for card in catalog.of_task(chosen)]
            if describe.is_quick(catalog.find(name))
        ]
    show: Callable[[str], None] = (lambda line: None) if quiet or json else say  # noqa: ARG005 - it is dropped
    try:
        written = benchmark.run(chosen, data, out, methods=names, report=show)
    except benchmark.AnchorError as error:
        note(f"safelight: {error}")
        return FAILED
    if json:
        say_json({"summary": True, "results": str(written)})
    elif not quiet:
        say(f"results: {written}")
    return 0
