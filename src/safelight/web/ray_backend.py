"""Let other machines compute: a deployment of Ray Serve for each method, with as many replicas as its line needs.

The server's own process stays the one door: limits, jobs, tokens and the page are its own, and Serve's HTTP proxies
stay shut. What it hands out is one picture at a time, to a replica that has nothing else to do. A replica that dies
takes the one picture with it that it had: its client is told 503.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from safelight.media import image
from safelight.web.backend import LocalBackend, use_cores
from safelight.web.errors import RequestError, request_error
from safelight.web.job import JobResult, ServerJob, StoppedError, iterates
from safelight.web.limits import ServerLimits
from safelight.web.parse_request import TaskRequest

_LOOK = 0.5  # seconds between two looks whether a picture is still wanted
_WAIT = 120.0  # seconds for a replica that begins
_PACE = 0.2  # seconds between two things told of one picture
_MOST_DROPPED = 4096  # pictures that nobody wants and that no replica has asked about
_ATTEMPTS = 2  # to find a replica that begins
_IDLE = 60.0  # seconds for which replicas wait for work before there are fewer of them


@dataclass(frozen=True, slots=True)
class _Pace:
    """Where a replica stands."""

    fraction: float
    remark: str


@dataclass(frozen=True, slots=True)
class _No:
    """Why a replica has no result: a refusal, as what can be sent."""

    status: int
    detail: str
    headers: dict[str, str]


Told: TypeAlias = _Pace | JobResult | _No | None
"""What comes from a replica: paces, and at last a result, the reason why there is none, or that it was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """Where to compute, and on how much.

    Attributes:
        address: Of the cluster, as ``ray.init`` takes it; ``local`` starts one on this machine.
        least: Replicas of a method that has been asked for, whatever its line is; 0: none while nobody asks.
        most: Replicas of a method.
        cpus: Cores of a replica.
        gpus: GPUs of a replica, or a part of one.
    """

    address: str
    least: int = 0
    most: int = 4
    cpus: float = 1
    gpus: float = 0


