"""What a method that works on the whole picture is given, what it reports on its way, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from safelight.tasks import Task

Condition = Literal["sigma", "blur", "mask", "frames"]
"""What a user may tell of a picture beside the method's options: noise, blur, what is missing, more of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A picture to be restored whole, and what is known of how it came to be.

    Attributes:
        task: What is asked for.
        y: The picture, (1, C, h, w) float32, sRGB or gray in [0, 1], C = 1 or 3.
        scale: The zoom; the result is (1, C, h * scale, w * scale). 1 for all tasks but ``upscale``.
        sigma: Standard deviation of the noise, in units of [0, 1]; ``None``: not told.
        blur: The kernel that blurred the large picture before it was sampled, (kh, kw) float64 with odd sides and sum
            1, centred; (1, 1) for none. ``None``: not told, which means no blur at scale 1 and else the antialiased
            bicubic kernel that the field shrinks pictures with.
        mask: (1, 1, h, w), 1 = missing; of ``inpaint`` only.
        frames: More pictures of the same scene, each shaped as ``y``; of methods for several frames only.
        seed: Of whatever the method draws at random.
    """

    task: Task
    y: Tensor
    scale: int = 1
    sigma: float | None = None
    blur: Tensor | None = None
    mask: Tensor | None = None
    frames: tuple[Tensor, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where an iterative method stands: the fraction that is done, the best picture so far, and a remark."""

    fraction: float
    x: Tensor
    remark: str = ""


Report: TypeAlias = Callable[[Step], bool]
"""Told where a method stands, as often as it likes to; ``False`` asks it to stop now, with the best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The result of a whole-picture method, and what the user should know of it: one sentence each."""

    x: Tensor
    notes: tuple[str, ...] = ()
