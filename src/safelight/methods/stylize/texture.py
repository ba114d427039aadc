"""Texture synthesis: a new picture, of any size, with the Gram matrices of an example and nothing else of it.

Gatys et al. 2015 (``CARD.paper``).

F_l are the maps of a layer for the result x, and S_l those for the example, as matrices of C channels by N places. A
texture looks the same everywhere, so what describes it are means over places; all means of products of two features::

    G(F) = F F' / (C N)                x* = argmin  sum_l w_l |G(F_l) - G(S_l)|^2 / |G(S_l)|^2

L-BFGS finds x from noise, a different x for each seed. It begins at a half, a quarter or an eighth of the size, so that
the texture is in order over longer ways than the network sees at once.

A tileable texture has no border: ``tileable yes`` lets the network see it with its other end on each side, as far as
the deepest layer reaches, and takes of the maps what lies over the picture itself. So the seams are like all the rest.

Differs from the paper: each layer's loss is divided by what the example's Gram matrix amounts to; the noise is soft and
has the mean and deviation of the example's colours; samples stay in [0, 1]; from coarse to fine; convolutions see the
last pixel go on beyond the border, not zeros; L-BFGS works on corrections of several sizes (``painting.Pyramid``). The
paper's network is VGG-19 with average pooling, its layers conv1_1 and pool1 to pool4; here they are the backbone's
usual ones of style. An example that is smaller than what the deepest layer sees has its border repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops
from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.features import Backbone, facts
from safelight.losses import gram, gram_loss, statistics, total_variation
from safelight.solvers.image_descent import (
    Optimizer,
    Parametrization,
    coarse_to_fine,
    descend,
    largest_receptive_field,
    pad_to_side,
    smallest_side,
    upsample_bilinear,
    weighted_layers,
    with_replicate_padding,
)

COARSE = 3  # times what the network sees at once: the longer side that is solved without a coarser one
GRAIN = 4  # pixels, of the noise: finer one is never quite lost on the way


@dataclass(frozen=True, slots=True)
class Options:
    """Which layers, whether it can be tiled, and how long."""

    layers: str | None = option(None, "such as relu1_1,pool1 or relu1_1:0.5,pool1:2; auto: the backbone's for styles")
    tileable: Literal["no", "yes"] = option("no", "yes: opposite borders fit together")
    tv_weight: float = option(0.0, "weight of the total variation: more is smoother", low=0, high=1e6)
    iterations: int = option(300, "most iterations, at the smallest size", low=1, high=100_000)
    coarse: int | None = option(
        None, "longer side above which half the size comes first; auto: 3 times what the layers see", low=64
    )
    optimizer: Optimizer = option("lbfgs", "lbfgs gets there sooner; adam takes less memory")


# --- a picture without borders ----------------------------------------------------------------------------------------


def wrapped(x: Tensor, margin: int) -> Tensor:
    """Lay a picture (1, C, H, W) beside itself on all sides, ``margin`` pixels of it, however small it is."""
    down, across = (torch.arange(-margin, n + margin, device=x.device) % n for n in x.shape[-2:])
    return x.index_select(2, down).index_select(3, across)


class Resemblance:
    """The loss at one size.

    Args:
        backbone: The network.
        example: (1, 3, h, w), in [0, 1].
        layers: Their weights.
        options: What is wanted.
    """

    def __init__(self, backbone: Backbone, example: Tensor, layers: Mapping[str, float], options: Options) -> None:
        self.backbone, self.layers, self.options = backbone, layers, options
        names = tuple(layers)
        self.side = smallest_side(backbone, names)
        self.strides = {layer: backbone.receptive_field(layer).stride for layer in layers}
        stride = max(self.strides.values())
        # Half of what is seen, in whole steps of the deepest layer, so that all maps begin where the picture does.
        self.margin = (
            stride * math.ceil(largest_receptive_field(backbone, names)[0] / 2 / stride)
            if options.tileable == "yes"
            else 0
        )
        with torch.no_grad():
            seen = backbone(pad_to_side(example, max(self.side, largest_receptive_field(backbone, names)[0])), names)
            self.wanted = {layer: gram(maps) for layer, maps in seen.items()}

    def see(self, x: Tensor) -> dict[str, Tensor]:
        """The maps of all layers; of a tileable picture those over the picture itself."""
        if not self.margin:
            return self.backbone(pad_to_side(x, self.side), tuple(self.layers))
        maps = self.backbone(wrapped(x, self.margin), tuple(self.layers))
        for layer, stride in self.strides.items():
            first = self.margin // stride
            height, width = (max(1, round(n / stride)) for n in x.shape[-2:])
            maps[layer] = maps[layer][..., first : first + height, first : first + width]
        return maps

    def __call__(self, x: Tensor) -> Tensor:
        """The loss of a picture, (1, 3, H, W)."""
        loss = self.options.tv_weight * total_variation(wrapped(x, 1) if self.margin else x)
        for layer, maps in self.see(x).items():
            part = self.layers[layer] / sum(self.layers.values())
            loss = loss + part * gram_loss(gram(maps), self.wanted[layer], relative=True)
        return loss


# --- the method -------------------------------------------------------------------------------------------------------


def noise(example: Tensor, size: tuple[int, int], seed: int, *, round_about: bool = False) -> Tensor:
    """Draw soft noise, (1, 3, H, W), with the mean and the deviation of each of the example's colours."""
    pixels, coarse = example.flatten(2), (math.ceil(size[0] / GRAIN), math.ceil(size[1] / GRAIN))
    drawn = torch.randint(pixels.shape[2], (coarse[0] * coarse[1],), generator=torch.Generator().manual_seed(seed))
    x = upsample_bilinear(pixels[..., drawn.to(pixels.device)].view(1, -1, *coarse), size, round_about=round_about)
    (mean, deviation), (wanted, wide) = statistics(x), statistics(example)
    return (wanted + (x - mean) * (wide / deviation)).clamp(0, 1)


