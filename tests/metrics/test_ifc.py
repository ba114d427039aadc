"""IFC against plain numpy and scipy, by the facts of its filters, and by its properties."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from safelight.metrics import ifc


def pair(height: int, width: int, channels: int = 1, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Pictures with something in every subband: steps, slopes and a fine texture."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(2 * channels):
        rough = ndimage.gaussian_filter(rng.standard_normal((height, width)), 2) + (
            3 * ndimage.gaussian_filter(rng.standard_normal((height, width)), 7)
        )
        rough += 0.3 * (ndimage.gaussian_filter(rng.standard_normal((height, width)), 5) > 0)
        pictures.append((rough - rough.min()) / (rough.max() - rough.min()))
    reference = torch.tensor(np.array(pictures)).view(2, channels, height, width)
    generator = torch.Generator().manual_seed(1)
    noisy = reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return noisy, reference


def rows_of(text: str) -> np.ndarray:
    return np.array([[float(number) for number in line.split()] for line in text.splitlines()])


# Of matlabPyrTools' sp5Filters, to six decimals, as they are tabulated: whole, and not by their symmetries.
LO0 = rows_of(
    """ .003416 -.015512 -.038482 -.015512  .003416
       -.015512  .055870  .159256  .055870 -.015512
       -.038482  .159256  .403041  .159256 -.038482
       -.015512  .055870  .159256  .055870 -.015512
        .003416 -.015512 -.038482 -.015512  .003416"""
)
LO = rows_of(
    """ .001708 -.004898 -.007756 -.018889 -.019241 -.018889 -.007756 -.004898  .001708
       -.004898 -.010466 -.013222  .008212  .020060  .008212 -.013222 -.010466 -.004898
       -.007756 -.013222  .027935  .065541  .079628  .065541  .027935 -.013222 -.007756
       -.018889  .008212  .065541  .128527  .163392  .128527  .065541  .008212 -.018889
       -.019241  .020060  .079628  .163392  .201931  .163392  .079628  .020060 -.019241
       -.018889  .008212  .065541  .128527  .163392  .128527  .065541  .008212 -.018889
       -.007756 -.013222  .027935  .065541  .079628  .065541  .027935 -.013222 -.007756
       -.004898 -.010466 -.013222  .008212  .020060  .008212 -.013222 -.010466 -.004898
        .001708 -.004898 -.007756 -.018889 -.019241 -.018889 -.007756 -.004898  .001708"""
)
BAND = rows_of(
    """ .002776  .004962  .010267  .014554  .010267  .004962  .002776
       -.009869 -.008931  .011899  .027552  .011899 -.008931 -.009869
       -.010219 -.030754 -.082264 -.117323 -.082264 -.030754 -.010219
        .000000  .000000  .000000  .000000  .000000  .000000  .000000
        .010219  .030754  .082264  .117323  .082264  .030754  .010219
        .009869  .008931 -.011899 -.027552 -.011899  .008931  .009869
       -.002776 -.004962 -.010267 -.014554 -.010267 -.004962 -.002776"""
)


def by_numpy(result: np.ndarray, reference: np.ndarray) -> float:
    """One gray picture of 0 to 255: the model place by place, with a plain inverse of the covariance."""

    def bands(picture: np.ndarray) -> list[tuple[np.ndarray, int]]:
        low = ndimage.correlate(picture, LO0, mode="mirror")
        found = []
        for level in range(4):
            window = (17, 9, 5, 3)[level]
            found += [(ndimage.correlate(low, k, mode="mirror"), window) for k in (BAND, BAND.T)]
            low = ndimage.correlate(low, LO, mode="mirror")[::2, ::2]
        return found

    bits = 0.0
    for (x, window), (y, _) in zip(bands(result), bands(reference), strict=True):
        rows, columns = y.shape[0] // 3, y.shape[1] // 3
        x, y = x[: rows * 3, : columns * 3], y[: rows * 3, : columns * 3]
        vectors = np.array(
            [y[i : i + 3, j : j + 3].ravel() for i in range(rows * 3 - 2) for j in range(columns * 3 - 2)]
        )
        covariance = np.cov(vectors.T, bias=True)
        inverse, eigenvalues = np.linalg.inv(covariance), np.linalg.eigvalsh(covariance)
        receptive_radius, cut = window // 2, math.ceil(window // 2 / 3)
        px, py = (np.pad(a, receptive_radius, mode="reflect") for a in (x, y))
        for i in range(cut, rows - cut):
            for j in range(cut, columns - cut):
                block = y[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].ravel()
                s = block @ inverse @ block / 9
                top, left = 3 * i + 1, 3 * j + 1  # the window around the middle of the block
                a = px[top : top + window, left : left + window].ravel()
                b = py[top : top + window, left : left + window].ravel()
                shared = np.mean(a * b) - a.mean() * b.mean()
                g = shared / (b.var() + 1e-15 / window**2)
                v = a.var() - g * shared
                if g < 0:
                    g, v = 0.0, a.var()
                bits += np.log2(1 + g**2 * s * eigenvalues / (max(v, 1e-15) + 1e-10)).sum()
    return bits / reference.size


@pytest.mark.parametrize("size", [(72, 80), (65, 71)])
def test_equals_plain_numpy(size: tuple[int, int]) -> None:
    result, reference = pair(*size)
    values = ifc(result, reference, channel="y", rounding="none")
    expected = [by_numpy(a[0].numpy() * 255, b[0].numpy() * 255) for a, b in zip(result, reference, strict=True)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=0, rtol=1e-6)


def test_the_filters_are_a_pyramid() -> None:
    # Flat light passes the low-pass filters as it is, and the derivatives not at all.
    assert LO0.sum() == pytest.approx(1, abs=0.01)
    assert LO.sum() == pytest.approx(2, abs=0.01)  # it is followed by every second sample: a gain of 2 keeps the energy
    assert BAND.sum() == pytest.approx(0, abs=1e-12)


def test_falls_with_noise_and_with_blur_but_not_with_brightness() -> None:
    _, reference = pair(80, 80)
    noisy = [ifc(pair(80, 80, noise=a)[0], reference, channel="y", rounding="none") for a in (0.01, 0.05, 0.2)]
    assert bool((noisy[0] > noisy[1]).all())
    assert bool((noisy[1] > noisy[2]).all())
    blurred = [
        ifc(
            torch.tensor(ndimage.gaussian_filter(reference.numpy(), (0, 0, s, s))),
            reference,
            channel="y",
            rounding="none",
        )
        for s in (0.5, 1, 2)
    ]
    assert bool((blurred[0] > blurred[1]).all())
    assert bool((blurred[1] > blurred[2]).all())
    # An affine change of the light is a gain, which takes no information away.
    dimmed = ifc(0.5 * reference + 0.1, reference, channel="y", rounding="none")
    assert bool((dimmed > noisy[0]).all())


def test_flat_pictures_tell_nothing() -> None:
    flat = torch.full((1, 1, 72, 72), 0.5, dtype=torch.float64)
    _, reference = pair(72, 72)
    assert ifc(reference[:1], flat, channel="y").item() == 0
    assert ifc(flat, reference[:1], channel="y").item() == pytest.approx(0, abs=1e-6)


def test_each_picture_and_each_channel_for_itself() -> None:
    result, reference = pair(72, 76, 3)
    values = ifc(result, reference, channel="rgb", rounding="none")
    gray = [ifc(result[:, c : c + 1], reference[:, c : c + 1], channel="y", rounding="none") for c in range(3)]
    torch.testing.assert_close(values, torch.stack(gray).mean(dim=0), atol=1e-9, rtol=0)
    assert values.shape == (2,)
    assert values.dtype == torch.float64
