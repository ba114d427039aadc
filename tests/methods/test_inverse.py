"""The linear degradations and the methods that invert them, against explicit matrices."""

import math

import numpy as np
import pytest
import torch

from safelight import inference, ops
from safelight.core.options import CardError
from safelight.core.solver_input import SolverInput
from safelight.degrade import Blur, Decimate, Downsample, Mask, Then, add_noise, blur_kernel, forward_model
from safelight.inference.runner import InferenceRequest
from safelight.media.image import Picture
from safelight.methods.upscale import pinv, tikhonov, tv, wiener
from safelight.solvers import linear_inverse
from support.runners import request

GAUSS = blur_kernel("gaussian:0.8")
LOPSIDED = torch.rand(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LOPSIDED = LOPSIDED / LOPSIDED.sum()
METHODS = {"pinv": pinv, "tikhonov": tikhonov, "wiener": wiener, "tv": tv}
every_method = pytest.mark.parametrize("name", list(METHODS))


def run(name, problem, report=lambda step: True, **options):
    module = METHODS[name]
    made = module.Options(**options)
    if hasattr(module, "solve"):
        return module.solve(problem, made)
    return module.run(problem, made, report)


def problem(scale=1, blur=GAUSS, sigma=0.01, told=True, size=16, channels=1, noise=None):
    """A drawn picture of edges and a ramp, degraded: float64, (1, C, size, size)."""
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    edge = (torch.hypot(xx - size * 0.55, yy - size * 0.4) < size * 0.3).double()
    x = torch.stack([0.2 + 0.5 * edge + 0.01 * (c + 1) * yy * 16 / size for c in range(channels)])[None]
    clean = forward_model(scale, blur)(x)
    y = add_noise(clean, 255 * (sigma if noise is None else noise), torch.Generator().manual_seed(0))
    return x, SolverInput(task="upscale", y=y.double(), scale=scale, sigma=sigma if told else None, blur=blur)


def matrix(function, size):
    """The dense matrix of a linear map of (1, 1, size, size)."""
    basis = torch.eye(size * size, dtype=torch.float64).view(-1, 1, size, size)
    return torch.cat([function(e[None]).flatten()[:, None] for e in basis], 1)


def dense(given):
    """H, and the differences D with nothing beyond the border, of a problem; y less its mean, and the mean."""
    size = given.y.shape[-1] * given.scale
    H = matrix(forward_model(given.scale, given.blur), size)
    D = torch.cat([matrix(lambda x: x[:, :, 1:] - x[:, :, :-1], size), matrix(lambda x: x.diff(dim=-1), size)])
    return H, D, (given.y - given.y.mean()).flatten(), given.y.mean()


# --- linear degradations ----------------------------------------------------------------------------------------------

LINEAR = {
    "blur": Blur(GAUSS),
    "blur, circular": Blur(GAUSS, "circular"),
    "blur, lopsided": Blur(LOPSIDED),
    "blur, lopsided, circular": Blur(LOPSIDED, "circular"),
    "blur, larger than the picture": Blur(blur_kernel("gaussian:9")),
    "decimate 2": Decimate(2),
    "decimate 3": Decimate(3),
    "downsample 2": Downsample(2),
    "downsample 3": Downsample(3),
    "blur and decimate": Then(Blur(LOPSIDED), Decimate(3)),
    "mask": Mask((torch.rand(1, 1, 15, 21, generator=torch.Generator().manual_seed(1)) < 0.3).float()),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adjoint(name, dtype):
    H = LINEAR[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, *((16, 22) if name.endswith("2") else (15, 21)), generator=generator, dtype=dtype)
    y = torch.rand(H(x).shape, generator=generator, dtype=dtype)
    left, right = (H(x) * y).sum(), (x * H.adjoint(y)).sum()
    assert H.adjoint(y).shape == x.shape
    assert abs(float(left / right) - 1) < (1e-5 if dtype == torch.float32 else 1e-12)


def test_blur_convolves_and_decimate_is_centred_as_a_resize():
    point = torch.zeros(1, 1, 7, 9)
    point[..., 3, 4] = 1
    torch.testing.assert_close(Blur(LOPSIDED)(point)[0, 0, 2:5, 2:7].double(), LOPSIDED)
    ramp = torch.arange(24.0).expand(1, 1, 24, 24)  # a resize keeps a ramp; so each sample says where it lies
    for scale in (2, 3, 4):
        middle = (..., slice(1, -1), slice(2, -2))
        torch.testing.assert_close(Decimate(scale)(ramp)[middle], ops.resize(ramp, zoom=1 / scale)[middle])


def test_degradations_refuse_in_one_line():
    for make in (lambda: Blur(torch.ones(2, 3)), lambda: Decimate(2)(torch.ones(1, 1, 3, 4))):
        with pytest.raises(ValueError, match=r"^\w+.*expected .*, got .*; .*$"):
            make()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "blur", [None, GAUSS, blur_kernel("gaussian:5"), LOPSIDED], ids=["none", "0.8", "5", "lopsided"]
)
def test_the_basis_makes_the_model_diagonal(scale, blur):
    model = linear_inverse.spectrum((5, 4), scale, blur, torch.device("cpu"))
    H = forward_model(scale, blur, "mirror" if model.mirrored else "circular")
    x = torch.rand(1, 2, model.canvas[0] * scale, model.canvas[1] * scale, dtype=torch.float64)
    torch.testing.assert_close(model.synthesise(model.forward(model.analyse(x))), H(x))
    torch.testing.assert_close(model.synthesise(model.adjoint(model.analyse(H(x)))), H.adjoint(H(x)))


# --- against dense solutions ------------------------------------------------------------------------------------------

CASES = pytest.mark.parametrize(
    ("scale", "blur", "size"), [(1, GAUSS, 16), (2, None, 16), (2, GAUSS, 16), (3, GAUSS, 15)]
)


@CASES
def test_pinv_is_the_least_norm_solution(scale, blur, size):
    _, given = problem(scale, blur, size=size)
    H, _, y, mean = dense(given)
    expected = mean + torch.linalg.pinv(H) @ y
    x = run("pinv", given, strength=0.0, steps=5000).x
    torch.testing.assert_close(x.flatten(), expected, rtol=0, atol=1e-3)


@CASES
def test_tikhonov_solves_the_normal_equations(scale, blur, size):
    _, given = problem(scale, blur, size=size)
    H, D, y, mean = dense(given)
    expected = mean + torch.linalg.solve(H.T @ H + 0.02 * D.T @ D, H.T @ y)
    x = run("tikhonov", given, strength=0.02).x
    torch.testing.assert_close(x.flatten(), expected, rtol=0, atol=1e-6)


@CASES
def test_wiener_is_the_conditional_mean(scale, blur, size):
    """Of a Gaussian picture whose covariance is 1 / (-Laplacian + lowest), with white noise."""
    _, given = problem(scale, blur, size=size)
    H, D, y, mean = dense(given)
    lowest = (2 * math.sin(math.pi / 2 / size)) ** 2
    S = torch.linalg.inv(D.T @ D + lowest * torch.eye(size * size))
    S = S / S.trace() * size * size
    expected = mean + S @ H.T @ torch.linalg.solve(H @ S @ H.T + 0.01 * torch.eye(len(y)), y)
    x = run("wiener", given, strength=0.01, slope=2.0).x
    torch.testing.assert_close(x.flatten(), expected, rtol=0, atol=1e-6)


def tv_objective(given, x, strength):
    residual = forward_model(given.scale, given.blur)(x) - given.y
    steps = torch.zeros(2, *x.shape[1:], dtype=x.dtype)
    steps[0, :, :-1], steps[1, :, :, :-1] = x[0].diff(dim=1), x[0].diff(dim=2)
    return float(residual.square().sum() / 2 + strength * steps.square().sum((0, 1)).sqrt().sum())


@pytest.mark.parametrize(("scale", "blur", "channels"), [(1, GAUSS, 1), (2, None, 3), (3, GAUSS, 1)])
def test_tv_is_what_another_algorithm_finds_and_its_gap_is_a_bound(scale, blur, channels):
    """The other one is iteratively reweighted least squares on dense matrices, with the slopes smoothed by 1e-7."""
    size, strength = 15 if scale == 3 else 16, 3e-3
    _, given = problem(scale, blur, size=size, channels=channels)
    H, _, _, _ = dense(SolverInput(task="upscale", y=given.y[:, :1], scale=scale, blur=blur))
    down = matrix(lambda x: torch.nn.functional.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1)), size)
    right = matrix(lambda x: torch.nn.functional.pad(x.diff(dim=-1), (0, 1)), size)
    y = given.y[0].flatten(1).T
    x = torch.linalg.solve(H.T @ H + 0.01 * (down.T @ down + right.T @ right), H.T @ y)
    for _ in range(200):
        weight = 1 / ((down @ x).square().sum(1) + (right @ x).square().sum(1) + 1e-14).sqrt()[:, None]
        x = torch.linalg.solve(H.T @ H + strength * (down.T @ (weight * down) + right.T @ (weight * right)), H.T @ y)
    reference = x.T.view(1, channels, size, size)
    least = tv_objective(given, reference, strength)

    gaps = []

    def look(step):
        gap = float(step.remark.split("relative gap ")[1])
        objective = tv_objective(given, step.x, strength)
        assert (objective - least) / objective <= gap * 1.1 + 1e-6, "the gap is printed to two digits"
        gaps.append(gap)
        return True

    found = run("tv", given, look, strength=strength, tolerance=1e-4).x
    assert gaps[-1] <= 1e-4 < gaps[0]
    assert tv_objective(given, found, strength) <= least * (1 + 1.1e-4)
    torch.testing.assert_close(found, reference, rtol=0, atol={1: 1e-3, 2: 4e-3, 3: 2e-2}[scale])  # the optimum is flat


