"""The caller's side: what needs no work is told at once, the rest goes to the process that drives Ray."""

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
from safelight.batch.cluster.messages import ClusterError, Order, Pool, RemoteJob
from safelight.batch.cluster.planning import ClusterPlan
from safelight.batch.manifest import Manifest, Stamp
from safelight.batch.outcomes import Outcome, failed, skipped
from safelight.batch.outputs import tidy
from safelight.batch.processing import Files, admit
from safelight.inference.runner import InferenceRequest
from safelight.media import image
from safelight.media.image.picture import shown

_PATIENCE = 40.0  # seconds that the process that drives Ray has to end; it takes itself 30 at most
_TICK = 0.2  # seconds between two looks whether the user wants to stop


def run(
    plan: ClusterPlan,
    *,
    card: str,
    settings: InferenceRequest,
    files: Files,
    pool: Pool,
    manifest: Manifest | None = None,
    preview: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Generator[Outcome]:
    """Do all errands on the cluster and yield their outcomes as they come: each exactly once, in no order.

    Args:
        plan: What ``plan`` gave.
        card: The method's id.
        settings: What the user asks for.
        files: How files are read and written.
        pool: Where, and with how many actors.
        manifest: Of the folder of results, if it is one of this machine: what is done is noted in it.
        preview: Check the pictures, do nothing.
        check: Called several times a second; raises what shall end the work, such as KeyboardInterrupt.

    Raises:
        ClusterError: The cluster can't be reached, is lost, or its machines can't do the work.
        ModuleNotFoundError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("no ray", name="safelight[cluster]")
    left: list[RemoteJob] = []
    stamps: dict[str, Stamp | None] = {}
    for errand in plan.errands:
        check()
        found = _admit(errand, manifest, plan.existing)
        if isinstance(found, Outcome):
            yield found
        else:
            left.append(found[0])
            if found[1] is not None:
                stamps[errand.output] = found[1]
    if not left:
        return
    jobs = {errand.output: errand.job for errand in left} if manifest is not None else {}
    mark = secrets.token_hex(4)
    weights = settings.weights and Path(os.path.abspath(settings.weights))  # noqa: PTH100 - links stay
    specs = () if settings.task is None else tasks.find(settings.task).conditions
    named = {
        spec.name: Path(os.path.abspath(settings.inputs[spec.name]))  # noqa: PTH100 - as above
        for spec in specs
        if spec.file and settings.inputs.get(spec.name) is not None and Path(settings.inputs[spec.name]).is_file()
    }
    with _witness(None if preview else plan.folder, mark) as witness:
        placed = replace(settings, weights=weights, inputs={**settings.inputs, **named})
        order = Order(
            card=card, settings=placed, files=files, preview=preview,
            cpus=pool.cpus, version=safelight.__version__, mark=mark, witness=witness,
        )  # fmt: skip
        try:
            for outcome in _outcomes(pool, order, left, check):
                if manifest is not None and outcome.status == "done":
                    told = manifest.note(jobs[outcome.output], stamps.get(outcome.output))
                    if told is not None:
                        outcome = replace(outcome, warnings=(*outcome.warnings, told))
                yield outcome
        finally:
            # What killed actors left; nobody is at work any more.
            if plan.url is not None:
                remote.clean(plan.url, mark)
            elif not preview:
                tidy([errand.job for errand in left])


def _admit(
    errand: RemoteJob, manifest: Manifest | None, existing: frozenset[str]
) -> Outcome | tuple[RemoteJob, Stamp | None]:
    """Tell the outcome of an errand that needs no work, or return it as it is to be done."""
    job = errand.job
    try:
        if errand.target is None:
            admitted = admit(job, manifest)
            if admitted.skip is None:
                return replace(errand, job=admitted.job), admitted.stamp
            why = admitted.skip
        else:
            if job.source.problem is not None:
                raise image.DecodeError(job.source.problem)
            if errand.target.name not in existing or job.on_exist == "overwrite":
                return errand, None
            if job.on_exist != "skip":
                raise image.TargetExistsError(
                    f"{shown(errand.output)}: expected a new file, got one that exists; "
                    "choose another place with -o, or say --on-exist skip, overwrite or rename"
                )
            why = "exists"
    except Exception as error:
        return errand.named(failed(job, error, 0.0))
    outcome = errand.named(skipped(job, why))
    return replace(outcome, error=f"{shown(errand.output)} {why}")


@contextmanager
def _witness(folder: Path | None, mark: str) -> Generator[Path | None]:
    """Leave a file in the folder of results for as long as the work lasts, by which workers know the folder."""
    if folder is None:
        yield None
        return
    path = folder.absolute() / f"{image.TEMPORARY_PREFIX}{mark}-witness{image.TEMPORARY_SUFFIX}"
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


def _outcomes(pool: Pool, order: Order, errands: Sequence[RemoteJob], check: Callable[[], None]) -> Iterator[Outcome]:
    with tempfile.TemporaryFile() as log, _driver(log, pool, order, errands) as lines:
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
    log: IO[bytes], pool: Pool, order: Order, errands: Sequence[RemoteJob]
) -> Generator[queue.SimpleQueue[bytes | None]]:
    """Start the process that drives Ray, and end it with this context; its lines come through the queue, then None."""
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
        with suppress(BrokenPipeError):  # it died; the end of its lines tells
            pickle.dump((pool, order, tuple(errands)), process.stdin)
            process.stdin.flush()
        yield lines
    finally:
        with suppress(OSError):
            process.stdin.close()  # the sign to end, if it has not
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
