"""What the measuring tools share: arguments, test pictures, the record of a run, JSON files, clocks and memory.

A tool holds only what it measures. Its arguments come from :func:`parser`, its pictures from :func:`read_set`, its
seconds from :func:`seconds_in_turns`, and its result goes through :func:`record` and :func:`write`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from safelight.checkpoints import provenance
from safelight.core.solver_input import SolverProgress
from safelight.engine import device as devices
from safelight.engine.samples import to_samples, to_tensor
from safelight.media import image
from safelight.media.image import Picture
from safelight.metrics.psnr import psnr
from safelight.training import datasets

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"

Row: TypeAlias = dict[str, Any]
"""A part of a JSON file: named values."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


# --- arguments --------------------------------------------------------------------------------------------------------


def parser(doc: str | None, *, data: str = "", out: str = "", device: str = "") -> argparse.ArgumentParser:
    """Make a tool's parser, with the arguments that many tools have.

    Args:
        doc: The tool's docstring, whose first line is its description.
        data: What the folder of ``--data`` holds; empty: the tool reads no data.
        out: The file of ``results/`` that ``--out`` replaces; empty: the tool has no ``--out``.
        device: Where it runs without ``--device``; empty: the tool has no ``--device``.
    """
    made = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    if data:
        made.add_argument("--data", type=Path, required=True, help=f"the folder that holds {data}")
    if out:
        made.add_argument("--out", type=Path, default=RESULTS / out, help="the JSON file to write")
    if device:
        made.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default=device)
    return made


def words(text: str) -> list[str]:
    """Split an argument such as ``fsrcnn,lamp`` at its commas; an empty one gives an empty list."""
    return [word for word in text.split(",") if word]


# --- pictures ---------------------------------------------------------------------------------------------------------


def read_set(folder: Path, name: str, *, every: int = 1, rgb: bool = False) -> dict[str, Tensor]:
    """Read a test set.

    Args:
        folder: That of all sets.
        name: The set's folder in it, or a path of its own.
        every: Take each n-th picture.
        rgb: Give gray pictures three equal channels.

    Returns:
        Pictures (1, C, H, W), float32 in [0, 1], by the stems of their files, in the order of their paths.
    """
    pictures = {file.stem: to_tensor(image.read(file).pixels) for file in datasets.files(folder / name)[::every]}
    return {stem: x.expand(-1, 3, -1, -1) if rgb else x for stem, x in pictures.items()}


