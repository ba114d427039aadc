"""Messages between the caller, the process that drives Ray, and the actors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safelight.batch.outcomes import Outcome
from safelight.batch.outputs import FileJob
from safelight.batch.processing import FileSettings
from safelight.batch.remote import RemotePath
from safelight.engine.device import DeviceError
from safelight.inference.runner import InferenceRequest

LOCAL = "local"  # as an address: start Ray on this machine


class ClusterError(DeviceError):
    """The cluster can't be used, or was lost; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTask:
    """One picture for the cluster: its job, and its remote files.

    Attributes:
        job: paths are absolute, so that they mean the same on every machine; remote files have none.
        input: the caller's name of the input.
        output: the caller's name of the output.
        source: the input, if it is remote.
        target: the output, if it is remote.
    """

    job: FileJob
    input: str
    output: str
    source: RemotePath | None = None
    target: RemotePath | None = None

    def named(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the caller's names of the files."""
        return replace(outcome, input=self.input, output=self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPool:
    """Which cluster, and how many workers on it.

    Attributes:
        address: of the cluster, as ``ray.init`` takes it, or ``local``.
        workers: number of workers; None takes as many as the cluster has room for.
        cpus: CPUs, and threads, of each worker.
    """

    address: str = LOCAL
    workers: int | None = None
    cpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Configuration of every worker of a run.

    Attributes:
        card: the method's id, or ``fix``.
        request: what the user asks for; a weights file has the same path on every machine.
        files: how files are read and written.
        preview: check the pictures without processing them.
        cpus: threads of a worker.
        version: of Safelight; must be the same on every machine.
        run_id: part of the names of this run's temporary files.
        folder_marker: a file in the output folder; a machine that does not see it does not share the folder.
    """

    card: str
    request: InferenceRequest
    files: FileSettings
    preview: bool
    cpus: int
    version: str
    run_id: str
    folder_marker: Path | None = None
