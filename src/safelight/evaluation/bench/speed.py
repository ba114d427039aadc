"""The speed half of the benchmark: every method on the same picture, in turns, in one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from safelight import ops
from safelight.checkpoints import provenance
from safelight.core.card import ClosedForm, Optimised, Trained
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench.quality import Entry
from safelight.evaluation.bench.records import Comparison, Machine, Race
from safelight.evaluation.bench.tracks import Track
from safelight.inference.model import Model, load
from safelight.media.image import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How time is taken: the (W, H) of the result, the same at every level, and the rounds after the warm-up.

    A whole-picture method that would take more than ``patience`` seconds is timed once, on a result of ``small``.
    Others that take longer run in fewer rounds, since a busy moment hardly weighs in theirs.
    """

    width: int = 1440
    height: int = 960
    rounds: int = 5
    patience: float = 5.0
    small: tuple[int, int] = (360, 240)

    def turns(self, seconds: float) -> int:
        """In how many rounds a job of so many seconds runs.

        Example:
            >>> [Clock().turns(seconds) for seconds in (0.1, 5.0, 8.0, 60.0)]
            [5, 5, 3, 1]
        """
        return max(1, min(self.rounds, int(self.rounds * self.patience / max(seconds, 1e-9))))

    def describe(self, track: Track) -> str:
        """Say it in words, for the JSON."""
        which = "all methods of a scale" if track.task == "upscale" else "all methods"
        level = "" if track.task == "upscale" else " The level hardly changes the time, which is taken at one of them."
        return (
            f"{track.clock.format(width=self.width, height=self.height)}, from memory to memory, through the path that "
            f"a user's picture takes. It shows waves and a little noise.{level} After a warm-up, {which} run in "
            f"turns for {self.rounds} rounds, so that a busy moment falls on all, those that take over "
            f"{self.patience:g} s in fewer; the number is the median, in seconds per megapixel (1e6 pixels) of the "
            f"result. A method for the whole picture that would take more than {self.patience:g} s is timed on a "
            f"smaller one, as its row says."
        )


CLOCK = Clock()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per megapixel of the result, and what they were taken on if not on the clock's picture.

    ``fast`` are those of ``--precision fast``, ``None`` where it is the same.
    """

    seconds: float
    on: str = ""
    fast: float | None = None


def medians(jobs: Sequence[Callable[[], object]], clock: Clock) -> list[float]:
    """Time jobs in turns after a warm-up of each: the median seconds of each."""
    turns = [clock.turns(_timed(job)) for job in jobs]
    seconds: list[list[float]] = [[] for _ in jobs]
    for turn in range(clock.rounds):
        for job, taken, most in zip(jobs, seconds, turns, strict=True):
            if turn < most:
                taken.append(_timed(job))
    return [statistics.median(taken) for taken in seconds]


def _timed(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def drawn(width: int, height: int, channels: int) -> Picture:
    """Draw a picture to be timed: waves and a little noise, 8-bit, the same at each call."""
    y, x, c = torch.meshgrid(torch.arange(height), torch.arange(width), torch.arange(channels), indexing="ij")
    waves = 128 + 60 * torch.sin(0.4 * x + 0.2 * y + c) + 40 * torch.sin(0.05 * x * (1 + c) - 0.7 * y)
    noise = 8 * torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    return Picture(pixels=(waves + noise).round().clamp(0, 255).to(torch.uint8).numpy())


def megapixels(picture: Picture, scale: int) -> float:
    """The size of the picture's result, in 1e6 pixels."""
    return picture.width * picture.height * scale**2 / 1e6


