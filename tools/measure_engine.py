"""Measure the engine on whatever this machine has, and how much of what it could do that is.

    python tools/measure_engine.py [--device cpu|cuda]

Writes ``results/engine-DEVICE.json``; it needs no data. First the limit: the rate of one 3x3 convolution of 64 to 64
channels whose input and output stay in the cache, the best over several sizes. Then each network three ways, in turns:
plainly in torch on the whole picture, as its authors' code would run it, and by the engine in both precisions. A
network's input has 1920x1080 pixels (for one that reads the enlarged picture, that is the enlarged picture). Then, on
a CPU, what a start costs, and the memory of very large results.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from safelight import catalog
from safelight.checkpoints import provenance
from safelight.engine import device as devices
from safelight.evaluation.bench.speed import machine
from safelight.inference.model import Model, load
from safelight.media import image
from safelight.media.image import Picture

RESULTS = Path(__file__).parent.parent / "results"
WIDTH, HEIGHT = 1920, 1080
NETWORKS = (
    ("fsrcnn", 2), ("fsrcnn", 3), ("fsrcnn", 4), ("espcn", 3), ("srcnn", 3), ("vdsr", 3), ("edsr", 2),
)  # fmt: skip
SECONDS = 8.0  # of rounds for each network, at least one
STARTS = 7


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where is measured."""

    device: torch.device

    def wait(self) -> None:
        """Wait for a GPU to finish."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def best(self, jobs: list[Callable[[], object]], seconds: float) -> list[float]:
        """Run jobs, which have run before, in turns, and give the least time of each."""
        least = [float("inf")] * len(jobs)
        end, rounds = time.perf_counter() + seconds, 0
        while not rounds or time.perf_counter() < end:
            for n, job in enumerate(jobs):
                self.wait()
                start = time.perf_counter()
                job()
                self.wait()
                least[n] = min(least[n], time.perf_counter() - start)
            rounds += 1
        return least


def limit(bench: Bench, dtype: torch.dtype) -> dict[str, Any]:
    """Find the rate of one layer in the cache, 1e9 floating point operations a second."""
    sides = (32, 48, 64, 96, 128, 192, 256) if bench.device.type == "cpu" else (256, 512, 1024)
    layer = devices.place(nn.Conv2d(64, 64, 3, padding=1), bench.device).to(dtype)
    jobs: list[Callable[[], object]] = []
    for side in sides:
        x = torch.rand(1, 64, side, side, device=bench.device, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        jobs.append(lambda x=x: layer(x))
    rates = [2e-9 * 64 * 64 * 9 * side**2 / taken for side, taken in zip(sides, bench.best(jobs, SECONDS), strict=True)]
    best = max(range(len(sides)), key=rates.__getitem__)
    return {"gflop_per_second": round(rates[best], 1), "side": sides[best]}


def work(model: Model) -> float:
    """The network's work on the picture, in floating point operations."""
    zoom = 1 if model.spec.input == "interpolated" else model.scale
    return 2 * model.cost.multiply_adds * WIDTH * HEIGHT * zoom**2


def device_name(device: torch.device) -> devices.Device:
    """Name a device as a user does."""
    return "cuda" if device.type == "cuda" else "mps" if device.type == "mps" else "cpu"


def engine(model: Model, x: Tensor) -> Callable[[], Tensor]:
    """Give the network alone, as the engine runs it."""
    return lambda: model.run(x)  # interpolation and colours are not in it, as they are not in the plain one


