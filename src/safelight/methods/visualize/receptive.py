"""How much of what a value could see it really sees: the effective receptive field, by the gradient.

Luo et al. 2016 (``INSPECTOR.paper``).

The middle value y of a layer is computed from a square of the input, the theoretical receptive field. How much a pixel
x_ij of it matters is the size of the gradient (section 2), the mean over several inputs::

    E_ij = mean over inputs of | d y / d x_ij |,    summed over the channels of x

It falls off like a Gaussian from the middle, and the effective field is much smaller than the theoretical one: as the
paper does, pixels with E_ij above 4.55 % of the largest count (1 - 95.45 %, two standard deviations), and the root of
their number is its side.

The inputs are crops of the picture if one is given, else noise with the spectrum of natural pictures, 1 / f.
y is the mean over the layer's channels of the middle value, each with its own gradient, or that of one channel.

Differs from the paper: natural spectra or real pictures instead of white noise and constant ones; up to 16 channels are
averaged where none is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.features.inspected_network import OUTPUT, InspectedLayer, InspectedNetwork
from safelight.ops.drawing import Curve, Section, Tile, boxed, chart, enlarged, heat, sheet
from safelight.ops.drawing.chart import BLUE, RED
from safelight.solvers import fourier_image

MARGIN = 8  # pixels drawn around the theoretical field
LARGEST = 320  # pixels: no larger input is taken
CHANNELS = 16  # of the layer, averaged where none is named
CONTRAST = 0.6  # standard deviation of the waves of the noise; its samples then have about 0.2
EFFECTIVE = 1 - 0.9545  # of the largest: what is above counts


@dataclass(frozen=True, slots=True)
class Options:
    """The number of random inputs."""

    samples: int = option(4, "inputs that the gradient is averaged over", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class MeasuredField:
    """What was measured, in pixels of the network's input.

    Attributes:
        weights: E, (h, w).
        measured: The side of the smallest square that holds all that is not zero.
        effective: The root of the number of pixels above 4.55 % of the largest.
        half: The radius, from the middle of E, within which half of E lies.
        top: The first row that is not zero.
        left: The first column.
    """

    weights: Tensor
    measured: int
    effective: float
    half: float
    top: int
    left: int


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:
    """Measure the field of a layer, of the result if none is named, and draw it beside the theoretical one."""
    subject = scene.subject
    name = scene.layers[0] if scene.layers else (OUTPUT if subject.restores else subject.layers[-1])
    layer = subject.layer(name)
    subject.check_channels(name, scene.channels)
    theory = layer.field
    side = min(LARGEST, (LARGEST if theory is None else theory) + 2 * MARGIN)
    step = math.ceil(max(layer.stride, 1))
    side = max(32, step * math.ceil(side / step))
    field = measure(scene, layer, side, options, report)
    factor = max(1, 192 // side)
    shown = field.weights / field.weights.max().clamp_min(1e-30)
    linear, fourth = heat(shown), heat(shown.sqrt().sqrt())
    if theory is not None:
        lost = (theory - field.measured) // 2
        frame = field.top - lost, field.left - lost, theory, theory
        linear, fourth = boxed(linear, *frame, colour=(0.3, 0.7, 1)), boxed(fourth, *frame, colour=(0.3, 0.7, 1))
    profile = _profile(shown, theory)
    tiles = [
        Tile(enlarged(linear, factor), "gradient"),
        Tile(enlarged(fourth, factor), "its fourth root"),
        Tile(profile, "rows summed"),
    ]
    said = "all" if theory is None else f"{theory}"
    heading = f"{subject.name}, {name}: sees {said} px, effectively {field.effective:.1f}"
    facts: dict[str, float | int | str | None] = {
        "layer": name, "stride": layer.stride, "theoretical": theory, "measured": field.measured,
        "effective": field.effective, "half_radius": field.half,
    }  # fmt: skip
    notes = () if subject.zoom == 1 else (f"pixels are those of the picture enlarged x{subject.zoom}, its input",)
    return InspectorOutput(sheet=sheet([Section(tiles, 3, heading)]), facts=facts, notes=notes)


def measure(
    scene: InspectorInput, layer: InspectedLayer, side: int, options: Options, report: ProgressCallback
) -> MeasuredField:
    """Average the gradients of the middle value over inputs and channels."""
    subject, drawn = scene.subject, torch.Generator().manual_seed(scene.seed)
    channels = scene.channels or tuple(range(min(layer.channels, CHANNELS)))
    total = torch.zeros(side, side)
    for count in range(1, options.samples + 1):
        x = _input(subject, scene.picture, side, drawn).requires_grad_()
        maps = subject.maps(x, [layer.name])[layer.name]
        middle = maps[0, :, maps.shape[-2] // 2, maps.shape[-1] // 2]
        for channel in channels:
            (gradient,) = torch.autograd.grad(middle[channel], x, retain_graph=True)
            total += gradient[0].abs().sum(0).float().cpu()
        if not report(SolverProgress(fraction=count / options.samples, x=x.detach())):
            break
    return _field(total)


def _field(weights: Tensor) -> MeasuredField:
    if not weights.any():
        raise CardError("expected a value that depends on the input, got one that is silent; take another channel")
    rows, columns = (weights.sum(dim).nonzero().flatten() for dim in (1, 0))
    measured = int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    effective = math.sqrt(int((weights > EFFECTIVE * weights.max()).sum()))
    at = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in weights.shape), indexing="ij"))
    middle = (at * weights).sum(dim=(1, 2)) / weights.sum()
    distance = (at - middle[:, None, None]).norm(dim=0).flatten()
    order = distance.argsort()
    within = weights.flatten()[order].cumsum(0) / weights.sum()
    half = float(distance[order][int((within < 0.5).sum())])
    return MeasuredField(weights, measured, effective, half, int(rows[0]), int(columns[0]))


def _input(subject: InspectedNetwork, picture: Tensor | None, side: int, drawn: torch.Generator) -> Tensor:
    """Take a crop of the picture at random, or noise of a natural spectrum if there is none; (1, C, side, side)."""
    if picture is None:
        square = (side, side)
        return fourier_image.picture(fourier_image.draw(subject.channels, square, CONTRAST, drawn), square).to(
            subject.device
        )
    need = math.ceil(side / subject.zoom)  # pixels of the picture
    height, width = picture.shape[-2:]
    if min(height, width) < need:
        picture = F.pad(picture, (0, max(0, need - width), 0, max(0, need - height)), mode="replicate")
    top, left = (int(torch.randint(length - need + 1, (1,), generator=drawn)) for length in picture.shape[-2:])
    x = subject.prepare(picture[..., top : top + need, left : left + need])
    return x[..., :side, :side].clone()


def _profile(shown: Tensor, theory: int | None) -> Tensor:
    """Draw how E falls off from the middle, beside the constant weight that the theory knows of."""
    across = shown.sum(0) / shown.sum(0).max()
    at = torch.arange(len(across)).float() - (across * torch.arange(len(across))).sum() / across.sum()
    receptive_radius = math.ceil(float(at.abs().max()))
    curves = [Curve(at, across, RED)]
    if theory is not None:
        half = theory / 2
        corners = torch.tensor([-half, -half, half, half]), torch.tensor([0.0, 1.0, 1.0, 0.0])
        curves.insert(0, Curve(*corners, BLUE))
    return chart(curves, x=(-receptive_radius, receptive_radius), y=(0, 1), size=(280, 192), ticks=5)


INSPECTOR = Inspector(
    module=__name__,
    title="Receptive field",
    summary="Which pixels a value really depends on, and how much, beside those that it could.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
        authors="W. Luo, Y. Li, R. Urtasun, R. Zemel",
        venue="NIPS 2016",
        link="https://arxiv.org/abs/1701.04128",
    ),
    accepts=frozenset({"picture", "layer", "channels"}),
)
