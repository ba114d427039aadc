"""Cost of a network: parameters, multiply-adds and memory, measured on the meta device."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SIDE = 64  # any side gives the same result: every count is proportional to the area


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a network.

    ``parameters`` counts weights and biases, ``weights`` the convolutions' weights alone (some papers print one, some
    the other), ``multiply_adds`` are those of the convolutions per output pixel, and ``bytes`` is the most memory that
    a layer's input and output hold together, in float32, per pixel of the network's input.
    """

    parameters: int
    weights: int
    multiply_adds: float
    bytes: float


def measure(network: nn.Module, channels: int) -> Cost:
    """Count on the meta device, without arithmetic and memory.

    Args:
        network: Any network of convolutions, on any device. It is not changed.
        channels: Channels of its input.
    """
    multiply_adds = 0
    most = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal multiply_adds, most
        if isinstance(layer, nn.Conv2d):
            multiply_adds += output[0, 0].numel() * layer.weight.numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            multiply_adds += inputs[0][0, 0].numel() * layer.weight.numel()
        most = max(most, 4 * (inputs[0].numel() + output.numel()))

    twin = copy.deepcopy(network).to("meta")
    hooks = [layer.register_forward_hook(count) for layer in twin.modules() if not list(layer.children())]
    with torch.no_grad():
        result: Tensor = twin(torch.empty(1, channels, _SIDE, _SIDE, device="meta"))
    for hook in hooks:
        hook.remove()
    return Cost(
        parameters=sum(p.numel() for p in network.parameters()),
        weights=sum(
            layer.weight.numel() for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
        ),
        multiply_adds=multiply_adds / (result.shape[-1] * result.shape[-2]),
        bytes=most / _SIDE**2,
    )
