"""FID and KID against scipy, plain loops and closed forms; and the features that they compare."""

import numpy as np
import pytest
import torch
from scipy import linalg

from safelight import features
from safelight.features.backbone import BackboneError
from safelight.metrics import SetMetric, fid, find, global_features, kid

pytestmark = pytest.mark.filterwarnings("ignore:distances between sets need")


def sets(n: int, m: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((d, d))
    x, y = rng.standard_normal((n, d)) @ mixed + 0.3, rng.standard_normal((m, d)) @ (mixed + 0.5)
    return torch.tensor(x), torch.tensor(y)


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """As the authors' code: the root of the product of the covariances, which is not symmetric."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(a @ b)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root).real)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 12), (50, 60, 40)])
def test_equals_scipy(n: int, m: int, d: int) -> None:
    x, y = sets(n, m, d)
    assert fid(x, y).item() == pytest.approx(by_scipy(x.numpy(), y.numpy()), rel=1e-8)


def test_fewer_pictures_than_features() -> None:
    # The covariances are singular; their root's trace is the sum of singular values of the product of what they are
    # squares of, which needs no root of them.
    x, y = sets(10, 14, 30)
    a, b = ((v - v.mean(0)) / (len(v) - 1) ** 0.5 for v in (x.numpy(), y.numpy()))
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = np.square(x.numpy().mean(0) - y.numpy().mean(0)).sum() + (a**2).sum() + (b**2).sum() - 2 * overlap
    assert fid(x, y).item() == pytest.approx(expected, rel=1e-5)  # roots of what is 1e-14 instead of 0 cost digits


def test_gaussians_in_closed_form() -> None:
    # With diagonal covariances the distance is the sum of (m - m')^2 + (s - s')^2: Dowson and Landau 1982.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), (x - x.mean(0)).T).T  # mean 0, covariance 1
    a = torch.tensor(white * [1, 2, 3] + [0, 1, 0])
    b = torch.tensor(white[::-1].copy() * [1, 5, 1] + [2, 1, 0])
    assert fid(a, b).item() == pytest.approx(2**2 + 3**2 + 2**2, rel=1e-9)


def test_fid_properties() -> None:
    x, y = sets(100, 120, 8)
    assert fid(x, y).item() == pytest.approx(fid(y, x).item(), rel=1e-9)
    assert fid(x, x).item() == pytest.approx(0, abs=1e-9)
    assert fid(x, x + 1).item() == pytest.approx(8, rel=1e-9)  # a shift by 1 in each of 8
    assert fid(x.float(), y.float()).dtype == torch.float64
    turn = torch.linalg.qr(sets(8, 8, 8)[0]).Q
    assert fid(x @ turn, y @ turn).item() == pytest.approx(fid(x, y).item(), rel=1e-9)


def test_kid_equals_plain_loops() -> None:
    x, y = sets(7, 7, 4)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    within = sum(kernel(v[i], v[j]) for v in (x, y) for i in range(7) for j in range(7) if i != j) / 42
    across = sum(kernel(a, b) for a in x for b in y) / 49
    value = kid(x, y, generator=torch.Generator())
    assert value.item() == pytest.approx(within - 2 * across, rel=1e-10)


def test_kid_of_subsets() -> None:
    x, y = sets(60, 80, 4)
    values = [kid(x, y, subsets=9, size=20, generator=torch.Generator().manual_seed(s)).item() for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    # The estimate is unbiased, so that the mean over many subsets is that of the whole sets.
    many = kid(x, y, subsets=3000, size=20, generator=torch.Generator().manual_seed(0)).item()
    n, m = len(x), len(y)
    kernels = [(a @ b.T / 4 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    whole = sum(((k.sum() - k.trace()) / (c * (c - 1))).item() for k, c in zip(kernels, (n, m), strict=False))
    assert many == pytest.approx(whole - 2 * kernels[2].mean().item(), rel=0.05)


def test_kid_of_one_source_is_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    values = [
        kid(*torch.tensor(rng.standard_normal((2, 30, 4))), generator=torch.Generator().manual_seed(i)).item()
        for i in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 200**0.5
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("function", [fid, lambda x, y: kid(x, y, generator=torch.Generator())], ids=["fid", "kid"])
def test_sets_that_cannot_be_compared(function) -> None:
    x, y = sets(10, 10, 4)
    for a, b, message in (
        (x, y[:, :3], r"expected features \(N, D\) and \(M, D\), got \(10, 4\) and \(10, 3\)"),
        (x[0], y[0], "expected features"),
        (x[:1], y, "at least 2 pictures in each set, got 1 and 10"),
        (x / 0, y, "expected finite features"),
    ):
        with pytest.raises(ValueError, match=message):
            function(a, b)
    with pytest.raises(ValueError, match="at least 1 subset of 2 pictures, got 0 of 1000"):
        kid(x, y, subsets=0, generator=torch.Generator())


@pytest.mark.filterwarnings("default:distances between sets need")
@pytest.mark.parametrize("name", ["fid", "kid"])
def test_few_pictures_are_warned_of(name: str, recwarn: pytest.WarningsRecorder) -> None:
    metric = find(name)
    assert isinstance(metric, SetMetric)
    enough = torch.arange(4096.0).view(2048, 2).remainder(3)
    metric.function(enough, enough + 1, generator=torch.Generator())
    assert not recwarn.list
    with pytest.warns(UserWarning, match="need 2048 pictures and more in each, got 2047 and 2048"):
        metric.function(enough[1:], enough, generator=torch.Generator())


def test_features_are_means_of_the_last_layer() -> None:
    torch.manual_seed(0)
    lens = features.facts("lens").build("average").eval()
    batches = [torch.rand(2, 3, 24, 32), torch.rand(1, 1, 40, 16)]
    rows = global_features(lens, batches)
    assert (rows.shape, rows.dtype) == ((3, 256), torch.float64)
    expected = torch.cat([lens(batch, ["relu4_1"])["relu4_1"].mean(dim=(2, 3)) for batch in batches]).double()
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)
    assert global_features(lens, batches, "relu1_2").shape == (3, 32)
    with pytest.raises(ValueError, match="got none"):
        global_features(lens, [])
    with pytest.raises(BackboneError, match="no layer 'pool9'"):
        global_features(lens, batches, "pool9")


def test_features_of_inception_are_its_pool() -> None:
    torch.manual_seed(0)
    inception = features.facts("inception").build("max").eval()
    picture = torch.rand(1, 3, 20, 30)
    rows = global_features(inception, [picture])
    assert rows.shape == (1, 2048)
    with torch.inference_mode():
        pooled = inception(picture, ["pool3"])["pool3"].flatten(1).double()
    torch.testing.assert_close(rows, pooled, atol=1e-5, rtol=1e-4)
