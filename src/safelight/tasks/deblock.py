"""Remove what a strong JPEG compression leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import Findings, Repair, TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, STRENGTH

if TYPE_CHECKING:
    from safelight.media.image import ImageSpec

MIN_QUALITY: Final = 70
"""``fix`` removes the artefacts of a JPEG below this quality (docs/fix.md)."""


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


DEBLOCK: Final = TaskSpec(
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
    example="""
>>> import numpy as np
>>> deblock(np.zeros((8, 10), np.uint8), strength=2)
Traceback (most recent call last):
safelight.core.options.CardError: expected a strength from 0 (the input) to 1 (the result), got 2
""",
)
