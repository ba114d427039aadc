"""Arithmetic on pictures: MATLAB's resize against literals and against independent code, adjoints, symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safelight import ops
from safelight.degrade import Downsample
from safelight.methods.upscale.bilinear import CARD as BILINEAR
from safelight.methods.upscale.lanczos import CARD as LANCZOS
from safelight.methods.upscale.nearest import CARD as NEAREST

SIZES = st.integers(1, 40)


def keys(x, a=-0.5):
    """Keys' kernel, written from the paper's formula."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def slow_imresize(row, n_out):
    """One axis of imresize in plain loops, from MATLAB's documented rule: stretched when shrinking, mirrored border."""
    n, zoom = len(row), n_out / len(row)
    stretch = min(zoom, 1.0)
    out = []
    for x in range(1, n_out + 1):
        u = x / zoom + 0.5 * (1 - 1 / zoom)
        total = weights = 0.0
        for i in range(int(np.floor(u - 2 / stretch)) - 1, int(np.ceil(u + 2 / stretch)) + 2):
            w = keys(stretch * (u - i))
            j = (i - 1) % (2 * n)
            total += w * row[j if j < n else 2 * n - 1 - j]
            weights += w
        out.append(total / weights)
    return np.array(out)


@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_resize_is_imresize(n_in, n_out, seed):
    row = np.random.default_rng(seed).random(n_in)
    ours = ops.resize(torch.from_numpy(row)[None], (1, n_out))[0].numpy()
    np.testing.assert_allclose(ours, slow_imresize(row, n_out), rtol=0, atol=1e-12)


def test_resize_rounds_8_bits_after_each_pass_vertical_first():
    """A 2x3 picture whose three ways of rounding differ, worked out with the loops above."""
    x = torch.tensor([[10, 200, 35], [90, 17, 254]], dtype=torch.uint8)
    rows = np.stack([slow_imresize(x[:, j].double().numpy(), 3) for j in range(3)], axis=1)
    rows = np.floor(rows + 0.5).clip(0, 255)
    both = np.stack([slow_imresize(rows[i], 5) for i in range(3)])
    # The horizontal zoom 5/3 is larger than the vertical 3/2, so the vertical pass goes first.
    expected = np.floor(both + 0.5).clip(0, 255).astype(np.uint8)
    assert ops.resize(x, (3, 5)).numpy().tolist() == expected.tolist()
    assert ops.resize(x, (3, 5)).dtype == torch.uint8


@pytest.mark.parametrize("zoom", [1 / 2, 1 / 3, 1 / 4, 0.37, 2, 3.3])
def test_interior_agrees_with_pillow(zoom):
    """Pillow's bicubic has the same kernel in float; only its border rule differs."""
    x = torch.from_numpy(np.random.default_rng(1).random((60, 72), dtype=np.float32))
    size = (round(60 * zoom), round(72 * zoom))
    pillow = np.asarray(Image.fromarray(x.numpy()).resize(size[::-1], Image.Resampling.BICUBIC))
    ours = ops.resize(x, size).numpy()
    edge = 3 if zoom < 1 else int(3 * zoom)
    np.testing.assert_allclose(ours[edge:-edge, edge:-edge], pillow[edge:-edge, edge:-edge], atol=2e-5)


@pytest.mark.parametrize(("card", "name"), [(BILINEAR, "BILINEAR"), (LANCZOS, "LANCZOS")])
def test_other_kernels_agree_with_pillow(card, name):
    x = torch.from_numpy(np.random.default_rng(1).random((40, 40), dtype=np.float32))
    pillow = np.asarray(Image.fromarray(x.numpy()).resize((100, 100), Image.Resampling[name]))
    ours = ops.resize(x, (100, 100), kernel=card.method.kernel).numpy()
    np.testing.assert_allclose(ours[10:-10, 10:-10], pillow[10:-10, 10:-10], atol=2e-5)


