"""Scale the lens's weights: so that its channels are equally loud, or so that it can be trained on.

A ReLU and a pooling let a positive factor through. A channel's weights can be divided by any number, if what the next
layer weighs it by is multiplied by the same: what the network can tell stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from safelight.features import Backbone, lens


def channel_means(values: Tensor) -> Tensor:
    """The mean of each channel, at least a twentieth of the layer's: channels that hardly ever fire stay quiet."""
    means = values.float().mean(dim=(0, 2, 3))
    return means.clamp(min=0.05 * float(means.mean()))


def normalised(tensors: Mapping[str, Tensor], crops: Tensor) -> dict[str, Tensor]:
    """Scale weights so that each channel has the mean 1 after its ReLU, over these crops."""
    backbone = filled(tensors)
    names = [layer for layer in backbone.layers if layer.startswith("relu")]
    with torch.no_grad():
        found = [backbone(crops[i : i + 16], names) for i in range(0, len(crops), 16)]
    scaled: dict[str, Tensor] = {}
    before = torch.ones(3)
    for name in names:
        means = channel_means(torch.cat([maps[name] for maps in found]))
        convolution = name.replace("relu", "conv")
        weight, bias = tensors[f"{convolution}.weight"], tensors[f"{convolution}.bias"]
        scaled[f"{convolution}.weight"] = weight * before.view(1, -1, 1, 1) / means.view(-1, 1, 1, 1)
        scaled[f"{convolution}.bias"] = bias / means
        before = means
    return scaled


def balanced(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scale weights so that those of each channel have the size of He's random ones, at which the rates are right."""
    scaled: dict[str, Tensor] = {}
    before = torch.ones(3)
    for name in dict.fromkeys(key.rpartition(".")[0] for key in tensors):
        weight = tensors[f"{name}.weight"] * before.view(1, -1, 1, 1)
        size = (weight.square().sum(dim=(1, 2, 3)) / 2).sqrt()
        scaled[f"{name}.weight"] = weight / size.view(-1, 1, 1, 1)
        scaled[f"{name}.bias"] = tensors[f"{name}.bias"] / size
        before = size
    return scaled


def filled(tensors: Mapping[str, Tensor]) -> Backbone:
    """Make the lens with these weights."""
    backbone = lens.build("average")
    backbone.network.load_state_dict(tensors)
    return backbone
