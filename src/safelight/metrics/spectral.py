"""Spectra, with types: of pictures, of filters of many taps, and of symmetric matrices."""

from typing import cast

import torch
from torch import Tensor


def fourier_transform(planes: Tensor) -> Tensor:
    """Return the spectrum of planes `(..., H, W)`: complex, of the same shape, with the mean first."""
    return cast(Tensor, torch.fft.fft2(planes))


def inverse_fourier_transform(spectrum: Tensor) -> Tensor:
    """Return the real planes `(..., H, W)` of a spectrum; imaginary parts, which are only rounding, are dropped."""
    return cast(Tensor, torch.fft.ifft2(spectrum)).real


def frequencies(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frequencies of the entries of a spectrum, in cycles a picture: down, `(H, 1)`, and across, `(W,)`."""
    height, width = planes.shape[-2:]
    rows, columns = (
        cast(Tensor, torch.fft.fftfreq(n, 1 / n, dtype=planes.dtype, device=planes.device)) for n in (height, width)
    )
    return rows[:, None], columns


def centred_taps(response: Tensor) -> Tensor:
    """The filter of n x n taps, n odd, whose frequency response goes through n x n samples with 0 in the middle."""
    return cast(Tensor, torch.fft.fftshift(inverse_fourier_transform(cast(Tensor, torch.fft.ifftshift(response)))))


def correlate(planes: Tensor, taps: Tensor) -> Tensor:
    """Correlate where the whole filter fits; in float64 this is several times as fast as torch's convolution.

    Args:
        planes: `(..., H, W)`, floating.
        taps: `(h, w)`, of the same dtype.

    Returns:
        `(..., H - h + 1, W - w + 1)`; sample (i, j) is the sum over the taps (k, l) of taps[k, l] planes[i + k, j + l].

    Example:
        >>> correlate(torch.arange(4.0).view(1, 4), torch.tensor([[-1.0, 1.0]])).round().tolist()
        [[1.0, 1.0, 1.0]]
    """
    height, width = planes.shape[-2:]
    response = cast(Tensor, torch.fft.rfft2(taps, s=(height, width))).conj()
    found = cast(Tensor, torch.fft.irfft2(torch.fft.rfft2(planes) * response, s=(height, width)))
    # What came round at the end lies in the rows and columns that are cut off.
    return found[..., : height - taps.shape[0] + 1, : width - taps.shape[1] + 1]


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues `(n,)`, those below 0 by rounding taken for 0, and vectors of a covariance `(n, n)`."""
    values, vectors = cast(tuple[Tensor, Tensor], torch.linalg.eigh(matrix))
    return values.clamp(min=0), vectors
