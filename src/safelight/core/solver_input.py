"""What a method that works on the whole picture is given, what it reports on its way, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from safelight.core.task import Task

if TYPE_CHECKING:
    from safelight.features.backbone import Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A picture whose style another one shall get.

    Attributes:
        x: It, (1, 3, h, w) float32, sRGB in [0, 1], of any size.
        weight: Its share among several styles; they sum to 1.
        mask: Where it shall be seen, (1, 1, H, W) as the content is, from 0 to 1; ``None``: everywhere.
    """

    x: Tensor
    weight: float = 1.0
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverInput:
    """A picture to be worked on whole, and what is known of how it came to be.

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
        styles: Whose style the picture shall get; of ``stylize`` only, where the method takes pictures of it.
        size: (H, W) of the result, where the method takes a size of its own.
        backbone: What the method compares pictures by, if it takes one.
        begin: What an iteration begins with, shaped as the result; ``None``: as the method's options say.
        seed: Of whatever the method draws at random.
        extra: What else the task's inputs say, by their names.
    """

    task: Task
    y: Tensor
    scale: int = 1
    sigma: float | None = None
    blur: Tensor | None = None
    mask: Tensor | None = None
    frames: tuple[Tensor, ...] = ()
    styles: tuple[Style, ...] = ()
    size: tuple[int, int] | None = None
    backbone: Backbone | None = None
    begin: Tensor | None = None
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorInput:
    """What a generator makes pictures of.

    Attributes:
        task: What is asked for.
        seed: Of all that is drawn at random.
        device: Where to compute.
        extra: What else the task's inputs say, by their names: a number of pictures, a size, a prompt.
    """

    task: Task
    seed: int
    device: torch.device
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverProgress:
    """Where an iterative method stands: the fraction that is done, the best picture so far, and a remark."""

    fraction: float
    x: Tensor
    remark: str = ""


ProgressCallback: TypeAlias = Callable[[SolverProgress], bool]
"""Told where a method stands, as often as it likes to; ``False`` asks it to stop now, with the best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverResult:
    """The result of a whole-picture method, and what the user should know of it: one sentence each."""

    x: Tensor
    notes: tuple[str, ...] = ()