def test_tv_stops_when_told_with_the_best_so_far():
    _, given = problem(3, GAUSS, size=15)
    seen = []

    def report(step):
        seen.append(step.x.clone())
        return len(seen) < 3

    solution = run("tv", given, report, strength=3e-3, tolerance=1e-9)
    assert len(seen) == 3
    objectives = [tv_objective(given, x, 3e-3) for x in seen]
    assert objectives == sorted(objectives, reverse=True)
    assert torch.equal(solution.x, seen[-1])
    assert "stopped when told to" in solution.notes[-1]


# --- the strength -----------------------------------------------------------------------------------------------------


def test_cross_validation_is_that_of_the_dense_matrix():
    _, given = problem(1, GAUSS, told=False, noise=0.05)
    H, D, y, _ = dense(given)
    grid = torch.logspace(-6, 2, 81).tolist()
    costs = []
    for strength in grid:
        A = H @ torch.linalg.solve(H.T @ H + strength * D.T @ D, H.T)
        costs.append(float(len(y) * (y - A @ y).square().sum() / (len(y) - A.trace()) ** 2))
    expected = grid[costs.index(min(costs))]
    assert "cross-validation" in run("tikhonov", given).notes[0]
    model = linear_inverse.spectrum((16, 16), 1, GAUSS, torch.device("cpu"))
    found = linear_inverse.fit(model, model.analyse(given.y - given.y.mean()), None).strength
    assert abs(math.log(found / expected)) < 0.3  # a step of the grid is 0.23


