"""Descent on a picture's pixels for a loss of network features: layers, coarse-to-fine sizes and L-BFGS or Adam.

A method says what it wants by a loss of the picture; ``descend`` follows its gradient with L-BFGS or Adam, keeps the
best picture that it met, and asks after each iteration whether to go on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.features.backbone import Backbone, BackboneError
from safelight.ops.color import opponent_to_rgb

Optimizer = Literal["lbfgs", "adam"]
Size = tuple[int, int]

HISTORY = 20  # pairs of steps and gradients that L-BFGS remembers
LEVELS = 5  # sizes of corrections to a picture
AMOUNTS = (1.0, 0.32, 0.14)  # how much brightness and two axes of colour vary in photographs, to the first
RATE = 0.02  # of Adam, in units of [0, 1], for each of them; it falls to 0 along a line
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


def largest_receptive_field(backbone: Backbone, layers: Sequence[str]) -> tuple[int, str]:
    """Return the largest receptive field of the layers, as the side of a square in pixels, and that layer's name."""
    return max((backbone.receptive_field(layer).field, layer) for layer in layers)


def smallest_side(backbone: Backbone, layers: Sequence[str]) -> int:
    """Find the smallest side in pixels, in steps of the largest stride, for which the layers can be computed."""
    stride = side = max(backbone.receptive_field(layer).stride for layer in layers)
    like = backbone.mean
    while True:
        try:
            with torch.no_grad():
                backbone(like.new_zeros(1, 3, side, side), layers)
        except BackboneError:
            side += stride
        else:
            return side


def with_replicate_padding(backbone: Backbone) -> Backbone:
    """Copy a backbone with replicate padding in place of zero padding.

    Gram matrices would take a border of zeros for a part of the style, and a descent would reproduce it.

    Returns:
        A copy that shares the weights.
    """
    copied = copy.deepcopy(backbone, {id(parameter): parameter for parameter in backbone.parameters()})
    for module in copied.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "replicate"
    return copied


def pad_to_side(x: Tensor, side: int) -> Tensor:
    """Repeat the last column and row of pictures (B, C, H, W) until both sides are at least ``side`` long."""
    right, below = (max(0, side - n) for n in (x.shape[-1], x.shape[-2]))
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x


# --- from coarse to fine ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PyramidLevel:
    """One level of a coarse-to-fine descent: its size (H, W) in pixels and its number of iterations."""

    size: Size
    iterations: int


def coarse_to_fine(size: Size, most: int, iterations: int) -> tuple[PyramidLevel, ...]:
    """Halve a size until its longer side is at most ``most``; each larger level gets half of the iterations before.

    Returns:
        The levels, the smallest first; the last has the size itself.

    Example:
        >>> [(level.size, level.iterations) for level in coarse_to_fine((600, 1200), 512, 100)]
        [((150, 300), 100), ((300, 600), 50), ((600, 1200), 25)]
    """
    halvings = max(0, math.ceil(math.log2(max(size) / most)))
    return tuple(
        PyramidLevel(
            size=(max(1, round(size[0] / 2**k)), max(1, round(size[1] / 2**k))),
            iterations=max(1, round(iterations / 2 ** (halvings - k))),
        )
        for k in range(halvings, -1, -1)
    )


@dataclass(frozen=True, slots=True)
class Parametrization:
    """The progress of a coarse-to-fine descent: all levels, and the index ``at`` of the present one."""

    levels: tuple[PyramidLevel, ...]
    at: int

    def fraction(self, iteration: int) -> float:
        """Return the fraction of all work, in [0, 1], done after ``iteration`` iterations of the present level.

        An iteration is taken to cost as much as its level has pixels.
        """
        costs = [level.size[0] * level.size[1] * level.iterations for level in self.levels]
        level = self.levels[self.at]
        return (sum(costs[: self.at]) + costs[self.at] * iteration / level.iterations) / sum(costs)

    def remark(self, iteration: int, loss: float) -> str:
        """Describe the progress in words, with the present loss."""
        level = self.levels[self.at]
        size = f"{level.size[1]}x{level.size[0]}"
        return f"iteration {iteration} of {level.iterations} at {size}, loss {loss:.4g}"


# --- the descent ------------------------------------------------------------------------------------------------------


def upsample_bilinear(x: Tensor, size: Size, *, round_about: bool) -> Tensor:
    """Enlarge pictures (B, C, h, w) to (H, W) bilinearly; with ``round_about`` the borders wrap around."""
    if not round_about:
        return F.interpolate(x, size, mode="bilinear")
    for dim, length in ((2, size[0]), (3, size[1])):
        n = x.shape[dim]
        place = (torch.arange(length, device=x.device) + 0.5) * n / length - 0.5
        before = place.floor()
        share = (place - before).to(x.dtype).view((-1, 1) if dim == 2 else (1, -1))
        here, next_ = (x.index_select(dim, (before.long() + i) % n) for i in (0, 1))
        x = here.lerp(next_, share)
    return x


