"""The weights themselves: the kernels of a convolution as pictures.

Krizhevsky et al. 2012 (``INSPECTOR.paper``) (its figure 3).

A kernel w of the first layer is as a small picture: its product with a patch of the same size is largest, for a given
norm of the patch, where the patch is w itself. So the first layer can be read: edges, bars and colours.
Deeper layers have a kernel for each pair of channels, drawn as a grid; kernels of a single pixel are drawn as the
matrix that they are::

    first layer      one tile a channel: its kernel in colour, or in gray where the network takes luma
    deeper           one row a channel of the result, one tile a channel of the input
    1 x 1            one picture: a row for each channel of the result, a column for each of the input

Zero is mid gray. The largest magnitude of a kernel, or of the whole layer by option, is black or white.

Differs from the paper: in nothing known; the paper shows the first layer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback
from safelight.ops.drawing import Section, Tile, enlarged, sheet, symmetric

TILE = 40  # pixels: the least width of a kernel as drawn
SMALL = 20  # and of one in a grid of many


@dataclass(frozen=True, slots=True)
class Options:
    """Number and scaling of the kernels that are drawn."""

    outputs: int = option(64, "at most so many channels of the result", low=1, high=1024)
    inputs: int = option(16, "of a deeper layer, at most so many channels of the input", low=1, high=256)
    shades: Literal["kernel", "layer"] = option("kernel", "black and white are the most of a kernel, or of the layer")


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:  # noqa: ARG001 - it takes no time
    """Draw the kernels of the layer, of the first one if none is named."""
    name, weights = scene.subject.kernels(scene.layers[0] if scene.layers else None)
    weights = weights.float().cpu()
    outputs, inputs, height, width = weights.shape
    chosen = scene.channels or tuple(range(min(outputs, options.outputs)))
    scene.subject.check_channels(name, chosen)
    facts = {"layer": name, "outputs": outputs, "inputs": inputs, "height": height, "width": width}
    heading = f"{scene.subject.name}, {name}: {outputs} kernels of {inputs}x{height}x{width}"
    if options.shades == "layer":
        weights = weights / weights.abs().max().clamp_min(1e-12)

    def shown(kernel: Tensor) -> Tensor:
        return 0.5 + kernel / 2 if options.shades == "layer" else symmetric(kernel)

    if height == width == 1:
        matrix = shown(weights[list(chosen), :, 0, 0])[None]
        tile = Tile(enlarged(matrix, max(1, 480 // max(matrix.shape))), "rows: channels of the result")
        return InspectorOutput(sheet=sheet([Section([tile], 1, heading)]), facts=facts)
    if inputs in (1, 3):
        factor = max(1, -(-TILE // width))
        tiles = [Tile(enlarged(shown(weights[i]), factor), str(i)) for i in chosen]
        return InspectorOutput(sheet=sheet([Section(tiles, 16, heading)]), facts=facts)
    factor, columns = max(1, -(-SMALL // width)), min(inputs, options.inputs)
    sections = [Section([Tile(torch.ones(1, 1, 1))], 1, f"{heading}; a row: inputs 0 to {columns - 1} of one channel")]
    for i in chosen[: len(chosen) if scene.channels else 16]:
        tiles = [Tile(enlarged(shown(weights[i, j])[None], factor)) for j in range(columns)]
        sections.append(Section(tiles, columns, f"channel {i}"))
    return InspectorOutput(sheet=sheet(sections), facts=facts)


INSPECTOR = Inspector(
    module=__name__,
    title="Kernels",
    summary="The weights of a convolution as pictures: the first layer's, or any other's.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="ImageNet Classification with Deep Convolutional Neural Networks",
        authors="A. Krizhevsky, I. Sutskever, G. E. Hinton",
        venue="NIPS 2012",
        link="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
    ),
    accepts=frozenset({"layer", "channels"}),
)
