"""Loss terms that several methods share: content and style distances, and total variation.

All are pure functions of maps (B, C, h, w), as a backbone gives them, or of pictures. Gradients flow through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5  # under the root of a deviation, as in AdaIN's code


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """The Gram matrices of maps: how often two channels answer at the same place, wherever that is.

    ``G = F F' / (C h w)`` with F the maps as a (C, h w) matrix. Divided like this, it is that of Johnson et al. (ECCV
    2016), and the loss of Gatys et al. (CVPR 2016), ``sum((G - A)^2) / 4`` with their own factor ``1 / (C h w)^2``
    taken into the matrices.

    Args:
        features: Maps, (B, C, h, w).
        mask: How much each place counts, (1 or B, 1, h, w), at least 0: ``G = (w F) F' / (C sum w)``. All 0 gives 0.

    Returns:
        (B, C, C), symmetric.

    Example:
        >>> gram(torch.ones(1, 2, 3, 3))
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    channels = features.shape[1]
    flat = features.flatten(2)
    if mask is None:
        return flat @ flat.mT / (channels * flat.shape[2])
    weight = mask.flatten(2)
    return (weight * flat) @ flat.mT / (channels * weight.sum(dim=2, keepdim=True).clamp(min=1e-12))


def gram_loss(gram: Tensor, target: Tensor, *, relative: bool = False) -> Tensor:
    """The style distance of one layer: ``|G - A|^2``, summed over all entries of the Gram matrices.

    Args:
        gram: G, (B, C, C).
        target: A, (1 or B, C, C).
        relative: Divide by ``|A|^2``: no unit of the network is left, 0 is the style itself and 1 what G = 0 has, so
            that layers and networks weigh the same.

    Returns:
        A scalar, the mean over the batch.

    Example:
        >>> a = torch.eye(2)[None]
        >>> gram_loss(3 * a, a).item(), gram_loss(3 * a, a, relative=True).item()
        (8.0, 4.0)
    """
    far = (gram - target).square().sum(dim=(1, 2))
    if relative:
        far = far / target.square().sum(dim=(1, 2)).clamp(min=1e-24)
    return far.mean()


def content_loss(features: Tensor, target: Tensor, *, relative: bool = False) -> Tensor:
    """The content distance of one layer: ``|F - P|^2 / (C h w)``.

    Args:
        features: F, (B, C, h, w).
        target: P, (1 or B, C, h, w).
        relative: Divide by the mean of ``P^2`` instead of by nothing, so that no unit of the network is left.

    Returns:
        A scalar, the mean over the batch.

    Example:
        >>> p = torch.full((1, 4, 2, 2), 2.0)
        >>> content_loss(p + 1, p).item(), content_loss(p + 1, p, relative=True).item()
        (1.0, 0.25)
    """
    far = (features - target).square().mean(dim=(1, 2, 3))
    if relative:
        far = far / target.square().mean(dim=(1, 2, 3)).clamp(min=1e-24)
    return far.mean()


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each map over its places: ``sigma = sqrt(sum((f - mu)^2) / (h w - 1) + 1e-5)``.

    Args:
        features: Maps, (B, C, h, w). The variance of a single place is 0.

    Returns:
        Two tensors of (B, C, 1, 1).

    Example:
        >>> mean, deviation = statistics(torch.tensor([0.0, 2.0]).view(1, 1, 1, 2))
        >>> mean.item(), round(deviation.item(), 4)
        (1.0, 1.4142)
    """
    places = features.shape[-2] * features.shape[-1]
    mean = features.mean(dim=(2, 3), keepdim=True)
    variance = (features - mean).square().sum(dim=(2, 3), keepdim=True) / max(places - 1, 1)
    return mean, (variance + EPSILON).sqrt()


def statistics_loss(features: Tensor, target: Tensor) -> Tensor:
    """The style distance of one layer by the means and standard deviations of its maps.

    ``|mu(F) - mu(A)|^2 / C + |sigma(F) - sigma(A)|^2 / C``: Huang and Belongie, "Arbitrary Style Transfer in Real-Time
    with Adaptive Instance Normalization", ICCV 2017, equation 13, with the means of squares of their code.

    Args:
        features: F, (B, C, h, w).
        target: A, (1 or B, C, h', w'), of any size.

    Returns:
        A scalar, the mean over the batch.

    Example:
        >>> statistics_loss(torch.ones(1, 2, 3, 3), torch.full((1, 2, 5, 5), 3.0)).item()
        4.0
    """
    mean, deviation = statistics(features)
    mean_wanted, deviation_wanted = statistics(target)
    return (mean - mean_wanted).square().mean() + (deviation - deviation_wanted).square().mean()


def total_variation(x: Tensor, *, beta: float = 2.0) -> Tensor:
    """The total variation of pictures: the mean over pixels of ``((right - here)^2 + (below - here)^2)^(beta / 2)``.

    The last column has nothing to its right and the last row nothing below. beta = 2 is the usual one of style
    transfer; beta = 1 is the total variation of Rudin, Osher and Fatemi, each channel for itself; Mahendran and
    Vedaldi take others.

    Args:
        x: Pictures, (B, C, H, W).
        beta: At least 1. Below 2, flat places have a gradient of 0.

    Returns:
        A scalar, the mean over the batch, the channels and the places.

    Example:
        >>> total_variation(torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)).item()
        0.5
    """
    slope = torch.zeros_like(x)
    right, below = (x[..., 1:] - x[..., :-1]).square(), (x[..., 1:, :] - x[..., :-1, :]).square()
    slope[..., :, :-1] += right
    slope[..., :-1, :] += below
    if beta != 2:
        slope = torch.where(slope > 0, slope.clamp(min=1e-20) ** (beta / 2), 0.0)
    return slope.mean()
