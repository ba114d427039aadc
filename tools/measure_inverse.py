"""Measure the inverse problems of ``upscale``: a Gaussian blur, noise, and Set5 at x3 and at x1 (deblurring).

    python tools/measure_inverse.py --data TEST_SETS [--oracle]

Writes ``results/inverse.json``. ``--oracle`` also measures each method at the strength that gives the picture its best
PSNR, which nobody knows without the original: what the automatic choice costs. Tikhonov is measured at the plain
discrepancy principle as well, for comparison.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping

import harness
import torch
from harness import Row
from torch import Tensor

from safelight import ops
from safelight.core.solver_input import SolverInput
from safelight.degrade import add_noise, blur_kernel, forward_model
from safelight.methods.upscale import pinv, tikhonov, tv, wiener
from safelight.solvers import linear_inverse

BLUR, NOISE = "gaussian:1.6", 2.0
SHAVE = 3
WHAT = (
    f"Set5, blurred by {BLUR} with a mirrored border, sampled at the middle of each cell; noise of {NOISE:g} (of 255) "
    "added to RGB, seeded by the picture's number, neither clipped nor rounded. Y-PSNR in dB of the result rounded to "
    f"8 bits, shave {SHAVE}. The oracle takes the best strength of a grid for each picture, by the original: no "
    "method, but what the automatic choice costs. Seconds of one core."
)

Solve = Callable[[SolverInput, float | None], Tensor]


def _pinv_options(strength: float | None) -> pinv.Options:
    """Few iterations for the oracle: at the strengths that need more, the noise has won long before."""
    return pinv.Options() if strength is None else pinv.Options(strength=strength, steps=60)


METHODS: Mapping[str, tuple[Solve, tuple[float, ...]]] = {
    "pinv": (
        lambda problem, strength: pinv.run(problem, _pinv_options(strength), harness.proceed).x,
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
        lambda problem, strength: tv.run(problem, tv.Options(strength=strength), harness.proceed).x,
        tuple(3e-5 * 2**i for i in range(6)),
    ),
}
"""How each method is run, and the strengths that the oracle tries."""


def morozov(problem: SolverInput) -> float:
    """Tikhonov's strength by |H x - y|^2 = n sigma^2."""
    assert problem.sigma is not None
    y = problem.y - problem.y.mean(dim=(-2, -1), keepdim=True)
    model = linear_inverse.spectrum((y.shape[-2], y.shape[-1]), problem.scale, problem.blur, y.device)
    energy, gain = linear_inverse.power_spectrum(model.analyse(y)), model.gram(linear_inverse.inverse_laplacian(model))
    low, high = math.log(linear_inverse.WEAKEST), math.log(linear_inverse.STRONGEST)
    while high - low > 1e-3:
        middle = (low + high) / 2
        left = math.exp(middle) / (gain + math.exp(middle))
        small = float((energy * left.square()).sum()) < y.numel() * problem.sigma**2
        low, high = (middle, high) if small else (low, middle)
    return math.exp(low)


def measure(name: str, original: Tensor, scale: int, seed: int, *, oracle: bool) -> list[Row]:
    """Measure one picture, (1, C, H, W), at one scale: a row for each method and way to choose its strength."""
    original = ops.crop_to_multiple(original, scale)
    kernel = blur_kernel(BLUR)
    y = add_noise(forward_model(scale, kernel)(original), NOISE, torch.Generator().manual_seed(seed))
    rows: list[Row] = []

    def score(result: Tensor) -> float:
        return harness.y_psnr(result, original, SHAVE)

    def add(method: str, choice: str, psnr: float, **more: float) -> None:
        row = {"scale": scale, "picture": name, "method": method, "strength": choice, "psnr": round(psnr, 3)}
        rows.append(harness.show(row | more))

    interpolated = ops.resize(y, (original.shape[-2], original.shape[-1]))
    add("bicubic" if scale > 1 else "input", "none", score(interpolated))
    told = SolverInput(task="upscale", y=y, scale=scale, sigma=NOISE / 255, blur=kernel)
    silent = SolverInput(task="upscale", y=y, scale=scale, blur=kernel)
    add("tikhonov", "auto, plain Morozov", score(METHODS["tikhonov"][0](told, morozov(told))))
    for method, (solve, strengths) in METHODS.items():
        for choice, problem in (("auto, sigma told", told), ("auto, sigma not told", silent)):
            start = time.process_time()
            x = solve(problem, None)
            add(method, choice, score(x), seconds=round(time.process_time() - start, 2))
        if oracle:
            add(method, "oracle", max(score(solve(told, strength)) for strength in strengths))
    return rows


def main() -> None:
    """Measure Set5 and write the JSON."""
    parser = harness.parser(__doc__, data="Set5", out="inverse.json")
    parser.add_argument("--oracle", action="store_true", help="also search each picture's best strength")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed, (name, original) in enumerate(harness.read_set(arguments.data, "Set5").items()):
        for scale in (3, 1):
            rows += measure(name, original, scale, seed, oracle=arguments.oracle)
    facts = harness.record(
        WHAT,
        command="python tools/measure_inverse.py --data DIR" + (" --oracle" if arguments.oracle else ""),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        rows=rows,
    )
    harness.write(arguments.out, facts)


if __name__ == "__main__":
    main()
