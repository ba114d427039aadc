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

_KEPT = "Orientation, colour profile, EXIF, transparency and bit depth are kept. Inputs are replaced only on request."


def add(app: typer.Typer) -> None:
    """Add a verb for each task, and ``fix``."""
    for task in tasks.TASKS:
        app.command(task.name, cls=MethodVerb)(spread(verb_of(task)))
    app.command(cls=Verb)(spread(fix))


def verb_of(task: TaskSpec) -> Callable[..., int]:
    """Build the verb of a task for ``spread``: its parameters are the task's inputs and the records of flags."""

    def verb(ctx: typer.Context, **values: Any) -> int:  # noqa: ANN401 - typed by the signature below
        path_flags: PathFlags = values.pop("path_flags")
        method_flags: MethodFlags = values.pop("method_flags")
        execution: ExecutionFlags = values.pop("execution")
        output_flags: OutputFlags = values.pop("output_flags")
        return run(path_flags, execution, output_flags, partial(_prepare, ctx, task, method_flags, values))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters.append(inspect.Parameter("path_flags", keyword, annotation=PathFlags))
    parameters += [
        inspect.Parameter(spec.name, keyword, default=_default(spec), annotation=_annotation(spec))
        for spec in task.conditions
        if spec.flag_name is not None
    ]
    records: Mapping[str, Any] = {
        "method_flags": MethodFlags, "execution": ExecutionFlags, "output_flags": OutputFlags,
    }  # fmt: skip
    parameters += [inspect.Parameter(name, keyword, annotation=kind) for name, kind in records.items()]
    verb.__name__ = task.name
    makes_pictures = task.main is not None and task.main.kind == "picture" and task.output.kind == "image"
    details = f"{task.details}\n\n" if task.details else ""
    verb.__doc__ = f"{task.help}\n\n{details}{_KEPT if makes_pictures else ''}"
    verb.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return verb


def _annotation(spec: InputSpec) -> Any:  # noqa: ANN401 - a type form for typer
    kinds: Mapping[str, Any] = {
        "number": float, "integer": int, "flag": bool, "text": str, "numbers": str, "picture": Path,
        "pictures": list[Path], "bytes": Path,
    }  # fmt: skip
    kind = kinds[spec.kind]
    assert spec.flag_name is not None
    option_names = [spec.flag_name, *([spec.short] if spec.short else [])]
    info = typer.Option(
        *option_names, help=spec.help, metavar=spec.metavar or None, show_default=spec.default not in (None, (), False)
    )
    has_default = spec.default not in (None, ())
    return Annotated[kind if has_default else Optional[kind], info]  # noqa: UP045 - evaluated by typer


def _default(spec: InputSpec) -> Any:  # noqa: ANN401 - of any kind
    return None if spec.default == () else spec.default


def fix(*, path_flags: PathFlags, execution: ExecutionFlags, output_flags: OutputFlags) -> int:
    """Repair pictures as each one needs it: remove the artefacts of a strong JPEG compression, then noise.

    Each step and its reason are printed. A picture that needs nothing is not changed; with -o FOLDER it is copied.
    """
    return run(path_flags, execution, output_flags, _prepare_fix)


# --- from flags to work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCommand:
    """A command whose arguments have been checked.

    Attributes:
        file_request: Which files to read and write, and what to print.
        runner: The method, ready to run on this machine.
        request: The request for the workers of a cluster, whose device this machine may not have.
    """

    file_request: FileRequest
    runner: Restorer
    request: InferenceRequest


Prepare = Callable[[FileRequest, "ExecutionFlags", "Decoder"], PreparedCommand]


def run(path_flags: PathFlags, execution: ExecutionFlags, output_flags: OutputFlags, prepare: Prepare) -> int:
    """Run a verb that works on files.

    Args:
        path_flags: Where files are read from and written to.
        execution: How and where the work is done.
        output_flags: What is printed, and how.
        prepare: Checks the request and prepares the method.

    Returns:
        The exit code of the program.

    Raises:
        UsageError, CardError, BatchError: Invalid arguments; no file was changed.
    """
    inputs = tuple(path_flags.inputs or ())
    most = None if execution.max_pixels is None else amount(execution.max_pixels, "--max-pixels", step=1000)
    amount(execution.memory, "--memory", step=1024)

    from safelight.media import image

    alone = execution.listed is None and len(inputs) == 1 and Path(inputs[0]).is_file()
    with image.Decoder(workers=1 if alone else 2) as decoder:
        if not execution.dry_run and execution.cluster is None and inputs:
            decoder.start()  # its processes start while torch is imported

        from safelight import batch

        check_flags(inputs, path_flags.out, cluster=execution.cluster, workers=execution.workers, watch=execution.watch)
        files = batch.FileSettings(
            max_pixels=image.DEFAULT_MAX_PIXELS if most is None else most, lenient=execution.lenient,
            quality=execution.quality, strip=execution.strip,
        )  # fmt: skip
        file_request = FileRequest(
            inputs=inputs, listed=execution.listed, out=path_flags.out, format=execution.format,
            on_exist=execution.on_exist, watch=execution.watch, dry_run=execution.dry_run, json=output_flags.json,
            quiet=output_flags.quiet, debug=output_flags.debug, files=files,
        )  # fmt: skip
        prepared = prepare(file_request, execution, decoder)
        if execution.cluster is not None:
            if not batch.is_streamed(prepared.runner):
                raise UsageError("expected a task that makes a picture of a picture with --cluster; leave it out")
            from safelight.batch.cluster import WorkerPool

            pool = WorkerPool(address=execution.cluster, workers=execution.workers, cpus=execution.cpus_per_worker)
            return work_on_cluster(prepared.file_request, prepared.runner, prepared.request, pool)
        return work(prepared.file_request, prepared.runner, decoder)


