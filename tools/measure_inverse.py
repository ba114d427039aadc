"""Measure the inverse problems of ``upscale``: a Gaussian blur, noise, and Set5 at x3 and at x1 (deblurring).

    python tools/measure_inverse.py --data TEST_SETS [--oracle]

Writes ``results/inverse.json``; ``tables`` makes the table of ``docs/internals/inverse.md`` from it. ``--oracle`` also
measures each method at the strength that gives the picture its best PSNR, which nobody knows without the original: what
the automatic choice costs. Tikhonov is measured at the plain discrepancy principle as well, for comparison.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safelight import ops
from safelight.checkpoints import provenance
from safelight.core.solver_input import SolverInput, SolverProgress
from safelight.degrade import add_noise, blur_kernel, forward_model
from safelight.engine.samples import to_tensor
from safelight.media import image
from safelight.methods.upscale import pinv, tikhonov, tv, wiener
from safelight.metrics.psnr import psnr
from safelight.solvers import linear_inverse

OUT = Path(__file__).parent.parent / "results" / "inverse.json"
BLUR, NOISE = "gaussian:1.6", 2.0
SHAVE = 3

Solve = Callable[[SolverInput, float | None], Tensor]


def _go_on(step: SolverProgress) -> bool:  # noqa: ARG001 - nobody looks
    return True


def _pinv_options(strength: float | None) -> pinv.Options:
    """Few iterations for the oracle: at the strengths that need more, the noise has won long before."""
    return pinv.Options() if strength is None else pinv.Options(strength=strength, steps=60)


METHODS: Mapping[str, tuple[Solve, tuple[float, ...]]] = {
    "pinv": (
        lambda problem, strength: pinv.run(problem, _pinv_options(strength), _go_on).x,
        tuple(0.1 * 2 ** (i / 2) for i in range(10)),
    ),
    "tikhonov": (
        lambda problem, strength: tikhonov.solve(problem, tikhonov.Options(strength=strength)).x,
        tuple(1e-5 * 10 ** (i / 4) for i in range(14)),
    ),
    "wiener": (
        lambda problem, strength: wiener.solve(problem, wiener.Options(strength=strength)).x,
        tuple(1e-5 * 10 ** (i / 4) for i in range(14)),
    ),
    "tv": (
        lambda problem, strength: tv.run(problem, tv.Options(strength=strength), _go_on).x,
        tuple(3e-5 * 2**i for i in range(6)),
    ),
}
"""How each method is run, and the strengths that the oracle tries."""


def morozov(problem: SolverInput) -> float:
    """Tikhonov's strength by |H x - y|^2 = n sigma^2."""
    assert problem.sigma is not None
    y = problem.y - problem.y.mean(dim=(-2, -1), keepdim=True)
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    energy, gain = linear_inverse.power(model.analyse(y)), model.gram(linear_inverse.smooth(model))
    low, high = math.log(linear_inverse.WEAKEST), math.log(linear_inverse.STRONGEST)
    while high - low > 1e-3:
        middle = (low + high) / 2
        left = math.exp(middle) / (gain + math.exp(middle))
        small = float((energy * left.square()).sum()) < y.numel() * problem.sigma**2
        low, high = (middle, high) if small else (low, middle)
    return math.exp(low)


def score(result: Tensor, original: Tensor) -> float:
    """PSNR of Y, in dB."""
    return float(psnr(result, original, channel="y", shave=SHAVE, rounding="8-bit-y"))


def rows(name: str, original: Tensor, scale: int, seed: int, oracle: bool) -> list[dict[str, Any]]:
    """Measure one picture at one scale."""
    original = ops.crop_to_multiple(original, scale)
    size = (original.shape[-2], original.shape[-1])
    clean = forward_model(scale, blur_kernel(BLUR))(original)
    y = add_noise(clean, NOISE, torch.Generator().manual_seed(seed))
    made: list[dict[str, Any]] = []

    def add(method: str, choice: str, psnr: float, seconds: float | None = None) -> None:
        row = {"scale": scale, "picture": name, "method": method, "strength": choice, "psnr": round(psnr, 3)}
        made.append(row if seconds is None else row | {"seconds": round(seconds, 2)})
        print(json.dumps(made[-1]), flush=True)

    add(
        "bicubic" if scale > 1 else "input",
        "none",
        score(ops.resize(y, size), original),
    )
    told = SolverInput(task="upscale", y=y, scale=scale, sigma=NOISE / 255, blur=blur_kernel(BLUR))
    silent = SolverInput(task="upscale", y=y, scale=scale, blur=blur_kernel(BLUR))
    add("tikhonov", "auto, plain Morozov", score(METHODS["tikhonov"][0](told, morozov(told)), original))
    for method, (solve, strengths) in METHODS.items():
        for choice, problem in (("auto, sigma told", told), ("auto, sigma not told", silent)):
            start = time.process_time()
            x = solve(problem, None)
            add(method, choice, score(x, original), time.process_time() - start)
        if oracle:
            add(method, "oracle", max(score(solve(told, strength), original) for strength in strengths))
    return made


def tables(results: Mapping[str, Any]) -> str:
    """Write the table of ``docs/internals/inverse.md``: the mean over the pictures, for each scale."""
    lines: list[str] = []
    for scale in sorted({row["scale"] for row in results["rows"]}, reverse=True):
        part = [row for row in results["rows"] if row["scale"] == scale]
        choices = ["auto, sigma told", "auto, sigma not told"]
        if any(row["strength"] == "oracle" for row in part):
            choices.append("oracle")
        title = f"Set5 x{scale}" if scale > 1 else "Set5, deblurring (x1)"
        lines += [f"| {title} | " + " | ".join(choices) + " | seconds |", "| --- |" + " ---: |" * (len(choices) + 1)]
        for method in dict.fromkeys(row["method"] for row in part):
            mine = [row for row in part if row["method"] == method]
            none = [row["psnr"] for row in mine if row["strength"] == "none"]
            cells = [_mean([row["psnr"] for row in mine if row["strength"] == choice]) for choice in choices]
            seconds = _mean([row["seconds"] for row in mine if row["strength"] == "auto, sigma told"])
            if none:
                cells, seconds = [_mean(none), *[""] * (len(choices) - 1)], ""
            lines.append(f"| {method} | " + " | ".join(cells) + f" | {seconds} |")
        lines.append("")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""


def main() -> None:
    """Measure Set5 and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set5")
    parser.add_argument("--oracle", action="store_true", help="also search each picture's best strength")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for seed, file in enumerate(sorted((arguments.data / "Set5").glob("*.png"))):
        original = to_tensor(image.read(file).pixels)
        for scale in (3, 1):
            found += rows(file.stem, original, scale, seed, arguments.oracle)
    facts = {
        "what": f"Set5, blurred by {BLUR} with a mirrored border, sampled at the middle of each cell; noise of"
        f" {NOISE:g} (of 255) added to RGB, seeded by the picture's number, neither clipped nor rounded. Y-PSNR in dB"
        f" of the result rounded to 8 bits, shave {SHAVE}. The oracle takes the best strength of a grid for each"
        " picture, by the original: no method, but what the automatic choice costs. Seconds of one core.",
        "command": "python tools/measure_inverse.py --data DIR" + (" --oracle" if arguments.oracle else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **provenance.origin(),
        "rows": found,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
