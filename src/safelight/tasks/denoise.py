"""Remove noise from a picture."""

from typing import Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, SIGMA, STRENGTH

DENOISE: Final = TaskSpec(
    name="denoise",
    title="Clean",
    summary="Remove noise from a picture",
    help="Remove noise from pictures, of a level that you tell or that the method finds out.",
    inputs=(PICTURE, SIGMA, STRENGTH, SEED),
    output=OutputSpec(tag="denoised"),
    default="denoise/lamp",
    level="sigma {}",
    headline=("bsd68", "sigma 25"),
    example="""
>>> import numpy as np
>>> denoise(np.zeros((8, 10), np.uint8), sigma=-1)
Traceback (most recent call last):
safelight.core.options.CardError: expected a sigma of at least 0, in units of 0 to 255, got -1
""",
)
