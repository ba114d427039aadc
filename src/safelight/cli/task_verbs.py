"""The verbs that do a task: one for each record in ``safelight.tasks``, and ``fix``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from safelight import tasks
from safelight.cli import picture_inputs
from safelight.cli.cluster import check_flags, work_on_cluster
from safelight.cli.file_request import FileRequest, check_inputs, work
from safelight.cli.flags import ExecutionFlags, MethodFlags, OutputFlags, PathFlags, spread
from safelight.cli.method_flags import MethodVerb, method_options
from safelight.cli.shell import UsageError, Verb, amount, the_card
from safelight.core.inputs import InputSpec, read_numbers
from safelight.core.options import CardError
from safelight.core.task import TaskSpec

if TYPE_CHECKING:
    from safelight.batch import Restorer
    from safelight.inference import InferenceRequest
    from safelight.media.image import Decoder

_KEPT = "Orientation, colour profile, EXIF, transparency and bit depth are kept. An input is never replaced unasked."


def add(app: typer.Typer) -> None:
    """Add a verb for each task, and ``fix``."""
    for task in tasks.TASKS:
        app.command(task.name, cls=MethodVerb)(spread(verb_of(task)))
    app.command(cls=Verb)(spread(fix))


def verb_of(task: TaskSpec) -> Callable[..., int]:
    """Make the verb of a task, to be ``spread``: its inputs and records of flags are its parameters."""

    def verb(ctx: typer.Context, **values: Any) -> int:  # noqa: ANN401 - as the signature has it
        paths: PathFlags = values.pop("places")
        how: MethodFlags = values.pop("how")
        flags: ExecutionFlags = values.pop("flags")
        talk: OutputFlags = values.pop("talk")
        return run(paths, flags, talk, partial(_prepare, ctx, task, how, values))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters.append(inspect.Parameter("places", keyword, annotation=PathFlags))
    parameters += [
        inspect.Parameter(spec.name, keyword, default=_default(spec), annotation=_annotation(spec))
        for spec in task.conditions
        if spec.flag_name is not None
    ]
    records: Mapping[str, Any] = {"how": MethodFlags, "flags": ExecutionFlags, "talk": OutputFlags}
    parameters += [inspect.Parameter(name, keyword, annotation=kind) for name, kind in records.items()]
    verb.__name__ = task.name
    makes_pictures = task.main is not None and task.main.kind == "picture" and task.output.kind == "image"
    details = f"{task.details}\n\n" if task.details else ""
    verb.__doc__ = f"{task.help}\n\n{details}{_KEPT if makes_pictures else ''}"
    verb.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return verb


def _annotation(spec: InputSpec) -> Any:  # noqa: ANN401 - as typer reads it
    kinds: Mapping[str, Any] = {
        "number": float, "integer": int, "flag": bool, "text": str, "numbers": str, "picture": Path,
        "pictures": list[Path], "bytes": Path,
    }  # fmt: skip
    kind = kinds[spec.kind]
    assert spec.flag_name is not None
    flags = [spec.flag_name, *([spec.short] if spec.short else [])]
    info = typer.Option(
        *flags, help=spec.help, metavar=spec.metavar or None, show_default=spec.default not in (None, (), False)
    )
    has_default = spec.default not in (None, ())
    return Annotated[kind if has_default else Optional[kind], info]  # noqa: UP045 - evaluated by typer


def _default(spec: InputSpec) -> Any:  # noqa: ANN401 - of any kind
    return None if spec.default == () else spec.default


def fix(*, places: PathFlags, flags: ExecutionFlags, talk: OutputFlags) -> int:
    """Look at pictures and do what they need: remove what a strong JPEG compression left, then noise.

    It says what and why. A picture that needs nothing is left alone; a folder named by -o gets a copy of it.
    """
    return run(places, flags, talk, _prepare_fix)


# --- from flags to work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A command that is checked: what to do, by what as it is here, and the request for the workers of a cluster."""

    ask: FileRequest
    runner: Restorer
    request: InferenceRequest


Prepare = Callable[[FileRequest, "ExecutionFlags", "Decoder"], Ready]


