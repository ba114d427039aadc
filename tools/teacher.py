"""The lens's teachers, the perceptual distance by any network's maps, and Spearman's correlation.

They are SqueezeNet 1.0 and Tiny Darknet, two small classifiers of ImageNet's classes. The distance is that of R. Zhang
et al., CVPR 2018, with the same weight for each channel. It is not LPIPS: the trained weights of LPIPS belong to other
networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from safelight import features
from safelight.checkpoints import weights_file
from safelight.features import Backbone
from safelight.features.backbone import BackboneLayer

Maps = Mapping[str, Tensor]

# Tiny Darknet: the channels of its convolutions, of 3x3 and 1x1 by turns from the third on, and "M" for a pool.
DARKNET = (16, "M", 32, "M", 16, 128, 16, 128, "M", 32, 256, 32, 256, "M", 64, 512, 64, 512, 128)
_EPSILON = 1e-3  # of its normalisation


@dataclass(frozen=True, slots=True)
class Teacher:
    """A classifier to learn from.

    Attributes:
        network: It, without its end.
        perceptual: The layers of its distance.
        taught: Which layer of the lens answers for which of its own, of the same stride.
        margin: Pixels that are mirrored around a picture, so that its places lie within 1.5 pixels of the lens's.
        early: A layer that has one place more for this margin, before the others; empty if none has.
    """

    network: Backbone
    perceptual: tuple[str, ...]
    taught: tuple[tuple[str, str], ...]
    margin: int = 0
    early: str = ""

    @torch.no_grad()
    def teach(self, x: Tensor) -> Maps:
        """Compute the maps of all its layers that count, (B, channels, h, w), on the grid of the lens."""
        layers = tuple(dict.fromkeys([*self.perceptual, *(theirs for _, theirs in self.taught)]))
        margin = (self.margin,) * 4
        maps = self.network(F.pad(x, margin, mode="reflect") if self.margin else x, layers)
        return {layer: values[..., 1:, 1:] if layer == self.early else values for layer, values in maps.items()}


def squeezenet(folder: Path) -> Teacher:
    """Load ``squeezenet1_0.safetensors``: Caffe's weights, for pictures of 0 to 255 with blue first.

    The layers of its distance are those that LPIPS takes of SqueezeNet 1.1, by their names.
    """
    tensors, _ = weights_file.read_file(folder / "squeezenet1_0.safetensors")
    network = features.SQUEEZENET1_0.build("max")
    network.network.load_state_dict({k: v.float() for k, v in tensors.items() if k.startswith("features.")})
    network.mean = torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1) / 255
    network.std = torch.full((1, 3, 1, 1), 1 / 255)
    network.bgr = True
    taught = (
        ("pool1", "relu1"), ("pool2", "fire2"), ("relu3_3", "fire3"), ("relu3_3", "fire4"), ("pool3", "fire5"),
        ("relu4_1", "fire6"), ("relu4_1", "fire7"), ("relu4_1", "fire8"),
    )  # fmt: skip
    network.eval().requires_grad_(False)
    return Teacher(network, features.SQUEEZENET1_0.perceptual, taught, margin=4, early="relu1")


def darknet(folder: Path) -> Teacher:
    """Load ``tiny_darknet.safetensors``, up to its stride of 8; its normalisation is merged into the convolutions."""
    tensors, _ = weights_file.read_file(folder / "tiny_darknet.safetensors")
    steps, n, number = list[BackboneLayer](), 3, 0
    for size in DARKNET[:13]:
        if isinstance(size, str):
            steps.append(
                BackboneLayer(name=f"pool{len(steps)}", module=nn.MaxPool2d(2), channels=n, kernel=2, stride=2)
            )
            continue
        number += 1
        name = f"features.conv{number}"
        weight, scale, offset, mean, variance = (
            tensors[f"{name}.{part}"].float()
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        factor = scale / (variance + _EPSILON).sqrt()
        side = weight.shape[-1]
        conv = nn.Conv2d(n, size, side, padding=side // 2)
        conv.load_state_dict({"weight": weight * factor.view(-1, 1, 1, 1), "bias": offset - mean * factor})
        n = size
        module = nn.Sequential(conv, nn.LeakyReLU(0.1))
        steps.append(BackboneLayer(name=f"conv{number}", module=module, channels=n, kernel=side))
    network = Backbone(
        "tiny darknet", nn.ModuleList(step.module for step in steps), steps, mean=(0, 0, 0), std=(1, 1, 1)
    )
    network.eval().requires_grad_(False)
    taught = (
        ("relu1_2", "conv1"), ("relu2_2", "conv2"), ("relu3_2", "conv4"), ("relu3_3", "conv6"), ("relu4_1", "conv8"),
        ("relu4_1", "conv10"),
    )  # fmt: skip
    return Teacher(network, ("conv1", "conv2", "conv4", "conv6", "conv8", "conv10"), taught)


TEACHERS: Mapping[str, Callable[[Path], Teacher]] = {"SqueezeNet 1.0": squeezenet, "Tiny Darknet": darknet}


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
