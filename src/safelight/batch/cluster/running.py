"""The caller's side: yields skipped and failed jobs at once, and sends the rest to the process that drives Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import safelight
from safelight import tasks
from safelight.batch import remote
from safelight.batch.cluster.messages import ClusterError, ClusterTask, WorkerConfig, WorkerPool
from safelight.batch.cluster.planning import ClusterPlan
from safelight.batch.manifest import FileFingerprint, Manifest
from safelight.batch.outcomes import Outcome, failed, skipped
from safelight.batch.outputs import remove_leftovers
from safelight.batch.processing import FileSettings, check_job
from safelight.inference.runner import InferenceRequest
from safelight.media import image
from safelight.media.image.picture import shown

_PATIENCE = 40.0  # seconds that the driver process may take to end; it allows itself 30
_TICK = 0.2  # seconds between two calls of ``check``


def run(
    plan: ClusterPlan,
    *,
    card: str,
    request: InferenceRequest,
    files: FileSettings,
    pool: WorkerPool,
    manifest: Manifest | None = None,
    preview: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Generator[Outcome]:
    """Run all tasks on the cluster and yield their outcomes as they arrive: each exactly once, in any order.

    Args:
        plan: As ``plan`` returned it.
        card: The method's id.
        request: What the user asks for.
        files: How files are read and written.
        pool: Which cluster, and how many workers.
        manifest: Of a local output folder: results are recorded in it.
        preview: Check the pictures without processing them.
        check: Called several times a second; may raise an exception, such as KeyboardInterrupt, to end the run.

    Raises:
        ClusterError: The cluster can't be reached, is lost, or its machines can't do the work.
        ModuleNotFoundError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("no ray", name="safelight[cluster]")
    left: list[ClusterTask] = []
    fingerprints: dict[str, FileFingerprint | None] = {}
    for task in plan.tasks:
        check()
        found = _check(task, manifest, plan.existing)
        if isinstance(found, Outcome):
            yield found
        else:
            left.append(found[0])
            if found[1] is not None:
                fingerprints[task.output] = found[1]
    if not left:
        return
    jobs = {task.output: task.job for task in left} if manifest is not None else {}
    run_id = secrets.token_hex(4)
    weights = request.weights and Path(os.path.abspath(request.weights))  # noqa: PTH100 - links stay
    specs = () if request.task is None else tasks.find(request.task).conditions
    named = {
        spec.name: Path(os.path.abspath(request.inputs[spec.name]))  # noqa: PTH100 - as above
        for spec in specs
        if spec.file and request.inputs.get(spec.name) is not None and Path(request.inputs[spec.name]).is_file()
    }
    with _folder_marker(None if preview else plan.folder, run_id) as folder_marker:
        placed = replace(request, weights=weights, inputs={**request.inputs, **named})
        config = WorkerConfig(
            card=card, request=placed, files=files, preview=preview, cpus=pool.cpus,
            version=safelight.__version__, run_id=run_id, folder_marker=folder_marker,
        )  # fmt: skip
        try:
            for outcome in _outcomes(pool, config, left, check):
                if manifest is not None and outcome.status == "done":
                    told = manifest.record(jobs[outcome.output], fingerprints.get(outcome.output))
                    if told is not None:
                        outcome = replace(outcome, warnings=(*outcome.warnings, told))
                yield outcome
        finally:
            # Left by killed workers; none is running any more.
            if plan.url is not None:
                remote.clean(plan.url, run_id)
            elif not preview:
                remove_leftovers([task.job for task in left])


def _check(
    task: ClusterTask, manifest: Manifest | None, existing: frozenset[str]
) -> Outcome | tuple[ClusterTask, FileFingerprint | None]:
    """Return the outcome of a task that needs no work, or the task to run and the fingerprint of its input."""
    job = task.job
    try:
        if task.target is None:
            checked = check_job(job, manifest)
            if checked.skip_reason is None:
                return replace(task, job=checked.job), checked.fingerprint
            why = checked.skip_reason
        else:
            if job.source.problem is not None:
                raise image.DecodeError(job.source.problem)
            if task.target.name not in existing or job.on_exist == "overwrite":
                return task, None
            if job.on_exist != "skip":
                raise image.TargetExistsError(
                    f"{shown(task.output)}: expected a new file, got one that exists; "
                    "choose another place with -o, or say --on-exist skip, overwrite or rename"
                )
            why = "exists"
    except Exception as error:
        return task.named(failed(job, error, 0.0))
    outcome = task.named(skipped(job, why))
    return replace(outcome, error=f"{shown(task.output)} {why}")


@contextmanager
def _folder_marker(folder: Path | None, run_id: str) -> Generator[Path | None]:
    """Keep a file in the output folder during the run, by which workers recognise the shared folder."""
    if folder is None:
        yield None
        return
    path = folder.absolute() / f"{image.TEMPORARY_PREFIX}{run_id}-marker{image.TEMPORARY_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise image.TargetError(
            f"expected a folder to write to, got {shown(folder)}: {error.strerror}; choose another with -o"
        ) from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _outcomes(
    pool: WorkerPool, config: WorkerConfig, tasks: Sequence[ClusterTask], check: Callable[[], None]
) -> Iterator[Outcome]:
    with tempfile.TemporaryFile() as log, _driver(log, pool, config, tasks) as lines:
        ended = False
        while not ended:
            try:
                line = lines.get(timeout=_TICK)
            except queue.Empty:
                check()
                continue
            check()
            if line is None:
                raise _lost(log, "the process that drives it ended early")
            message: dict[str, Any] = json.loads(line)
            if "fatal" in message:
                raise _lost(log, None, message["fatal"])
            if "outcome" in message:
                facts: dict[str, Any] = message["outcome"]
                facts["warnings"] = tuple(facts["warnings"])
                yield Outcome(**facts)
            ended = "end" in message


@contextmanager
def _driver(
    log: IO[bytes], pool: WorkerPool, config: WorkerConfig, tasks: Sequence[ClusterTask]
) -> Generator[queue.SimpleQueue[bytes | None]]:
    """Start the process that drives Ray, and end it with this context; yields a queue of its lines, then None."""
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would pack this folder and send it to every machine if the program was started by uv.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "safelight.batch.cluster"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        env=environment, start_new_session=True,  # Ctrl-C is the caller's
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        with suppress(BrokenPipeError):  # it died; its output ends early
            pickle.dump((pool, config, tuple(tasks)), process.stdin)
            process.stdin.flush()
        yield lines
    finally:
        with suppress(OSError):
            process.stdin.close()  # tells it to end
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stdout.close()


def _read(pipe: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _lost(log: IO[bytes], why: str | None, told: str | None = None) -> ClusterError:
    error = ClusterError(told or f"expected Ray to run to the end, got: {why}; --debug shows what it said")
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    if text:
        error.add_note(text[-10_000:])
    return error
