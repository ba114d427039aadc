"""Remove what a strong JPEG compression leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import Findings, Repair, TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, STRENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from safelight.core.benchmark import Benchmark, BenchmarkSample, Level
    from safelight.media.image import ImageSpec

MIN_QUALITY: Final = 70
"""``fix`` removes the artefacts of a JPEG below this quality (docs/fix.md)."""

# The JPEG's own PSNR and SSIM on classic5: every paper on the subject prints them, ARCNN's (ICCV 2015) first.
_CLASSIC5: Final[Mapping[float, tuple[float, float]]] = {
    10: (27.82, 0.7595),
    20: (30.12, 0.8344),
    30: (31.48, 0.8666),
    40: (32.43, 0.8849),
}


def _quality(picture: ImageSpec) -> tuple[str, ...]:
    """Return a note on the quality of a JPEG file, derived from its quantisation tables."""
    if picture.jpeg_quality is None:
        return ()
    return (f"a JPEG file of quality {picture.jpeg_quality}, by its quantisation tables",)


def _reason(findings: Findings) -> str:
    """Return why a picture needs this task: it was saved as a JPEG of a low quality."""
    if findings.jpeg_quality is None or findings.jpeg_quality >= MIN_QUALITY:
        return ""
    return f"a JPEG of quality {findings.jpeg_quality}, below {MIN_QUALITY}"


def _compressed(pixels: Tensor, quality: int) -> BenchmarkSample:
    """What a real file gives back: written by libjpeg and read again."""
    from safelight.core.benchmark import BenchmarkSample
    from safelight.media import image

    original = image.Picture(pixels=pixels.permute(1, 2, 0).contiguous().numpy())
    decoded = image.read(image.encode(original, "jpeg", quality=quality))
    return BenchmarkSample(decoded, pixels.unsqueeze(0).double() / 255)


def _jpeg_alone(name: str, level: Level) -> dict[str, float]:
    if name != "classic5" or level is None:
        return {}
    psnr, ssim = _CLASSIC5[level]
    return {"psnr": psnr, "ssim": ssim}


def _benchmark() -> Benchmark:
    """The protocol of the papers on JPEG artefacts."""
    from safelight.core.benchmark import Anchor, Benchmark, BenchmarkSet
    from safelight.tasks.common_benchmark import COLOUR, COLOUR_WORDS, MEAN, METRICS, RESTORED, ROUNDING

    return Benchmark(
        task=DEBLOCK.name,
        unit=DEBLOCK.level,
        sets=(BenchmarkSet(name="classic5", folder="classic5", kind="gray"), COLOUR),
        headline="classic5",
        metrics=METRICS,
        levels=(10, 20, 30, 40),
        protocol=(
            "The protocol of the papers on JPEG artefacts. The 8-bit original is written as a baseline JPEG file at "
            "the IJG's quality, by libjpeg through libvips, and read again; the method gets the 8-bit picture that the "
            "file gives. Its result, rounded to 8 bits, is compared with the original over the whole picture, by PSNR "
            f"{ROUNDING}; {MEAN} {COLOUR_WORDS} Its files are of full chroma resolution (4:4:4). The anchor is the "
            "JPEG itself."
        ),
        degrade=_compressed,
        anchor=Anchor(tolerances={"classic5": {"psnr": 0.01, "ssim": 0.0005}}, known=_jpeg_alone),
        plotted=("classic5",),
        clock=RESTORED,
    )


DEBLOCK: Final[TaskSpec] = TaskSpec(
    name="deblock",
    title="Repair JPEG",
    summary="Remove what a strong JPEG compression leaves",
    help="Remove what a strong JPEG compression leaves: blocks and ringing.",
    inputs=(PICTURE, STRENGTH, SEED),
    output=OutputSpec(tag="deblocked", remarks=_quality),
    default="denoise/lamp",
    level="quality {}",
    headline=("classic5", "quality 10"),
    repair=Repair(order=1, reason=_reason, limits={"below": MIN_QUALITY}),
    benchmark=_benchmark,
    example="""
>>> import numpy as np
>>> deblock(np.zeros((8, 10), np.uint8), strength=2)
Traceback (most recent call last):
safelight.core.options.CardError: expected a strength from 0 (the input) to 1 (the result), got 2
""",
)