@pytest.mark.parametrize(("scale", "blur", "size"), [(1, GAUSS, 48), (3, GAUSS, 96)])
def test_the_residual_is_what_the_noise_leaves(scale, blur, size):
    """|H x - y|^2 = sigma^2 (n - trace A); of Tikhonov to the digit, and TV and CG come to the same residual."""
    sigma = 0.02
    _, given = problem(scale, blur, sigma=sigma, size=size)
    n = given.y.numel()
    model = linear_inverse.spectrum(tuple(given.y.shape[-2:]), scale, blur, torch.device("cpu"))
    fit = linear_inverse.fit(model, model.analyse(given.y - given.y.mean()), sigma)
    gain = model.gram(linear_inverse.inverse_laplacian(model))
    freedom = float((fit.strength / (gain + fit.strength)).sum())
    assert 0.1 * n < freedom < n
    assert fit.residual == pytest.approx(sigma**2 * freedom, rel=1e-3)
    for name in ("tikhonov", "tv", "pinv"):
        residual = forward_model(scale, blur)(run(name, given).x) - given.y
        share = float(residual.square().sum()) / fit.residual
        assert (0.1 if name == "pinv" else 0.97) < share < 1.03, name  # CG takes whole steps


def test_the_noise_is_estimated():
    _, given = problem(1, GAUSS, sigma=0.03, told=False, size=64)
    model = linear_inverse.spectrum((64, 64), 1, GAUSS, torch.device("cpu"))
    why = linear_inverse.fit(model, model.analyse(given.y - given.y.mean()), None).why
    assert float(why.rsplit(" ", 1)[1]) == pytest.approx(0.03 * 255, rel=0.1)


