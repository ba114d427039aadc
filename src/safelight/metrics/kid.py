"""Kernel inception distance.

M. Binkowski, D. J. Sutherland, M. Arbel, A. Gretton: Demystifying MMD GANs, ICLR 2018 (arXiv:1801.01401).
"""

import torch
from torch import Tensor

from safelight.metrics.fid import validated_features

SUBSETS = 100
SIZE = 1000


def kid(
    result: Tensor, reference: Tensor, *, subsets: int = SUBSETS, size: int = SIZE, generator: torch.Generator
) -> Tensor:
    """Squared maximum mean discrepancy between two sets of pictures, by what a network sees in them.

    With the kernel k(x, y) = (x . y / D + 1)^3, the unbiased estimate is

        sum_{i != j} (k(x_i, x_j) + k(y_i, y_j)) / (n (n - 1)) - 2 sum_{i, j} k(x_i, y_j) / n^2,

    averaged over subsets of n pictures drawn from each set without repetition. It is 0 on average for sets from the
    same source, whatever their size, and so may be negative; the fewer pictures, the more uncertain it is. The number
    depends on the network: it is to be given as `kid[lens]` or `kid[inception]`.

    Args:
        result: a row a picture, `(N, D)`, N at least 2, as `global_features` gives them.
        reference: `(M, D)`, M at least 2.
        subsets: how many are drawn; one is, if it is all there is.
        size: pictures in each, at least 2; as many as the smaller set has, if that is less.
        generator: on the CPU, what draws them.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: the shapes are not as above, numbers are not finite, or there are to be no subsets.

    Warns:
        UserWarning: there are fewer than 2,048 pictures in a set.

    Example:
        >>> line = torch.arange(4096.0)[:, None] % 2
        >>> value = kid(line + 1, line, size=4096, generator=torch.Generator().manual_seed(0))
        >>> round(value.item(), 1)  # 46.75 + 2.75 - 2 * 9.25
        31.0
    """
    if subsets < 1 or size < 2:
        raise ValueError(f"expected at least 1 subset of 2 pictures, got {subsets} of {size}; do raise them")
    x, y = validated_features(result, reference)
    n = min(size, len(x), len(y))
    if n == len(x) == len(y):
        return _discrepancy(x, y)
    drawn = [
        _discrepancy(*(rows[torch.randperm(len(rows), generator=generator)[:n].to(rows.device)] for rows in (x, y)))
        for _ in range(subsets)
    ]
    return torch.stack(drawn).mean()


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate from two sets of n rows."""
    n = len(x)
    within = [k.sum() - k.diagonal().sum() for k in (_kernel(x, x), _kernel(y, y))]
    return (within[0] + within[1]) / (n * (n - 1)) - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
