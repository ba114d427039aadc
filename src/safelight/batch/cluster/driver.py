"""The process that drives Ray: errands come in through its standard input, outcomes go out as lines of JSON.

All else that this process or Ray prints goes to standard error, which the caller keeps in a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TextIO

from safelight.batch.cluster.messages import LOCAL, ClusterError, Order, Pool, RemoteJob
from safelight.batch.outcomes import Outcome, explain
from safelight.media.image.picture import shown

PATIENCE = 30.0  # seconds that Ray has to answer, and to end
TRIES = 8  # of a picture during whose work actors die, before it is taken for the cause
LOADS = 20  # of the model for each actor, without one that lives through it, before the cluster is taken for the cause

_MOST_IN_A_BLOCK = 16  # pictures; what a lost worker's redoing costs, and how late outcomes are told
_BLOCKS = 4096  # fewer than these, and a block is one picture
_OBJECTS = 128 << 20  # bytes of Ray's shared memory on this machine: only names go through it
_LONGEST_FOLDER = 40  # bytes; Ray puts sockets below it, whose paths a system limits to 107


_LOADING = -1  # in the ledger, beside the numbers of the pictures


class Ledger:
    """An actor that counts how often a thing was begun and not finished: what kills its worker must end."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Note that work on a thing begins, and return for which time since it last came to its end."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def end(self, number: int) -> None:
        """Note that work on a thing has come to its end."""
        self._begun.pop(number, None)


class Actor:
    """Does blocks of errands; the model is loaded when the first comes, and kept.

    Args:
        order: What the batch is about.
        ledger: The handle of the ``Ledger``.
        loads: How often the model may be loaded by whichever actor, without one that lives through it.
    """

    def __init__(self, order: Order, ledger: Any, loads: int) -> None:  # noqa: ANN401 - Ray's handles carry no type
        self._order, self._ledger, self._loads = order, ledger, loads
        self._worker: Any = None

    def __call__(self, block: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        """Turn a block of errands into one of messages."""
        pairs = zip(block["number"], block["errand"], strict=True)
        return {"message": [json.dumps(self._do(int(number), errand)) for number, errand in pairs]}

    def _do(self, number: int, pickled: bytes) -> dict[str, Any]:
        if self._worker is None:
            if self._begin(_LOADING) > self._loads:
                return {"fatal": f"expected a worker that lives through loading the model, got {self._loads} that died"}
            try:
                from safelight.batch.cluster.ray_actor import Worker

                self._worker = Worker(self._order)
            except Exception as error:
                return {"fatal": explain(error)[0]}
            self._ledger.end.remote(_LOADING)
        errand: RemoteJob = pickle.loads(pickled)
        if self._begin(number) > TRIES:
            outcome = Outcome(
                input=errand.input, output=errand.output, status="failed", seconds=0.0, environment=True,
                error=f"{shown(errand.input)}: expected a worker to live through its work, got {TRIES} that died; do "
                "it alone, without --cluster, to see why (often memory: give a smaller --memory)",
            )  # fmt: skip
        else:
            outcome = self._worker.do(errand)
        self._ledger.end.remote(number)
        return {"outcome": dataclasses.asdict(outcome)}

    def _begin(self, number: int) -> int:
        ray: Any = importlib.import_module("ray")
        return ray.get(self._ledger.begin.remote(number))


def main() -> None:
    """Read the pool, the order and the errands, start or join Ray, and send one message for each errand."""
    # What Ray prints must not come between the messages.
    channel = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)
    pool, order, errands = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_caller, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        for message in _drive(pool, order, errands, channel):
            channel.write(f"{message}\n")
        channel.write('{"end": true}\n')
    except KeyboardInterrupt:
        pass
    except Exception as error:
        traceback.print_exception(error)
        fatal = str(error) if isinstance(error, ClusterError) else _explain(error)
        channel.write(json.dumps({"fatal": fatal}) + "\n")


def _end_with_the_caller(pipe: BinaryIO) -> None:
    pipe.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)  # Ray may wait for something that does not come, deaf to signals
    os._exit(1)


def _explain(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"expected Ray to run to the end, got {type(error).__name__}: {lines[-1] if lines else 'no reason'}"


def _drive(pool: Pool, order: Order, errands: Sequence[RemoteJob], channel: TextIO) -> Iterator[str]:
    ray: Any = importlib.import_module("ray")
    data: Any = importlib.import_module("ray.data")
    with _joined(ray, pool, channel):
        gpu = _wants_gpu(order, ray.cluster_resources())
        size = pool.workers or _room(pool, ray.nodes(), gpu=gpu)
        size = min(size, len(errands))
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        per_block = max(1, min(_MOST_IN_A_BLOCK, len(errands) // max(_BLOCKS, size)))
        rows = [{"number": n, "errand": pickle.dumps(errand)} for n, errand in enumerate(errands)]
        jobs = data.from_items(rows, override_num_blocks=-(-len(rows) // per_block))
        ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
        device = "cuda" if gpu else order.settings.device
        placed = dataclasses.replace(order, settings=dataclasses.replace(order.settings, device=device))
        # An actor that is lost is started again, and its blocks are done again: Ray Data retries both without end.
        done = jobs.map_batches(
            Actor, batch_size=None, batch_format="numpy", fn_constructor_args=(placed, ledger, LOADS * size),
            compute=data.ActorPoolStrategy(size=size), num_cpus=pool.cpus, num_gpus=1 if gpu else None,
        )  # fmt: skip
        for block in done.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(str, block["message"])


@contextlib.contextmanager
def _joined(ray: Any, pool: Pool, channel: TextIO) -> Generator[None]:  # noqa: ANN401 - it carries few types
    """Join the cluster, or start one on this machine that ends with this context and leaves nothing behind."""
    folder = None
    try:
        if pool.address == LOCAL:
            place = tempfile.gettempdir()
            if len(place.encode()) <= _LONGEST_FOLDER:
                folder = tempfile.mkdtemp(prefix="ray-", dir=place)
            cpus = pool.workers and pool.workers * pool.cpus  # None: as many as there are
            ray.init(
                address=LOCAL, num_cpus=cpus, include_dashboard=False, log_to_driver=False,
                object_store_memory=_OBJECTS, _temp_dir=folder,
            )  # fmt: skip
        else:
            _join(ray, pool.address, channel)
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on it ends anyway
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _join(ray: Any, address: str, channel: TextIO) -> None:  # noqa: ANN401 - as above
    def give_up(reason: object) -> str:
        return (
            f"expected a Ray cluster at {address}, got: {' '.join(str(reason).split()) or 'no answer'}; check the "
            "address, and that Ray and Python have the same versions there and here"
        )

    def leave() -> None:
        channel.write(json.dumps({"fatal": give_up(f"no answer in {PATIENCE:.0f} s")}) + "\n")
        os._exit(1)

    # Ray itself tries for many minutes.
    timer = threading.Timer(PATIENCE, leave)
    timer.daemon = True
    timer.start()
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False)
    except Exception as error:
        raise ClusterError(give_up(error)) from error
    finally:
        timer.cancel()


def _wants_gpu(order: Order, resources: Mapping[str, float]) -> bool:
    return order.settings.device == "cuda" or (order.settings.device == "auto" and resources.get("GPU", 0) >= 1)


def _room(pool: Pool, nodes: Sequence[Mapping[str, Any]], *, gpu: bool) -> int:
    """Count the actors that the cluster has room for, machine by machine."""
    room = 0
    for node in nodes:
        has: Mapping[str, float] = node["Resources"] if node["Alive"] else {}
        here = int(has.get("CPU", 0)) // pool.cpus
        room += min(here, int(has.get("GPU", 0))) if gpu else here
    if room == 0:
        raise ClusterError(
            f"expected a machine with {pool.cpus} CPUs{' and a GPU' if gpu else ''} in the cluster, got none; give "
            "fewer --cpus-per-worker, or say how many --workers to wait for"
        )
    return room