@every_method
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_every_method_beats_bicubic(name, told, scale):
    blur = blur_kernel("gaussian:1.6")
    x, given = problem(scale, blur, sigma=2 / 255, told=told, size=96, channels=3)
    error = (run(name, given).x - x).square().mean()
    assert error < 0.9 * (ops.resize(given.y, (96, 96)) - x).square().mean()


# --- through the one path ---------------------------------------------------------------------------------------------


def card(name):
    return METHODS[name].CARD


@every_method
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 7)])
@pytest.mark.parametrize("blur", ["gaussian:2", None])
def test_small_pictures_of_every_depth(name, size, blur):
    generator = np.random.default_rng(0)
    for dtype, channels in ((np.uint8, 3), (np.uint16, 1)):
        top = np.iinfo(dtype).max
        pixels = generator.integers(0, top, (*size, channels), endpoint=True).astype(dtype)
        given = Picture(pixels=pixels, alpha=pixels[..., 0])
        made = inference.apply(card(name), given, InferenceRequest(inputs={"scale": 2, "blur": blur}, device="cpu"))
        assert made.pixels.shape == (2 * size[0], 2 * size[1], channels)
        assert made.pixels.dtype == dtype
        assert made.alpha is not None


@every_method
@pytest.mark.parametrize("scale", [1, 2.5, 3])
def test_a_flat_picture_stays_flat_also_under_a_lopsided_blur(name, scale, tmp_path):
    (tmp_path / "kernel.txt").write_text("0 1 2\n0 3 0\n1 0 0\n")
    flat = Picture(pixels=np.full((9, 11, 3), 0.6, np.float32))
    for blur in ("gaussian:1.5", tmp_path / "kernel.txt"):
        made = inference.apply(
            card(name), flat, InferenceRequest(inputs={"scale": scale, "blur": blur, "sigma": 3}, device="cpu")
        )
        np.testing.assert_allclose(made.pixels, 0.6, rtol=0, atol=1e-6)


@every_method
def test_a_motion_blur_of_a_cropped_scene_does_not_ring(name):
    """What lies beyond the border is unknown, and its mirror contradicts a motion blur."""
    kernel = torch.eye(7, dtype=torch.float64) / 7
    generator = torch.Generator().manual_seed(0)
    scene = ops.gaussian_blur(torch.rand(1, 1, 96, 96, generator=generator), 1.5) * 4 - 1.5
    y = add_noise(Blur(kernel)(scene), 1, generator)[..., 16:80, 16:80].contiguous()
    x = run(name, SolverInput(task="upscale", y=y, sigma=1 / 255, blur=kernel)).x
    before, after = ((z - scene[..., 16:80, 16:80]).square() for z in (y, x))
    assert after.mean() < 0.5 * before.mean()
    frame = torch.ones(64, 64, dtype=torch.bool)
    frame[4:-4, 4:-4] = False
    assert after[..., frame].mean() < before[..., frame].mean()


@every_method
def test_size_and_notes_and_refusals(name):
    pixels = np.random.default_rng(0).random((12, 10, 3), dtype=np.float32)
    made = inference.apply(
        card(name), Picture(pixels=pixels), InferenceRequest(inputs={"size": "25x", "sigma": 5}, device="cpu")
    )
    assert made.pixels.shape == (30, 25, 3)
    assert any("strength" in note or "residual" in note for note in made.warnings)
    for settings, match in (
        ({"sigma": -1.0}, "sigma of at least 0"),
        ({"blur": "gaussian:0"}, "expected a blur"),
        ({"options": {"strength": "much"}}, "expects float"),
        ({"options": {"strength": -1}}, "goes from"),
    ):
        with pytest.raises(CardError, match=match) as caught:
            inference.prepare(card(name), request(**settings))
        assert "\n" not in str(caught.value)
