"""SqueezeNet 1.0 with the teacher's weights, the perceptual distance by any network's maps, and Spearman's correlation.

The distance is that of R. Zhang et al., CVPR 2018, with the same weight for each channel. It is not LPIPS: the trained
weights of LPIPS belong to other networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from safelight import checkpoint, features
from safelight.features import Backbone

PERCEPTUAL = features.SQUEEZENET1_0.perceptual
"""The layers of the teacher's distance: those that LPIPS takes of SqueezeNet 1.1, by their names."""


def load(file: Path) -> Backbone:
    """Load ``squeezenet1_0.safetensors``: Caffe's weights, for pictures of 0 to 255 with blue first."""
    tensors, _ = checkpoint.read_file(file)
    teacher = features.SQUEEZENET1_0.build("max")
    teacher.network.load_state_dict({k: v.float() for k, v in tensors.items() if k.startswith("features.")})
    teacher.mean = torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1) / 255
    teacher.std = torch.full((1, 3, 1, 1), 1 / 255)
    teacher.bgr = True
    return teacher.eval().requires_grad_(False)


def distances(a: Mapping[str, Tensor], b: Mapping[str, Tensor], layers: Sequence[str], cells: int = 1) -> Tensor:
    """The perceptual distances of pictures by their maps.

    At each place of a layer the channels are scaled to unit length; the squared differences are added over the
    channels, averaged over the places, and added over the layers.

    Args:
        a: The maps of a network by layers, (B, channels, h, w).
        b: Those of the other pictures; or of one, for all.
        layers: Which of them count.
        cells: Into how many parts each side is divided; each part has its own distance.

    Returns:
        (B, cells, cells).
    """
    total = torch.zeros(())
    for layer in layers:
        difference = F.normalize(a[layer].float(), dim=1, eps=1e-8) - F.normalize(b[layer].float(), dim=1, eps=1e-8)
        total = total + F.adaptive_avg_pool2d(difference.square().sum(dim=1, keepdim=True), cells)[:, 0]
    return total


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two lists of numbers, equal ones sharing the mean of their ranks.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 8.0, 27.0]))
        1.0
    """
    first, second = (_ranks(values) - (len(values) - 1) / 2 for values in (x, y))
    return float((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt())


def _ranks(values: Tensor) -> Tensor:
    values = values.double()
    ordered = values.sort().values
    return (torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True) - 1).double() / 2
