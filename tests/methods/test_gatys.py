"""Neural style transfer: its losses, the descent, where styles act, how it starts and stops, and what it refuses."""

import itertools
import math

import numpy as np
import pytest
import torch

import safelight
from safelight import inference, losses
from safelight.catalog import find
from safelight.checkpoints import backbones
from safelight.core.options import CardError
from safelight.core.solver_input import SolverInput, Style
from safelight.features import BackboneError
from safelight.inference.runner import InferenceRequest
from safelight.media.image import Picture
from safelight.methods.stylize import gatys
from safelight.solvers import image_descent

LENS = backbones.load("lens", random=0)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


def content(height=48, width=64):
    """A ramp and a disc, in colour."""
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.08).float()
    return torch.stack([0.2 + 0.5 * u, 0.3 + 0.4 * disc, 0.6 - 0.3 * v])[None]


def stripes(height=64, width=64, period=8, color=(0.9, 0.5, 0.1)):
    """Diagonal stripes of one colour and black."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    on = ((u + v) % period < period / 2).float()
    return on * torch.tensor(color).view(1, 3, 1, 1)


def run(y=None, *styles, report=lambda step: True, seed=0, backbone=LENS, **options):
    options = {"iterations": 8, **options}
    styles = styles or (Style(x=stripes()),)
    problem = SolverInput(
        task="stylize", y=content() if y is None else y, styles=styles, backbone=backbone, seed=seed
    )  # fmt: skip
    return gatys.run(problem, gatys.Options(**options), report).x


def style_loss(x, style=None):
    """The mean over layers of the relative loss, as in the method's equation, computed here anew."""
    style = stripes() if style is None else style
    network = image_descent.with_replicate_padding(LENS)
    mine, wanted = network(x, LAYERS), network(style, LAYERS)
    total = 0.0
    for layer in LAYERS:
        f, s = (maps[layer][0].flatten(1).double() for maps in (mine, wanted))
        g, a = f @ f.T / f.numel(), s @ s.T / s.numel()
        total += ((g - a).square().sum() / a.square().sum()).item() / len(LAYERS)
    return total


# --- the losses -------------------------------------------------------------------------------------------------------


