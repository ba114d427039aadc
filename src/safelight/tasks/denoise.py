"""Remove noise from a picture."""

from typing import Final

from safelight.core.outputs import OutputSpec
from safelight.core.task import Findings, Repair, TaskSpec
from safelight.tasks.common_inputs import PICTURE, SEED, SIGMA, STRENGTH

MAX_SIGMA: Final = 6.0
"""``fix`` denoises a picture with more noise than this, in units of 0 to 255. In clean photographs, fine texture such
as fur is estimated as noise of up to 5 (docs/fix.md)."""


def _reason(findings: Findings) -> str:
    """Return why a picture needs this task: its noise is strong."""
    if findings.sigma <= MAX_SIGMA:
        return ""
    return f"noise of about {findings.sigma:.1f} of 255, above {MAX_SIGMA:g}"


DENOISE: Final = TaskSpec(
    name="denoise",
    title="Clean",
    summary="Remove noise from a picture",
    help="Remove noise from pictures, whose level you give or the method estimates.",
    inputs=(PICTURE, SIGMA, STRENGTH, SEED),
    output=OutputSpec(tag="denoised"),
    default="denoise/lamp",
    level="sigma {}",
    headline=("bsd68", "sigma 25"),
    repair=Repair(order=2, reason=_reason, limits={"above": MAX_SIGMA}),
    example="""
>>> import numpy as np
>>> denoise(np.zeros((8, 10), np.uint8), sigma=-1)
Traceback (most recent call last):
safelight.core.options.CardError: expected a sigma of at least 0, in units of 0 to 255, got -1
""",
)
