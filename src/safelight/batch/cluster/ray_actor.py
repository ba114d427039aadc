"""What an actor does: one picture after another, by the function that a local batch calls. Knows nothing of Ray."""

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
from safelight.batch.cluster.messages import ClusterError, Order, RemoteJob
from safelight.batch.outcomes import Done, NotNeededError, Outcome, explain, succeeded
from safelight.batch.outputs import FileJob
from safelight.batch.processing import preview, process
from safelight.batch.restorer import FIX, Restorer
from safelight.inference.autofix import AutoFix
from safelight.media import image
from safelight.media.image.picture import shown


class Worker:
    """Holds the model, and does errands.

    Args:
        order: What the batch is about.

    Raises:
        ClusterError: This machine has another version, or does not see the folder of results.
        CardError, CheckpointError, DeviceError: As ``inference.prepare``.
    """

    def __init__(self, order: Order) -> None:
        if order.version != safelight.__version__:
            raise ClusterError(
                f"expected Safelight {order.version} on every machine of the cluster, got {safelight.__version__}; "
                "install the same"
            )
        if order.witness is not None and not order.witness.exists():
            raise ClusterError(
                f"expected the folder {shown(order.witness.parent)} on every machine of the cluster, got a machine "
                "that does not see it; share it (NFS), or name a URL with -o"
            )
        torch.set_num_threads(order.cpus)
        os.environ["VIPS_CONCURRENCY"] = str(order.cpus)  # read when libvips starts, here and in decoding processes
        self._order = order
        self._runner: Restorer = (
            AutoFix(order.settings)
            if order.card == FIX
            else inference.prepare(catalog.find(order.card), order.settings)
        )
        self._decoder = image.Decoder(workers=1)

    def do(self, errand: RemoteJob) -> Outcome:
        """Do one errand; whatever goes wrong becomes its outcome."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="safelight-") as folder:
            scratch = Path(folder)
            source = errand.job.source
            if source.path is None:
                source = replace(source, path=scratch / "input")
            job = replace(errand.job, source=source, output=errand.job.output or scratch / "output")
            try:
                facts = self._work(errand, job, scratch)
            except Exception as error:
                return _failed(errand, job, error, time.perf_counter() - start)
        status = "planned" if self._order.preview else "done"
        return errand.named(succeeded(job, facts, time.perf_counter() - start, status))

    def _work(self, errand: RemoteJob, job: FileJob, scratch: Path) -> Done:
        order = self._order
        assert job.source.path is not None
        assert job.output is not None
        if errand.source is not None:
            remote.fetch(errand.source, job.source.path)
        if order.preview:
            return preview(job, self._runner, order.files)
        if errand.target is not None:
            facts = process(job, self._runner, order.files, self._decoder)
            remote.deliver(job.output, errand.target, overwrite=job.on_exist == "overwrite", mark=order.mark)
            return facts
        if job.on_exist == "overwrite" or not os.path.lexists(job.output):
            try:
                return process(job, self._runner, order.files, self._decoder)
            except image.TargetExistsError:
                if job.on_exist == "overwrite":
                    raise
        # The caller saw no such file, so this is the work of an attempt before this one, whose worker was lost before
        # it could tell; or somebody else's, which stays. The bytes tell.
        facts = process(replace(job, output=scratch / "output"), self._runner, order.files, self._decoder)
        if not remote.same(scratch / "output", job.output):
            raise image.TargetExistsError(
                f"{shown(job.output)}: expected a new file, got one that came to be during the work; "
                "choose another with -o, or say --on-exist skip, overwrite or rename"
            )
        return facts


def _failed(errand: RemoteJob, job: FileJob, error: Exception, seconds: float) -> Outcome:
    spared = isinstance(error, NotNeededError)
    skip = spared or (job.on_exist == "skip" and isinstance(error, image.TargetExistsError))
    if spared:
        message, environment = f"{shown(errand.output)} {error}", False
    elif skip:
        message, environment = f"{shown(errand.output)} came to be during the work, and stays as it is", False
    else:
        message, environment = explain(error)
    # Messages speak of the files as the caller does.
    for path, name in ((job.source.path, errand.input), (job.output, errand.output)):
        message = message.replace(shown(path), shown(name))
    if not any(shown(name) in message for name in (errand.input, errand.output)):
        message = f"{shown(errand.input)}: {message}"
    return Outcome(
        input=errand.input, output=errand.output, status="skipped" if skip else "failed", seconds=seconds,
        error=message, environment=environment, trace="" if skip else "".join(traceback.format_exception(error)),
    )  # fmt: skip
