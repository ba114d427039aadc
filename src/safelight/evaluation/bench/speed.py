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
from safelight.core.benchmark import Benchmark, Source
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench.quality import Entry
from safelight.evaluation.bench.records import Machine, SpeedComparison, SpeedRatio
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

    def describe(self, benchmark: Benchmark) -> str:
        """Say it in words, for the JSON."""
        which, level = "all methods", ""
        if benchmark.timed_by_level:
            which = "all methods of a scale"
        elif len(benchmark.levels) > 1:
            level = " The level hardly changes the time, which is taken at one of them."
        what = benchmark.clock.format(width=self.width, height=self.height)
        return (
            f"{what}, from memory to memory, through the path that "
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


def time_entries(benchmark: Benchmark, entries: Sequence[Entry], clock: Clock) -> list[Timing]:
    """Time methods: all on the same RGB picture, or those of one channel on a gray one, as the benchmark says."""

    def source(entry: Entry, width: int, height: int) -> tuple[Source, float]:
        """Draw what a method is timed on for a result of this size; and that size, in megapixels."""
        scale = benchmark.scale(entry.level)
        channels = 3 if benchmark.timed_in_colour or entry.channels == "rgb" else 1
        picture = drawn(width // scale, height // scale, channels)
        return benchmark.timed_source(picture, entry.level), megapixels(picture, scale)

    found: dict[int, Timing] = {}
    for i, entry in enumerate(entries):
        if not entry.card.method.tiles:
            width, height = min(clock.small[0], clock.width), min(clock.small[1], clock.height)
            entry.run(source(entry, 48, 48)[0])  # what happens once, such as loading a package
            given, area = source(entry, width, height)
            start = time.perf_counter()
            entry.run(given)
            taken = time.perf_counter() - start
            if taken * clock.width * clock.height / (width * height) > clock.patience:
                found[i] = Timing(taken / area, f"{width}x{height} pixels, once")
    others = [
        (i, entry, *source(entry, clock.width, clock.height)) for i, entry in enumerate(entries) if i not in found
    ]
    with_fast = [(i, entry.fast, given) for i, entry, given, _ in others if entry.fast is not None]
    jobs: list[Callable[[], object]] = [partial(entry.run, given) for _, entry, given, _ in others]
    jobs += [partial(fast.run, given) for _, fast, given in with_fast]
    taken = medians(jobs, clock)
    short = {i: seconds for (i, _, _), seconds in zip(with_fast, taken[len(others) :], strict=True)}
    for (i, _, _, area), seconds in zip(others, taken, strict=False):
        found[i] = Timing(seconds / area, fast=short[i] / area if i in short else None)
    return [found[i] for i in range(len(entries))]


def compare(
    benchmark: Benchmark, fast: Entry, slow: Entry, published_ratio: float, clock: Clock, run: str
) -> SpeedComparison:
    """Time two networks of the luma at one level: alone, and through the whole path, gray and RGB."""
    scale = benchmark.scale(fast.level)
    gray, rgb = (drawn(clock.width // scale, clock.height // scale, channels) for channels in (1, 3))
    pair = (fast, slow)
    jobs: list[Callable[[], object]] = [_network_job(entry, gray, scale) for entry in pair]
    jobs += [partial(entry.run, picture) for picture in (gray, rgb) for entry in pair]
    area = megapixels(gray, scale)
    seconds = [taken / area for taken in medians(jobs, clock)]
    counts = [entry.multiply_adds or 0.0 for entry in pair]
    work, network = _ratio(*counts), _ratio(*seconds[:2])
    # Multiply-adds a pixel, by pixels a second.
    rates = [round(count / taken / 1e3, 2) for count, taken in zip(counts, seconds[:2], strict=True)]
    a, b = fast.card.title, slow.card.title
    why = (
        f"{a} needs {work.ratio:.1f} times fewer multiply-adds than {b}: the paper's {published_ratio:g} counts them. "
        f"The clock follows it only where both networks keep the machine equally busy; here {a} alone computes "
        f"{rates[0]:g}e9 and {b} {rates[1]:g}e9 multiply-adds a second. The whole path adds what both have in common: "
        f"samples to floats and back, and for RGB the chroma."
    )
    return SpeedComparison(
        fast=fast.card.id,
        slow=slow.card.id,
        level=fast.level,
        published_ratio=published_ratio,
        multiply_adds=work,
        network=network,
        gray=_ratio(*seconds[2:4]),
        rgb=_ratio(*seconds[4:6]),
        throughput=dict(zip((fast.card.id, slow.card.id), rates, strict=True)),
        why=why,
        run=run,
    )


def _ratio(fast: float, slow: float) -> SpeedRatio:
    return SpeedRatio(fast=significant(fast), slow=significant(slow), ratio=round(slow / fast, 2))


def significant(value: float) -> float:
    """Keep five significant digits: more would be noise."""
    return float(f"{value:.5g}")


def _network_job(entry: Entry, picture: Picture, scale: int) -> Callable[[], object]:
    """The network alone, as the engine runs it, on a luma that lies ready, interpolated if that is what it takes."""
    assert entry.card.network is not None
    model = load(entry.card, scale=scale, weights=entry.weights)
    x = to_tensor(picture.pixels).to(devices.choose())
    if entry.card.network.input == "interpolated":
        x = ops.resize(x, zoom=scale)
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
