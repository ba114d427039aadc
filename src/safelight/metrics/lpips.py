"""Learned perceptual image patch similarity.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric, CVPR 2018 (arXiv:1801.03924).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safelight import features
from safelight.features.backbone import Backbone, BackboneError
from safelight.metrics.bands import maps_by_row_bands
from safelight.metrics.protocol import Protocol, Rounding, comparable

EPSILON = 1e-10  # added to the length of a vector before it is divided by it


def lpips(
    result: Tensor,
    reference: Tensor,
    *,
    backbone: Backbone,
    layers: Sequence[str] | None = None,
    heads: Sequence[Tensor] | None = None,
    shave: int = 0,
    rounding: Rounding = "8-bit",
) -> Tensor:
    """Perceptual distance of two pictures by the features of a network, for each picture.

    In each layer the vector of a place, over the channels, is brought to length 1, as f / (|f| + 1e-10). The distance
    is the sum over layers of the mean over places of sum_c w_c (f_c - f'_c)^2. With the weights w that the paper's
    authors trained on what people said, `heads`, and their networks, it is LPIPS of version 0.1. Without, all w are 1,
    which they call the uncalibrated variant.

    Each network has numbers of its own: a figure is to be given as `lpips[lens]` or `lpips[vgg16]`, and one with heads
    as `lpips[vgg16+heads]`. Only `vgg16`, `alexnet` and `squeezenet` with published weights and heads are what papers
    mean by LPIPS. Gray counts as RGB of three equal channels; the luma is not an option, for the networks see colour.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray) or 3 (sRGB).
        reference: same shape, in [0, 1].
        backbone: the network, with its weights.
        layers: their names; by default those that its facts call perceptual.
        heads: for each layer the weights of its channels, `(channels,)`, at least 0, as `heads_of` gives them.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none" or "8-bit" (both pictures, as in a file); see `Protocol`.

    Returns:
        `(B,)`, float64, at least 0; 0 where the pictures are equal, and without heads at most 2 for each layer after
        a ReLU.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], the shave leaves nothing, or heads do not fit the layers.
        BackboneError: an unknown layer, or pictures too small for it.

    Example:
        >>> lens = features.facts("lens").build("average")  # random weights; backbones.load gives the trained ones
        >>> picture = torch.rand(1, 3, 16, 16)
        >>> lpips(picture, picture, backbone=lens).item()
        0.0
    """
    protocol = Protocol(channel="rgb", shave=shave, rounding=rounding)
    x, y = comparable(result, reference, protocol, smallest=1)
    chosen = features.facts(backbone.name).perceptual if layers is None else tuple(layers)
    if not chosen:
        raise BackboneError(f"{backbone.name}: expected layers to compare, got none; do name some")
    if heads is not None:
        _check(heads, chosen, backbone)
    values: list[Tensor] = []
    for i in range(len(x)):
        sums = dict.fromkeys(chosen, 0.0)
        places = dict.fromkeys(chosen, 0)
        bands = (maps_by_row_bands(backbone, batch[i : i + 1], chosen) for batch in (x, y))
        for maps_x, maps_y in zip(*bands, strict=True):
            for k, layer in enumerate(chosen):
                far = (_unit(maps_x[layer]) - _unit(maps_y[layer])).square()
                if heads is not None:
                    far = far * heads[k].to(far).view(1, -1, 1, 1)
                sums[layer] += far.sum(dtype=torch.float64).item()
                places[layer] += far.shape[2] * far.shape[3]
        values.append(torch.tensor(sum(sums[layer] / places[layer] for layer in chosen), dtype=torch.float64))
    return torch.stack(values)


def heads_of(tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Take the weights of the channels out of a file that LPIPS' authors published.

    Args:
        tensors: `lin0.model.1.weight`, `lin1.model.1.weight` and so on, each of `(1, channels, 1, 1)`.

    Returns:
        For each layer, in order, `(channels,)`.

    Raises:
        ValueError: there is none, or one of another shape.

    Example:
        >>> [head.tolist() for head in heads_of({"lin0.model.1.weight": torch.ones(1, 2, 1, 1)})]
        [[1.0, 1.0]]
    """
    heads: list[Tensor] = []
    while (name := f"lin{len(heads)}.model.1.weight") in tensors:
        weight = tensors[name]
        if weight.ndim != 4 or weight.shape != (1, weight.shape[1], 1, 1):
            raise ValueError(f"expected {name} of shape (1, channels, 1, 1), got {tuple(weight.shape)}")
        heads.append(weight.flatten())
    if not heads:
        first = ascii(next(iter(tensors), ""))[:60]
        raise ValueError(f"expected weights of LPIPS, lin0.model.1.weight and so on, got {first}; do choose their file")
    return tuple(heads)


def _check(heads: Sequence[Tensor], layers: Sequence[str], backbone: Backbone) -> None:
    widths = [backbone.receptive_field(layer).channels for layer in layers]
    given = [head.numel() for head in heads]
    if given != widths:
        raise ValueError(
            f"expected heads of {backbone.name}, for {widths} channels, got {given}; do take the file of this network"
        )
    if any(bool((head < 0).any()) or not bool(head.isfinite().all()) for head in heads):
        raise ValueError("expected heads of 0 and more, got some below or not finite; do look for where they were made")


def _unit(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)