def network(bench: Bench, name: str, scale: int, limits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Measure one network."""
    card, kind = catalog.find(name), device_name(bench.device)
    exact = load(card, scale=scale, device=kind)
    fast = load(card, scale=scale, device=kind, precision="fast")
    channels = 1 if exact.spec.channels == "y" else 3
    x = torch.rand(1, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).to(bench.device)
    plain: nn.Module = cast("Any", copy.deepcopy(exact.network)).to(memory_format=torch.contiguous_format)
    ways: list[Callable[[], Tensor]] = [lambda: plain(x), engine(exact, x)]
    if fast.precision != "float32":
        ways.append(engine(fast, x))
    results = [way() for way in ways]  # the warm-up
    difference = float((results[1] - results[0]).abs().max())
    del results
    taken = bench.best([*ways], SECONDS)
    flop = work(exact)
    row: dict[str, Any] = {
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
    print(json.dumps(row), flush=True)
    return row


def race(rows: list[dict[str, Any]]) -> dict[str, Any]:
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


def start() -> dict[str, Any]:
    """Time a 256x256 picture through FSRCNN in a fresh process, against a bare ``import torch``."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        image.write(Picture(pixels=pixels), small)
        command = [
            sys.executable, "-m", "safelight", "upscale", str(small), "-o", str(Path(folder) / "large.png"),
            "--method", "fsrcnn", "--on-exist", "overwrite", "--quiet",
        ]  # fmt: skip
        commands = {"import_torch": [sys.executable, "-c", "import torch"], "upscale": command}
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(STARTS + 1):
            for name, words in commands.items():
                begin = time.perf_counter()
                subprocess.run(words, check=True)
                if turn:
                    taken[name].append(time.perf_counter() - begin)
    least = {name: min(seconds) for name, seconds in taken.items()}
    return {
        "import_torch_seconds": round(least["import_torch"], 3),
        "upscale_seconds": round(least["upscale"], 3),
        "more_than_import_torch_seconds": round(least["upscale"] - least["import_torch"], 3),
        "runs": STARTS,
    }


def memory(megapixels: int, suffix: str) -> dict[str, Any]:
    """Enlarge a JPEG of so many megapixels four times in a fresh process: the most memory of all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photo.jpg"
        height = round((megapixels * 1e6 / 1.5) ** 0.5)
        tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        rough = np.tile(tile, (height // 64 + 1, round(1.5 * height) // 64 + 1, 1))[:height, : round(1.5 * height)]
        image.write(Picture(pixels=np.ascontiguousarray(rough)), source)
        target = Path(folder) / f"large.{suffix}"
        words = ["-m", "safelight", "upscale", str(source), "-o", str(target), "--method", "fsrcnn", "--quiet"]
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words])
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        assert process.returncode == 0
        made = image.probe(target)
    row = {
        "input_megapixels": megapixels,
        "result": f"{made.width}x{made.height} {suffix}",
        "peak_mib": round(peak),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(row), flush=True)
    return row


def resident(pid: int) -> float:
    """The resident memory of a process and its children, in MiB."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total = int(line.split()[1]) / 1024
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [word for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return 0.0  # it has just ended
    return total + sum(resident(int(child)) for child in children)


def main() -> None:
    """Measure all and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    bench = Bench(devices.choose(arguments.device))
    facts: dict[str, Any] = {
        "protocol": " ".join((__doc__ or "").split("\n\n", 2)[2].split()),
        "machine": dataclasses.asdict(machine()),
        "commit": provenance.code_version(),
    }
    with torch.inference_mode():
        half = "bfloat16" if bench.device.type == "cpu" else "float16"
        facts["limits"] = {name: limit(bench, getattr(torch, name)) for name in ("float32", half)}
        print(json.dumps(facts["limits"]), flush=True)
        facts["networks"] = [network(bench, name, scale, facts["limits"]) for name, scale in NETWORKS]
    facts["fsrcnn_against_srcnn_9_5_5"] = race(facts["networks"])
    if bench.device.type == "cpu":
        facts["start"] = start()
        facts["memory"] = [memory(24, "png"), memory(6, "png"), memory(24, "tif"), memory(6, "tif")]
    name = f"engine-{bench.device.type if bench.device.type == 'cpu' else 'gpu'}.json"
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), arguments.out / name, overwrite=True)
    print(json.dumps({key: facts.get(key) for key in ("fsrcnn_against_srcnn_9_5_5", "start", "memory")}))


if __name__ == "__main__":
    main()
