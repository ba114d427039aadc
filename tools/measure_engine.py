"""Measure the engine on whatever this machine has, and how much of what it could do that is.

    python tools/measure_engine.py [--device cpu|cuda]

Writes ``results/engine-cpu.json`` or ``results/engine-gpu.json``; it needs no data.

First the limit: the rate of one 3x3 convolution of 64 to 64 channels whose input and output stay in the cache, the best
over several sizes. Then each network three ways, in turns: plainly in torch on the whole picture, as its authors' code
would run it, and by the engine in both precisions. A network's input has 1920x1080 pixels (for one that reads the
enlarged picture, that is the enlarged picture). Then, on a CPU, what a start costs, and the memory of very large
results.
"""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import harness
import numpy as np
import torch
from harness import Row
from torch import Tensor, nn

from safelight import catalog
from safelight.checkpoints import provenance
from safelight.engine import device as devices
from safelight.evaluation.bench.speed import machine
from safelight.inference.model import Model, load
from safelight.media import image
from safelight.media.image import Picture

WIDTH, HEIGHT = 1920, 1080
NETWORKS = (
    ("fsrcnn", 2), ("fsrcnn", 3), ("fsrcnn", 4), ("espcn", 3), ("srcnn", 3), ("vdsr", 3), ("edsr", 2),
)  # fmt: skip
SECONDS = 8.0  # of rounds for each network, at least one
STARTS = 7


