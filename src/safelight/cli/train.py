"""The verb ``train``: train or fit a method on pictures of one's own."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from safelight.cli.method_flags import MethodVerb, complete_method, method_options
from safelight.cli.shell import (
    INTERRUPTED,
    Bar,
    Debug,
    DeviceFlag,
    Json,
    Quiet,
    Stop,
    UsageError,
    finite,
    note,
    say,
    say_json,
    the_card,
)

if TYPE_CHECKING:
    from safelight.checkpoints.weights_file import WeightsHeader
    from safelight.core.card import Card, NetworkSpec, TrainingSpec
    from safelight.core.training import FitSpec, Recipe
    from safelight.training.loop import Progress, TrainConfig


_META = "safelight.cli.train.roles"


def _specs() -> list[TrainingSpec | FitSpec]:
    """How each method of the catalog learns."""
    from safelight.catalog import CARDS

    specs = (card.training or card.fit for card in CARDS)
    return [spec for spec in specs if spec is not None]


class TrainVerb(MethodVerb):
    """The verb that takes, beside the options of the methods, a flag for each role that their training data have."""

    _roles: Sequence[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's types come from a private module
        """List the verb's own parameters, those of the methods and those of the roles."""
        own = super().get_params(ctx)
        if ctx.resilient_parsing:
            return own
        if self._roles is None:
            self._roles = _role_flags()
        return [*own[:-1], *self._roles, *own[-1:]]

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the verb; it finds the roles' folders by ``_data``."""
        ctx.meta[_META] = {
            param.name.removeprefix("role_"): tuple(map(Path, ctx.params.pop(param.name, None) or ()))
            for param in self._roles or ()
        }
        return super().invoke(ctx)


def _role_flags() -> list[Any]:
    """Make the flags of the roles, as typer makes them of a function's parameters."""
    roles = {role.name: role for spec in _specs() for role in spec.roles if role.name != "data"}
    parameters: list[inspect.Parameter] = []
    for role in roles.values():
        flags = [role.flag, *([role.short] if role.short else [])]
        info = typer.Option(
            *flags, help=f"{role.help[0].upper()}{role.help[1:]}, or a folder; may be given again.", metavar="PATH"
        )
        annotation = Annotated[Optional[list[str]], info]  # noqa: UP045 - evaluated by typer
        name, kind = f"role_{role.name}", inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=None, annotation=annotation))

    def command(**values: list[str] | None) -> None:
        raise NotImplementedError  # only its parameters are wanted

    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    maker = typer.Typer(add_completion=False)
    maker.command()(command)
    return [param for param in typer.main.get_command(maker).params if str(param.name).startswith("role_")]


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=TrainVerb)(train)


