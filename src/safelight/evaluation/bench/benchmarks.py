"""The benchmarks that there are: those of the tasks whose record has one."""

from __future__ import annotations

from safelight import tasks
from safelight.core.benchmark import Benchmark
from safelight.tasks import Task
from safelight.training.datasets import DataError


def benchmarks() -> dict[Task, Benchmark]:
    """Make the benchmark of each task that has one, in the order of the tasks."""
    return {spec.name: spec.benchmark() for spec in tasks.TASKS if spec.benchmark is not None}


def find(task: Task) -> Benchmark:
    """Find the benchmark of a task.

    Raises:
        DataError: The task has none.
    """
    found = benchmarks()
    if task not in found:
        raise DataError(f"expected a task that can be benchmarked, {', '.join(found)}, got {task}; choose one of them")
    return found[task]
