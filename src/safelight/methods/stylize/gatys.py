"""Neural style transfer: a picture is changed until a network sees in it one picture's content and another's style.

Gatys et al. 2016 (``CARD.paper``). Masks, and from coarse to fine: L. A. Gatys, A. S. Ecker, M. Bethge, A. Hertzmann,
E. Shechtman, "Controlling Perceptual Factors in Neural Style Transfer", CVPR 2017 (arXiv:1611.07865). Colours: L. A.
Gatys, M. Bethge, A. Hertzmann, E. Shechtman, "Preserving Color in Neural Artistic Style Transfer", 2016
(arXiv:1606.05897).

F, P and S are the maps of a layer for the result x, the content and the style, as matrices of C channels by N places.
What is where in a picture stays in the maps; their Gram matrices lose it, and keep which features come together::

    G(F) = F F' / (C N)

    x* = argmin  alpha sum_l w_l |F_l - P_l|^2 / |P_l|^2                              content, deep layers
               + beta  sum_l v_l |G(F_l) - G(S_l)|^2 / |G(S_l)|^2                     style, shallow to deep layers
               + gamma mean over pixels of |slope of x|^2

Several styles share the second term by their weights. A style with a mask m has G(F) = (m F) F' / (C sum m), m shrunk
to the layer's size, and counts as much as it covers. L-BFGS finds x from the content, noise or a given
picture. It begins at a half, a quarter or an eighth of the size, where strokes are as large as what the network sees
at once, and goes on at larger sizes with fewer iterations.

Colours can be kept in two ways. ``content`` gives the style's pixels the mean and the covariance of the content's
before anything else. ``luminance`` works on brightness alone, the style's being shifted and stretched to the content's
mean and deviation, and keeps the content's I and Q of YIQ.

Differs from the paper: each layer's loss is divided by what the style, or the content, itself amounts to, so that the
weights mean the same for every backbone and layer; total variation is added, as in most programs since; samples stay
in [0, 1]; convolutions see the last pixel go on beyond the border, not zeros. L-BFGS works on corrections of several
sizes (``painting.Pyramid``), which gets further in as many iterations and leaves fewer speckles. The paper's network
is VGG-19 with average pooling, its content layer relu4_2, its style layers relu1_1 to relu5_1; other backbones have
layers of their own by default. The style is shrunk to the area of the content at most, and never enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops
from safelight.core.card import Card, Optimised, Paper
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult, Style
from safelight.features import Backbone, facts
from safelight.losses import content_loss, gram, gram_loss, total_variation
from safelight.ops.color import match_covariance
from safelight.solvers.image_descent import (
    Optimizer,
    Parametrization,
    coarse_to_fine,
    descend,
    largest_receptive_field,
    pad_to_side,
    smallest_side,
    weighted_layers,
    with_replicate_padding,
)

COARSE = 3  # times what the network sees at once: the longer side that is solved without a coarser one
LUMA = (0.299, 0.587, 0.114)  # Y of YIQ


@dataclass(frozen=True, slots=True)
class Options:
    """Weights, layers, starting point and iterations."""

    style_weight: float = option(10.0, "weight of the style", low=0, high=1e6)
    content_weight: float = option(1.0, "weight of the content", low=0, high=1e6)
    tv_weight: float = option(3.0, "weight of the total variation: more is smoother", low=0, high=1e6)
    style_layers: str | None = option(None, "such as relu1_1,relu2_1 or relu1_1:0.5,relu2_1:2; auto: the backbone's")
    content_layers: str | None = option(None, "as the style's layers; auto: the backbone's")
    style_scale: float = option(1.0, "size of the style's features: 1 as in a picture as large", low=0.05, high=20)
    start: Literal["content", "noise"] = option("content", "where it begins, unless a picture to begin with is given")
    colors: Literal["style", "content", "luminance"] = option(
        "style", "content: give the style the content's colours first; luminance: change the content's brightness alone"
    )
    iterations: int = option(300, "most iterations, at the smallest size", low=1, high=100_000)
    coarse: int | None = option(
        None, "longer side above which half the size comes first; auto: 3 times what the style's layers see", low=64
    )
    optimizer: Optimizer = option("lbfgs", "lbfgs gets there sooner; adam takes less memory")


# --- colours ----------------------------------------------------------------------------------------------------------


def luminance(x: Tensor) -> Tensor:
    """Y of YIQ, (1, 3, H, W) to (1, 1, H, W)."""
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """Shift and stretch the style's brightness to the content's mean and deviation; gray, (1, 3, h, w)."""
    y, wanted = luminance(style), luminance(content)
    gain = wanted.std(correction=0) / y.std(correction=0).clamp(min=1e-3)
    return (gain * (y - y.mean()) + wanted.mean()).expand(-1, 3, -1, -1)


# --- the loss ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A style as it is wanted in the picture: its Gram matrices by layer, its share, and where, as maps of 0 to 1."""

    grams: Mapping[str, Tensor]
    share: float
    where: Mapping[str, Tensor] | None