def enlarged(x: Tensor, size: tuple[int, int], *, round_about: bool) -> Tensor:
    """Resize a picture to (H, W) by the bicubic kernel; one without borders by what lies on its other end."""
    if not round_about:
        return ops.resize(x, size).clamp(0, 1)
    margin = 4  # more than the kernel reaches
    zoom = size[0] / x.shape[-2], size[1] / x.shape[-1]
    large = ops.resize(
        wrapped(x, margin), (size[0] + 2 * round(margin * zoom[0]), size[1] + 2 * round(margin * zoom[1]))
    )
    top, left = round(margin * zoom[0]), round(margin * zoom[1])
    return large[..., top : top + size[0], left : left + size[1]].clamp(0, 1)


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Descend from noise, from coarse to fine, until the iterations are done or ``report`` says stop.

    Raises:
        BackboneError: An unknown layer.
    """
    backbone, example = problem.backbone, problem.y
    assert backbone is not None
    layers = weighted_layers(options.layers, () if options.layers else facts(backbone.name).style, backbone)
    size = problem.size or (example.shape[-2], example.shape[-1])
    least, deepest = largest_receptive_field(backbone, tuple(layers))
    notes: tuple[str, ...] = ()
    if min(example.shape[-2:]) < least:
        notes = (f"the example is smaller than the {least} pixels that {deepest} sees, so its border was repeated",)
    round_about = options.tileable == "yes"

    def shown(x: Tensor) -> Tensor:
        return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")

    plan = coarse_to_fine(size, options.coarse or COARSE * least, options.iterations)
    x = noise(example, plan[0].size, problem.seed, round_about=round_about)
    network, done, end = with_replicate_padding(backbone), 0, ""
    for at, level in enumerate(plan):
        way = Parametrization(plan, at)
        if at:
            x = enlarged(x, level.size, round_about=round_about)
        zoom = max(level.size[0] / size[0], least / min(example.shape[-2:]))
        small = example
        if zoom < 1:
            small = ops.resize(example, (round(example.shape[-2] * zoom), round(example.shape[-1] * zoom))).clamp(0, 1)
        resemblance = Resemblance(network, small, layers, options)

        def look(iteration: int, x: Tensor, loss: float, way: Parametrization = way) -> bool:
            return report(
                SolverProgress(fraction=way.fraction(iteration), x=shown(x), remark=way.remark(iteration, loss))
            )

        found = descend(
            x, resemblance, look, optimizer=options.optimizer, iterations=level.iterations, round_about=round_about
        )
        x, done = found.x, done + found.iterations
        end = f"loss {found.loss:.3g} by {backbone.name} after {done} iterations"
        if found.stopped:
            end = f"stopped as asked at {end}"
            break
    x = x if x.shape[-2:] == size else enlarged(x, size, round_about=round_about)
    return SolverResult(x=x, notes=(*notes, end))


CARD = Card(
    module=__name__,
    title="Texture synthesis",
    summary="A new texture like the picture, of any size, from noise by Gram matrices; tileable if wanted (2015).",
    paper=Paper(
        title="Texture Synthesis Using Convolutional Neural Networks",
        authors="L. A. Gatys, A. S. Ecker, M. Bethge",
        venue="NIPS 2015",
        link="https://arxiv.org/abs/1505.07376",
    ),
    options=Options,
    accepts=frozenset({"size", "backbone"}),
    method=Optimised(run=run, pixel_bytes=6000),
)