def run(places: PathFlags, flags: ExecutionFlags, talk: OutputFlags, prepare: Prepare) -> int:
    """Do what a verb that works on files is asked to, and return the exit code.

    Args:
        places: Where files come from and go to.
        flags: How and where the work is done.
        talk: What is told.
        prepare: Makes the method ready.

    Raises:
        UsageError, CardError, BatchError: Invalid arguments; no file was changed.
    """
    inputs = tuple(places.inputs or ())
    most = None if flags.max_pixels is None else amount(flags.max_pixels, "--max-pixels", step=1000)
    amount(flags.memory, "--memory", step=1024)

    from safelight.media import image

    alone = flags.listed is None and len(inputs) == 1 and Path(inputs[0]).is_file()
    with image.Decoder(workers=1 if alone else 2) as decoder:
        if not flags.dry_run and flags.cluster is None and inputs:
            decoder.start()  # its processes come up while torch is imported

        from safelight import batch

        check_flags(inputs, places.out, cluster=flags.cluster, workers=flags.workers, watch=flags.watch)
        files = batch.FileSettings(
            max_pixels=image.DEFAULT_MAX_PIXELS if most is None else most, lenient=flags.lenient,
            quality=flags.quality, strip=flags.strip,
        )  # fmt: skip
        ask = FileRequest(
            inputs=inputs, listed=flags.listed, out=places.out, format=flags.format, on_exist=flags.on_exist,
            watch=flags.watch, dry_run=flags.dry_run, json=talk.json, quiet=talk.quiet, debug=talk.debug, files=files,
        )  # fmt: skip
        ready = prepare(ask, flags, decoder)
        if flags.cluster is not None:
            if not batch.is_streamed(ready.runner):
                raise UsageError("expected a task that makes a picture of a picture with --cluster; leave it out")
            from safelight.batch.cluster import WorkerPool

            pool = WorkerPool(address=flags.cluster, workers=flags.workers, cpus=flags.cpus_per_worker)
            return work_on_cluster(ready.ask, ready.runner, ready.request, pool)
        return work(ready.ask, ready.runner, decoder)


def _prepare(
    ctx: typer.Context,
    task: TaskSpec,
    how: MethodFlags,
    values: Mapping[str, Any],
    ask: FileRequest,
    flags: ExecutionFlags,
    decoder: Decoder,
) -> Ready:
    if task.main is None:
        if ask.inputs or ask.listed is not None:
            raise UsageError(f"expected no INPUTS, got {len(ask.inputs) or '--list'}; {task.name} works on none")
    else:
        check_inputs(ask.inputs, ask.listed)

    from safelight import inference

    card = the_card(how.method, task.name)
    request = inference.InferenceRequest(
        task=task.name, inputs=_read_inputs(task, values), options=method_options(ctx), weights=how.weights,
        device=flags.device, precision=flags.precision, ensemble=how.ensemble,
        memory=amount(flags.memory, "--memory", step=1024),
    )  # fmt: skip
    # The machine that drives a cluster need not have the device of its workers.
    device = flags.device if flags.cluster is None else "cpu"
    runner = inference.prepare(card, replace(request, device=device))
    for spec in task.conditions:
        if spec.kind == "pictures" and spec.flag_name is None and spec.name in card.accepts:
            ask, more = picture_inputs.take_frames(ask, decoder)
            request = replace(request, inputs={**request.inputs, spec.name: more})
            runner = inference.prepare(card, replace(request, device=device))
    if request.inputs.get("mask") is not None:
        picture_inputs.check_mask(request.inputs["mask"], ask)
    if how.preview is not None:
        picture_inputs.check_preview(how.preview, card, ask, on_cluster=flags.cluster is not None)
    tag = task.output.tag
    if task.output.size == "scaled" or request.inputs.get("size") is not None:
        side = 1 << 20  # any large side: a size that is malformed is told before anything runs
        made = runner.size(side, side)
        size = request.inputs.get("size")
        tag = tag or (f"x{made[0] / side:g}" if size is None else _tag(size, made))
    return Ready(ask=replace(ask, tag=tag or task.name, preview=how.preview), runner=runner, request=request)


def _read_inputs(task: TaskSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read what the flags say: files of pictures are opened, numbers with commas taken apart.

    Raises:
        UsageError: A file is no picture, or a text no numbers.
    """
    read: dict[str, Any] = {}
    for spec in task.conditions:
        value = values.get(spec.name)
        if value is None or spec.flag_name is None:
            continue
        match spec.kind:
            case "picture":
                read[spec.name] = picture_inputs.read_picture(value, spec.flag_name)
            case "pictures":
                read[spec.name] = tuple(picture_inputs.read_picture(path, spec.flag_name) for path in value)
            case "numbers":
                try:
                    read[spec.name] = read_numbers(value, spec.flag_name)
                except CardError as error:
                    raise UsageError(str(error)) from None
            case "bytes":
                read[spec.name] = value.read_bytes()
            case _:
                read[spec.name] = value
    return read


def _tag(size: str, made: tuple[int, int]) -> str:
    if size.lower().endswith("x"):
        return f"w{made[0]}"
    return f"h{made[1]}" if size.lower().startswith("x") else f"{made[0]}x{made[1]}"


def _prepare_fix(ask: FileRequest, flags: ExecutionFlags, decoder: Decoder) -> Ready:  # noqa: ARG001 - as all of them are called
    check_inputs(ask.inputs, ask.listed)

    from safelight import inference
    from safelight.inference.autofix import AutoFix

    request = inference.InferenceRequest(
        device=flags.device, precision=flags.precision, memory=amount(flags.memory, "--memory", step=1024)
    )
    fixer = AutoFix(request if flags.cluster is None else replace(request, device="cpu"))
    return Ready(ask=replace(ask, tag="fixed"), runner=fixer, request=request)