class Likeness:
    """The loss at one size.

    Args:
        backbone: The network.
        content: (1, 3, H, W), in [0, 1].
        styles: With pictures at the size in which their features are wanted, and masks of the content's size.
        style_layers: Their weights.
        content_layers: Theirs.
        options: The weights of the terms.
    """

    def __init__(
        self,
        backbone: Backbone,
        content: Tensor,
        styles: Sequence[Style],
        style_layers: Mapping[str, float],
        content_layers: Mapping[str, float],
        options: Options,
    ) -> None:
        self.backbone, self.options = backbone, options
        self.style_layers, self.content_layers = style_layers, content_layers
        self.layers = tuple(dict.fromkeys((*style_layers, *content_layers)))
        self.side = smallest_side(backbone, self.layers)
        with torch.no_grad():
            maps = self.see(content)
            self.content = {layer: maps[layer] for layer in content_layers}
            sizes = {layer: (maps[layer].shape[-2], maps[layer].shape[-1]) for layer in style_layers}
            self.styles = [self._wanted(style, sizes) for style in styles]

    def see(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps of all layers."""
        return self.backbone(pad_to_side(x, self.side), self.layers)

    def _wanted(self, style: Style, sizes: Mapping[str, tuple[int, int]]) -> Wanted:
        maps = self.backbone(pad_to_side(style.x, self.side), tuple(self.style_layers))
        where, share = None, style.weight
        if style.mask is not None:
            share *= float(style.mask.mean())
            mask = pad_to_side(style.mask, self.side)
            where = {layer: F.adaptive_avg_pool2d(mask, size) for layer, size in sizes.items()}
        return Wanted({layer: gram(found) for layer, found in maps.items()}, share, where)

    def __call__(self, x: Tensor) -> Tensor:
        """The loss of a picture, (1, 3, H, W)."""
        maps, options = self.see(x), self.options
        loss = options.tv_weight * total_variation(x)
        for layer, weight in self.content_layers.items():
            part = weight / sum(self.content_layers.values())
            loss = loss + options.content_weight * part * content_loss(maps[layer], self.content[layer], relative=True)
        for style in self.styles:
            for layer, weight in self.style_layers.items():
                part = style.share * weight / sum(self.style_layers.values())
                mine = gram(maps[layer], None if style.where is None else style.where[layer])
                loss = loss + options.style_weight * part * gram_loss(mine, style.grams[layer], relative=True)
        return loss


# --- styles -----------------------------------------------------------------------------------------------------------


def settle(styles: Sequence[Style]) -> tuple[Style, ...]:
    """Share each pixel among the styles that are wanted there, so that a mask makes no style stronger than no mask.

    Returns:
        The styles of some weight. If any has a mask, all have, with a weight of 1: at each pixel they sum to the
        greatest of the drawn ones.

    Raises:
        CardError: The masks leave no place for any style.
    """
    styles = tuple(style for style in styles if style.weight > 0)
    masks = [style.mask for style in styles if style.mask is not None]
    if not masks:
        return styles
    everywhere = torch.ones_like(masks[0])
    parts = [style.weight * (everywhere if style.mask is None else style.mask) for style in styles]
    total = torch.stack(parts).sum(dim=0)
    if not bool(total.any()):
        raise CardError("expected masks of styles with a place that is not black, got none; draw them anew")
    # Where the drawn masks fade out, so does the style.
    seen = torch.stack([everywhere if style.mask is None else style.mask for style in styles]).amax(dim=0)
    return tuple(
        Style(x=style.x, weight=1.0, mask=seen * part / total.clamp(min=1e-6))
        for style, part in zip(styles, parts, strict=True)
    )


def at_size(styles: Sequence[Style], size: tuple[int, int], scale: float, least: int) -> tuple[Style, ...]:
    """Shrink styles to the area of (H, W) at most, times the scale, and masks to the size itself.

    Args:
        styles: As they are given.
        size: (H, W) of the result.
        scale: Of the styles' features.
        least: The side that a style is not shrunk below.
    """
    fitted: list[Style] = []
    for style in styles:
        height, width = style.x.shape[-2:]
        zoom = scale * min(1.0, math.sqrt(size[0] * size[1] / (height * width)))
        zoom = max(zoom, least / min(height, width))
        x = style.x
        if abs(zoom - 1) > 0.01:
            x = ops.resize(x, (max(least, round(height * zoom)), max(least, round(width * zoom)))).clamp(0, 1)
        mask = style.mask
        if mask is not None and mask.shape[-2:] != size:
            mask = F.adaptive_avg_pool2d(mask, size)
        fitted.append(Style(x=x, weight=style.weight, mask=mask))
    return tuple(fitted)


def check_sizes(styles: Sequence[Style], backbone: Backbone, layers: Sequence[str]) -> int:
    """Return the least side of a style in pixels: the receptive field of its deepest layer.

    Raises:
        CardError: A style is smaller.
    """
    least, deepest = largest_receptive_field(backbone, layers)
    for style in styles:
        if min(style.x.shape[-2:]) < least:
            raise CardError(
                f"expected a style of at least {least}x{least}, which {deepest} of {backbone.name} sees at once, got "
                f"{style.x.shape[-1]}x{style.x.shape[-2]}; take a larger picture, or earlier layers"
            )
    return least


# --- the method -------------------------------------------------------------------------------------------------------


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Descend from coarse to fine until the iterations are done or ``report`` says stop.

    Raises:
        BackboneError: An unknown layer.
        CardError: A style is smaller than what the network sees at once, or no style has a place.
    """
    backbone, y = problem.backbone, problem.y
    assert backbone is not None
    usual = (options.style_layers, options.content_layers)
    style_layers = weighted_layers(usual[0], () if usual[0] else facts(backbone.name).style, backbone)
    content_layers = weighted_layers(usual[1], () if usual[1] else facts(backbone.name).content, backbone)
    least = check_sizes(problem.styles, backbone, tuple(style_layers))
    styles = settle(problem.styles)
    content = luminance(y).expand(-1, 3, -1, -1) if options.colors == "luminance" else y
    if options.colors != "style":
        match = match_covariance if options.colors == "content" else match_luminance
        styles = tuple(Style(x=match(style.x, y).clamp(0, 1), weight=style.weight, mask=style.mask) for style in styles)

    def shown(x: Tensor) -> Tensor:
        """Return the picture at its full size and with its colours."""
        if x.shape[-2:] != y.shape[-2:]:
            x = F.interpolate(x, y.shape[-2:], mode="bilinear")
        return (y + luminance(x) - luminance(y)).clamp(0, 1) if options.colors == "luminance" else x

    x = content
    if problem.begin is not None:
        x = luminance(problem.begin).expand(-1, 3, -1, -1) if options.colors == "luminance" else problem.begin
    elif options.start == "noise":
        x = torch.rand(content.shape, generator=torch.Generator().manual_seed(problem.seed)).to(content)
    plan = coarse_to_fine((y.shape[-2], y.shape[-1]), options.coarse or COARSE * least, options.iterations)
    network, done, end = with_replicate_padding(backbone), 0, ""
    for at, level in enumerate(plan):
        way = Parametrization(plan, at)
        x = ops.resize(x, level.size).clamp(0, 1)
        target = ops.resize(content, level.size).clamp(0, 1) if at < len(plan) - 1 else content
        fitted = at_size(styles, level.size, options.style_scale, least)
        likeness = Likeness(network, target, fitted, style_layers, content_layers, options)

        def look(iteration: int, x: Tensor, loss: float, way: Parametrization = way) -> bool:
            return report(
                SolverProgress(fraction=way.fraction(iteration), x=shown(x), remark=way.remark(iteration, loss))
            )

        found = descend(x, likeness, look, optimizer=options.optimizer, iterations=level.iterations)
        x, done = found.x, done + found.iterations
        end = f"loss {found.loss:.3g} by {backbone.name} after {done} iterations"
        if found.stopped:
            end = f"stopped as asked at {end}"
            break
    return SolverResult(x=shown(x), notes=(end,))


CARD = Card(
    module=__name__,
    title="Neural style transfer",
    summary="Any style, by changing the picture until a network sees both in it; minutes, the best looking (2016).",
    paper=Paper(
        title="Image Style Transfer Using Convolutional Neural Networks",
        authors="L. A. Gatys, A. S. Ecker, M. Bethge",
        venue="CVPR 2016",
        link="https://arxiv.org/abs/1508.06576",
    ),
    options=Options,
    accepts=frozenset({"style", "backbone", "begin"}),
    method=Optimised(run=run, pixel_bytes=6000),
)
