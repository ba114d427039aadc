"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from safelight.web.job import ServerJob
from safelight.web.job_queue import JobQueue

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class _Now(Collector):
    """What is so at the moment of asking."""

    def __init__(self, queue: JobQueue) -> None:
        self._facts: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("safelight_jobs_waiting", "Jobs that wait.", lambda: queue.waiting),
            ("safelight_jobs_running", "Jobs that run.", lambda: queue.running),
            ("safelight_pixels_in_flight", "Pixels, in and out, of jobs that wait or run.", lambda: queue.pixels),
            ("safelight_bytes_held", "Bytes of bodies and results in memory.", lambda: queue.held),
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read them."""
        for name, text, value in self._facts:
            yield GaugeMetricFamily(name, text, value=value())


class Monitoring:
    """The counts of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "safelight_answers_total", "Answers, by route and status.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "safelight_answer_seconds", "From a request's head to the end of its answer.", ("route",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._jobs = Counter(
            "safelight_jobs_total", "Jobs that are over, by verb, method and state.", ("verb", "method", "state"),
            registry=self.registry,
        )  # fmt: skip
        self._work = Histogram(
            "safelight_job_seconds", "Seconds of work on a job, without waiting.", ("verb",), buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip

    def watch(self, queue: JobQueue) -> None:
        """Count what a queue does."""
        self.registry.register(_Now(queue))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``route`` is the pattern of its path, and never a client's own text."""
        self._answers.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def finished(self, job: ServerJob) -> None:
        """Count a job."""
        method = "fix" if job.ask.card is None else job.ask.card.name
        self._jobs.labels(job.ask.verb, method, job.state).inc()
        if job.began is not None and job.ended is not None:
            self._work.labels(job.ask.verb).observe(job.ended - job.began)

    def text(self) -> bytes:
        """Write all of it in Prometheus' own format."""
        return generate_latest(self.registry)
