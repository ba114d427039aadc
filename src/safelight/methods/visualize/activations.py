"""What the layers of a network make of a picture: their maps, layer by layer.

Zeiler and Fergus 2014 (``INSPECTOR.paper``).

The network is run once, and the maps F^l_k(x) of layer l and channel k are kept on its way::

    x --> layer 1 --> F^1 --> layer 2 --> F^2 --> ...

Each map is drawn by itself: its smallest value black, its largest white, or, by option, with the same black and white
for the whole layer, so that one sees which channels are silent. A map that is the same everywhere is mid gray.
Which channels: in their order, or those first whose values differ most over the picture.

Differs from the paper: its deconvnet, which carries a single value back to the pixels, is not here: the gradient does
that in ``receptive`` and ``attribution``. The maps are drawn as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.features.inspected_network import OUTPUT, InspectedNetwork
from safelight.ops.drawing import Section, Tile, enlarged, sheet, stretched

LAYERS = 6  # drawn where none is named


@dataclass(frozen=True, slots=True)
class Options:
    """Number, choice and scaling of the maps that are drawn."""

    maps: int = option(16, "at most so many maps of a layer", low=1, high=1024)
    columns: int = option(8, "maps in a row", low=1, high=64)
    order: Literal["index", "contrast"] = option("index", "channels in their order, or those of most contrast first")
    shades: Literal["map", "layer"] = option("map", "black and white are the range of a map, or of the layer")


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:
    """Draw the maps of the layers, or of a few over the whole depth if none is named."""
    assert scene.picture is not None
    subject = scene.subject
    layers = scene.layers or spread(subject)
    for layer in layers:
        subject.check_channels(layer, scene.channels)
    x, side = subject.prepare(scene.picture), max(scene.picture.shape[-2:])
    with torch.no_grad():
        made = subject.maps(x, layers)
    sections = [Section([Tile(shrunk(x[0].cpu(), side))], 1, f"{subject.name}: what it is given")]
    for count, layer in enumerate(layers, start=1):
        maps = made[layer][0].float().cpu()
        sections.append(_section(layer, maps, scene.channels, options, side))
        report(SolverProgress(fraction=count / len(layers), x=x, remark=layer))
    return InspectorOutput(sheet=sheet(sections), facts={"layers": " ".join(layers)})


def spread(subject: InspectedNetwork) -> tuple[str, ...]:
    """Choose layers over the whole depth; of a backbone those after a ReLU, if they are named so."""
    named = [name for name in subject.layers if name.startswith("relu")] or [
        name for name in subject.layers if name != OUTPUT
    ]
    last = len(named) - 1
    return tuple(dict.fromkeys(named[round(i * last / (LAYERS - 1))] for i in range(LAYERS)))


def shrunk(maps: Tensor, side: int) -> Tensor:
    """Bring (C, h, w) near to ``side``: small maps are enlarged by whole factors, large ones averaged."""
    longer = max(maps.shape[-2:])
    if longer <= side:
        return enlarged(maps, max(1, side // longer))
    to = [max(1, round(length * side / longer)) for length in maps.shape[-2:]]
    return F.adaptive_avg_pool2d(maps, (to[0], to[1]))


def _section(layer: str, maps: Tensor, channels: tuple[int, ...], options: Options, side: int) -> Section:
    count = len(maps)
    order = range(count) if options.order == "index" else maps.flatten(1).std(1).argsort(descending=True).tolist()
    chosen = channels or list(order)[: options.maps]
    shades = stretched(maps) if options.shades == "layer" else torch.stack([stretched(one) for one in maps])
    tiles = [Tile(shrunk(shades[channel][None], side), str(channel)) for channel in chosen]
    return Section(tiles, options.columns, f"{layer}: {count} maps of {maps.shape[-1]}x{maps.shape[-2]}")


INSPECTOR = Inspector(
    module=__name__,
    title="Maps",
    summary="What each layer makes of a picture: its maps, layer by layer.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="Visualizing and Understanding Convolutional Networks",
        authors="M. D. Zeiler, R. Fergus",
        venue="ECCV 2014",
        link="https://arxiv.org/abs/1311.2901",
    ),
    accepts=frozenset({"picture", "layers", "channels", "size"}),
    needs=frozenset({"picture"}),
    longest=128,
)
