"""The verb ``bench``: measure methods on test sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from safelight import tasks
from safelight.cli.method_flags import complete_method, complete_task
from safelight.cli.shell import FAILED, Debug, Json, Quiet, UsageError, Verb, note, say, say_json, the_card
from safelight.core.task import Task


def add(app: typer.Typer) -> None:
    """Add this file's verb."""
    app.command(cls=Verb)(bench)


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
    measured = [spec.name for spec in tasks.TASKS if spec.benchmark is not None]
    chosen: Task | None = next((known for known in measured if known == task), None)
    if chosen is None:
        raise UsageError(f"expected a task that is benchmarked, {', '.join(measured)}, got {task!r}; choose one")
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