def test_gradient_of_the_gram_loss_is_the_papers():
    """Equation 6: dE/dF = (F' (G - A))' / (N^2 M^2), of E = sum (G - A)^2 / (4 N^2 M^2), undivided G."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 4, 5, 6, generator=generator, dtype=torch.float64).requires_grad_()
    other = torch.rand(1, 4, 7, 3, generator=generator, dtype=torch.float64)
    target = losses.gram(other)
    (losses.gram_loss(losses.gram(maps), target) / 4).backward()
    n, m, flat = 4, 30, maps.detach()[0].flatten(1)
    papers = flat @ flat.T - target[0] * (n * m)
    torch.testing.assert_close(maps.grad[0].flatten(1), papers @ flat / (n * m) ** 2)
    assert torch.autograd.gradcheck(
        lambda f: losses.gram_loss(losses.gram(f), target, relative=True), (maps,), fast_mode=True
    )


def test_gram_forgets_where_and_a_mask_says_where():
    maps = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    shuffled = maps.flatten(2)[..., torch.randperm(24, generator=torch.Generator().manual_seed(2))].view_as(maps)
    torch.testing.assert_close(losses.gram(maps), losses.gram(shuffled))
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., :3] = 0.7
    torch.testing.assert_close(losses.gram(maps, mask), losses.gram(maps[..., :3]))
    assert not losses.gram(maps, torch.zeros(1, 1, 4, 6)).any()


def test_statistics_are_adains():
    maps = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    mean, deviation = losses.statistics(maps)
    torch.testing.assert_close(mean[..., 0, 0], maps.mean(dim=(2, 3)))
    torch.testing.assert_close(deviation[..., 0, 0], (maps.var(dim=(2, 3), correction=1) + 1e-5).sqrt())
    assert torch.isfinite(losses.statistics(maps[..., :1, :1])[1]).all()
    assert losses.statistics_loss(maps, maps.flip(-1)).item() == pytest.approx(0, abs=1e-12)


def test_total_variation_by_hand():
    x = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 2.0]]).view(1, 1, 2, 3)
    squares = [1.0 + 0.0, 0.0 + 1.0, 1.0, 0.0, 4.0, 0.0]  # right^2 + below^2 of each pixel
    assert losses.total_variation(x).item() == pytest.approx(sum(squares) / 6)
    assert losses.total_variation(x, beta=1).item() == pytest.approx(sum(map(math.sqrt, squares)) / 6)
    flat = torch.zeros(1, 1, 3, 3, requires_grad=True)
    losses.total_variation(flat, beta=1).backward()
    assert not flat.grad.any()


# --- the descent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_descent_finds_the_least_and_stays_in_range(optimizer):
    target = torch.tensor([0.2, 0.9, 1.7]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    found = image_descent.descend(
        torch.full((1, 3, 4, 4), 0.5), lambda x: (x - target).square().mean(), lambda *_: True,
        optimizer=optimizer, iterations=200,
    )  # fmt: skip
    torch.testing.assert_close(found.x, target.clamp(0, 1), atol=0.02, rtol=0)
    assert found.loss == pytest.approx(0.7**2 / 3, abs=1e-3)


def test_the_descent_looks_once_an_iteration():
    """The line search needs about one gradient an iteration: no point is computed twice."""
    calls = []

    def loss(x):
        calls.append(x)
        return (x - 0.25).abs().pow(1.5).mean()

    looks = []
    image_descent.descend(
        torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), loss,
        lambda i, x, value: looks.append((i, value)) is None, optimizer="lbfgs", iterations=20,
    )  # fmt: skip
    assert [i for i, _ in looks] == list(range(1, len(looks) + 1))
    assert [value for _, value in looks] == sorted((value for _, value in looks), reverse=True)
    assert len(calls) <= 2 * len(looks) + 8
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(calls))


def test_levels_halve_to_the_limit():
    plan = image_descent.coarse_to_fine((1024, 1500), 512, 300)
    assert [level.size for level in plan] == [(256, 375), (512, 750), (1024, 1500)]
    assert [level.iterations for level in plan] == [300, 150, 75]
    assert image_descent.coarse_to_fine((1, 1), 512, 7) == (image_descent.PyramidLevel((1, 1), 7),)
    ways = [image_descent.Parametrization(plan, at).fraction(plan[at].iterations) for at in range(3)]
    assert ways[-1] == 1
    assert ways[0] == pytest.approx(300 / (300 + 4 * 150 + 16 * 75), rel=0.01)


# --- the method -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_style_comes_and_the_content_stays(optimizer):
    y = content(32, 40)
    found = run(y, iterations=30, optimizer=optimizer, tv_weight=0, style_weight=30)
    assert style_loss(found) < 0.3 * style_loss(y)
    kept = run(y, iterations=30, optimizer=optimizer, tv_weight=0, style_weight=30, content_weight=300)
    assert style_loss(found) < style_loss(kept)
    layer = ("relu3_2",)
    shown = [losses.content_loss(LENS(x, layer)["relu3_2"], LENS(y, layer)["relu3_2"]).item() for x in (found, kept)]
    assert shown[1] < shown[0]


def test_the_loss_is_the_equation():
    y, style = content(), stripes()
    options = gatys.Options(style_weight=3, content_weight=0.5, tv_weight=2)
    network = image_descent.with_replicate_padding(LENS)
    loss = gatys.Likeness(network, y, [Style(x=style)], dict.fromkeys(LAYERS, 1.0), {"relu3_2": 1.0}, options)
    x = stripes(48, 64, period=6)
    f, p = (network(z, ["relu3_2"])["relu3_2"].double() for z in (x, y))
    expected = 3 * style_loss(x) + 0.5 * ((f - p).square().sum() / p.square().sum()).item()
    expected += 2 * losses.total_variation(x).item()
    assert loss(x).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["vgg19", "squeezenet"])
def test_other_backbones_have_layers_of_their_own(name):
    backbone = backbones.load(name, random=0)
    least = image_descent.largest_receptive_field(backbone, backbones.features.facts(name).style)[0]
    losses_seen = []
    run(
        content(40, 32), Style(x=stripes(least, least)), backbone=backbone, iterations=3,
        report=lambda step: losses_seen.append(float(step.remark.rsplit(" ", 1)[1])) is None,
    )  # fmt: skip
    assert losses_seen == sorted(losses_seen, reverse=True)
    assert losses_seen[-1] < losses_seen[0]


def test_it_stops_with_the_best_so_far():
    steps = []

    def report(step):
        steps.append(step)
        return len(steps) < 3

    problem = SolverInput(task="stylize", y=content(), styles=(Style(x=stripes()),), backbone=LENS)
    solution = gatys.run(problem, gatys.Options(iterations=50), report)
    assert len(steps) == 3
    torch.testing.assert_close(solution.x, steps[-1].x)
    assert steps[0].fraction == pytest.approx(1 / 50)
    assert solution.notes[0].startswith("stopped as asked")


def test_large_pictures_go_from_coarse_to_fine():
    sizes, fractions = [], []

    def report(step):
        sizes.append(step.remark.split(" at ")[1].split(",")[0])
        fractions.append(step.fraction)
        assert step.x.shape == (1, 3, 70, 130)
        return True

    found = run(content(70, 130), iterations=4, coarse=66, report=report)
    assert found.shape == (1, 3, 70, 130)
    assert sizes == ["65x35"] * 4 + ["130x70"] * 2
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_it_starts_where_it_is_told_and_draws_by_the_seed():
    content_start, noise, same, other = (
        run(iterations=1, **kind)
        for kind in ({}, {"start": "noise"}, {"start": "noise"}, {"start": "noise", "seed": 1})
    )
    assert (content_start - content()).abs().mean() < 0.5 * (noise - content()).abs().mean()
    assert torch.equal(noise, same)
    assert not torch.equal(noise, other)


def test_it_begins_with_a_given_picture():
    y, given = content(32, 40), stripes(32, 40, period=12)
    for colors in ("style", "luminance"):
        problem = SolverInput(task="stylize", y=y, styles=(Style(x=stripes()),), backbone=LENS, begin=given)
        found = gatys.run(problem, gatys.Options(iterations=1, colors=colors), lambda step: True).x
        away = [gatys.luminance(found - x).abs().mean() for x in (given, y)]
        assert away[0] < 0.5 * away[1]
    style = Picture(pixels=np.zeros((64, 64, 3), np.float32))
    small = Picture(pixels=np.zeros((5, 4, 3), np.float32))
    settings = InferenceRequest(inputs={"style": (style,), "begin": small, "backbone": LENS})
    runner = inference.prepare(find("gatys"), settings)
    with pytest.raises(CardError, match=r"expected a picture to begin with of 8x6, .* got 4x5"):
        runner(Picture(pixels=np.zeros((6, 8, 3), np.float32)))


# --- several styles and masks -----------------------------------------------------------------------------------------


def test_weights_of_styles_say_which_prevails():
    one, two, y = stripes(color=(0.9, 0.1, 0.1)), stripes(color=(0.1, 0.1, 0.9)), content(24, 32)
    for weight in (0.95, 0.05):
        styles = Style(x=one, weight=weight), Style(x=two, weight=1 - weight)
        found = run(y, *styles, iterations=40, style_layers="relu1_1,relu2_1", content_weight=0)
        assert (style_loss(found, one) < style_loss(found, two)) == (weight > 0.5)
    alone = run(y, Style(x=one, weight=1.0), iterations=3)
    assert torch.equal(alone, run(y, Style(x=one, weight=1.0), Style(x=two, weight=0.0), iterations=3))


def test_a_mask_says_where_a_style_is():
    y = torch.full((1, 3, 32, 160), 0.5)
    left = torch.zeros(1, 1, 32, 160)
    left[..., :64] = 1
    found = run(y, Style(x=stripes(), mask=left), iterations=15, tv_weight=0, style_layers="relu1_1,relu2_1,relu3_1")
    change = (found - y).abs().mean(dim=(0, 1, 2))
    # What relu3_1 sees, the squares of its maps that the mask's border cuts, and the coarsest corrections.
    receptive_radius = LENS.receptive_field("relu3_1").field // 2 + 4 + 2 * 2 ** (image_descent.LEVELS - 1)
    assert change[64 + receptive_radius :].max() < 0.1 * change[:64].mean()  # the content holds on, from place to place
    assert change[:64].mean() > 0.03


def test_each_style_has_its_place():
    y = torch.full((1, 3, 32, 96), 0.5)
    left = torch.zeros(1, 1, 32, 96)
    left[..., :48] = 1
    red, blue = stripes(color=(0.9, 0.1, 0.1)), stripes(color=(0.1, 0.1, 0.9))
    found = run(
        y, Style(x=red, weight=0.5, mask=left), Style(x=blue, weight=0.5, mask=1 - left),
        iterations=40, tv_weight=0, content_weight=0, style_layers="relu1_1,relu2_1",
    )  # fmt: skip
    more_red = (found[0, 0] - found[0, 2]).mean(dim=0)
    assert more_red[:40].mean() > more_red[56:].mean() + 0.1


def test_masks_share_each_pixel_as_the_weights_say():
    full, half = torch.ones(1, 1, 2, 2), torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None, None]
    x = stripes()
    shared = gatys.settle([Style(x=x, weight=0.75, mask=full), Style(x=x, weight=0.25, mask=half)])
    torch.testing.assert_close(shared[0].mask, torch.tensor([[0.75, 0.75], [1.0, 1.0]])[None, None])
    torch.testing.assert_close(shared[1].mask, torch.tensor([[0.25, 0.25], [0.0, 0.0]])[None, None])
    (alone,) = gatys.settle([Style(x=x, weight=1.0, mask=0.5 * half)])
    torch.testing.assert_close(alone.mask, 0.5 * half)


# --- colours ----------------------------------------------------------------------------------------------------------


def test_luminance_keeps_the_contents_colours():
    y = 0.35 + 0.3 * content(32, 40)  # far enough from the borders of [0, 1]
    found = run(y, iterations=10, colors="luminance", style_weight=2)
    change = found - y
    inside = ((found > 0) & (found < 1)).all(dim=1, keepdim=True).expand_as(change)
    assert inside.float().mean() > 0.5
    spread = (change.amax(dim=1) - change.amin(dim=1))[inside[:, 0]]
    assert spread.max() < 1e-5
    assert change.abs().mean() > 0.003


def test_the_contents_colours_can_be_given_to_the_style():
    y = content(32, 40)
    kinds = ("style", "content")
    found = [run(y, iterations=25, colors=kind, style_layers="relu1_1,relu2_1") for kind in kinds]
    apart = [(x.mean(dim=(2, 3)) - y.mean(dim=(2, 3))).abs().max() for x in found]
    assert apart[1] < 0.5 * apart[0]


# --- sizes and bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (17, 9)])
@pytest.mark.parametrize("options", [{}, {"start": "noise"}, {"colors": "luminance"}, {"colors": "content"}], ids=str)
def test_any_size(height, width, options):
    found = run(content(height, width), iterations=2, **options)
    assert found.shape == (1, 3, height, width)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_flat_pictures_are_no_trouble():
    flat = torch.zeros(1, 3, 60, 60)
    for options in ({}, {"colors": "content"}, {"colors": "luminance"}):
        assert torch.isfinite(run(flat, Style(x=flat + 1), iterations=3, **options)).all()
        assert torch.isfinite(run(flat, Style(x=flat), iterations=3, **options)).all()


def test_layers_by_name_and_weight():
    read = image_descent.weighted_layers(" relu1_1:0.5, relu3_1 ", (), LENS)
    assert read == {"relu1_1": 0.5, "relu3_1": 1.0}
    assert image_descent.weighted_layers("relu1_1:0,relu3_1", (), LENS) == {"relu3_1": 1.0}
    assert image_descent.weighted_layers(None, LAYERS, LENS) == dict.fromkeys(LAYERS, 1.0)
    for text, said in {
        "relu9_1": "did you mean", "": "has no layer", "relu1_1:x": "expected layers once each",
        "relu1_1:-1": "at least 0", "relu1_1,relu1_1": "once each", "relu1_1:0": "weight above 0",
    }.items():  # fmt: skip
        with pytest.raises(BackboneError, match=said) as error:
            image_descent.weighted_layers(text, (), LENS)
        assert "\n" not in str(error.value)


def test_unknown_layers_and_small_styles_are_told_in_a_line():
    with pytest.raises(BackboneError, match=r"no layer 'relu3_9'; did you mean .*relu3_1"):
        run(style_layers="relu1_1,relu3_9")
    with pytest.raises(CardError, match=r"expected a style of at least 60x60, which relu4_1 of lens sees .* 80x59"):
        run(None, Style(x=stripes(59, 80)))
    assert run(None, Style(x=stripes(24, 24)), style_layers="relu1_1,relu3_1", iterations=1).shape == (1, 3, 48, 64)
    mask = torch.zeros(1, 1, 48, 64)
    with pytest.raises(CardError, match="place that is not black"):
        run(None, Style(x=stripes(), mask=mask))


def test_from_the_python_face_on_gray():
    gray = (255 * content()[0, 0].numpy()).astype(np.uint8)
    style = stripes()[0].permute(1, 2, 0).numpy()
    result = safelight.stylize(gray, style, method="gatys", backbone=LENS, iterations=2, style_layers="relu1_1,relu2_1")
    assert result.shape == (48, 64, 3)
    assert result.dtype == np.uint8
    with pytest.raises(CardError, match="no option 'iteration'"):
        safelight.stylize(gray, style, method="gatys", backbone=LENS, iteration=2)
    picture = Picture(pixels=style)
    card = find("stylize/gatys")
    settings = InferenceRequest(inputs={"style": (picture,), "backbone": LENS}, options={"iterations": 2})
    noted = inference.apply(card, Picture(pixels=gray[..., None]), settings)
    assert any("after 2 iterations" in note for note in noted.warnings)
