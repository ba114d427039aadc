"""Give a picture the style of another one."""

from typing import Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.tasks.common_inputs import (
    BACKBONE,
    BEGIN,
    OWN_SIZE,
    PICTURE,
    SEED,
    STYLE,
    STYLE_MASKS,
    STYLE_WEIGHTS,
)

STYLIZE: Final = TaskSpec(
    name="stylize",
    title="Style",
    summary="Give a picture the style of another one",
    help="Give pictures the style of another one, or of a network trained for a style; or make a texture of any size.",
    details="A gray picture becomes one in colour.",
    inputs=(PICTURE, STYLE, STYLE_WEIGHTS, STYLE_MASKS, OWN_SIZE, BACKBONE, BEGIN, SEED),
    output=OutputSpec(tag="stylized", channels="rgb"),
    default="stylize/adain",
    example="""
>>> import numpy as np
>>> stylize(np.zeros((8, 10), np.uint8), method="bicubic")
Traceback (most recent call last):
safelight.core.options.CardError: no method of stylize is called 'bicubic'; ...
""",
)
