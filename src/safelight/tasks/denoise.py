"""Remove noise from a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import Findings, Repair, TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, SIGMA, STRENGTH

if TYPE_CHECKING:
    from torch import Tensor

    from safelight.core.benchmark import Benchmark, BenchmarkSample, Level

MAX_SIGMA: Final = 6.0
"""``fix`` denoises a picture with more noise than this, in units of 0 to 255. In clean photographs, fine texture such
as fur is estimated as noise of up to 5 (docs/fix.md)."""


def _reason(findings: Findings) -> str:
    """Return why a picture needs this task: its noise is strong."""
    if findings.sigma <= MAX_SIGMA:
        return ""
    return f"noise of about {findings.sigma:.1f} of 255, above {MAX_SIGMA:g}"


def _noisy(pixels: Tensor, sigma: float) -> BenchmarkSample:
    """Noise that is the same at each run, and at each level but for its strength."""
    import torch

    from safelight import degrade
    from safelight.core.benchmark import BenchmarkSample, fingerprint, to_picture

    reference = pixels.unsqueeze(0).double() / 255
    generator = torch.Generator().manual_seed(int(fingerprint(pixels)[:15], 16))
    return BenchmarkSample(to_picture(degrade.add_noise(reference.float(), sigma, generator)), reference)


def _noise_alone(name: str, level: Level) -> dict[str, float]:  # noqa: ARG001 - the same on every set
    assert level is not None
    return {"psnr": round(20 * math.log10(255 / level), 4)}


def _inputs(level: float) -> dict[str, Any]:
    return {"sigma": level}


def _benchmark() -> Benchmark:
    """The protocol of the denoising papers."""
    from safelight.core.benchmark import Anchor, Benchmark, BenchmarkSet
    from safelight.tasks.common_benchmark import COLOUR, COLOUR_WORDS, DIP, MEAN, METRICS, RESTORED, ROUNDING

    sets = (
        BenchmarkSet(name="Set12", folder="Set12", kind="gray"),
        BenchmarkSet(name="BSD68", folder="BSD68_gray", kind="gray"),
        COLOUR,
    )
    return Benchmark(
        task=DENOISE.name,
        unit=DENOISE.level,
        sets=sets,
        headline="BSD68",
        metrics=METRICS,
        levels=(15, 25, 50),
        inputs=_inputs,
        protocol=(
            "The protocol of the denoising papers. To the 8-bit original, white Gaussian noise of standard deviation "
            "sigma is added in units of 0 to 255; the sum is neither clipped nor rounded, and the method gets it in "
            "floating point. It is told sigma if it can be told. The noise is drawn by torch's generator on the CPU, "
            "seeded for each picture with the first 15 hexadecimal digits of the SHA-256 of its shape and samples, so "
            "it is the same for every method and at each run. The result is clipped and rounded to 8 bits and compared "
            f"with the original over the whole picture, by PSNR {ROUNDING}; {MEAN} {COLOUR_WORDS} The anchor is the "
            "noisy picture itself, not clipped, whose PSNR is 20 log10(255 / sigma)."
        ),
        degrade=_noisy,
        anchor=Anchor(tolerances={test_set.name: {"psnr": 0.02} for test_set in sets}, known=_noise_alone),
        plotted=("BSD68",),
        clock=RESTORED,
        left_out={"denoise/dip": DIP},
    )


DENOISE: Final[TaskSpec] = TaskSpec(
    name="denoise",
    title="Clean",
    summary="Remove noise from a picture",
    help="Remove noise from pictures, whose level you give or the method estimates.",
    inputs=(PICTURE, SIGMA, STRENGTH, SEED),
    output=OutputSpec(tag="denoised"),
    default="denoise/lamp",
    level="sigma {}",
    headline=("bsd68", "sigma 25"),
    benchmark=_benchmark,
    repair=Repair(order=2, reason=_reason, limits={"above": MAX_SIGMA}),
    example="""
>>> import numpy as np
>>> denoise(np.zeros((8, 10), np.uint8), sigma=-1)
Traceback (most recent call last):
safelight.core.options.CardError: expected a sigma of at least 0, in units of 0 to 255, got -1
""",
)