def _prepare(
    ctx: typer.Context,
    task: TaskSpec,
    method_flags: MethodFlags,
    values: Mapping[str, Any],
    file_request: FileRequest,
    execution: ExecutionFlags,
    decoder: Decoder,
) -> PreparedCommand:
    if task.main is None:
        if file_request.inputs or file_request.listed is not None:
            raise UsageError(
                f"expected no INPUTS, got {len(file_request.inputs) or '--list'}; {task.name} works on none"
            )
    else:
        check_inputs(file_request.inputs, file_request.listed)

    from safelight import inference

    card = the_card(method_flags.method, task.name)
    request = inference.InferenceRequest(
        task=task.name, inputs=_read_inputs(task, values), options=method_options(ctx), weights=method_flags.weights,
        device=execution.device, precision=execution.precision, ensemble=method_flags.ensemble,
        memory=amount(execution.memory, "--memory", step=1024),
    )  # fmt: skip
    # The machine that drives a cluster need not have the device of its workers.
    device = execution.device if execution.cluster is None else "cpu"
    runner = inference.prepare(card, replace(request, device=device))
    for spec in task.conditions:
        if spec.kind == "pictures" and spec.flag_name is None and spec.name in card.accepts:
            file_request, more = picture_inputs.take_frames(file_request, decoder)
            request = replace(request, inputs={**request.inputs, spec.name: more})
            runner = inference.prepare(card, replace(request, device=device))
    if request.inputs.get("mask") is not None:
        picture_inputs.check_mask(request.inputs["mask"], file_request)
    if method_flags.preview is not None:
        picture_inputs.check_preview(method_flags.preview, card, file_request, on_cluster=execution.cluster is not None)
    tag = task.output.tag
    if task.output.size == "scaled" or request.inputs.get("size") is not None:
        side = 1 << 20  # any large side: a malformed size is refused before anything runs
        result_size = runner.size(side, side)
        size = request.inputs.get("size")
        tag = tag or (f"x{result_size[0] / side:g}" if size is None else _tag(size, result_size))
    return PreparedCommand(
        file_request=replace(file_request, tag=tag or task.name, preview=method_flags.preview),
        runner=runner,
        request=request,
    )


def _read_inputs(task: TaskSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read the values of the flags: pictures are read from their files, and lists of numbers are split.

    Raises:
        UsageError: A file is not a readable picture, or a text is not a list of numbers.
    """
    values_read: dict[str, Any] = {}
    for spec in task.conditions:
        value = values.get(spec.name)
        if value is None or spec.flag_name is None:
            continue
        match spec.kind:
            case "picture":
                values_read[spec.name] = picture_inputs.read_picture(value, spec.flag_name)
            case "pictures":
                values_read[spec.name] = tuple(picture_inputs.read_picture(path, spec.flag_name) for path in value)
            case "numbers":
                try:
                    values_read[spec.name] = read_numbers(value, spec.flag_name)
                except CardError as error:
                    raise UsageError(str(error)) from None
            case "bytes":
                values_read[spec.name] = value.read_bytes()
            case _:
                values_read[spec.name] = value
    return values_read


def _tag(size: str, result_size: tuple[int, int]) -> str:
    if size.lower().endswith("x"):
        return f"w{result_size[0]}"
    return f"h{result_size[1]}" if size.lower().startswith("x") else f"{result_size[0]}x{result_size[1]}"


def _prepare_fix(file_request: FileRequest, execution: ExecutionFlags, decoder: Decoder) -> PreparedCommand:  # noqa: ARG001 - the signature of ``Prepare``
    check_inputs(file_request.inputs, file_request.listed)

    from safelight import inference
    from safelight.inference.autofix import AutoFix

    request = inference.InferenceRequest(
        device=execution.device, precision=execution.precision, memory=amount(execution.memory, "--memory", step=1024)
    )
    fixer = AutoFix(request if execution.cluster is None else replace(request, device="cpu"))
    return PreparedCommand(file_request=replace(file_request, tag="fixed"), runner=fixer, request=request)
