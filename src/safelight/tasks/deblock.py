"""Remove what a strong JPEG compression leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, STRENGTH

if TYPE_CHECKING:
    from safelight.media.image import ImageSpec


def _quality(picture: ImageSpec) -> tuple[str, ...]:
    """Say what a JPEG file's own tables say of its compression."""
    if picture.jpeg_quality is None:
        return ()
    return (f"a JPEG file of quality {picture.jpeg_quality}, by its quantisation tables",)


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
    example="""
>>> import numpy as np
>>> deblock(np.zeros((8, 10), np.uint8), strength=2)
Traceback (most recent call last):
safelight.core.options.CardError: expected a strength from 0 (the input) to 1 (the result), got 2
""",
)
