"""A network whose feature maps are compared: its layers under the papers' names, and their receptive fields.

Gatys, Johnson, LPIPS, FID and the others do not compare pixels but what a trained classifier makes of them, half way.
A ``Backbone`` is such a classifier without its end: it takes pictures and gives the maps of the layers asked for.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["max", "average"]


class BackboneError(ValueError):
    """A backbone, a layer or a file of weights that does not exist or does not fit. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneLayer:
    """One step of a backbone, from the maps of the step before to its own.

    Attributes:
        name: The name in the papers, such as ``relu3_1``.
        module: The module that computes the maps; a part of the network that holds the weights.
        channels: Channels of the maps.
        kernel: The side of the square of the step before that a value of it is computed from, at most.
        stride: How many values of the step before lie between two of its own.
        least: The smallest side of the maps of the step before that it can work on.
    """

    name: str
    module: nn.Module
    channels: int
    kernel: int = 1
    stride: int = 1
    least: int = 1


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """A layer's receptive field.

    Attributes:
        channels: Channels of the layer's maps.
        stride: Pixels between two neighbouring values.
        field: The side, in pixels, of the square that a value depends on.
    """

    channels: int
    stride: int
    field: int


class Backbone(nn.Module):
    """A pretrained network that returns the feature maps of chosen layers.

    Args:
        name: The name by which users choose it, such as ``vgg19``.
        network: Holds the weights, under the names of its published files.
        steps: The layers, in the order in which they are computed.
        mean: Mean of each channel R, G, B, subtracted from pictures in [0, 1].
        std: Standard deviation of each channel, by which the difference is then divided.
        bgr: Whether the network takes blue first.

    Attributes:
        weights: Where the weights come from, in words; empty for random weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        steps: Sequence[BackboneLayer],
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        bgr: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.network, self.bgr, self.weights = name, network, bgr, ""
        self._steps = tuple(steps)  # a tuple registers no modules: the network has them, each once
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers, from the picture on."""
        return tuple(step.name for step in self._steps)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the name and all weights, in hexadecimal: networks trained with this backbone record it."""
        sha = hashlib.sha256(self.name.encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().float().contiguous().numpy().data)
        return sha.hexdigest()

    def check(self, layers: Sequence[str]) -> None:
        """Check that all layers exist.

        Raises:
            BackboneError: There is no such layer. The message lists the close ones.
        """
        for layer in layers:
            if layer not in self.layers:
                close = difflib.get_close_matches(layer, self.layers, n=4, cutoff=0.4) or self.layers
                raise BackboneError(f"{self.name} has no layer {layer!r}; did you mean {', '.join(close)}?")

    def receptive_field(self, layer: str) -> ReceptiveField:
        """Return the receptive field of a layer.

        Raises:
            BackboneError: There is no such layer.
        """
        self.check([layer])
        field = stride = 1
        for step in self._steps:
            field += (step.kernel - 1) * stride
            stride *= step.stride
            if step.name == layer:
                return ReceptiveField(step.channels, stride, field)
        raise AssertionError  # check would have raised

    def network_up_to(self, layer: str) -> nn.Sequential:
        """Return the part of the network up to a layer, as a plain network from pictures (B, 3, H, W) in [0, 1].

        Raises:
            BackboneError: There is no such layer.
        """
        self.check([layer])
        modules = [step.module for step in self._steps[: self.layers.index(layer) + 1]]
        return nn.Sequential(_Prepare(self.mean, self.std, self.bgr), *modules)

    def prepare(self, x: Tensor) -> Tensor:
        """Normalise pictures (B, 1 or 3, H, W), sRGB or gray in [0, 1], as the network was trained on: (B, 3, H, W)."""
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.std
        return x.flip(1) if self.bgr else x

    def forward(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute the maps of some layers; the network is run no further than the last of them.

        Args:
            x: Pictures, (B, C, H, W), C = 1 or 3, sRGB or gray in [0, 1]. Gradients flow back to it.
            layers: Their names.

        Returns:
            For each name the maps, (B, channels, h, w).

        Raises:
            BackboneError: An unknown layer, or pictures too small for it.
        """
        self.check(layers)
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise BackboneError(f"{self.name}: expected pictures (B, 1 or 3, H, W), got {tuple(x.shape)}")
        size = (x.shape[-2], x.shape[-1])
        wanted, maps = set(layers), dict[str, Tensor]()
        x = self.prepare(x)
        for step in self._steps:
            if min(x.shape[-2:]) < max(step.stride, step.least):
                raise BackboneError(
                    f"{self.name}: {step.name} needs a larger picture than {size[1]}x{size[0]}; take an earlier layer"
                )
            x = step.module(x)
            if step.name in wanted:
                maps[step.name] = x
            if len(maps) == len(wanted):
                break
        return {layer: maps[layer] for layer in layers}


class _Prepare(nn.Module):
    """``Backbone.prepare`` of pictures in colour, as a layer."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, bgr: bool) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.bgr = bgr

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        return x.flip(1) if self.bgr else x
