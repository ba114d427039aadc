"""Measure the style methods: the networks' time, memory and exactness, and the race of one pass against Gatys' 500.

    OMP_NUM_THREADS=1 python tools/measure_stylize.py [--parts networks,race,runs] [--device cpu]

Each part writes its section of ``results/stylize.json`` and leaves the others as they are. It needs no data.

- ``networks``: time and memory at 512 pixels and at 12 megapixels. Each row is a process of its own: its time is the
  processor's, the middle one of three runs where they are short, its memory the most that the whole process, its
  decoding aside, ever held. The difference is that of the result in tiles and the plain network on the whole picture.
- ``race``: Johnson, Alahi and Fei-Fei (ECCV 2016, table 1) print 1060, 1026 and 1042 times at 256, 512 and 1024 pixels
  a side, on a GPU. Both sides are as in the paper here too: the network of 32 channels, and L-BFGS on VGG-19. The
  weights are random, since no weight changes a time. 500 iterations are not run: a few are timed, after two that are
  not, and multiplied. With one thread the seconds are those of the program itself, whatever else runs.
- ``runs``: the times of 500 iterations at 512 pixels with each backbone.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from harness import Row
from torch import Tensor

from safelight import catalog, inference
from safelight.checkpoints import backbones, provenance
from safelight.core.card import Trained
from safelight.core.solver_input import SolverInput, SolverProgress, Style
from safelight.engine import device as devices
from safelight.inference.model import load
from safelight.media.image import Picture
from safelight.methods.stylize import gatys, johnson
from safelight.nn.blocks import fixed_noise, pad_reflect

METHODS = ("johnson", "adain")
SIZES = ((512, 512), (4000, 3000))
PAPER = {256: 1060, 512: 1026, 1024: 1042}
ITERATIONS = 500
WARM = 2  # iterations and passes that are not timed
NETWORKS = (
    "seconds of the processor for one picture, MiB of the whole program at its most, and the largest difference of "
    "tiles to the plain network on the whole picture, of samples in [0, 1]"
)
RACE = (
    "One pass of Johnson's network, 32 channels, and one iteration of gatys by L-BFGS on VGG-19, random weights, "
    "square pictures: the median of passes, and of iterations after two; times is 500 iterations, multiplied up from "
    "those, to one pass."
)
RUNS = (
    "gatys on 512x512 pixels, its default options but one size: the median of iterations after two, and the minutes "
    "that 500 of them take, multiplied up."
)


# --- the networks -----------------------------------------------------------------------------------------------------


def waves(height: int, width: int, rng: np.random.Generator) -> Picture:
    """Draw a picture: waves and noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.empty((height, width, 3), np.uint8)
    for c in range(3):
        noise = 20 * rng.random((height, width), np.float32)
        pixels[..., c] = 117 + 90 * np.sin(x / (31 + 7 * c)) * np.cos(y / (23 + 5 * c)) + noise
    return Picture(pixels=pixels)


def cost(name: str, width: int, height: int, threads: int) -> Row:
    """Stylize one picture: seconds of the processor, and the most MiB of this process, which has to be a fresh one."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    card = catalog.find(name, "stylize")
    styles = (waves(512, 640, rng),) if "style" in card.accepts else ()
    runner = inference.prepare(card, inference.InferenceRequest(task="stylize", inputs={"style": styles}, device="cpu"))
    picture = waves(height, width, rng)
    rounds = 3 if width * height < 1e6 else 1
    taken = harness.seconds_of(partial(runner, picture), warm=0, rounds=rounds, clock=time.process_time)
    return {"seconds": round(statistics.median(taken), 2), "mib": harness.peak_of_this_process() >> 20}


def difference(name: str) -> float:
    """The largest difference of tiles to the plain network on the whole picture, at 768 x 512 pixels."""
    card = catalog.find(name, "stylize")
    method = card.method
    assert isinstance(method, Trained)
    torch.manual_seed(0)
    small, style = torch.rand(1, 3, 64, 96), torch.rand(1, 3, 256, 320)
    x = torch.nn.functional.interpolate(small, (512, 768), mode="bicubic").clamp(0, 1)
    taken = "style" in card.accepts
    options: Any = card.options()
    if method.network.resolve_options is not None:
        options = method.network.resolve_options(options, "stylize", False, None)
    model = load(card, options=dataclasses.asdict(options), device="cpu", task="stylize")
    n = method.execution.padding
    with torch.inference_mode():
        network: Any = model.complete(x, (Style(x=style),) if taken else ())
        noisy = x + method.execution.input_noise * fixed_noise(0, 0, 512, 768)
        whole: Tensor = network(pad_reflect(noisy, method.execution.size_multiple, n))
        whole = whole[..., n : n + 512, n : n + 768].clamp(0, 1)
    pictures = [Picture(pixels=each[0].permute(1, 2, 0).contiguous().numpy()) for each in (x, style)]
    styles = (pictures[1],) if taken else ()
    request = inference.InferenceRequest(task="stylize", inputs={"style": styles}, device="cpu", memory=16 << 20)
    tiled = torch.from_numpy(inference.prepare(card, request)(pictures[0]).pixels).permute(2, 0, 1)[None]
    return float((tiled - whole).abs().max())


def networks(out: Path, threads: int) -> None:
    """Measure each network at each size, and write the section."""
    rows: list[Row] = []
    for name in METHODS:
        largest = harness.in_fresh_process(difference, name)
        for width, height in SIZES:
            row = {"method": name, "width": width, "height": height, "threads": threads}
            row |= harness.in_fresh_process(cost, name, width, height, threads)
            rows.append(harness.show({**row, "difference": largest}))
    section = {**provenance.origin(), "what": NETWORKS, "rows": rows}
    harness.write(out, harness.read(out) | {"networks": section})


# --- the race ---------------------------------------------------------------------------------------------------------


def drawn(side: int, seed: int, device: torch.device) -> Tensor:
    """Any picture will do: (1, 3, side, side)."""
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(device)


def one_pass(side: int, count: int, device: torch.device) -> float:
    """Seconds of one pass of the paper's network: the median of so many."""
    network = johnson.Johnson(johnson.Options(width=32), 1).eval().to(device)
    job = partial(network, drawn(side, 0, device))
    with torch.inference_mode():
        taken = harness.seconds_of(job, warm=WARM, rounds=count, clock=harness.clock_of(device))
    return statistics.median(taken)