def middle(x: Tensor, side: int) -> Tensor:
    """Cut the middle out of (..., H, W): ``side`` pixels a side, or all of a side that is shorter."""
    top, left = (max(0, (length - side) // 2) for length in x.shape[-2:])
    return x[..., top : top + side, left : left + side]


def as_picture(x: Tensor) -> Picture:
    """Turn (1, C, H, W) in [0, 1] into a picture of 8 bits."""
    return Picture(pixels=to_samples(x, np.dtype(np.uint8)))


def as_tensor(picture: Picture) -> Tensor:
    """Turn a picture into (1, C, H, W) in [0, 1]."""
    return to_tensor(picture.pixels)


def in_8_bits(x: Tensor) -> Tensor:
    """Clip (1, C, H, W) to [0, 1] and round it to the values that a file of 8 bits holds."""
    return as_tensor(as_picture(x))


def photograph(name: str) -> Picture:
    """Read one of the photographs that scikit-image brings, such as ``coffee``."""
    try:
        data: Any = importlib.import_module("skimage.data")
    except ModuleNotFoundError:
        sys.exit("expected the photographs of scikit-image; run: pip install 'safelight[demo]'")
    return Picture(pixels=getattr(data, name)())


# --- scores -----------------------------------------------------------------------------------------------------------


def y_psnr(result: Tensor, reference: Tensor, shave: int) -> float:
    """PSNR of Y in dB, rounded to 8 bits, without ``shave`` pixels at each border; both (1, C, H, W)."""
    return float(psnr(result, reference, channel="y", shave=shave, rounding="8-bit-y"))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def proceed(step: SolverProgress) -> bool:  # noqa: ARG001 - a callback has to take it
    """Ignore the progress of an iterative method, which runs to its end."""
    return True


# --- results ----------------------------------------------------------------------------------------------------------


def record(what: str, **more: object) -> Row:
    """Begin a result: what it is, the processor, torch's version, the version of the code, then ``more``."""
    return {"what": what, **provenance.origin(), **more}


def where(device: torch.device) -> Row:
    """What a row that was measured by itself says: the device, the number of threads, the version of the code."""
    return {
        "device": provenance.processor() if device.type == "cpu" else devices.describe(device),
        "threads": torch.get_num_threads(),
        "commit": provenance.code_version(),
    }


def read(path: Path) -> Row:
    """Read a result; one that is not there yet is empty."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(path: Path, facts: Row) -> None:
    """Write a result, whole or not at all."""
    image.write_bytes(f"{json.dumps(facts, indent=1, ensure_ascii=False)}\n".encode(), path, overwrite=True)


def show(row: Row) -> Row:
    """Print a row as soon as it is measured, and return it."""
    print(json.dumps(row), flush=True)
    return row


def replaced(rows: Sequence[Row], row: Row, key: Sequence[str]) -> list[Row]:
    """Put a row in the place of those with the same values under ``key``, and sort the rows by these values."""
    others = [old for old in rows if any(old[name] != row[name] for name in key)]
    return sorted([*others, row], key=lambda one: [one[name] for name in key])


# --- time and memory --------------------------------------------------------------------------------------------------


def clock_of(device: torch.device) -> Callable[[], float]:
    """Choose a clock, in seconds.

    On one thread of a processor it is the time of this process, which other programs do not change. Elsewhere it is
    the wall's, read when the device has finished its work.
    """
    if device.type == "cpu":
        return time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def wall() -> float:
        torch.accelerator.synchronize()
        return time.perf_counter()

    return wall


def seconds_in_turns(
    jobs: Sequence[Callable[[], object]],
    *,
    warm: int = 1,
    rounds: int = 1,
    at_least: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Run jobs in turns, so that a busy moment of the machine falls on all of them.

    Args:
        jobs: What is timed.
        warm: Rounds before those that are timed.
        rounds: The least number of rounds that are timed.
        at_least: Seconds for which rounds go on.
        clock: It, in seconds.

    Returns:
        For each job, the seconds of each of its runs.
    """
    for _ in range(warm):
        for job in jobs:
            job()
    taken: list[list[float]] = [[] for _ in jobs]
    end = time.perf_counter() + at_least
    while len(taken[0]) < rounds or time.perf_counter() < end:
        for job, seconds in zip(jobs, taken, strict=True):
            start = clock()
            job()
            seconds.append(clock() - start)
    return taken


def seconds_of(
    job: Callable[[], object],
    *,
    warm: int = 1,
    rounds: int = 1,
    at_least: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time one job as :func:`seconds_in_turns` does."""
    return seconds_in_turns([job], warm=warm, rounds=rounds, at_least=at_least, clock=clock)[0]


def in_fresh_process(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **more: Arguments.kwargs
) -> Result:
    """Call a function of a tool in a process of its own, so that its memory and its threads are its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **more).result()


def peak_of_this_process() -> int:
    """The most memory that this process ever held, in bytes. Linux only."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) << 10


def run_and_watch(command: Sequence[str]) -> tuple[float, float]:
    """Run a program: its seconds, and the most MiB that it and its children held at one time. Linux only."""
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.05)
    assert process.returncode == 0, command
    return time.perf_counter() - start, peak


def _resident(pid: int) -> float:
    """The resident memory of a process and its children, in MiB; 0 where it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return 0.0
    own = re.search(r"VmRSS:\s+(\d+) kB", status)
    return (int(own[1]) / 1024 if own else 0.0) + sum(_resident(child) for child in children)