def test_nearest_repeats_pixels():
    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(
        ops.resize(x, (4, 9), kernel=NEAREST.method.kernel), x.repeat_interleave(2, 0).repeat_interleave(3, 1)
    )


@given(SIZES, SIZES, SIZES, SIZES)
@settings(max_examples=30, deadline=None)
def test_size_and_flat_pictures(h, w, h2, w2):
    out = ops.resize(torch.full((h, w), 0.3, dtype=torch.float64), (h2, w2))
    assert out.shape == (h2, w2)
    torch.testing.assert_close(out, torch.full((h2, w2), 0.3, dtype=torch.float64))


def test_zoom_rounds_the_size_up_and_thirds_are_thirds():
    assert ops.resize(torch.zeros(510, 511), zoom=1 / 3).shape == (170, 171)


@pytest.mark.parametrize("bad", [{}, {"size": (2, 2), "zoom": 2.0}, {"zoom": 0.0}, {"zoom": -1.0}, {"size": (0, 3)}])
def test_resize_refuses(bad):
    with pytest.raises(ValueError, match="expected"):
        ops.resize(torch.zeros(4, 4), **bad)


def test_resize_is_differentiable():
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: ops.resize(t, (4, 9)), (x,))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_downsample_adjoint(scale):
    g = torch.Generator().manual_seed(scale)
    degrade = Downsample(scale)
    x = torch.randn(2, 3, 7 * scale, 5 * scale, generator=g, dtype=torch.float64)
    y = torch.randn(2, 3, 7, 5, generator=g, dtype=torch.float64)
    left, right = (degrade(x) * y).sum(), (x * degrade.adjoint(y)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_adjoint_is_the_gradient():
    x = torch.randn(1, 1, 12, 8, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 1, 3, 2, dtype=torch.float64)
    Downsample(4)(x).backward(y)
    torch.testing.assert_close(x.grad, Downsample(4).adjoint(y))


def test_downsample_refuses_other_sizes():
    with pytest.raises(ValueError, match="multiples of 3"):
        Downsample(3)(torch.zeros(1, 1, 9, 10))


@pytest.mark.parametrize("k", range(8))
def test_dihedral_has_an_inverse(k):
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(ops.dihedral_inverse(ops.dihedral(x, k), k), x)


def test_dihedral_makes_eight_different_pictures():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(ops.dihedral(x, k).flatten().tolist()) for k in range(8)}) == 8


def test_self_ensemble_of_a_symmetric_function_is_itself():
    x = torch.rand(1, 1, 6, 7)
    torch.testing.assert_close(ops.self_ensemble(lambda t: ops.resize(t, zoom=2), x), ops.resize(x, zoom=2))


def test_self_ensemble_is_the_mean_over_the_square():
    def lopsided(t):
        return t * torch.arange(t.shape[-1])

    x = torch.ones(1, 1, 3, 3)
    torch.testing.assert_close(ops.self_ensemble(lopsided, x), torch.ones(1, 1, 3, 3))


def test_gaussian_blur_against_scipy():
    from scipy.ndimage import gaussian_filter

    x = np.random.default_rng(3).random((30, 40))
    ours = ops.gaussian_blur(torch.from_numpy(x)[None, None], 1.7)[0, 0].numpy()
    np.testing.assert_allclose(
        ours, gaussian_filter(x, 1.7, mode="reflect", radius=ops.gaussian_radius(1.7)), atol=1e-12
    )


def test_round_half_up():
    assert ops.round_half_up(torch.tensor([0.5, 1.5, 2.4999, 2.5])).tolist() == [1, 2, 2, 3]


def test_pictures_are_reduced_and_never_enlarged():
    assert ops.shrink_to_side(torch.rand(1, 3, 100, 300), 50).shape == (1, 3, 50, 150)
    small = torch.rand(1, 3, 40, 60)
    assert ops.shrink_to_side(small, 50) is small
