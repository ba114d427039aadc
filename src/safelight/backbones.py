"""Backbones with their weights: the program's own, the user's file, or what ``safelight fetch`` has put by.

Nothing here uses the network. ``random`` gives a backbone whose numbers mean nothing, for tests and for timing.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from safelight import features
from safelight.features.backbone import Backbone, BackboneError, Pooling


def load(
    name: str,
    *,
    weights: Path | None = None,
    pooling: Pooling | None = None,
    random: int | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Load a backbone, ready to compare pictures: its numbers do not change, and gradients pass through it.

    Args:
        name: Such as ``lens`` or ``vgg19``; ``features.BACKBONES`` lists them.
        weights: The user's file.
        pooling: What its pools take; by default what its weights were trained with.
        random: A seed, for random weights in place of trained ones.
        device: Where it is to compute.

    Raises:
        BackboneError: There is no such backbone, or no weights for it here.
        CheckpointError: The file is missing, broken, hostile or of another network.
    """
    facts = features.facts(name)
    if weights is not None and random is not None:
        raise BackboneError(f"{name}: expected weights or a seed for random ones, got both")
    backbone = facts.build(facts.pooling if pooling is None else pooling)
    if random is not None:
        _randomise(backbone.network, random)
    else:
        raise BackboneError(f"{name}: expected its weights, got none")
    return backbone.eval().requires_grad_(False).to(device)


def _randomise(network: nn.Module, seed: int) -> None:
    """Draw weights that keep signals at their size from layer to layer (He et al. 2015), the same for each seed."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / module.weight[0].numel()), generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
