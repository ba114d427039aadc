"""What methods share that change a picture until a network sees in it what it should: its layers, sizes, the descent.

A method says what it wants by a loss of the picture; ``descend`` follows its gradient with L-BFGS or Adam, keeps the
best picture that it met, and asks after each iteration whether to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.features.backbone import Backbone, BackboneError

Optimizer = Literal["lbfgs", "adam"]
Size = tuple[int, int]

HISTORY = 20  # pairs of steps and gradients that L-BFGS remembers
RATE = 0.03  # of Adam, in units of [0, 1]; it falls to 0 along a line
FIRST = 0.01  # how far L-BFGS tries to move at first, the root of the mean square over samples
SEARCH = 25  # gradients of one iteration of L-BFGS, at most; one is the rule
BACK = 100.0  # how strongly samples outside [0, 1] are called back


# --- what the network sees --------------------------------------------------------------------------------------------


def weighted_layers(text: str | None, usual: Sequence[str], backbone: Backbone) -> dict[str, float]:
    """Read a list of layers as users write it: ``relu1_1,relu2_1`` or, with weights, ``relu1_1:0.5,relu2_1:2``.

    Args:
        text: The list; ``None``: the usual ones.
        usual: Layers to take then, each with weight 1.
        backbone: Whose layers they are.

    Returns:
        The weight of each layer, at least 0; 1 where none is said.

    Raises:
        BackboneError: An unknown layer, with the close ones; a weight that is none; a layer that is named twice.
    """
    if text is None:
        return dict.fromkeys(usual, 1.0)
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, said, number = (piece.strip() for piece in part.partition(":"))
        backbone.check([name])
        try:
            weight = float(number) if said else 1.0
        except ValueError:
            weight = math.nan
        if name in weights or not (weight >= 0 and math.isfinite(weight)):
            raise BackboneError(
                f"expected layers once each, such as relu1_1,relu2_1 or relu1_1:0.5,relu2_1, with weights of at least "
                f"0, got {part.strip()!r}"
            )
        weights[name] = weight
    if not any(weights.values()):
        raise BackboneError(f"expected a layer with a weight above 0, got {text!r}")
    return {name: weight for name, weight in weights.items() if weight > 0}


def field(backbone: Backbone, layers: Sequence[str]) -> tuple[int, str]:
    """Tell how many pixels a side the layer sees that sees most, and its name."""
    return max((backbone.sight(layer).field, layer) for layer in layers)


def least_side(backbone: Backbone, layers: Sequence[str]) -> int:
    """Find a side of a picture from which on the layers can be computed, by trying."""
    stride = side = max(backbone.sight(layer).stride for layer in layers)
    like = backbone.mean
    while True:
        try:
            with torch.no_grad():
                backbone(like.new_zeros(1, 3, side, side), layers)
        except BackboneError:
            side += stride
        else:
            return side


def padded(x: Tensor, side: int) -> Tensor:
    """Repeat the last column and row of pictures (B, C, H, W) until both sides are at least ``side`` long."""
    right, below = (max(0, side - n) for n in (x.shape[-1], x.shape[-2]))
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x


# --- from coarse to fine ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """One size of the way from coarse to fine: (H, W), and how often to iterate there."""

    size: Size
    iterations: int


def levels(size: Size, most: int, iterations: int) -> tuple[Level, ...]:
    """Halve a size until its longer side is at most ``most``; each larger level gets half of the iterations before.

    Returns:
        The levels, the smallest first; the last has the size itself.

    Example:
        >>> [(level.size, level.iterations) for level in levels((600, 1200), 512, 100)]
        [((150, 300), 100), ((300, 600), 50), ((600, 1200), 25)]
    """
    halvings = max(0, math.ceil(math.log2(max(size) / most)))
    return tuple(
        Level(
            size=(max(1, round(size[0] / 2**k)), max(1, round(size[1] / 2**k))),
            iterations=max(1, round(iterations / 2 ** (halvings - k))),
        )
        for k in range(halvings, -1, -1)
    )


@dataclass(frozen=True, slots=True)
class Way:
    """Where a descent stands on the way from coarse to fine."""

    levels: tuple[Level, ...]
    at: int

    def fraction(self, iteration: int) -> float:
        """How much of all work is done after so many iterations of this level: an iteration costs its pixels."""
        costs = [level.size[0] * level.size[1] * level.iterations for level in self.levels]
        level = self.levels[self.at]
        return (sum(costs[: self.at]) + costs[self.at] * iteration / level.iterations) / sum(costs)

    def remark(self, iteration: int, loss: float) -> str:
        """Tell it in words."""
        level = self.levels[self.at]
        size = f"{level.size[1]}x{level.size[0]}"
        return f"iteration {iteration} of {level.iterations} at {size}, loss {loss:.4g}"


# --- the descent ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Descent:
    """How it ended: the picture with the least loss that was met, the loss, the iterations, and if it was told to."""

    x: Tensor
    loss: float
    iterations: int
    stopped: bool


def descend(
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    look: Callable[[int, Tensor, float], bool],
    *,
    optimizer: Optimizer,
    iterations: int,
) -> Descent:
    """Follow the gradient of a loss from a picture on.

    L-BFGS searches along each direction until the strong Wolfe conditions hold, so that the loss never rises. The
    loss sees samples cut to [0, 1], and what lies outside is called back by its square; so the result needs no
    cutting at the end, which would undo what was found.

    Args:
        x: Where to begin, (1, C, H, W).
        loss: Of a picture in [0, 1]; a scalar that gradients flow through.
        look: Told after each iteration its number from 1, the best picture so far and its loss; False: stop.
        optimizer: ``lbfgs`` or ``adam``.
        iterations: At most so many; fewer if nothing is to be gained any more.
    """
    x = x.detach().clone().requires_grad_()
    best, least = x.detach().clamp(0, 1), math.inf
    seen, value = x.new_full((), math.nan), x.new_zeros(())  # where the gradient was computed last, and the loss there

    def evaluate() -> Tensor:
        nonlocal best, least, seen, value
        if torch.equal(seen, x):
            return value  # L-BFGS begins an iteration by asking for what it ended the last one with
        x.grad = None
        with torch.enable_grad():
            inside = x.clamp(0, 1)
            value = loss(inside) + BACK * (x - inside).square().mean()
            value.backward()
        value, seen = value.detach(), x.detach().clone()
        if float(value) < least:
            best, least = inside.detach().clone(), float(value)
        return value

    evaluate()
    assert x.grad is not None
    # At first L-BFGS would move by the gradient itself, or by a sum of moves of 1: both are far from any good step
    # for a mean over pixels. The tolerances are off for the same reason: such gradients are small everywhere.
    first = FIRST * math.sqrt(x.numel()) / max(float(x.grad.square().sum()) ** 0.5, 1e-30)
    first *= max(1.0, float(x.grad.abs().sum()))
    if optimizer == "lbfgs":
        method: torch.optim.Optimizer = torch.optim.LBFGS(
            [x], max_iter=1, max_eval=SEARCH, history_size=HISTORY, tolerance_grad=0, tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )  # fmt: skip
    else:
        method = torch.optim.Adam([x])
    for iteration in range(1, iterations + 1):
        before = x.detach().clone()
        if optimizer == "lbfgs":
            method.param_groups[0]["lr"] = first if iteration == 1 else 1.0
        else:
            method.param_groups[0]["lr"] = RATE * (1 - (iteration - 1) / iterations)
        method.step(evaluate)  # pyright: ignore[reportArgumentType]  # torch: a closure gives a float; it takes a tensor
        if optimizer == "adam":
            evaluate()  # the picture after its move; L-BFGS has looked at it before it moved
        going = look(iteration, best, least)
        if not going or torch.equal(before, x) or not bool(torch.isfinite(x).all()):
            return Descent(best, least, iteration, stopped=not going)
    return Descent(best, least, iterations, stopped=False)
