"""The input, the progress reports and the result of a method that works on the whole picture."""

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
    """A style picture, and how it is applied.

    Attributes:
        x: Style image, (1, 3, h, w) float32, sRGB in [0, 1], of any size.
        weight: The share of the style, in [0, 1]; the shares of all styles sum to 1.
        mask: Where the style is applied, (1, 1, H, W) of the size of the content, in [0, 1]; ``None``: everywhere.
    """

    x: Tensor
    weight: float = 1.0
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverInput:
    """A picture, and what is known of its degradation.

    Attributes:
        task: The name of the task.
        y: The picture, (1, C, h, w) float32, sRGB or gray in [0, 1], C = 1 or 3.
        scale: The zoom; the result is (1, C, h * scale, w * scale). 1 for all tasks but ``upscale``.
        sigma: Standard deviation of the noise, in units of [0, 1]; ``None``: not known.
        blur: The kernel that blurred the large picture before it was sampled, (kh, kw) float64 with odd sides and sum
            1, centred; (1, 1) for none. ``None``: not known, which means no blur at scale 1 and else the antialiased
            bicubic kernel that the field shrinks pictures with.
        mask: (1, 1, h, w), 1 = missing; of ``inpaint`` only.
        frames: More pictures of the same scene, each shaped as ``y``; of methods for several frames only.
        styles: The style pictures; of ``stylize`` only, if the method takes any.
        size: (H, W) of the result, if the method takes a size.
        backbone: The network that the method compares pictures by, if it takes one.
        begin: The start of an iteration, shaped as the result; ``None``: as the options of the method say.
        seed: The seed of all random numbers.
        extra: The values of all other inputs of the task, by name.
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
    """The input of a generator.

    Attributes:
        task: The name of the task.
        seed: The seed of all random numbers.
        device: The device to compute on.
        extra: The values of all other inputs of the task, by name: a number of pictures, a size, a prompt.
    """

    task: Task
    seed: int
    device: torch.device
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverProgress:
    """A step of an iterative method.

    Attributes:
        fraction: The fraction that is done, in [0, 1].
        x: The best picture so far, (1, C, H, W).
        remark: A short text for the progress bar, such as the value of the objective.
    """

    fraction: float
    x: Tensor
    remark: str = ""


ProgressCallback: TypeAlias = Callable[[SolverProgress], bool]
"""Called by a method after some of its steps; ``False`` asks it to stop and return its best result so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverResult:
    """The result of a method that works on the whole picture.

    Attributes:
        x: The result, (1, C, H, W).
        notes: Notes for the user, one sentence each.
    """

    x: Tensor
    notes: tuple[str, ...] = ()