def least_seconds(jobs: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """Run jobs in turns for ``SECONDS``, after one run of each: the least time of each."""

    def finished(job: Callable[[], object]) -> None:
        job()
        if device.type != "cpu":
            torch.accelerator.synchronize()

    return [
        min(taken) for taken in harness.seconds_in_turns([partial(finished, job) for job in jobs], at_least=SECONDS)
    ]


def limit(device: torch.device, dtype: torch.dtype) -> Row:
    """Find the rate of one layer in the cache, 1e9 floating point operations a second."""
    sides = (32, 48, 64, 96, 128, 192, 256) if device.type == "cpu" else (256, 512, 1024)
    layer = devices.place(nn.Conv2d(64, 64, 3, padding=1), device).to(dtype)
    pictures = [torch.rand(1, 64, side, side, device=device, dtype=dtype) for side in sides]
    jobs = [partial(layer, x.contiguous(memory_format=torch.channels_last)) for x in pictures]
    rates = [
        2e-9 * 64 * 64 * 9 * side**2 / taken for side, taken in zip(sides, least_seconds(jobs, device), strict=True)
    ]
    best = max(range(len(sides)), key=rates.__getitem__)
    return {"gflop_per_second": round(rates[best], 1), "side": sides[best]}


def work(model: Model) -> float:
    """The network's work on the picture, in floating point operations."""
    zoom = 1 if model.spec.input == "interpolated" else model.scale
    return 2 * model.cost.multiply_adds * WIDTH * HEIGHT * zoom**2


def network(device: torch.device, name: str, scale: int, limits: dict[str, Row]) -> Row:
    """Measure one network: interpolation and colours are not in it, as they are not in the plain one."""
    card, kind = catalog.find(name), cast("devices.Device", device.type)
    exact = load(card, scale=scale, device=kind)
    fast = load(card, scale=scale, device=kind, precision="fast")
    channels = 1 if exact.spec.channels == "y" else 3
    x = torch.rand(1, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).to(device)
    plain: nn.Module = cast("Any", copy.deepcopy(exact.network)).to(memory_format=torch.contiguous_format)
    jobs: list[Callable[[], Tensor]] = [partial(plain, x), partial(exact.run, x)]
    if fast.precision != "float32":
        jobs.append(partial(fast.run, x))
    difference = float((jobs[1]() - jobs[0]()).abs().max())
    taken = least_seconds(jobs, device)
    flop = work(exact)
    row: Row = {
        "method": card.id,
        "scale": scale,
        "gflop": round(flop / 1e9, 1),
        "plain": {"seconds": round(taken[0], 4), "gflop_per_second": round(flop / taken[0] / 1e9, 1)},
        "difference_from_plain": float(f"{difference:.2g}"),
    }
    for key, model, seconds in zip(("exact", "fast"), (exact, fast), taken[1:], strict=False):
        rate = flop / seconds / 1e9
        row[key] = {
            "precision": model.precision,
            "seconds": round(seconds, 4),
            "gflop_per_second": round(rate, 1),
            "times_plain": round(taken[0] / seconds, 2),
            "of_limit": round(rate / limits[model.precision]["gflop_per_second"], 3),
        }
    return row


def race(rows: Sequence[Row]) -> Row:
    """Compare FSRCNN with SRCNN 9-5-5 per pixel of the result at scale 3, as FSRCNN's paper does (41.3 times)."""
    found = {(row["method"], row["scale"]): row for row in rows}
    fast, slow = found["upscale/fsrcnn", 3], found["upscale/srcnn", 3]

    def ratio(of_slow: str, of_fast: str) -> float:
        # FSRCNN's result has nine times the pixels of its input, SRCNN's as many as its input.
        return round(9 * slow[of_slow]["seconds"] / fast[of_fast]["seconds"], 1)

    return {
        "paper": 41.3,
        "both_plain": ratio("plain", "plain"),
        "both_by_the_engine": ratio("exact", "exact"),
        "engine_against_plain": ratio("plain", "exact"),
    }


def command(source: Path, target: Path) -> list[str]:
    """The command line that enlarges a file by FSRCNN."""
    words = ["upscale", str(source), "-o", str(target), "--method", "fsrcnn", "--on-exist", "overwrite", "--quiet"]
    return [sys.executable, "-m", "safelight", *words]


def rough(height: int, width: int, period: int) -> Picture:
    """Draw a picture of noise that repeats after so many pixels."""
    tile = np.random.default_rng(0).integers(0, 256, (period, period, 3), dtype=np.uint8)
    whole = np.tile(tile, (height // period + 1, width // period + 1, 1))[:height, :width]
    return Picture(pixels=np.ascontiguousarray(whole))


def start() -> Row:
    """Time a 256x256 picture through FSRCNN in a fresh process, against a bare ``import torch``."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        image.write(rough(256, 256, 256), small)
        commands = ([sys.executable, "-c", "import torch"], command(small, Path(folder) / "large.png"))
        jobs = [partial(subprocess.run, words, check=True) for words in commands]
        bare, upscale = (min(taken) for taken in harness.seconds_in_turns(jobs, rounds=STARTS))
    return {
        "import_torch_seconds": round(bare, 3),
        "upscale_seconds": round(upscale, 3),
        "more_than_import_torch_seconds": round(upscale - bare, 3),
        "runs": STARTS,
    }


def memory(megapixels: int, suffix: str) -> Row:
    """Enlarge a JPEG of so many megapixels four times in a fresh process: the most memory of all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "photo.jpg", Path(folder) / f"large.{suffix}"
        height = round((megapixels * 1e6 / 1.5) ** 0.5)
        image.write(rough(height, round(1.5 * height), 64), source)
        seconds, peak = harness.run_and_watch(command(source, target))
        made = image.probe(target)
    return {
        "input_megapixels": megapixels,
        "result": f"{made.width}x{made.height} {suffix}",
        "peak_mib": round(peak),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure all and write the JSON."""
    parser = harness.parser(__doc__, device="auto")
    parser.add_argument("--out", type=Path, default=harness.RESULTS, help="the folder to write to")
    arguments = parser.parse_args()
    device = devices.choose(arguments.device)
    facts: Row = {
        "protocol": " ".join((__doc__ or "").split("\n\n", 3)[3].split()),
        "machine": dataclasses.asdict(machine()),
        "commit": provenance.code_version(),
    }
    with torch.inference_mode():
        precisions = ("float32", "bfloat16" if device.type == "cpu" else "float16")
        facts["limits"] = harness.show({name: limit(device, getattr(torch, name)) for name in precisions})
        facts["networks"] = [harness.show(network(device, *each, facts["limits"])) for each in NETWORKS]
    facts["fsrcnn_against_srcnn_9_5_5"] = harness.show(race(facts["networks"]))
    if device.type == "cpu":
        facts["start"] = harness.show(start())
        facts["memory"] = [harness.show(memory(*each)) for each in ((24, "png"), (6, "png"), (24, "tif"), (6, "tif"))]
    harness.write(arguments.out / f"engine-{'cpu' if device.type == 'cpu' else 'gpu'}.json", facts)


if __name__ == "__main__":
    main()
