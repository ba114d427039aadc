"""Enlarge a picture."""

from typing import Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import BLUR, CONSISTENT, FRAMES, PICTURE, SCALE, SEED, SIGMA, SIZE

UPSCALE: Final = TaskSpec(
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
    example="""
>>> import numpy as np
>>> gray = np.full((8, 10), 100, np.uint8)
>>> large = upscale(gray, size=(25, 20), method="bicubic")
>>> large.shape, large.dtype, int(large.max())
((20, 25), dtype('uint8'), 100)
""",
)
