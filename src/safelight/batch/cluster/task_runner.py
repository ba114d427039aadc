"""What a worker of the cluster does: one task after another, with the functions of a local batch. Does not use Ray."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

import safelight
from safelight import catalog, inference
from safelight.batch import remote
from safelight.batch.cluster.messages import ClusterError, ClusterTask, WorkerConfig
from safelight.batch.outcomes import FileResult, NotNeededError, Outcome, explain, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.processing import preview, process
from safelight.batch.restorer import FIX, Restorer
from safelight.inference.autofix import AutoFix
from safelight.media import image
from safelight.media.image.picture import shown


class TaskRunner:
    """Holds the model, and runs tasks.

    Args:
        config: Configuration of the run.

    Raises:
        ClusterError: This machine has another version, or does not share the output folder.
        CardError, CheckpointError, DeviceError: As ``inference.prepare``.
    """

    def __init__(self, config: WorkerConfig) -> None:
        if config.version != safelight.__version__:
            raise ClusterError(
                f"expected Safelight {config.version} on every machine of the cluster, got {safelight.__version__}; "
                "install the same"
            )
        if config.folder_marker is not None and not config.folder_marker.exists():
            raise ClusterError(
                f"expected the folder {shown(config.folder_marker.parent)} on every machine of the cluster, got a "
                "machine that does not see it; share it (NFS), or name a URL with -o"
            )
        torch.set_num_threads(config.cpus)
        os.environ["VIPS_CONCURRENCY"] = str(config.cpus)  # read when libvips starts, here and in decoding processes
        self._order = config
        self._runner: Restorer = (
            AutoFix(config.request)
            if config.card == FIX
            else inference.prepare(catalog.find(config.card), config.request)
        )
        self._decoder = image.Decoder(workers=1)

    def do(self, task: ClusterTask) -> Outcome:
        """Run one task; any exception becomes its outcome."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="safelight-") as folder:
            scratch = Path(folder)
            source = task.job.source
            if source.path is None:
                source = replace(source, path=scratch / "input")
            job = replace(task.job, source=source, output=task.job.output or scratch / "output")
            try:
                facts = self._work(task, job, scratch)
            except Exception as error:
                return _failed(task, job, error, time.perf_counter() - start)
        status = "planned" if self._order.preview else "done"
        return task.named(succeeded(job, facts, time.perf_counter() - start, status))

    def _work(self, task: ClusterTask, job: FileJob, scratch: Path) -> FileResult:
        config = self._order
        assert job.source.path is not None
        assert job.output is not None
        if task.source is not None:
            remote.download(task.source, job.source.path)
        if config.preview:
            return preview(job, self._runner, config.files)
        if task.target is not None:
            facts = process(job, self._runner, config.files, self._decoder)
            remote.upload(job.output, task.target, overwrite=job.on_exist == "overwrite", run_id=config.run_id)
            return facts
        if job.on_exist == "overwrite" or not os.path.lexists(job.output):
            try:
                return process(job, self._runner, config.files, self._decoder)
            except image.TargetExistsError:
                if job.on_exist == "overwrite":
                    raise
        # The caller saw no such file: either an earlier attempt wrote it, whose worker was lost before it reported, or
        # another program did, whose file is kept. The bytes decide.
        facts = process(replace(job, output=scratch / "output"), self._runner, config.files, self._decoder)
        if not remote.same(scratch / "output", job.output):
            raise image.TargetExistsError(
                f"{shown(job.output)}: expected a new file, got one that came to be during the work; "
                "choose another with -o, or say --on-exist skip, overwrite or rename"
            )
        return facts


def _failed(task: ClusterTask, job: FileJob, error: Exception, seconds: float) -> Outcome:
    spared = isinstance(error, NotNeededError)
    skip_reason = spared or (job.on_exist == "skip" and isinstance(error, image.TargetExistsError))
    if spared:
        message, environment = f"{shown(task.output)} {error}", False
    elif skip_reason:
        message, environment = f"{shown(task.output)} came to be during the work, and stays as it is", False
    else:
        message, environment = explain(error)
    # Messages use the caller's names of the files.
    for path, name in ((job.source.path, task.input), (job.output, task.output)):
        message = message.replace(shown(path), shown(name))
    if not any(shown(name) in message for name in (task.input, task.output)):
        message = f"{shown(task.input)}: {message}"
    return Outcome(
        input=task.input, output=task.output, status="skipped" if skip_reason else "failed", seconds=seconds,
        error=message, environment=environment, trace="" if skip_reason else "".join(traceback.format_exception(error)),
    )  # fmt: skip