class Pyramid:
    """A picture parametrised as a start plus corrections at several sizes, each half as large, all in one vector.

    The gradient of a coarse correction adds up that of all pixels it covers. So a descent on the vector changes
    coarse structure first, as with a Sobolev inner product, and high-frequency noise, which every gradient of a network
    holds, last. Corrections are of brightness and of two axes of colour, which move less, as they vary
    less in pictures.

    Args:
        start: (1, 3, H, W).
        round_about: Whether corrections wrap around the borders (periodic).
    """

    def __init__(self, start: Tensor, *, round_about: bool = False) -> None:
        self.start, self.round_about = start, round_about
        height, width = self.size = start.shape[-2], start.shape[-1]
        self.sizes = [(math.ceil(height / 2**k), math.ceil(width / 2**k)) for k in range(LEVELS)]
        self.amounts = start.new_tensor(AMOUNTS).view(1, 3, 1, 1)

    def zeros(self) -> Tensor:
        """Return the vector of no correction."""
        return self.start.new_zeros(sum(3 * height * width for height, width in self.sizes))

    def __call__(self, vector: Tensor) -> Tensor:
        """Return the picture, (1, 3, H, W), that a vector stands for."""
        total, first = torch.zeros_like(self.start), 0
        for size in self.sizes:
            length = 3 * size[0] * size[1]
            part = vector[first : first + length].view(1, 3, *size)
            total = total + (
                part if size == self.size else upsample_bilinear(part, self.size, round_about=self.round_about)
            )
            first += length
        return self.start + opponent_to_rgb(self.amounts * total)


@dataclass(frozen=True, slots=True)
class Descent:
    """The end of a descent: the picture of least loss, that loss, the iterations, and whether the caller stopped it."""

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
    round_about: bool = False,
) -> Descent:
    """Follow the gradient of a loss from a picture on, in the coordinates of a ``Pyramid``.

    L-BFGS searches along each direction until the strong Wolfe conditions hold, so that the loss never rises. The
    loss sees samples cut to [0, 1], and what lies outside is called back by its square; so the result needs no
    cutting at the end, which would undo what was found.

    Args:
        x: Where to begin, (1, 3, H, W).
        loss: Of a picture in [0, 1]; a scalar that gradients flow through.
        look: Told after each iteration its number from 1, the best picture so far and its loss; False: stop.
        optimizer: ``lbfgs`` or ``adam``.
        iterations: At most so many; fewer if nothing is to be gained any more.
        round_about: Whether the picture's borders fit together, as in a ``Pyramid``.
    """
    pyramid = Pyramid(x.detach(), round_about=round_about)
    vector = pyramid.zeros().requires_grad_()
    best, least = x.detach().clamp(0, 1), math.inf
    seen, value = torch.full_like(vector, math.nan), x.new_zeros(())  # where the loss was computed last, and it there

    def evaluate() -> Tensor:
        nonlocal best, least, seen, value
        if torch.equal(seen, vector):
            return value  # L-BFGS begins an iteration by asking for what it ended the last one with
        vector.grad = None
        with torch.enable_grad():
            x = pyramid(vector)
            inside = x.clamp(0, 1)
            value = loss(inside) + BACK * (x - inside).square().mean()
            value.backward()
        value, seen = value.detach(), vector.detach().clone()
        if float(value) < least:
            best, least = inside.detach(), float(value)
        return value

    evaluate()
    assert vector.grad is not None
    # At first torch would move by the gradient itself, or by a sum of moves of 1: both are far from any good step for
    # a mean over pixels. The tolerances are off for the same reason: such gradients are small everywhere.
    move = pyramid(vector.grad) - pyramid.start
    first = FIRST / max(float(move.square().mean()) ** 0.5, 1e-30) * max(1.0, float(vector.grad.abs().sum()))
    if optimizer == "lbfgs":
        method: torch.optim.Optimizer = torch.optim.LBFGS(
            [vector], max_iter=1, max_eval=SEARCH, history_size=HISTORY, tolerance_grad=0, tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )  # fmt: skip
    else:
        method = torch.optim.Adam([vector])
    for iteration in range(1, iterations + 1):
        before = vector.detach().clone()
        if optimizer == "lbfgs":
            method.param_groups[0]["lr"] = first if iteration == 1 else 1.0
        else:
            method.param_groups[0]["lr"] = RATE * (1 - (iteration - 1) / iterations)
        method.step(evaluate)  # pyright: ignore[reportArgumentType]  # torch: a closure gives a float; it takes a tensor
        if optimizer == "adam":
            evaluate()  # the picture after its move; L-BFGS has looked at it before it moved
        going = look(iteration, best, least)
        if not going or torch.equal(before, vector) or not bool(torch.isfinite(vector).all()):
            return Descent(best, least, iteration, stopped=not going)
    return Descent(best, least, iterations, stopped=False)
