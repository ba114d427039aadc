"""The verb ``serve``: the HTTP API, and the page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.shell import Debug, DeviceFlag, UsageError, Verb, amount, note

if TYPE_CHECKING:
    from safelight.web.backend import Backend
    from safelight.web.limits import ServerLimits

_TOKEN = "SAFELIGHT_TOKEN"


def add(app: typer.Typer) -> None:
    """Add this file's verb."""
    app.command(cls=Verb)(serve)


def serve(
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="The port; 0: any free port.")] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help=f"Clients must send: Authorization: Bearer TOKEN. Safer in the environment variable {_TOKEN}, "
            "which other users of this machine cannot see.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", help="Another host name under which clients reach the server.", show_default=False
        ),
    ] = None,
    device: DeviceFlag = "auto",
    memory: Annotated[
        str, typer.Option("--memory", help="The most memory that a tile may take, such as 500M or 2G.")
    ] = "1G",
    max_upload: Annotated[str, typer.Option("--max-upload", help="The most bytes of a request.")] = "32M",
    max_pixels: Annotated[str, typer.Option("--max-pixels", help="The most pixels of an input picture.")] = "25M",
    max_result: Annotated[str, typer.Option("--max-result", help="The most pixels of a result.")] = "200M",
    max_in_flight: Annotated[
        str,
        typer.Option("--max-in-flight", help="The most pixels, of inputs and results, of all jobs that wait or run."),
    ] = "400M",
    max_held: Annotated[
        str, typer.Option("--max-held", help="The most bytes of requests and results that are kept in memory.")
    ] = "256M",
    queue: Annotated[int, typer.Option("--queue", min=1, help="The most jobs that wait.")] = 64,
    per_client: Annotated[
        int, typer.Option("--per-client", min=1, help="The most requests of one address at a time.")
    ] = 16,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="The most seconds that a job may run.")] = 600,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            show_default=False,
            help="Run jobs on a Ray cluster: auto, HOST:PORT, or local to start one on this machine.",
        ),
    ] = None,
    replicas: Annotated[
        str,
        typer.Option(
            "--replicas", metavar="MIN:MAX", help="How many replicas of each method run on the cluster, by demand."
        ),
    ] = "0:4",
    replica_cpus: Annotated[float, typer.Option("--replica-cpus", min=0, help="CPU cores of each replica.")] = 1,
    replica_gpus: Annotated[
        float, typer.Option("--replica-gpus", min=0, help="GPUs of each replica; may be a fraction.")
    ] = 0,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Serve the page and the HTTP API, until Ctrl-C.

    The address is this machine's own unless --host says otherwise. Nothing of a client's is kept on a disk.
    """  # fmt: skip
    from importlib.util import find_spec

    secret = token if token is not None else os.environ.get(_TOKEN)
    if secret is not None and len(secret) < 8:
        raise UsageError("--token: expected 8 characters at least, got fewer; take a long random one")
    if missing := [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]:
        from safelight.core.card import MissingPackageError

        raise MissingPackageError(
            f"serve needs {missing[0]}, which is not installed; get it with: pip install 'safelight[web]'"
        )
    from safelight.web.limits import ServerLimits
    from safelight.web.server import LOOPBACK
    from safelight.web.server import serve as run

    if host not in LOOPBACK and secret is None:
        raise UsageError(
            f"--host {host}: expected a token, since others can reach that address, got none; set {_TOKEN} or --token"
        )
    limits = ServerLimits(
        upload=amount(max_upload, "--max-upload", step=1024), pixels=amount(max_pixels, "--max-pixels", step=1000),
        made=amount(max_result, "--max-result", step=1000), queue=queue, each=per_client, seconds=timeout,
        in_flight=amount(max_in_flight, "--max-in-flight", step=1000),
        held=amount(max_held, "--max-held", step=1024),
    )  # fmt: skip

    maker = None if cluster is None else _remote(cluster, replicas, replica_cpus, replica_gpus, limits)

    def started(address: str, at: int) -> None:
        shown = f"[{address}]" if ":" in address else address
        note(f"safelight: serving at http://{shown}:{at} (Ctrl-C ends it)")

    run(
        limits, host=host, port=port, hosts=frozenset(name.lower() for name in allow_host or ()), token=secret,
        device=device, memory=amount(memory, "--memory", step=1024), maker=maker, started=started,
    )  # fmt: skip
    return 0


def _remote(address: str, replicas: str, cpus: float, gpus: float, limits: ServerLimits) -> Backend:
    """Find the cluster.

    Raises:
        MissingPackageError: Ray is not installed.
        UsageError: The bounds are none.
        ClusterError: There is no cluster at the address.
    """
    from importlib.util import find_spec

    least, colon, most = replicas.partition(":")
    if not (colon and least.isdecimal() and most.isdecimal() and int(least) <= int(most) and int(most) > 0):
        raise UsageError(f"--replicas: expected MIN:MAX, such as 0:4, got {replicas!r}")
    if find_spec("ray") is None:
        from safelight.core.card import MissingPackageError

        raise MissingPackageError(
            "serve --cluster needs ray, which is not installed; get it with: pip install 'safelight[cluster]'"
        )
    from safelight.batch.cluster import ClusterError
    from safelight.web.ray_backend import RayBackend, RayCluster

    cluster = RayCluster(address=address, least=int(least), most=int(most), cpus=cpus, gpus=gpus)
    try:
        return RayBackend(cluster, limits)
    except (ConnectionError, ValueError) as error:
        raise ClusterError(f"expected a cluster of Ray at {address}, got: {error}") from None
