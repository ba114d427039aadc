"""What a channel looks for: the picture that excites it most.

Olah et al. 2017 (``INSPECTOR.paper``).

The picture x is found by climbing the gradient of an objective of layer l and channel k, seen through random
transformations tau, which keep out the noise that no transformed picture could hold::

    x* = argmax  E_tau  O( F^l(tau(x)) )         channel  O = mean of F_k        neuron  O = the middle value of F_k
                                                 layer    O = mean of F^2, all channels (DeepDream)

What is optimised are not the samples of x but the heights of its waves, in colours that do not vary together: see
``waves.py``. tau: a margin of gray, a shift, a zoom by 0.9 to 1.1, a turn by up to 10 degrees, and a shift again.

Networks that restore have no classes, and their channels are signed: the picture that makes one most negative is as
telling, and ``--sign negative`` finds it.

Differs from the paper: zoom, turn and the first shift are one bilinear resampling; the colours come from other pictures
than ImageNet's; 256 steps instead of 512; where a ReLU lets no gradient through, the layer before it is climbed until
it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.features.inspected_network import InspectedNetwork
from safelight.ops.drawing import Section, Tile, enlarged, sheet
from safelight.solvers import fourier_image

SIZE = 96  # pixels: the side of the picture, if nobody says
RATE = 0.05  # of Adam
SPREAD = 0.01  # standard deviation of the waves at first
PAD, SHIFT, LAST_SHIFT = 12, 8, 4  # pixels
ZOOM, TURN = 0.1, 10.0  # at most by so much, and by so many degrees


@dataclass(frozen=True, slots=True)
class Options:
    """Objective, iterations and transformations of the ascent."""

    objective: Literal["channel", "neuron", "layer"] = option(
        "channel", "channel: its mean; neuron: its middle value; layer: the square of all channels"
    )
    sign: Literal["positive", "negative"] = option("positive", "the most positive values, or the most negative")
    iterations: int = option(256, "steps of the optimisation", low=1, high=100_000)
    transforms: Literal["yes", "no"] = option("yes", "whether the picture is seen through random transformations")


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:
    """Find the picture of each channel, one after the other."""
    subject, layer = scene.subject, scene.layers[0]
    if options.objective != "layer" and not scene.channels:
        last = subject.channels_of(layer) - 1
        raise CardError(
            f"visualize/feature: expected a channel of {layer} from 0 to {last}, got none; give --channel, or take the "
            "whole layer by --objective layer"
        )
    subject.check_channels(layer, scene.channels)
    channels: tuple[int | None, ...] = (None,) if options.objective == "layer" else scene.channels
    size = scene.size or SIZE
    tiles: list[Tile] = []
    notes: list[str] = []
    facts: dict[str, float | int | str | None] = {"layer": layer}
    for count, channel in enumerate(channels):
        name = layer if channel is None else f"{layer} {channel}"

        def told(step: SolverProgress, count: int = count, name: str = name) -> bool:
            return report(SolverProgress(fraction=(count + step.fraction) / len(channels), x=step.x, remark=name))

        x, first, last = climb(subject, layer, channel, size, options, scene.seed, told)
        facts |= {f"{name}.first": first, f"{name}.last": last}
        if last == 0:
            notes.append(f"{name} is silent: no picture was found that excites it")
        factor = max(1, 192 // size)
        tiles.append(Tile(enlarged(x[0], factor), f"{name}{' -' if options.sign == 'negative' else ''}"))
    return InspectorOutput(sheet=sheet([Section(tiles, 6, subject.name)]), facts=facts, notes=tuple(notes))


def climb(
    subject: InspectedNetwork,
    layer: str,
    channel: int | None,
    size: int,
    options: Options,
    seed: int,
    report: ProgressCallback,
) -> tuple[Tensor, float, float]:
    """Find the picture of one objective.

    Returns:
        It, (1, C, size, size), and the objective of the picture at first and at the end, seen as it is.
    """
    drawn = torch.Generator().manual_seed(seed)
    square = (size, size)
    z = fourier_image.draw(subject.channels, square, SPREAD, drawn).to(subject.device).requires_grad_()
    adam = torch.optim.Adam([z], lr=RATE)

    before = subject.layers[max(subject.layers.index(layer) - 1, 0)]
    wakes = channel is not None and options.sign == "positive" and channel < subject.channels_of(before)

    def score(x: Tensor) -> Tensor:
        return objective(subject.maps(x, [layer])[layer], channel, options)

    def climbed(x: Tensor) -> Tensor:
        made = subject.maps(x, [before, layer])
        value = objective(made[layer], channel, options)
        if not wakes or value != 0:
            return value
        # A ReLU that is silent everywhere lets no gradient through: then the best tenth of its input is climbed.
        into = made[before][:, channel].flatten()
        return into.topk(max(1, len(into) // 10)).values.mean()

    with torch.no_grad():
        first = float(score(fourier_image.picture(z, square)))
    for step in range(1, options.iterations + 1):
        x = fourier_image.picture(z, square)
        loss = -climbed(transformed(x, drawn) if options.transforms == "yes" else x)
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
        if not report(SolverProgress(fraction=step / options.iterations, x=x.detach())):
            break
    with torch.no_grad():
        x = fourier_image.picture(z, square)
        return x, first, float(score(x))


def objective(maps: Tensor, channel: int | None, options: Options) -> Tensor:
    """O of maps (1, C, h, w)."""
    if channel is None:
        return maps.square().mean()
    one = maps[:, channel]
    if options.objective == "neuron":
        one = one[:, one.shape[1] // 2, one.shape[2] // 2]
    return one.mean() if options.sign == "positive" else -one.mean()


def transformed(x: Tensor, drawn: torch.Generator) -> Tensor:
    """See a picture (1, C, H, W) with a margin, shifted, zoomed and turned at random."""
    x = F.pad(x, (PAD,) * 4, value=0.5)
    height, width = x.shape[-2:]
    a, b, zoom, turn = (2 * torch.rand(4, generator=drawn) - 1).tolist()
    angle, zoom = math.radians(TURN * turn), 1 + ZOOM * zoom
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    theta = torch.tensor(
        [[cos, -sin * height / width, 2 * SHIFT * a / width], [sin * width / height, cos, 2 * SHIFT * b / height]]
    )
    grid = F.affine_grid(theta[None].to(x), list(x.shape), align_corners=False)
    x = F.grid_sample(x - 0.5, grid, align_corners=False) + 0.5  # what comes in from outside is gray
    top, left = torch.randint(2 * LAST_SHIFT + 1, (2,), generator=drawn).tolist()
    return x[..., top : height - 2 * LAST_SHIFT + top, left : width - 2 * LAST_SHIFT + left]


INSPECTOR = Inspector(
    module=__name__,
    title="Feature visualisation",
    summary="The picture that excites a channel, a neuron or a whole layer most.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="Feature Visualization",
        authors="C. Olah, A. Mordvintsev, L. Schubert",
        venue="Distill 2017",
        link="https://doi.org/10.23915/distill.00007",
    ),
    accepts=frozenset({"layer", "channels", "size"}),
    needs=frozenset({"layer"}),
)