class RayBackend:
    """Computes on a cluster; it is made when the server starts, and asks for replicas of a method when one is wanted.

    Args:
        cluster: The Ray cluster, and how many replicas a method may have.
        limits: What clients may have; replicas hold them too.

    Raises:
        ConnectionError: There is no such cluster.
    """

    def __init__(self, cluster: RayCluster, limits: ServerLimits) -> None:
        import ray
        from ray import serve

        self.places: int | None = cluster.most
        self._cluster, self._limits = cluster, limits
        self._here = LocalBackend(limits)
        self._handles: dict[str, Any] = {}
        self._one = threading.Lock()
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)  # its own life is not of interest
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if cluster.address == "local":
            ray.init(include_dashboard=False, **how)
        else:
            ray.init(address=cluster.address, **how)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        self._board: Any = ray.remote(num_cpus=0)(_Board).remote()

    def open(self) -> None:
        """Make ready what this process needs itself."""
        self._here.open()

    def close(self) -> None:
        """End: the replicas go."""
        import ray
        from ray import serve

        self._here.close()
        serve.shutdown()
        ray.shutdown()

    def picture(self, file: bytes) -> image.Picture:
        """Decode a file, here."""
        return self._here.picture(file)

    def make(self, job: ServerJob) -> JobResult:
        """Have a result made.

        Raises:
            RequestError: 503: its replica died; and whatever the replica refuses.
            StoppedError: It is not wanted any more.
        """
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        for attempt in range(_ATTEMPTS):
            begun = False
            try:
                for told in self._tell(job, f"{job.id} {attempt}"):
                    begun = True
                    if isinstance(told, JobResult):
                        return told
                    if isinstance(told, _No):
                        raise RequestError(told.status, told.detail, headers=told.headers)
                    if told is None:
                        raise StoppedError
                    job.remark = told.remark
                    job.progress(told.fraction)
            except (RayError, RayServeException) as error:
                # A replica that was gone before it began had no part in it: another one tries, once.
                if begun or attempt == _ATTEMPTS - 1:
                    text = f"the replica that had the picture is gone ({type(error).__name__}); send it again"
                    raise RequestError(503, text) from None
        raise StoppedError

    def _tell(self, job: ServerJob, number: str) -> Generator[Told]:
        """Send a picture, and hear of it; what is not wanted any more is called back."""
        from ray.serve.exceptions import RequestCancelledError

        told = self._handle(job.ask).options(stream=True).make.remote(job.ask, number, self._board)
        over, begun = False, threading.Event()
        threading.Thread(target=_wait, args=(job, told, begun), daemon=True).start()
        try:
            for each in told:
                begun.set()
                if job.unwanted:
                    self._board.drop.remote(number)
                over = not isinstance(each, _Pace)
                yield each
        except RequestCancelledError:
            if job.unwanted:
                raise StoppedError from None
            raise RequestError(503, "the cluster had no room for this method; try again", retry=_WAIT) from None
        finally:
            begun.set()
            if not over:
                self._board.drop.remote(number)

    def _handle(self, ask: TaskRequest) -> Any:  # noqa: ANN401 - Serve's handles have no type
        from ray import serve

        name = "fix" if ask.card is None else ask.card.id.replace("/", "-")
        with self._one:
            if name not in self._handles:
                cluster = self._cluster
                scaling = {
                    "min_replicas": cluster.least, "initial_replicas": max(1, cluster.least),
                    "max_replicas": cluster.most,
                    "target_ongoing_requests": 1, "downscale_delay_s": _IDLE, "upscale_delay_s": 1.0,
                }  # fmt: skip
                as_deployment: Any = cast("Any", serve).deployment
                deployment = as_deployment(
                    _Replica, name=name, max_ongoing_requests=1, autoscaling_config=scaling,
                    ray_actor_options={"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
                )  # fmt: skip
                target = serve.RunTarget(
                    deployment.bind(self._limits, max(1, round(cluster.cpus))), name=name, route_prefix=None
                )
                (self._handles[name],) = serve.run_many([target], wait_for_applications_running=False)
            return self._handles[name]


def _wait(job: ServerJob, told: Any, begun: threading.Event) -> None:  # noqa: ANN401
    """Give a picture up that no replica has begun, when nobody wants it any more or after so many seconds."""
    end = time.monotonic() + _WAIT
    while not begun.wait(_LOOK):
        if job.unwanted or time.monotonic() > end:
            told.cancel()
            return


class _Board:
    """Where replicas look whether their picture is still wanted."""

    def __init__(self) -> None:
        self._dropped: OrderedDict[str, None] = OrderedDict()

    def drop(self, number: str) -> None:
        self._dropped[number] = None
        while len(self._dropped) > _MOST_DROPPED:
            self._dropped.popitem(last=False)

    def take(self, number: str) -> bool:
        """Say whether a picture is not wanted any more, and forget that."""
        found = number in self._dropped
        self._dropped.pop(number, None)
        return found


class _Errand:
    """A picture on its replica: a job's place there."""

    def __init__(self, ask: TaskRequest, number: str, board: Any, seconds: float) -> None:  # noqa: ANN401
        self.ask, self.cut = ask, False
        self.fraction, self.remark = 0.0, ""
        self._number, self._board = number, board
        self._end, self._next, self._unwanted = time.monotonic() + seconds, 0.0, False

    def _look(self) -> None:
        import ray

        now = time.monotonic()
        if now >= self._next and not self._unwanted:
            self._next = now + _LOOK
            self._unwanted = ray.get(self._board.take.remote(self._number))

    def progress(self, fraction: float) -> None:
        """Tell what is done.

        Raises:
            StoppedError: It is not wanted any more.
        """
        self._look()
        self.fraction = fraction
        if self._unwanted and not iterates(self.ask):
            raise StoppedError

    def observe(self, step: Any) -> bool:  # noqa: ANN401
        """Take in where an iteration stands."""
        self._look()
        self.remark = step.remark
        self.cut = self.cut or time.monotonic() > self._end
        return not (self.cut or self._unwanted)


class _Replica:
    """Computes one picture at a time, and keeps the method's weights."""

    def __init__(self, limits: ServerLimits, cores: int) -> None:
        self._limits, self._cores = limits, cores
        self._maker = LocalBackend(limits)
        self._maker.open()
        self._pool = ThreadPoolExecutor(1, initializer=use_cores, initargs=(cores,))

    async def make(self, ask: TaskRequest, number: str, board: Any) -> AsyncGenerator[Told]:  # noqa: ANN401
        """Make a result, and tell how it goes."""
        errand = _Errand(ask, number, board, self._limits.seconds)
        making = asyncio.get_running_loop().run_in_executor(self._pool, self._maker.make, errand)
        while not (await asyncio.wait((making,), timeout=_PACE))[0]:
            yield _Pace(errand.fraction, errand.remark)
        try:
            yield making.result()
        except StoppedError:
            yield None
        except Exception as error:
            refusal = request_error(error)
            if refusal is None:
                refusal = RequestError(503, "the server failed at this picture; its log says why")
                logging.getLogger(__name__).error("a picture of %s failed", ask.verb, exc_info=error)
            yield _No(refusal.status, refusal.detail, refusal.headers)