def train(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="Such as upscale/fsrcnn.", autocompletion=complete_method)],
    data: Annotated[list[Path] | None, typer.Option("--data", help="A folder of pictures; may be given again.")] = None,
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
    lr: Annotated[float | None, typer.Option("--lr", help="The peak learning rate.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights at the start and of the crops.")] = 0,
    validate_every: Annotated[int, typer.Option("--validate-every", min=1, help="Steps between validations.")] = 500,
    start: Annotated[
        Path | None, typer.Option("--start", help="Weights to begin from, such as another scale's.")
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
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="Processes that share each batch, one for each device.")
    ] = 1,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option("--precision", help="auto: bfloat16 where it is faster.")
    ] = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Train a method by its recipe. A run that was stopped goes on exactly where it was: run the same command again.

    JSON: an object a validation (step, steps, loss, losses by name, the score such as psnr or validation_loss,
    crops_per_second, seconds_left), then one summary.
    """
    from safelight.core.training import FitSpec
    from safelight.training import loop as training
    from safelight.training import processes

    card = the_card(method, None)
    network, spec = _learned(card)
    scales = _scales(card, network, scale)
    options = _options(card, network, spec, method_options(ctx))
    folders = _folders(card, spec, data, ctx.meta[_META], backbone)
    path = out or Path(f"{_name(card, network, options, scales)}.safetensors")
    stopped = not isinstance(spec, FitSpec) and path.with_suffix(".state").exists()
    if path.exists() and not stopped and not restart:
        raise UsageError(
            f"{path}: expected new weights or a run to go on with, got weights; choose another -o, or --restart"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(spec, FitSpec):
        return _fit(card, network, spec, options, scales, folders, path, seed=seed, json=json, quiet=quiet)
    if whole and not spec.recipe.stages:
        raise UsageError(f"{card.id} does not grow; leave --whole out")
    recipe = _recipe(spec.recipe, steps=steps, batch=batch, patch=patch, lr=lr, whole=whole, started=start is not None)
    if recipe.batch % devices:
        raise UsageError(f"--devices: expected processes that share {recipe.batch} crops equally, got {devices}")
    plan = training.TrainConfig(
        card=card,
        options=options,
        scales=scales,
        recipe=recipe,
        data=folders,
        out=path,
        start=start,
        backbone=backbone or "lens",
        device=device,
        devices=devices,
        precision=precision,
        seed=seed,
        validate_every=validate_every,
    )
    if recipe.start not in (None, *scales) and start is None and not quiet:
        note(f"safelight: the recipe begins x{scales[0]} from weights for x{recipe.start}: give them by --start")
    first = devices == 1 or processes.is_first()  # of several processes one alone reports
    return _follow(plan, resume=not restart, json=json and first, quiet=quiet or not first)


def _learned(card: Card) -> tuple[NetworkSpec, TrainingSpec | FitSpec]:
    """What a method learns, and how: by steps, or by a fit."""
    network, spec = card.network, card.training or card.fit
    if network is None or spec is None:
        raise UsageError(f"expected a method that is trained, got {card.id}, no network; see: safelight methods")
    return network, spec


def _scales(card: Card, network: NetworkSpec, scale: int | None) -> tuple[int, ...]:
    if network.scale_agnostic:
        if scale is not None:
            raise UsageError(f"{card.id}: expected no --scale, got {scale}; one network serves all that it does")
        return network.scales
    if scale is None and network.scales == (1,):
        return network.scales
    if scale not in network.scales:
        raise UsageError(
            f"{card.id}: expected --scale out of {_list(network.scales)}, got {scale or 'none'}; choose one"
        )
    return (scale,)


def _folders(
    card: Card,
    spec: TrainingSpec | FitSpec,
    data: list[Path] | None,
    further: Mapping[str, tuple[Path, ...]],
    backbone: str | None,
) -> dict[str, tuple[Path, ...]]:
    """Gather what was given for each role that the training has."""
    given = {"data": tuple(data or ()), **further}
    roles = {role.name: role for role in spec.roles}
    for name, paths in given.items():
        if paths and name not in roles:
            flags = ", ".join(role.flag for role in spec.roles)
            raise UsageError(f"{card.id} has no use for --data{'' if name == 'data' else '-' + name}; it takes {flags}")
    for role in roles.values():
        if not given.get(role.name):
            raise UsageError(f"{card.id}: expected {role.help}, got none; give it by {role.short or role.flag}")
    if backbone is not None and not _by_backbone(spec):
        raise UsageError(f"{card.id} compares no pictures by a network; leave --backbone out")
    return {name: given[name] for name in roles}


def _by_backbone(spec: TrainingSpec | FitSpec) -> bool:
    from safelight.core.training import FitSpec, Perceptual

    return not isinstance(spec, FitSpec) and isinstance(spec.algorithm, Perceptual)


def _list(scales: tuple[int, ...]) -> str:
    return ", ".join(map(str, scales))


def _options(card: Card, network: NetworkSpec, spec: TrainingSpec | FitSpec, given: dict[str, str]) -> Any:  # noqa: ANN401 - each method has its own Options class
    from safelight.core.options import make_options

    options = make_options(card, given)
    if network.resolve_options is not None and not _by_backbone(spec):
        # What depends on a picture: as for one that is gray.
        return network.resolve_options(options, card.task, True, None)
    return options


def _name(card: Card, network: NetworkSpec, options: Any, scales: tuple[int, ...]) -> str:  # noqa: ANN401 - as above
    """Name the weights by the method, the options that are not the usual ones, and the scale where it tells."""
    usual = card.options()
    chosen = [
        str(getattr(options, field.name))
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != getattr(usual, field.name)
    ]
    scale = [] if network.scale_agnostic or scales == (1,) else [f"x{scales[0]}"]
    return "-".join([card.name, *chosen, *scale])


def _recipe(
    recipe: Recipe,
    *,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    lr: float | None,
    whole: bool,
    started: bool,
) -> Recipe:
    if lr is not None and not 0 < lr <= 1:
        raise UsageError(f"--lr: expected a number above 0 and at most 1, got {lr:g}; the recipe has {recipe.lr:g}")
    factor = 1.0 if lr is None else lr / recipe.lr  # for the optimisers that have a rate of their own in a phase
    phases = tuple(
        dataclasses.replace(phase, lr={name: own * factor for name, own in phase.lr.items()}) for phase in recipe.phases
    )
    usual = recipe.steps_after_start if started and recipe.steps_after_start is not None else recipe.steps
    return dataclasses.replace(
        recipe,
        steps=usual if steps is None else steps,
        batch=recipe.batch if batch is None else batch,
        patch=recipe.patch if patch is None else patch,
        lr=recipe.lr if lr is None else lr,
        phases=phases,
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
                f"{plan.card.id}  {_losses(progress)}{score and '  ' + score}  {progress.crops_per_second:.0f} crops/s",
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
    _done(plan.out, header, json=json, quiet=quiet)
    return 0


def _losses(progress: Progress) -> str:
    parts = " ".join(f"{name} {value:.3g}" for name, value in progress.losses.items())
    return f"{progress.phase}: {parts}" if progress.phase else parts


def _score(progress: Progress) -> str:
    score = progress.score
    if score is None:
        return ""
    return f"{score.value:.2f} {score.unit}" if score.unit else f"{score.name} {score.value:.4g}"


def _validated(progress: Progress, *, json: bool, quiet: bool) -> None:
    if json:
        from safelight.training.loop import column

        score = progress.score
        say_json(
            {
                "step": progress.step, "steps": progress.steps, "loss": progress.loss,
                **({"phase": progress.phase} if progress.phase else {}), "losses": dict(progress.losses),
                **({} if score is None else {column(score, {**progress.losses, "loss": 0}): finite(score.value)}),
                "crops_per_second": round(progress.crops_per_second, 1),
                "seconds_left": round(progress.seconds_left, 1),
            }
        )  # fmt: skip
    elif not quiet:
        score = _score(progress)
        say(
            f"step {progress.step}/{progress.steps}: {_losses(progress)}, "
            f"{score and 'validation ' + score + ', '}{progress.crops_per_second:.0f} crops/s, "
            f"{progress.seconds_left:.0f} s left"
        )


def _fit(
    card: Card,
    network: NetworkSpec,
    spec: FitSpec,
    options: Any,  # noqa: ANN401 - each method has its own Options class
    scales: tuple[int, ...],
    folders: Mapping[str, tuple[Path, ...]],
    out: Path,
    *,
    seed: int,
    json: bool,
    quiet: bool,
) -> int:
    from safelight.training import fitting

    plan = fitting.FitConfig(
        card=card, network=network, spec=spec, options=options, scales=scales, data=folders, out=out, seed=seed
    )
    with Bar(100, card.id, quiet=quiet) as bar, Stop() as stop:

        def report(fraction: float) -> None:
            stop.check()
            bar.show(round(100 * fraction), card.id)

        try:
            header = fitting.fit(plan, report)
        except KeyboardInterrupt:
            note("safelight: stopped; the same command begins anew")
            return INTERRUPTED
    _done(out, header, json=json, quiet=quiet)
    return 0


def _done(out: Path, header: WeightsHeader, *, json: bool, quiet: bool) -> None:
    if json:
        say_json({"summary": True, "weights": str(out), **dataclasses.asdict(header)})
    elif not quiet:
        scores = ", ".join(
            f"{name} {value:.2f}" + (" dB" if "PSNR" in name else "") for name, value in header.scores.items()
        )
        say(f"{out}: {scores or 'the run was complete already'}")
