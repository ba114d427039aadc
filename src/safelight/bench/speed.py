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

from safelight import ops, provenance
from safelight.bench.quality import Entry
from safelight.bench.records import Comparison, Machine, Race
from safelight.card import Trained
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.image import Picture
from safelight.model import Model, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How time is taken: the (W, H) of the result, the same at every scale, and the rounds after the warm-up."""

    width: int = 1440
    height: int = 960
    rounds: int = 5

    def describe(self) -> str:
        """Say it in words, for the JSON."""
        return (
            f"Each method enlarges the same 8-bit RGB picture to {self.width}x{self.height} pixels at every scale, "
            f"from memory to memory, through the path that a user's picture takes. The picture is noise: the time does "
            f"not depend on what it shows. After a warm-up, all methods of a scale run in turns for {self.rounds} "
            f"rounds, so that a busy moment of the machine falls on all; the number is the median, in seconds per "
            f"megapixel (1e6 pixels) of the result."
        )


CLOCK = Clock()


def medians(jobs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Time jobs in turns after a warm-up of each: the median seconds of each."""
    for job in jobs:
        job()
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, taken in zip(jobs, seconds, strict=True):
            start = time.perf_counter()
            job()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def noise(clock: Clock, scale: int, channels: int) -> Picture:
    """Draw the picture that is timed: 8-bit, the same at each call."""
    shape = (clock.height // scale, clock.width // scale, channels)
    pixels = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Picture(pixels=pixels.numpy())


def megapixels(picture: Picture, scale: int) -> float:
    """The size of the picture's result, in 1e6 pixels."""
    return picture.width * picture.height * scale**2 / 1e6


def time_entries(entries: Sequence[Entry], scale: int, clock: Clock) -> list[float]:
    """Time methods of one scale on the same RGB picture: seconds per output megapixel."""
    picture = noise(clock, scale, 3)
    taken = medians([partial(entry.runner, picture) for entry in entries], clock.rounds)
    return [seconds / megapixels(picture, scale) for seconds in taken]


def compare(fast: Entry, slow: Entry, published_ratio: float, clock: Clock, run: str) -> Comparison:
    """Race two networks of the luma at one scale: alone, and through the whole path, gray and RGB."""
    scale = fast.scale
    gray, rgb = noise(clock, scale, 1), noise(clock, scale, 3)
    pair = (fast, slow)
    jobs: list[Callable[[], object]] = [_network_job(entry, gray) for entry in pair]
    jobs += [partial(entry.runner, picture) for picture in (gray, rgb) for entry in pair]
    area = megapixels(gray, scale)
    seconds = [taken / area for taken in medians(jobs, clock.rounds)]
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
    model = load(entry.card, scale=entry.scale, weights=entry.weights)
    x = to_tensor(picture.pixels).to(devices.choose())
    if method.input == "interpolated":
        x = ops.resize(x, zoom=entry.scale)
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
