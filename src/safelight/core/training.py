"""What a training consists of: its batches, its recipe, its step, and the steps that three or more methods share.

A method with a step of its own writes it in its file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from safelight.core.task import Task
from safelight.features.backbone import Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a training step receives: ``input`` and ``target``, both (B, C, H, W) float32 in [0, 1].

    ``style`` are crops of pictures of styles, shaped likewise, of methods that learn to give any style.
    """

    input: Tensor
    target: Tensor
    style: Tensor | None = None


class Training(Protocol):
    """One method's training step. It owns its optimisers, so that a step reads as the paper's algorithm box."""

    optimizers: tuple[Optimizer, ...]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the network once and return the losses, detached, by name."""
        ...


class Judged(Training, Protocol):
    """A training step for a task that has no right answer: how good a network is, its own loss tells."""

    def judge(self, network: nn.Module, batch: Batch) -> Tensor:
        """Compute the loss of a network like the one that is trained, a scalar: the less the better."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptual:
    """A training by what a backbone sees of content and style.

    ``begin(network, recipe, backbone, styles)`` receives the pictures of the one style that is learned, (1, 3, h, w)
    each. A method that ``draws`` learns to give any style: it gets none of them, but crops in each batch.
    """

    begin: Callable[[Any, Recipe, Backbone, Sequence[Tensor]], Judged]
    draws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStage:
    """A part of the training of a network that grows: a narrow one sees many more pixels in an hour, and learns more.

    ``width`` is the share of the channels that are there, ``steps`` the share of the steps, and ``time`` that of the
    time which these take, about. The learning rate follows the time: its cosine runs once over all stages.
    """

    width: float
    steps: float
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained, and the number that this promises.

    ``data`` names the training sets; ``patch`` is the side of a crop in low-resolution pixels, ``batch`` the crops in
    a step, ``rate`` the peak learning rate, reached after ``warmup`` steps and falling to zero along a cosine; ``ema``
    is the decay of the averaged weights that are kept. ``start`` names the scale whose weights the other scales start
    from, training for ``steps_after_start`` (``None``: all start at random). ``exact`` is the share of the steps, the
    last ones, that compute in float32 where the others may in bfloat16, whose rounding a network that carries the
    picture through its layers learns to make up for. ``stages`` are those of a network that grows; without them it is
    whole from the start. ``time`` says how long it takes and on what. ``promises`` are the paper's numbers, which this
    recipe aims at.
    """

    data: tuple[str, ...]
    patch: int
    batch: int
    steps: int
    rate: float
    warmup: int = 100
    ema: float = 0.999
    start: int | None = None
    steps_after_start: int | None = None
    exact: float = 0.0
    stages: tuple[GrowthStage, ...] = ()
    time: str
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The number that a recipe aims at, a paper's, and the floor: weights below it do not ship unless that is told.

    The fields are those of ``Score``, and ``floor`` is a PSNR in dB.
    """

    data: str
    level: int
    psnr: float
    floor: float
    task: Task = "upscale"
    options: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict[str, int | float | str])


class Regression:
    """Make the network's output equal the target: the step of every network trained for PSNR.

    Args:
        network: What is trained.
        optimizer: Over its parameters.
        loss: ``loss(output, target) -> ()`` tensor.
        clip: Gradients longer than this, in the L2 norm over all parameters, are shortened to it. ``None``: never.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        clip: float | None = None,
    ) -> None:
        self.network = network
        self.optimizers = (optimizer,)
        self.loss = loss
        self.clip = clip

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step of the optimiser and return ``{"loss": ...}``."""
        (optimizer,) = self.optimizers
        optimizer.zero_grad(set_to_none=True)
        # The loss is taken in float32 also where the network runs in bfloat16: a mean over a patch needs the digits.
        loss = self.loss(self.network(batch.input).float(), batch.target)
        loss.backward()
        if self.clip is not None:
            clip_grad_norm_(self.network.parameters(), self.clip)
        optimizer.step()
        return {"loss": loss.detach()}
