"""Enlarge a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import BLUR, CONSISTENT, FRAMES, PICTURE, SCALE, SEED, SIGMA, SIZE

if TYPE_CHECKING:
    from torch import Tensor

    from safelight import metrics
    from safelight.core.benchmark import Benchmark, BenchmarkSample, Kind


def _shrunk(pixels: Tensor, scale: int) -> BenchmarkSample:
    """The low-resolution float picture, neither rounded nor clipped."""
    from safelight import degrade, ops
    from safelight.core.benchmark import BenchmarkSample, to_picture

    reference = ops.crop_to_multiple(pixels, scale).unsqueeze(0).double() / 255
    return BenchmarkSample(to_picture(degrade.Downsample(scale)(reference)), reference)


def _scale_of(level: int) -> int:
    return level


def _inputs(level: int) -> dict[str, Any]:
    return {"scale": level}


def _compare(kind: Kind, level: int) -> metrics.Protocol:
    from safelight import metrics
    from safelight.core.benchmark import whole_picture

    return metrics.SR_OLDER.with_shave(level) if kind == "luma" else whole_picture(kind, level)


def _benchmark() -> Benchmark:
    """The older protocol of the super-resolution papers."""
    from safelight.core.benchmark import Anchor, Benchmark, BenchmarkSet, Race
    from safelight.tasks.common_benchmark import DIP, MEAN, METRICS, ROUNDING

    return Benchmark(
        task=UPSCALE.name,
        unit=UPSCALE.level,
        sets=tuple(BenchmarkSet(name=name, folder=name, kind="luma") for name in ("Set5", "Set14", "BSD100")),
        headline="Set5",
        metrics=METRICS,
        levels=(2, 3, 4),
        inputs=_inputs,
        scale=_scale_of,
        protocol=(
            "The older protocol of the super-resolution papers. Cut the original to a multiple of the scale. Take its "
            "Y (BT.601 studio range, rounded to 8 bits; a gray original is used as Y as it is), shrink it by MATLAB's "
            "antialiased bicubic kernel in floating point, not rounded, and enlarge that by the method. An RGB network "
            "gets the RGB original, shrunk alike, and Y is taken from its result, rounded to 8 bits before and after. "
            "Round to 8 bits, leave out as many pixels as the scale on each side, and take PSNR "
            f"{ROUNDING} of every picture; {MEAN}"
        ),
        degrade=_shrunk,
        compare=_compare,
        # In dB and in SSIM. With Set14's gray picture used as Y, the published SSIM of the set does not come out
        # (0.7736 for 0.7742 at x3) though its PSNR does, so SSIM is claimed on Set5 alone.
        anchor=Anchor(
            method="upscale/bicubic",
            tolerances={"Set5": {"psnr": 0.01, "ssim": 0.0005}, "Set14": {"psnr": 0.015}, "BSD100": {"psnr": 0.015}},
        ),
        plotted=("Set14", "BSD100"),  # Set5's five pictures say too little to rank methods by
        clock="Each method enlarges the same 8-bit RGB picture to {width}x{height} pixels at every scale",
        timed_in_colour=True,
        left_out={"denoise/dip": DIP},
        # The headline of FSRCNN's paper (table 1): 41.3 times faster than SRCNN 9-5-5 at x3.
        races=(Race(fast="upscale/fsrcnn", slow="upscale/srcnn", level=3, published=41.3),),
        matlab_files="LR_bicubic",  # with SET/X2/NAMEx2.png, as the field's archives have it
    )


UPSCALE: Final[TaskSpec] = TaskSpec(
    name="upscale",
    title="Enlarge",
    summary="Enlarge a picture",
    help="Enlarge pictures, by a formula, a network, or from several frames of one scene.",
    details="A method for several frames (multiframe) makes one picture of all inputs.",
    inputs=(PICTURE, SCALE, SIZE, SIGMA, BLUR, FRAMES, CONSISTENT, SEED),
    output=OutputSpec(size="scaled"),
    default="upscale/lamp",
    level="x{}",
    headline=("set5", "x4"),
    benchmark=_benchmark,
    example="""
>>> import numpy as np
>>> gray = np.full((8, 10), 100, np.uint8)
>>> large = upscale(gray, size=(25, 20), method="bicubic")
>>> large.shape, large.dtype, int(large.max())
((20, 25), dtype('uint8'), 100)
""",
)
