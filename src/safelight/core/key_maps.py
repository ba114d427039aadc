"""Helpers for converting published weights: renaming layers and counting tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from safelight.core.card import LayoutError


def rename(tensors: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename the layers of a state dictionary: ``head.0.weight`` is the ``weight`` of the layer ``head.0``.

    Args:
        tensors: By their names in the published code.
        layers: Our name of each of its layers.

    Raises:
        LayoutError: A tensor belongs to no layer in the list.

    Example:
        >>> import torch
        >>> list(rename({"head.0.weight": torch.zeros(1)}, {"head.0": "head"}))
        ['head.weight']
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if layer not in layers:
            raise LayoutError(f"one with {ascii(name)[:80]}, which this network does not have")
        renamed[f"{layers[layer]}.{leaf}"] = tensor
    return renamed


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Count the tensors whose whole name matches a regular expression."""
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def channels(tensors: Mapping[str, Tensor], name: str) -> int:
    """Return the number of output channels of a layer: the first axis of its weight.

    Args:
        tensors: The state dictionary.
        name: The name of the weight.

    Raises:
        LayoutError: There is no such tensor, or it has no axes.
    """
    if name not in tensors or tensors[name].ndim == 0:
        raise LayoutError(f"one without {name}")
    return tensors[name].shape[0]
