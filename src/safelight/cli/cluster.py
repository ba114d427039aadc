"""``--cluster``: runs a batch on other machines, with the same report, summary and exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from safelight.cli.reporter import Reporter
from safelight.cli.shell import Bar, Stop, UsageError, note

if TYPE_CHECKING:
    from safelight.batch import Manifest, Outcome, Restorer
    from safelight.batch.cluster import WorkerPool
    from safelight.cli.file_request import FileRequest
    from safelight.inference.runner import InferenceRequest


class Counter:
    """Advances a progress bar by one for each file that is finished."""

    def __init__(self, bar: Bar, total: int) -> None:
        self._bar, self._total, self._ended = bar, total, 0

    def settle(self, outcome: Outcome) -> None:
        """Count a finished file."""
        self._ended += 1
        self._bar.show(self._ended, PurePosixPath(outcome.input).name, total=self._total)


def check_flags(
    inputs: Sequence[str], out: str | None, *, cluster: str | None, workers: int | None, watch: bool
) -> None:
    """Check that the flags of a cluster go together with each other and with the inputs and outputs.

    Args:
        inputs: The inputs as the user typed them.
        out: The output as the user typed it; ``None``: beside the inputs.
        cluster: The address of the cluster; ``None``: the work runs on this machine.
        workers: The number of actors on the cluster; ``None``: as many as it has room for.
        watch: Whether ``--watch`` is given.

    Raises:
        UsageError: ``--watch`` is given with a cluster, or ``--workers`` or a URL without one.
    """
    from safelight.batch import remote

    if cluster is not None and watch:
        raise UsageError("expected --cluster or --watch, got both; leave one out")
    if cluster is None and workers is not None:
        raise UsageError("expected --cluster ADDRESS with --workers, got none; say --cluster local for this machine")
    urls = [text for text in (*inputs, out or "") if remote.is_url(text)]
    if cluster is None and urls:
        raise UsageError(f"expected --cluster ADDRESS with the URL {urls[0]}, got none; say --cluster local")


def work_on_cluster(file_request: FileRequest, runner: Restorer, request: InferenceRequest, pool: WorkerPool) -> int:
    """Process the files on a cluster and report on each.

    Args:
        file_request: The files, and how to report on them.
        runner: The method on this machine, used to compute the sizes of results.
        request: The request for the workers, whose device this machine may not have.
        pool: The address of the cluster and the number of actors.

    Returns:
        The exit code of the program.

    Raises:
        BatchError: Invalid arguments; no file was changed.
        TargetError: The output folder cannot be used; no file was changed.
        ClusterError: The cluster cannot be reached, or the connection to it was lost.
    """
    from safelight import batch
    from safelight.batch import cluster

    on_exist = file_request.on_exist or "error"
    listed = [] if file_request.listed is None else batch.read_list(file_request.listed)
    plan = cluster.plan(
        file_request.inputs,
        out=file_request.out,
        tag=file_request.tag,
        format=file_request.format,
        on_exist=on_exist,
        listed=listed,
    )
    if plan.ignored and not file_request.quiet:
        note(f"safelight: {plan.ignored} files in folders are not pictures by their names and were passed over")
    name = batch.restorer_name(runner)
    reporter = Reporter(
        name, json=file_request.json, quiet=file_request.quiet, debug=file_request.debug, to_stderr=False
    )
    reporter.expect([task.job for task in plan.tasks])
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if plan.folder is not None:
            facts = batch.result_settings(runner, quality=file_request.files.quality, strip=file_request.files.strip)
            manifest = batch.Manifest(
                plan.folder, facts, read_existing=on_exist == "skip", write=not file_request.dry_run
            )
            stack.enter_context(manifest)
        bar = stack.enter_context(Bar(len(plan.tasks), name, quiet=file_request.quiet))
        stop = stack.enter_context(Stop())
        outcomes = cluster.run(
            plan, card=name, request=request, files=file_request.files, pool=pool, manifest=manifest,
            preview=file_request.dry_run, check=stop.check,
        )  # fmt: skip
        reporter.follow(outcomes, bar, stop, Counter(bar, len(plan.tasks)))
    return reporter.finish()
