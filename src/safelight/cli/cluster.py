"""``--cluster``: the same report, summary and exit code for a batch that other machines work on."""

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
    """Moves a bar by the files that have an outcome."""

    def __init__(self, bar: Bar, total: int) -> None:
        self._bar, self._total, self._ended = bar, total, 0

    def settle(self, outcome: Outcome) -> None:
        """Count a file that has its outcome."""
        self._ended += 1
        self._bar.show(self._ended, PurePosixPath(outcome.input).name, total=self._total)


def check_flags(
    inputs: Sequence[str], out: str | None, *, cluster: str | None, workers: int | None, watch: bool
) -> None:
    """Refuse what only a cluster can do without one, and what it can't.

    Raises:
        UsageError: it is so.
    """
    from safelight.batch import remote

    if cluster is not None and watch:
        raise UsageError("expected --cluster or --watch, got both; leave one out")
    if cluster is None and workers is not None:
        raise UsageError("expected --cluster ADDRESS with --workers, got none; say --cluster local for this machine")
    urls = [text for text in (*inputs, out or "") if remote.is_url(text)]
    if cluster is None and urls:
        raise UsageError(f"expected --cluster ADDRESS with the URL {urls[0]}, got none; say --cluster local")


def work_on_cluster(ask: FileRequest, runner: Restorer, settings: InferenceRequest, pool: WorkerPool) -> int:
    """Do what is asked on a cluster, report it, and return the exit code.

    Args:
        ask: What the user asks for.
        runner: The method as it is here, to tell sizes.
        settings: For the workers: their device may be none of this machine's.
        pool: Where, and with how many actors.

    Raises:
        BatchError: It can't be meant; nothing was done.
        TargetError: The folder of the results can't be used; nothing was done.
        ClusterError: The cluster can't be used, or is lost.
    """
    from safelight import batch
    from safelight.batch import cluster

    on_exist = ask.on_exist or "error"
    listed = [] if ask.listed is None else batch.read_list(ask.listed)
    plan = cluster.plan(ask.inputs, out=ask.out, tag=ask.tag, format=ask.format, on_exist=on_exist, listed=listed)
    if plan.ignored and not ask.quiet:
        note(f"safelight: {plan.ignored} files in folders are not pictures by their names and were passed over")
    name = batch.restorer_name(runner)
    reporter = Reporter(name, json=ask.json, quiet=ask.quiet, debug=ask.debug, to_stderr=False)
    reporter.expect([task.job for task in plan.tasks])
    with ExitStack() as stack:
        manifest: Manifest | None = None
        if plan.folder is not None:
            facts = batch.result_settings(runner, quality=ask.files.quality, strip=ask.files.strip)
            manifest = batch.Manifest(plan.folder, facts, read_existing=on_exist == "skip", write=not ask.dry_run)
            stack.enter_context(manifest)
        bar = stack.enter_context(Bar(len(plan.tasks), name, quiet=ask.quiet))
        stop = stack.enter_context(Stop())
        outcomes = cluster.run(
            plan, card=name, request=settings, files=ask.files, pool=pool, manifest=manifest,
            preview=ask.dry_run, check=stop.check,
        )  # fmt: skip
        reporter.follow(outcomes, bar, stop, Counter(bar, len(plan.tasks)))
    return reporter.finish()
