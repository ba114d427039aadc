"""Frechet inception distance, and the numbers that it and the kernel distance compare.

M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter: GANs Trained by a Two Time-Scale Update Rule Converge
to a Local Nash Equilibrium, NIPS 2017 (arXiv:1706.08500). The distance of two Gaussians: D. C. Dowson, B. V. Landau,
The Frechet Distance between Multivariate Normal Distributions, Journal of Multivariate Analysis 12(3), 1982.
"""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from safelight.features.backbone import Backbone
from safelight.metrics.bands import maps_by_row_bands
from safelight.metrics.spectral import eigen

FEW = 2048  # pictures; fewer leave the 2,048 numbers of Inception's pool3 a covariance that is singular


def fid(result: Tensor, reference: Tensor) -> Tensor:
    """Frechet distance between two sets of pictures, with a Gaussian fitted to the features of each.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), with the means m and the unbiased covariances C of the two sets.

    The trace of the root is the sum of the roots of the eigenvalues of C^(1/2) C' C^(1/2), which is symmetric, so that
    they are real and at least 0, and no root of a matrix that is nearly singular has to be found.

    The number depends on the network and on how many pictures there are, the fewer the larger: it is to be given as
    `fid[lens]` or `fid[inception]`, with their number. Only `fid[inception]` with the published weights is what papers
    mean by FID.

    Args:
        result: a row a picture, `(N, D)`, N at least 2, as `global_features` gives them.
        reference: `(M, D)`, M at least 2.

    Returns:
        A float64 scalar, at least 0; 0 for equal sets, but for rounding.

    Raises:
        ValueError: the shapes are not as above, or numbers are not finite.

    Warns:
        UserWarning: there are fewer than 2,048 pictures in a set.

    Example:
        >>> line = torch.arange(4096.0)[:, None] % 2
        >>> round(fid(line + 3, line).item(), 9), round(fid(line * 3, line).item(), 3)  # 3^2; 1^2 + (1.5 - 0.5)^2
        (9.0, 2.0)
    """
    x, y = validated_features(result, reference)
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    spread_x, spread_y = torch.cov(x.T).view(x.shape[1], -1), torch.cov(y.T).view(y.shape[1], -1)
    values, vectors = eigen(spread_x)
    root = (vectors * values.sqrt()) @ vectors.T
    overlap = eigen(root @ spread_y @ root)[0].sqrt().sum()
    distance = (mean_x - mean_y).square().sum() + spread_x.trace() + spread_y.trace() - 2 * overlap
    return distance.clamp(min=0)  # of equal sets, rounding leaves 1e-12 on either side


def validated_features(result: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Check the feature vectors of two sets of pictures, and warn if a set is small.

    Args:
        result: `(N, D)`, floating.
        reference: `(M, D)`, floating.

    Returns:
        Both in float64.

    Raises:
        ValueError: the shapes are not so, a set has fewer than 2 rows, or numbers are not finite.

    Warns:
        UserWarning: there are fewer than 2,048 pictures in a set.
    """
    if result.ndim != 2 or reference.ndim != 2 or result.shape[1] != reference.shape[1]:
        raise ValueError(
            f"expected features (N, D) and (M, D), got {tuple(result.shape)} and {tuple(reference.shape)}; "
            "do compute both by the same layer of the same network"
        )
    fewest = min(len(result), len(reference))
    if fewest < 2:
        raise ValueError(f"expected at least 2 pictures in each set, got {len(result)} and {len(reference)}")
    if not (bool(result.isfinite().all()) and bool(reference.isfinite().all())):
        raise ValueError("expected finite features, got NaN or infinity; do look for where they were made")
    if fewest < FEW:
        warnings.warn(
            f"distances between sets need {FEW} pictures and more in each, got {len(result)} and {len(reference)}: "
            "the number is too uncertain to compare, above all with those of other set sizes",
            stacklevel=3,
        )
    return result.double(), reference.double()


def global_features(backbone: Backbone, pictures: Iterable[Tensor], layer: str | None = None) -> Tensor:
    """Collect what a network sees in each of many pictures: the mean over places of one layer's maps.

    Args:
        backbone: The network, with its weights.
        pictures: Batches `(B, C, H, W)`, C = 1 or 3, in [0, 1], of any sizes; read one after another.
        layer: Its name. By default the last: `pool3` of Inception, whose map is one place, as the papers have it, and
            the spatial mean of the last layer of the others, such as `relu4_1` of the lens.

    Returns:
        A row a picture, `(N, channels)`, float64, on the CPU.

    Raises:
        BackboneError: an unknown layer, or a picture too small for it.
        ValueError: there are no pictures.

    Example:
        >>> from safelight import features
        >>> lens = features.facts("lens").build("average")  # random weights; backbones.load gives the trained ones
        >>> global_features(lens, [torch.rand(2, 3, 16, 16), torch.rand(1, 3, 24, 16)]).shape
        torch.Size([3, 256])
    """
    chosen = backbone.layers[-1] if layer is None else layer
    rows: list[Tensor] = []
    for batch in pictures:
        for picture in batch:
            total, places = torch.zeros(backbone.receptive_field(chosen).channels, dtype=torch.float64), 0
            for band in maps_by_row_bands(backbone, picture[None], [chosen]):
                maps = band[chosen][0]
                total += maps.sum(dim=(1, 2), dtype=torch.float64)
                places += maps.shape[1] * maps.shape[2]
            rows.append(total / places)
    if not rows:
        raise ValueError("expected pictures to look at, got none")
    return torch.stack(rows)
