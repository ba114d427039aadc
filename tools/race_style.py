"""Race one pass of Johnson's network against 500 iterations of Gatys': the headline of the lectures.

    OMP_NUM_THREADS=1 python tools/race_style.py [--sizes 256,512,1024] [--iterations 5] [--backbones lens]

Johnson, Alahi and Fei-Fei (ECCV 2016, table 1) print 1060, 1026 and 1042 times at 256, 512 and 1024 pixels a side, on
a GPU. Both sides are as in the paper here too: the network of 32 channels, and L-BFGS on VGG-19. The weights are
random, since no weight changes a time. 500 iterations are not run: a few are timed, after two that are not, and
multiplied. The result, ``race`` in ``results/stylize.json``, says how many. ``runs`` are the times of 500 iterations at
512 pixels with each backbone. With one thread the seconds are those of the program itself, whatever else runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from safelight.checkpoints import backbones, provenance
from safelight.core.solver_input import SolverInput, SolverProgress, Style
from safelight.engine import device as devices
from safelight.media import image
from safelight.methods.stylize import gatys, johnson

Row: TypeAlias = dict[str, Any]

OUT = Path(__file__).parent.parent / "results" / "stylize.json"
PAPER = {256: 1060, 512: 1026, 1024: 1042}
WHAT = (
    "One pass of Johnson's network, 32 channels, and one iteration of gatys by L-BFGS on VGG-19, random weights, "
    "square pictures: the median of passes, and of iterations after two; times is 500 iterations, multiplied up from "
    "those, to one pass."
)
RUNS = (
    "gatys on 512x512 pixels, its default options but one size: the median of iterations after two, and the minutes "
    "that 500 of them take, multiplied up."
)
ITERATIONS = 500
WARM = 2  # iterations and passes that are not timed


def clock_of(device: torch.device) -> Callable[[], float]:
    """The process's own time on one thread, which other programs don't change; else that of the wall."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def drawn(side: int, seed: int, device: torch.device) -> Tensor:
    """Any picture will do: (1, 3, side, side)."""
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(device)


def passes(side: int, count: int, device: torch.device) -> float:
    """Seconds of one pass of the paper's network."""
    network = johnson.Johnson(johnson.Options(width=32), 1).eval().to(device)
    clock, x, times = clock_of(device), drawn(side, 0, device), list[float]()
    with torch.inference_mode():
        for _ in range(WARM + count):
            start = clock()
            network(x)
            times.append(clock() - start)
    return statistics.median(times[WARM:])


def iterations(side: int, count: int, name: str, device: torch.device) -> float:
    """Seconds of one iteration of gatys."""
    backbone = backbones.load(name, random=0, device=device)
    clock, times = clock_of(device), list[float]()

    def look(step: SolverProgress) -> bool:
        assert step.x.shape[-1] == side
        times.append(clock())
        return True

    problem = SolverInput(
        task="stylize", y=drawn(side, 0, device), styles=(Style(x=drawn(side, 1, device)),), backbone=backbone
    )
    gatys.run(problem, gatys.Options(iterations=WARM + count, coarse=max(side, 64)), look)
    return statistics.median(np.diff(times)[WARM - 1 :].tolist())


def about(device: torch.device) -> Row:
    """What the numbers were measured on."""
    return {
        "device": provenance.processor() if device.type == "cpu" else devices.describe(device),
        "threads": torch.get_num_threads(),
        "commit": provenance.code_version(),
    }


def save(section: str, key: tuple[str, ...], row: Row) -> None:
    """Put a row into its section of the file, in place of one with the same values under ``key``."""
    print(json.dumps(row), flush=True)
    results: Row = json.loads(OUT.read_text()) if OUT.is_file() else {}
    rows: list[Row] = results.get(section, {}).get("rows", [])
    rows = [old for old in rows if any(old[name] != row[name] for name in key)] + [row]
    rows.sort(key=lambda row: [row[name] for name in key])
    results[section] = {"what": WHAT if section == "race" else RUNS, "rows": rows}
    image.write_bytes(f"{json.dumps(results, indent=1)}\n".encode(), OUT, overwrite=True)


def tables(results: Row) -> str:
    """Write both sections in Markdown."""
    lines = [
        "| pixels a side | one pass, s | one iteration, s | 500 iterations, s | times | the paper |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["race"]["rows"]:
        cells = [str(row["side"]), f"{row['pass_s']:.3g}", f"{row['iteration_s']:.3g}", f"{row['all_s']:,.0f}"]
        cells += [f"{row['times']:,}", "" if row["paper"] is None else f"{row['paper']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", results["race"]["what"], "", "| backbone | one iteration, s | 500 iterations, minutes |"]
    lines += ["| --- | ---: | ---: |"]
    for row in results["runs"]["rows"]:
        lines.append(f"| {row['backbone']} | {row['iteration_s']:.3g} | {row['minutes']:.1f} |")
    row = results["runs"]["rows"][0]
    return "\n".join([*lines, "", f"{results['runs']['what']} {row['device']}, {row['threads']} thread(s)."])


def main() -> None:
    """Measure, and write each row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="256,512,1024", help="of the race, with commas; empty for none")
    parser.add_argument("--backbones", default="lens,vgg19", help="of the runs at 512 pixels; empty for none")
    parser.add_argument("--iterations", type=int, default=5, help="timed ones")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="cpu")
    arguments = parser.parse_args()
    device, count = devices.choose(arguments.device), max(1, arguments.iterations)
    for side in [int(text) for text in arguments.sizes.split(",") if text]:
        one, each = passes(side, count, device), iterations(side, count, "vgg19", device)
        row = {"side": side, "pass_s": round(one, 5), "iteration_s": round(each, 4), "timed_iterations": count}
        row |= {"all_s": round(ITERATIONS * each, 1), "times": round(ITERATIONS * each / one)}
        save("race", ("side",), {**row, "paper": PAPER.get(side), **about(device)})
    for name in [text for text in arguments.backbones.split(",") if text]:
        each = iterations(512, count, name, device)
        row = {"backbone": name, "side": 512, "iteration_s": round(each, 4), "timed_iterations": count}
        save("runs", ("backbone",), {**row, "minutes": round(ITERATIONS * each / 60, 1), **about(device)})


if __name__ == "__main__":
    main()
