"""interim"""
from __future__ import annotations
from typing import Any
import torch
from torch import Tensor, nn
from safelight import ops
from safelight.card import Card, Trained
from safelight.color import rgb_to_ycbcr, ycbcr_to_rgb

class Model:
    def __init__(self, card: Card, options: Any, scale: int, network: nn.Module) -> None:
        self.card, self.options, self.scale, self.network = card, options, scale, network
    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        m = self.card.method
        assert isinstance(m, Trained)
        size = (x.shape[-2]*self.scale, x.shape[-1]*self.scale)
        f = (lambda t: self.network(ops.resize(t, size))) if m.input == "interpolated" else self.network
        if m.channels == "rgb":
            return f(x) if x.shape[1] == 3 else f(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
        if x.shape[1] == 1: return f(x)
        ycc = rgb_to_ycbcr(x)
        return ycbcr_to_rgb(torch.cat([f(ycc[:, :1]), ops.resize(ycc[:, 1:], size)], 1))
