"""What goes between the caller, the process that drives Ray, and the actors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safelight.batch.outcomes import Outcome
from safelight.batch.outputs import FileJob
from safelight.batch.processing import Files
from safelight.batch.remote import RemotePath
from safelight.engine.device import DeviceError
from safelight.inference.runner import InferenceRequest

LOCAL = "local"  # as an address: start Ray on this machine


class ClusterError(DeviceError):
    """The cluster can't be used, or is lost; one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """One picture: its job, and where its files are if that is behind a URL.

    Attributes:
        job: its paths are absolute, so that they mean the same on every machine; a file behind a URL has none.
        input: how the caller calls the input.
        output: how the caller calls the output.
        source: the input, if it is behind a URL.
        target: the output, if it is behind a URL.
    """

    job: FileJob
    input: str
    output: str
    source: RemotePath | None = None
    target: RemotePath | None = None

    def named(self, outcome: Outcome) -> Outcome:
        """Let an outcome of the job speak of the files as the caller does."""
        return replace(outcome, input=self.input, output=self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where and with how many actors.

    Attributes:
        address: of the cluster, as ``ray.init`` takes it, or ``local``.
        workers: actors; None takes as many as the cluster has room for.
        cpus: of each actor: its threads.
    """

    address: str = LOCAL
    workers: int | None = None
    cpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What every actor needs to know.

    Attributes:
        card: the method's id, or ``fix``.
        settings: what the user asks for; a file of weights has the same path on every machine.
        files: how files are read and written.
        preview: check the pictures, do nothing.
        cpus: threads of an actor.
        version: of Safelight, the same on every machine.
        mark: of this run, part of the names of its temporary files.
        witness: a file in the folder of results: a machine that does not see it would write into a folder of its own.
    """

    card: str
    settings: InferenceRequest
    files: Files
    preview: bool
    cpus: int
    version: str
    mark: str
    witness: Path | None = None