def one_iteration(side: int, count: int, name: str, device: torch.device) -> float:
    """Seconds of one iteration of gatys: the median of so many."""
    backbone = backbones.load(name, random=0, device=device)
    clock, times = harness.clock_of(device), list[float]()

    def look(step: SolverProgress) -> bool:
        assert step.x.shape[-1] == side
        times.append(clock())
        return True

    problem = SolverInput(
        task="stylize", y=drawn(side, 0, device), styles=(Style(x=drawn(side, 1, device)),), backbone=backbone
    )
    gatys.run(problem, gatys.Options(iterations=WARM + count, coarse=max(side, 64)), look)
    return statistics.median(np.diff(times)[WARM - 1 :].tolist())


def save(out: Path, section: str, what: str, key: str, row: Row) -> None:
    """Put a row into its section of the file, in place of one with the same value under ``key``."""
    results = harness.read(out)
    rows = harness.replaced(results.get(section, {}).get("rows", []), harness.show(row), (key,))
    harness.write(out, results | {section: {"what": what, "rows": rows}})


def race(out: Path, side: int, count: int, device: torch.device) -> None:
    """Measure one pass against 500 iterations at one size, and write the row."""
    one, each = one_pass(side, count, device), one_iteration(side, count, "vgg19", device)
    row = {"side": side, "pass_s": round(one, 5), "iteration_s": round(each, 4), "timed_iterations": count}
    row |= {"all_s": round(ITERATIONS * each, 1), "times": round(ITERATIONS * each / one)}
    save(out, "race", RACE, "side", {**row, "paper": PAPER.get(side), **harness.where(device)})


def run(out: Path, backbone: str, count: int, device: torch.device) -> None:
    """Measure 500 iterations at 512 pixels by one backbone, and write the row."""
    each = one_iteration(512, count, backbone, device)
    row = {"backbone": backbone, "side": 512, "iteration_s": round(each, 4), "timed_iterations": count}
    save(out, "runs", RUNS, "backbone", {**row, "minutes": round(ITERATIONS * each / 60, 1), **harness.where(device)})


def main() -> None:
    """Measure, and write each part as soon as it is there."""
    parser = harness.parser(__doc__, out="stylize.json", device="cpu")
    parser.add_argument("--parts", type=harness.words, default="networks,race,runs")
    parser.add_argument("--sizes", type=harness.words, default="256,512,1024", help="of the race")
    parser.add_argument("--backbones", type=harness.words, default="lens,vgg19", help="of the runs at 512 pixels")
    parser.add_argument("--iterations", type=int, default=5, help="timed ones")
    parser.add_argument("--threads", type=int, default=1, help="of the networks")
    asked = parser.parse_args()
    device, count = devices.choose(asked.device), max(1, asked.iterations)
    if "networks" in asked.parts:
        networks(asked.out, asked.threads)
    for side in asked.sizes if "race" in asked.parts else ():
        race(asked.out, int(side), count, device)
    for name in asked.backbones if "runs" in asked.parts else ():
        run(asked.out, name, count, device)


if __name__ == "__main__":
    main()