def time_entries(track: Track, entries: Sequence[Entry], clock: Clock) -> list[Timing]:
    """Time methods: those of one scale on the same RGB picture, others on a gray one where they are not for RGB."""

    def subject(entry: Entry, width: int, height: int) -> Picture:
        scale = track.scale(entry.level)
        channels = 3 if track.task == "upscale" or entry.channels == "rgb" else 1
        return drawn(width // scale, height // scale, channels)

    found: dict[int, Timing] = {}
    for i, entry in enumerate(entries):
        if isinstance(entry.card.method, ClosedForm | Optimised):
            width, height = min(clock.small[0], clock.width), min(clock.small[1], clock.height)
            entry.runner(subject(entry, 48, 48))  # what happens once, such as loading a package
            picture = subject(entry, width, height)
            start = time.perf_counter()
            entry.runner(picture)
            taken = time.perf_counter() - start
            if taken * clock.width * clock.height / (width * height) > clock.patience:
                seconds = taken / megapixels(picture, track.scale(entry.level))
                found[i] = Timing(seconds, f"{width}x{height} pixels, once")
    others = [
        (i, entry, subject(entry, clock.width, clock.height)) for i, entry in enumerate(entries) if i not in found
    ]
    other_tasks = [(i, entry.fast, picture) for i, entry, picture in others if entry.fast is not None]
    jobs: list[Callable[[], object]] = [partial(entry.runner, picture) for _, entry, picture in others]
    jobs += [partial(fast, picture) for _, fast, picture in other_tasks]
    taken = medians(jobs, clock)
    short = {i: seconds for (i, _, _), seconds in zip(other_tasks, taken[len(others) :], strict=True)}
    for (i, entry, picture), seconds in zip(others, taken, strict=False):
        area = megapixels(picture, track.scale(entry.level))
        found[i] = Timing(seconds / area, fast=short[i] / area if i in short else None)
    return [found[i] for i in range(len(entries))]


def compare(fast: Entry, slow: Entry, published_ratio: float, clock: Clock, run: str) -> Comparison:
    """Race two networks of the luma at one scale: alone, and through the whole path, gray and RGB."""
    scale = fast.level
    gray, rgb = (drawn(clock.width // scale, clock.height // scale, channels) for channels in (1, 3))
    pair = (fast, slow)
    jobs: list[Callable[[], object]] = [_network_job(entry, gray) for entry in pair]
    jobs += [partial(entry.runner, picture) for picture in (gray, rgb) for entry in pair]
    area = megapixels(gray, scale)
    seconds = [taken / area for taken in medians(jobs, clock)]
    counts = [entry.multiply_adds or 0.0 for entry in pair]
    work, network = _race(*counts), _race(*seconds[:2])
    # Multiply-adds a pixel, by pixels a second.
    rates = [round(count / taken / 1e3, 2) for count, taken in zip(counts, seconds[:2], strict=True)]
    a, b = fast.card.title, slow.card.title
    why = (
        f"{a} needs {work.ratio:.1f} times fewer multiply-adds than {b}: the paper's {published_ratio:g} counts them. "
        f"The clock follows it only where both networks keep the machine equally busy; here {a} alone computes "
        f"{rates[0]:g}e9 and {b} {rates[1]:g}e9 multiply-adds a second. The whole path adds what both have in common: "
        f"samples to floats and back, and for RGB the chroma."
    )
    return Comparison(
        fast=fast.card.id,
        slow=slow.card.id,
        scale=scale,
        published_ratio=published_ratio,
        multiply_adds=work,
        network=network,
        gray=_race(*seconds[2:4]),
        rgb=_race(*seconds[4:6]),
        throughput=dict(zip((fast.card.id, slow.card.id), rates, strict=True)),
        why=why,
        run=run,
    )


def _race(fast: float, slow: float) -> Race:
    return Race(fast=significant(fast), slow=significant(slow), ratio=round(slow / fast, 2))


def significant(value: float) -> float:
    """Keep five significant digits: more would be noise."""
    return float(f"{value:.5g}")


def _network_job(entry: Entry, picture: Picture) -> Callable[[], object]:
    """The network alone, as the engine runs it, on a luma that lies ready, interpolated if that is what it takes."""
    method = entry.card.method
    assert isinstance(method, Trained)
    model = load(entry.card, scale=entry.level, weights=entry.weights)
    x = to_tensor(picture.pixels).to(devices.choose())
    if method.network.input == "interpolated":
        x = ops.resize(x, zoom=entry.level)
    return partial(_forward, model, x)


def _forward(model: Model, x: Tensor) -> None:
    model.run(x)
    if x.device.type != "cpu":
        torch.accelerator.synchronize()


# --- the machine ------------------------------------------------------------------------------------------------------


def machine() -> Machine:
    """Describe where this runs."""
    device = devices.choose()
    return Machine(
        processor=provenance.processor(),
        device=f"{device.type}: {devices.describe(device)}",
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )
