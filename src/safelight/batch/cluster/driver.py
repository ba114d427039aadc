"""The process that drives Ray: reads tasks from standard input, writes outcomes to standard output as JSON lines.

All other output of this process and of Ray goes to standard error, which the caller keeps in a file.
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

from safelight.batch.cluster.messages import LOCAL, ClusterError, ClusterTask, WorkerConfig, WorkerPool
from safelight.batch.outcomes import Outcome, explain
from safelight.media.image.picture import shown

TIMEOUT = 30.0  # seconds that Ray may take to connect, and to shut down
MAX_ATTEMPTS = 8  # of a picture on which workers die, before the picture is taken for the cause
MAX_LOADS = 20  # of the model per worker without one success, before the run fails

_MOST_IN_A_BLOCK = 16  # pictures; bounds the work that is repeated after a lost worker, and the delay of outcomes
_BLOCKS = 4096  # with fewer pictures than these, a block is one picture
_OBJECTS = 128 << 20  # bytes of Ray's shared memory on this machine: only file names pass through it
_LONGEST_FOLDER = 40  # bytes; Ray puts sockets below it, whose paths a system limits to 107


_LOADING = -1  # a key of the counter, besides the numbers of the pictures


class AttemptCounter:
    """Ray actor that counts the unfinished attempts of each task; a picture that kills workers is given up."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Count an attempt, and return the number of attempts since the last one that finished."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def end(self, number: int) -> None:
        """Reset the count after an attempt that finished."""
        self._begun.pop(number, None)


class RayActor:
    """Processes blocks of tasks; loads the model with the first one and keeps it.

    Args:
        config: Configuration of the run.
        counter: The handle of the ``AttemptCounter``.
        loads: How often all workers together may try to load the model without one success.
    """

    def __init__(self, config: WorkerConfig, counter: Any, loads: int) -> None:  # noqa: ANN401 - Ray's handles carry no type
        self._order, self._ledger, self._loads = config, counter, loads
        self._worker: Any = None

    def __call__(self, block: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        """Process a block of tasks and return a block of messages."""
        pairs = zip(block["number"], block["task"], strict=True)
        return {"message": [json.dumps(self._do(int(number), task)) for number, task in pairs]}

    def _do(self, number: int, pickled: bytes) -> dict[str, Any]:
        if self._worker is None:
            if self._begin(_LOADING) > self._loads:
                return {"fatal": f"expected a worker that survives loading the model, got {self._loads} that died"}
            try:
                from safelight.batch.cluster.task_runner import TaskRunner

                self._worker = TaskRunner(self._order)
            except Exception as error:
                return {"fatal": explain(error)[0]}
            self._ledger.end.remote(_LOADING)
        task: ClusterTask = pickle.loads(pickled)
        if self._begin(number) > MAX_ATTEMPTS:
            outcome = Outcome(
                input=task.input, output=task.output, status="failed", seconds=0.0, environment=True,
                error=f"{shown(task.input)}: expected a worker to survive its work, got {MAX_ATTEMPTS} that died; do "
                "it alone, without --cluster, to see why (often memory: give a smaller --memory)",
            )  # fmt: skip
        else:
            outcome = self._worker.do(task)
        self._ledger.end.remote(number)
        return {"outcome": dataclasses.asdict(outcome)}

    def _begin(self, number: int) -> int:
        ray: Any = importlib.import_module("ray")
        return ray.get(self._ledger.begin.remote(number))


def main() -> None:
    """Read the pool, the configuration and the tasks, start or join Ray, and send one message for each task."""
    # Ray's output must not get between the messages.
    channel = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)
    pool, config, tasks = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_caller, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        for message in _drive(pool, config, tasks, channel):
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
    time.sleep(TIMEOUT)  # Ray may wait without end and ignore signals
    os._exit(1)


def _explain(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"expected Ray to run to the end, got {type(error).__name__}: {lines[-1] if lines else 'no reason'}"


def _drive(pool: WorkerPool, config: WorkerConfig, tasks: Sequence[ClusterTask], channel: TextIO) -> Iterator[str]:
    ray: Any = importlib.import_module("ray")
    data: Any = importlib.import_module("ray.data")
    with _connected(ray, pool, channel):
        gpu = _wants_gpu(config, ray.cluster_resources())
        size = pool.workers or _room(pool, ray.nodes(), gpu=gpu)
        size = min(size, len(tasks))
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        per_block = max(1, min(_MOST_IN_A_BLOCK, len(tasks) // max(_BLOCKS, size)))
        rows = [{"number": n, "task": pickle.dumps(task)} for n, task in enumerate(tasks)]
        jobs = data.from_items(rows, override_num_blocks=-(-len(rows) // per_block))
        counter = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AttemptCounter).remote()
        device = "cuda" if gpu else config.request.device
        placed = dataclasses.replace(config, request=dataclasses.replace(config.request, device=device))
        # A lost actor is restarted and its blocks are repeated: Ray Data retries both without limit.
        done = jobs.map_batches(
            RayActor, batch_size=None, batch_format="numpy", fn_constructor_args=(placed, counter, MAX_LOADS * size),
            compute=data.ActorPoolStrategy(size=size), num_cpus=pool.cpus, num_gpus=1 if gpu else None,
        )  # fmt: skip
        for block in done.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(str, block["message"])


@contextlib.contextmanager
def _connected(ray: Any, pool: WorkerPool, channel: TextIO) -> Generator[None]:  # noqa: ANN401 - it carries few types
    """Join the cluster, or start one on this machine that is shut down and removed with this context."""
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
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends anyway from here on
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
        channel.write(json.dumps({"fatal": give_up(f"no answer in {TIMEOUT:.0f} s")}) + "\n")
        os._exit(1)

    # Ray itself tries for many minutes.
    timer = threading.Timer(TIMEOUT, leave)
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


def _wants_gpu(config: WorkerConfig, resources: Mapping[str, float]) -> bool:
    return config.request.device == "cuda" or (config.request.device == "auto" and resources.get("GPU", 0) >= 1)


def _room(pool: WorkerPool, nodes: Sequence[Mapping[str, Any]], *, gpu: bool) -> int:
    """Return how many workers the cluster has room for, machine by machine."""
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
