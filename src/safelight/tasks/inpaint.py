"""Fill in what is missing from a picture."""

from typing import Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import MASK, PICTURE, SEED, SIGMA

INPAINT: Final = TaskSpec(
    name="inpaint",
    title="Fill",
    summary="Fill in what a mask marks",
    help="Fill in what a mask marks.",
    inputs=(PICTURE, MASK, SIGMA, SEED),
    output=OutputSpec(tag="inpainted"),
    default="denoise/dip",
    example="""
>>> import numpy as np
>>> inpaint(np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8), method="bicubic")
Traceback (most recent call last):
safelight.core.options.CardError: no method of inpaint is called 'bicubic'; ...
""",
)
