"""Texture synthesis: the statistics of the example and not its places, any size, and no seams where none are wanted."""

import pytest
import torch

import safelight
from safelight import losses
from safelight.checkpoints import backbones
from safelight.core.solver_input import SolverInput
from safelight.features import BackboneError
from safelight.media.image import Picture
from safelight.methods.stylize import texture
from safelight.solvers import image_descent

LENS = backbones.load("lens", random=0)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


def bricks(height=64, width=64):
    """Rows of bright bricks with dark gaps, each second row shifted."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    gap = (v % 8 < 2) | ((u + 8 * (v // 8 % 2)) % 16 < 2)
    return torch.where(gap, 0.2, 1.0) * torch.tensor([0.8, 0.4, 0.3]).view(1, 3, 1, 1)


def run(y=None, *, size=None, seed=0, report=lambda step: True, backbone=LENS, **options):
    options = {"iterations": 8, **options}
    problem = SolverInput(
        task="stylize", y=bricks() if y is None else y, size=size, backbone=backbone, seed=seed
    )  # fmt: skip
    return texture.run(problem, texture.Options(**options), report)


def far(x, y):
    """The mean over layers of the relative difference of Gram matrices."""
    network = image_descent.with_replicate_padding(LENS)
    mine, wanted = network(x, LAYERS), network(y, LAYERS)
    grams = [(losses.gram(mine[layer]), losses.gram(wanted[layer])) for layer in LAYERS]
    return sum(((g - a).square().sum() / a.square().sum()).item() for g, a in grams) / len(LAYERS)


def test_it_gets_the_examples_statistics_from_noise():
    y = bricks()
    start = texture.noise(y, (40, 40), 0)
    found = run(size=(40, 40), iterations=30).x
    assert far(found, y) < 0.3 * far(start, y)
    assert (found - y[..., :40, :40]).abs().mean() > 0.1  # but it is another picture


def test_the_loss_is_the_equation():
    y, x = bricks(), bricks(40, 56).flip(-1) ** 2
    loss = texture.Resemblance(LENS, y, {"relu1_1": 1.0, "relu3_1": 3.0}, texture.Options(tv_weight=2.0))
    parts = []
    for layer in ("relu1_1", "relu3_1"):
        f, s = (LENS(z, [layer])[layer][0].flatten(1).double() for z in (x, y))
        g, a = f @ f.T / f.numel(), s @ s.T / s.numel()
        parts.append(((g - a).square().sum() / a.square().sum()).item())
    expected = 0.25 * parts[0] + 0.75 * parts[1] + 2 * losses.total_variation(x).item()
    assert loss(x).item() == pytest.approx(expected, rel=1e-4)


def test_noise_has_the_examples_colours():
    y = 0.3 + 0.4 * bricks()
    drawn = texture.noise(y, (90, 110), 3)
    assert drawn.shape == (1, 3, 90, 110)
    torch.testing.assert_close(drawn.mean(dim=(2, 3)), y.mean(dim=(2, 3)), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(dim=(2, 3)), y.std(dim=(2, 3)), atol=0.03, rtol=0)
    assert torch.equal(drawn, texture.noise(y, (90, 110), 3))
    assert not torch.equal(drawn, texture.noise(y, (90, 110), 4))


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (130, 20), (1, 1), (3, 70)])
@pytest.mark.parametrize("tileable", ["no", "yes"])
def test_any_size_of_the_result(size, tileable):
    seen = []
    found = run(size=size, iterations=2, coarse=64, tileable=tileable, report=lambda step: seen.append(step) is None).x
    assert found.shape == (1, 3, *size)
    assert torch.isfinite(found).all()
    assert all(step.x.shape == (1, 3, *size) for step in seen)
    assert [step.fraction for step in seen] == sorted(step.fraction for step in seen)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (17, 9)])
def test_small_examples_are_repeated_at_the_border(height, width):
    solution = run(bricks(height, width), iterations=2)
    assert solution.x.shape == (1, 3, height, width)
    assert solution.notes[0].startswith("the example is smaller than the 60 pixels that relu4_1 sees")
    assert len(run(bricks(60, 60), iterations=1).notes) == 1


def seam(x):
    """How much larger the steps across the wrap are than the steps inside, on the mean over both directions."""
    parts = []
    for dim in (2, 3):
        steps = (x.roll(-1, dim) - x).abs().mean(dim=(0, 1, 5 - dim))
        parts.append((steps[-1] / steps[:-1].mean()).item())
    return max(parts)


def test_a_tileable_texture_has_no_seams():
    """Soft stripes at a slant: steps of one pixel are small but at a border that does not fit."""
    v, u = torch.meshgrid(torch.arange(72.0), torch.arange(72.0), indexing="ij")
    soft = (0.5 + 0.4 * torch.sin((u + 0.6 * v) / 3)) * torch.tensor([0.9, 0.7, 0.4]).view(1, 3, 1, 1)
    seams = {
        tileable: seam(run(soft, size=(48, 56), iterations=60, tileable=tileable, tv_weight=0.3).x)
        for tileable in ("yes", "no")
    }
    assert seams["yes"] < 1.35
    assert seams["no"] > 1.2 * seams["yes"]


def test_a_descent_knows_no_border_of_a_tileable_picture():
    """Corrections of all sizes go on at the other end; without that, a texture of lines got one along its border."""
    x = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    large = image_descent.upsample_bilinear(x, (24, 36), round_about=True)
    moved = image_descent.upsample_bilinear(x.roll((2, 5), (2, 3)), (24, 36), round_about=True)
    torch.testing.assert_close(moved, large.roll((8, 20), (2, 3)))
    usual = image_descent.upsample_bilinear(x, (24, 36), round_about=False)
    torch.testing.assert_close(large[..., 2:-2, 2:-2], usual[..., 2:-2, 2:-2])
    assert (large - usual).abs().max() > 0.1
    start = torch.zeros(1, 3, 32, 48)
    pyramids = [image_descent.Pyramid(start, round_about=round_about) for round_about in (True, False)]
    vector = torch.rand(len(pyramids[0].zeros()), generator=torch.Generator().manual_seed(1))
    vector[: start.numel()] = 0  # coarse corrections alone
    fits, does_not = (seam(pyramid(vector)) for pyramid in pyramids)
    assert fits < 0.5 * does_not


def test_what_the_network_sees_of_a_tileable_picture_moves_with_it():
    """Rolled by the deepest stride, the maps are the same ones rolled: there is no border left."""
    x = bricks(48, 56)
    x = (x + 0.2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    loss = texture.Resemblance(LENS, bricks(), dict.fromkeys(LAYERS, 1.0), texture.Options(tileable="yes"))
    here, moved = loss.see(x), loss.see(x.roll((8, 24), (2, 3)))
    for layer in LAYERS:
        stride = LENS.receptive_field(layer).stride
        assert here[layer].shape[-2:] == (48 // stride, 56 // stride)
        expected = here[layer].roll((8 // stride, 24 // stride), (2, 3))
        torch.testing.assert_close(moved[layer], expected, atol=1e-4, rtol=1e-4)


def test_enlarging_on_the_way_keeps_tileable_what_is():
    v, u = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    wave = (0.5 + 0.4 * torch.sin(2 * torch.pi * (u + v) / 24))[None, None]
    large = texture.enlarged(wave, (48, 48), round_about=True)
    v, u = torch.meshgrid((torch.arange(48.0) - 0.5) / 2, (torch.arange(48.0) - 0.5) / 2, indexing="ij")
    expected = (0.5 + 0.4 * torch.sin(2 * torch.pi * (u + v) / 24))[None, None]
    torch.testing.assert_close(large, expected, atol=0.01, rtol=0)
    assert (texture.enlarged(wave, (48, 48), round_about=False) - expected).abs().max() > 0.01


def test_it_stops_with_the_best_so_far_at_any_level():
    steps = []

    def report(step):
        steps.append(step)
        return len(steps) < 3

    solution = run(size=(100, 80), iterations=50, coarse=64, report=report)
    assert len(steps) == 3
    assert solution.x.shape == (1, 3, 100, 80)
    assert solution.notes[-1].startswith("stopped as asked")
    reached = [float(step.remark.rsplit(" ", 1)[1]) for step in steps]
    assert reached == sorted(reached, reverse=True)
    assert f"loss {reached[-1]:.3g} by" in solution.notes[-1]


def test_another_backbone_and_other_layers():
    backbone = backbones.load("squeezenet", random=0)
    assert run(backbone=backbone, iterations=2).x.shape == (1, 3, 64, 64)
    assert run(backbone=backbone, iterations=2, tileable="yes").x.shape == (1, 3, 64, 64)
    assert run(layers="relu1_1:0.5,pool1", iterations=2).x.shape == (1, 3, 64, 64)
    with pytest.raises(BackboneError, match=r"no layer 'pool9'; did you mean .*pool"):
        run(layers="pool9")


def test_levels_begin_at_the_coarsest():
    plan = image_descent.coarse_to_fine((512, 300), 256, 100)
    assert [level.size for level in plan] == [(256, 150), (512, 300)]


def test_from_the_python_face_at_another_size():
    picture = Picture(pixels=(255 * bricks()[0].permute(1, 2, 0)).byte().numpy())
    found = safelight.stylize(picture, size=(40, 30), method="texture", backbone=LENS, iterations=2)
    assert found.pixels.shape == (30, 40, 3)
    assert any("after 2 iterations" in note for note in found.warnings)
