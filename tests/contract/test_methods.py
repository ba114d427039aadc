"""What every method promises, proved for every card: a new method gets these tests by its line in the catalog."""

import dataclasses
import importlib
import inspect
import itertools
import math
import re

import numpy as np
import pytest
import torch

from safelight import degrade, inference, ops, tasks
from safelight.catalog import CARDS, INSPECTORS, find
from safelight.checkpoints import backbones, weights_file, weights_manifest
from safelight.core.card import ClosedForm, Interpolation, Optimised, Trained, channels_of
from safelight.core.options import CardError, make_options, option_facts
from safelight.core.solver_input import Style
from safelight.core.training import PairBatch, Perceptual, PictureBatch, UnpairedBatch
from safelight.engine.cost import measure
from safelight.engine.samples import to_tensor
from safelight.engine.tiles import OutOfMemoryError, Region, Renderer
from safelight.inference import executors
from safelight.inference import model as models
from safelight.media.image import Picture
from safelight.nn.blocks import Normalisation, fixed_noise, pad_reflect, reflected_indices
from support.pictures import lines_and_ring
from support.runners import random_network as network
from support.runners import random_runner as runner
from support.runners import request, stopping_after

TRAINED = [card for card in CARDS if isinstance(card.method, Trained)]
SHIPPING = [
    card for card in TRAINED if weights_manifest.shipped_weights(card.id)
]  # the others wait in docs/internals/training-queue.md
LOCAL = [card for card in CARDS if isinstance(card.method, (Interpolation, Trained))]
ENLARGERS = [card for card in LOCAL if "upscale" in card.tasks]
KEEPERS = [
    pytest.param(card, task, id=f"{card.name}-{task}") for card in LOCAL for task in card.tasks if task != "upscale"
]
RESTORERS = [value for value in KEEPERS if value.values[1] != "stylize"]
STYLERS = [value for value in KEEPERS if value.values[1] == "stylize"]
WHOLE = [
    pytest.param(card, task, id=f"{card.id}-{task}")
    for card in CARDS
    if isinstance(card.method, (ClosedForm, Optimised))
    for task in card.tasks
]
# What is computed from the picture alone. dip begins at random, and has to come there first.
SETTLED = [
    value for value in WHOLE if isinstance(value.values[0].method, ClosedForm) or value.values[0].task == "upscale"
]
ITERATIVE = [value for value in WHOLE if isinstance(value.values[0].method, Optimised)]
NETWORKS = [
    pytest.param(card, scale, id=f"{card.name}-x{scale}") for card in TRAINED for scale in card.method.network.scales
]


PLAIN = [value for value in NETWORKS if value.values[0].method.network.complete is None]
PARTIAL = [card for card in TRAINED if card.method.network.complete is not None]

STYLE = Picture(pixels=np.random.default_rng(7).random((70, 60, 3), dtype=np.float32))


def every_card(cards):
    return pytest.mark.parametrize("card", cards, ids=lambda card: card.id)


def channels(card):
    return 1 if channels_of(card.method.network, card.options()) == "y" else 3


def picture(height, width, channels=3, dtype=np.float32, seed=0):
    pixels = np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)
    return Picture(pixels=pixels if dtype == np.float32 else (pixels * np.iinfo(dtype).max).astype(dtype))


# --- the card -----------------------------------------------------------------------------------------------------


@every_card(CARDS)
def test_card_reads_as_its_file(card):
    assert card.module == f"safelight.methods.{card.id.replace('/', '.')}"
    assert find(card.id) is card
    assert find(card.name, card.task) is card
    assert card.title
    assert card.summary.endswith(".")
    assert "\n" not in card.summary
    assert len(card.summary) < 120


@every_card(CARDS)
def test_file_says_how_it_differs(card):
    text = __import__(card.module, fromlist=["CARD"]).__doc__
    assert "Differs from" in text
    assert all(task in tasks.names() for task in card.tasks)
    assert len(set(card.tasks)) == len(card.tasks)


@pytest.mark.parametrize("record", [*CARDS, *INSPECTORS], ids=lambda record: record.id)
def test_the_citation_stands_once_in_the_file(record):
    """The docstring names the authors and the year, and says which record has the rest."""
    module = importlib.import_module(record.module)
    source = "".join(inspect.getsource(module).split())
    docstring = " ".join(module.__doc__.split())
    if record.paper is None:
        return
    quoted = f'"{record.paper.title}"'
    assert quoted not in docstring
    assert record.paper.link not in docstring
    assert source.replace('""', "").count("".join(quoted.split())) == 1
    surname = record.paper.authors.split(", ")[0].split()[-1]
    year = re.search(r"\d{4}", record.paper.venue).group()
    assert re.search(rf"{surname}[\w .,-]* {year}", docstring)
    assert re.search(r"``(CARD|INSPECTOR)\.paper``", docstring)


@every_card(CARDS)
def test_options_have_bounds_and_help_and_reject_what_they_do_not_know(card):
    assert make_options(card, {}) == card.options()
    for fact in option_facts(card.options):
        assert fact.help
        default = "auto" if fact.default is None else fact.default
        assert make_options(card, {fact.name: default}) == card.options()
        assert make_options(card, {fact.name: str(default)}) == card.options()
        if fact.high is not None:
            with pytest.raises(CardError, match=fact.name):
                make_options(card, {fact.name: fact.high + 1})
        if fact.choices:
            with pytest.raises(CardError, match="is one of"):
                make_options(card, {fact.name: "no such choice"})
    with pytest.raises(CardError, match="has no option 'flavour'"):
        make_options(card, {"flavour": 1})


def test_names_are_unique():
    assert len({card.id for card in CARDS}) == len(CARDS)


# --- every method that enlarges piece by piece ------------------------------------------------------------------------


@every_card(ENLARGERS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (17, 9)])
def test_any_size_down_to_one_pixel(card, height, width):
    result = runner(card, scale=3)(picture(height, width))
    assert result.pixels.shape == (3 * height, 3 * width, 3)
    assert np.isfinite(result.pixels).all()


@every_card(ENLARGERS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_equal_the_whole(card, scale):
    made = runner(card, scale=scale)
    torch.testing.assert_close(in_tiles(made, scale, 53), in_tiles(made, scale, 10_000), rtol=0, atol=1e-5)


@every_card(ENLARGERS)
def test_tiles_of_an_ensemble_equal_the_whole(card):
    """At one scale and in four tiles of different shapes: the ensemble turns a tile with its surroundings, whatever the
    scale, and that these surroundings suffice is proved at every scale by the test above."""
    made = runner(card, scale=2, ensemble=True)
    torch.testing.assert_close(in_tiles(made, 2, 41, (29, 38)), in_tiles(made, 2, 10_000, (29, 38)), rtol=0, atol=1e-5)


def in_tiles(made, scale, tile, size=(47, 61)):
    """Render a drawn picture of (height, width) pixels in square tiles."""
    height, width = size
    source = picture(height, width)
    stages, _ = made.stages(width, height, 3)
    out = torch.full((1, 3, height * scale, width * scale), float("nan"))

    def write(g, x):
        assert out[..., g.top : g.bottom, g.left : g.right].isnan().all(), "a pixel was computed twice"
        out[..., g.top : g.bottom, g.left : g.right] = x

    def read(g):
        return to_tensor(source.pixels[g.top : g.bottom, g.left : g.right])

    with torch.inference_mode():
        Renderer((tile, tile)).render(stages, Region(0, height * scale, 0, width * scale), read, write)
    return out


@every_card(ENLARGERS)
@pytest.mark.parametrize("settings", [{"scale": 2.5}, {"size": (50, 37)}, {"scale": 6}], ids=["x2.5", "50x37", "x6"])
def test_tiles_equal_the_whole_at_any_size(card, settings):
    made = runner(card, **settings)
    whole = made(picture(20, 27))
    small = runner(card, **settings)
    small._executor.stages = lambda *args: (made._executor.stages(*args)[0], (31, 29))
    np.testing.assert_allclose(small(picture(20, 27)).pixels, whole.pixels, rtol=0, atol=1e-5)


@every_card(ENLARGERS)
def test_a_flat_picture_keeps_its_size_and_8_bits_their_depth(card):
    for dtype in (np.uint8, np.uint16, np.float32):
        result = runner(card, scale=2)(picture(8, 9, dtype=dtype))
        assert result.pixels.dtype == dtype
    gray = runner(card, scale=2)(picture(8, 9, channels=1))
    assert gray.pixels.shape == (16, 18, 1)


@every_card(ENLARGERS)
def test_the_same_input_gives_the_same_bytes(card):
    assert np.array_equal(runner(card, scale=3)(picture(9, 11)).pixels, runner(card, scale=3)(picture(9, 11)).pixels)


@every_card([card for card in LOCAL if isinstance(card.method, Interpolation)])
@pytest.mark.parametrize("scale", [1, 2, 2.5, 3.7])
def test_a_formula_keeps_a_flat_picture(card, scale):
    flat = Picture(pixels=np.full((9, 11, 3), 0.6, np.float32))
    np.testing.assert_allclose(runner(card, scale=scale)(flat).pixels, 0.6, rtol=0, atol=1e-6)


# --- every method that keeps the size and works piece by piece --------------------------------------------------------


@pytest.mark.parametrize(("card", "task"), KEEPERS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (17, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_restorer_keeps_any_size_depth_and_colour(card, task, height, width, channels):
    for dtype in (np.uint8, np.uint16, np.float32):
        result = runner(card, task)(picture(height, width, channels, dtype))
        assert result.pixels.shape == (height, width, 3 if task == "stylize" else channels)
        assert result.pixels.dtype == dtype
        assert np.isfinite(result.pixels.astype(np.float64)).all()


@pytest.mark.parametrize(("card", "task"), RESTORERS)
def test_tiles_of_a_restorer_equal_the_whole(card, task):
    made = runner(card, task)
    torch.testing.assert_close(in_tiles(made, 1, 23), in_tiles(made, 1, 10_000), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("card", "task"), RESTORERS)
def test_tiles_of_a_restorers_ensemble_equal_the_whole(card, task):
    """In four tiles of different shapes; as for the enlargers."""
    made = runner(card, task, ensemble=True)
    torch.testing.assert_close(in_tiles(made, 1, 23, (29, 38)), in_tiles(made, 1, 10_000, (29, 38)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("card", "task"), STYLERS)
def test_tiles_of_a_styler_equal_the_whole(card, task):
    """Against the plain network on the whole picture, at several sizes of tile: its statistics are the picture's."""
    source = picture(47, 61)
    model = models.Model(card, card.options(), 1, network(card, 1), task=task)
    x = to_tensor(source.pixels)
    style = Style(x=to_tensor(STYLE.pixels))
    with torch.inference_mode():
        made = model.complete(x, (style,) if "style" in card.accepts else ())
        n, noisy = card.method.execution.padding, x + card.method.execution.input_noise * fixed_noise(0, 0, 47, 61)
        whole = made(pad_reflect(noisy, card.method.execution.size_multiple, n))[0, :, n : n + 47, n : n + 61]
    whole = whole.clamp(0, 1).permute(1, 2, 0).numpy()
    assert whole.std() > 0.02
    for memory in (1 << 18, 1 << 20, 1 << 30):
        tiled = inference.Runner(card, settings_of(card, task, memory=memory), {1: model})(source).pixels
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=5e-5)  # random weights give samples of up to 14


def settings_of(card, task, **changes):
    return request(task, **({"style": (STYLE,)} if "style" in card.accepts else {}), **changes)


@pytest.mark.parametrize(("card", "task"), STYLERS)
def test_a_styler_takes_no_ensemble(card, task):
    with pytest.raises(CardError, match="takes no ensemble"):
        runner(card, task, ensemble=True)


@pytest.mark.parametrize(("card", "task"), RESTORERS)
def test_strength_mixes_a_restorers_result_with_the_input(card, task):
    source = picture(12, 14)
    whole, half, none = (runner(card, task, strength=strength)(source).pixels for strength in (1, 0.5, 0))
    np.testing.assert_array_equal(none, source.pixels)
    kept = (whole > 0) & (whole < 1)  # what clipping did not touch
    np.testing.assert_allclose(half[kept], ((whole + source.pixels) / 2)[kept], atol=1e-6)


# --- every method that works on the whole picture ---------------------------------------------------------------------


def whole_runner(card, task, height, width, **settings):
    """Make a method ready for a picture of this size; an iteration stops after two reports."""
    if task == "inpaint":
        hole = np.zeros((height, width, 1), np.float32)
        if height * width > 1:  # something has to be left
            hole[height // 3 : height // 3 + 2, width // 3 : width // 3 + 2] = 1
        settings["mask"] = Picture(pixels=hole)
    if task == "upscale":
        settings.setdefault("scale", 2)
    made = runner(card, task, **settings)
    return made, stopping_after(made, 2)


@pytest.mark.parametrize(("card", "task"), WHOLE)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (17, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_picture_of_any_size_and_colour(card, task, height, width, channels):
    made, _ = whole_runner(card, task, height, width)
    result = made(picture(height, width, channels))
    zoom = 2 if task == "upscale" else 1
    assert result.pixels.shape == (zoom * height, zoom * width, 3 if task == "stylize" else channels)
    assert np.isfinite(result.pixels).all()


@pytest.mark.parametrize(("card", "task"), WHOLE)
def test_a_whole_picture_keeps_its_depth_and_its_alpha(card, task):
    for dtype in (np.uint8, np.uint16):
        alpha = picture(12, 10, 1, dtype, seed=1).pixels[..., 0]
        source = Picture(pixels=picture(12, 10, 3, dtype).pixels, alpha=alpha)
        result = whole_runner(card, task, 12, 10)[0](source)
        assert result.pixels.dtype == dtype
        assert result.alpha is not None
        assert result.alpha.shape[:2] == result.pixels.shape[:2]


@pytest.mark.parametrize(("card", "task"), WHOLE)
def test_a_whole_picture_is_the_same_at_each_run(card, task):
    first, second = (whole_runner(card, task, 12, 10)[0](picture(12, 10)).pixels for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("card", "task"), SETTLED)
def test_a_flat_whole_picture_stays_flat(card, task):
    made = runner(card, task, **({"scale": 2} if task == "upscale" else {}))
    result = made(Picture(pixels=np.full((16, 14, 3), 0.6, np.float32)))
    np.testing.assert_allclose(result.pixels, 0.6, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("card", "task"), WHOLE)
def test_too_large_a_whole_picture_is_refused_before_the_work(card, task, monkeypatch):
    made, seen = whole_runner(card, task, 30, 40)
    monkeypatch.setattr(executors, "available_memory", lambda: 30 * 40)
    with pytest.raises(OutOfMemoryError, match="whole picture at once"):
        made(picture(30, 40))
    assert not seen


@pytest.mark.parametrize(("card", "task"), ITERATIVE)
def test_an_iteration_shows_the_picture_and_stops_when_told(card, task):
    made, seen = whole_runner(card, task, 24, 20)
    result = made(picture(24, 20))
    zoom = 2 if task == "upscale" else 1
    assert 1 <= len(seen) <= 2
    assert all(step.x.shape == (1, 3, 24 * zoom, 20 * zoom) for step in seen)
    assert all(0 <= step.fraction <= 1 for step in seen)
    assert result.pixels.shape == (24 * zoom, 20 * zoom, 3)


@pytest.mark.parametrize(("card", "task"), WHOLE)
def test_a_whole_picture_takes_no_weights_and_no_ensemble(card, task, tmp_path):
    with pytest.raises(CardError, match="takes no ensemble"):
        runner(card, task, ensemble=True, **({"mask": picture(4, 4, 1)} if task == "inpaint" else {}))


@every_card(CARDS)
def test_what_a_method_does_not_take_is_refused(card):
    settings = {
        "sigma": 5.0, "blur": "gaussian:1", "frames": (picture(4, 4),), "mask": picture(4, 4, 1),
        "style": (STYLE,), "backbone": "lens", "begin": picture(4, 4),
    }  # fmt: skip
    for condition, value in settings.items():
        if condition not in card.accepts:
            with pytest.raises(CardError, match="takes no"):
                inference.prepare(card, request(**{condition: value}))
    for task in tasks.names():
        if task not in card.tasks:
            with pytest.raises(CardError, match=f"does not {task}"):
                inference.prepare(card, inference.InferenceRequest(device="cpu", task=task))


# --- every network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("card", "scale"), NETWORKS)
def test_every_parameter_learns(card, scale):
    net = network(card, scale).train()
    begin, side = card.method.training.algorithm, 16 if card.method.execution.global_statistics else 12
    style = torch.rand(2, 3, side, side)
    if isinstance(begin, Perceptual):
        name = "lens" if card.method.network.backbone is None else card.method.network.backbone(card.options())
        training = begin.begin(net, card.method.training.recipe, backbones.load(name, random=0), style.split(1))
    else:
        training = begin(net, card.method.training.recipe)
    before = [p.detach().clone() for p in net.parameters()]
    zoom = 1 if card.method.network.input == "interpolated" else scale
    target = torch.rand(2, channels(card), side * zoom, side * zoom)
    x = torch.rand(2, channels(card), side, side)
    batch = {
        PairBatch: PairBatch(input=x, target=target), PictureBatch: PictureBatch(pictures=x),
        UnpairedBatch: UnpairedBatch(a=x, b=style),
    }[card.method.training.batch]  # fmt: skip
    losses = [training.step(batch) for _ in range(3)]
    assert all(math.isfinite(float(value)) for loss in losses for value in loss.values())
    # A PReLU whose inputs are all positive in one batch has no gradient; a layer's weights always do.
    for (name, after), old in zip(net.named_parameters(), before, strict=True):
        assert after.grad is not None, name
        assert not torch.equal(after, old), name


@pytest.mark.parametrize(("card", "scale"), NETWORKS)
def test_declared_reach_is_the_measured_receptive_field(card, scale):
    """By gradients: which inputs move one block of outputs. The card may not say less, nor more by over two pixels.

    Statistics of the whole picture are held fixed: a normalisation passes on what it gets.
    """
    net = whole_network(card, scale).double()
    for p in net.parameters():  # random weights may cancel; positive ones cannot, and means saturate no sigmoid
        p.data = p.data.abs() + 1e-3
        if p.ndim == 4:
            p.data /= p.data.sum(dim=(1, 2, 3), keepdim=True)
    for layer in net.modules():
        for name, part in layer.named_children():
            if isinstance(part, Normalisation):
                assert card.method.execution.global_statistics
                setattr(layer, name, torch.nn.Identity())
    zoom = 1 if card.method.network.input == "interpolated" else scale
    receptive_radius = card.method.network.receptive_radius(card.options(), scale)
    side = len(reflected_indices(2 * receptive_radius + 9, card.method.execution.size_multiple, 0))
    x = torch.rand(1, channels(card), side, side, dtype=torch.float64).mul_(0.1).add_(0.5).requires_grad_()
    y = net(x)
    measured = 0
    for middle in range(
        side // 2, side // 2 + card.method.execution.size_multiple
    ):  # where sizes are halved, places differ
        block = y[..., middle * zoom : (middle + 1) * zoom, middle * zoom : (middle + 1) * zoom]
        (gradient,) = torch.autograd.grad(block.sum(), x, retain_graph=True)
        touched = gradient.abs().sum(dim=(0, 1)).nonzero()
        measured = max(measured, int((touched - middle).abs().max()))
    assert measured <= receptive_radius <= measured + 2


def whole_network(card, scale):
    """The network from picture to picture, with random weights."""
    gray = torch.full((1, 3, 256, 256), 0.5)
    return models.Model(card, card.options(), scale, network(card, scale)).complete(gray, (Style(x=gray),), random=0)


@pytest.mark.parametrize(("card", "scale"), NETWORKS)
def test_save_and_load_round_trip(card, scale, tmp_path):
    net = network(card, scale)
    header = weights_file.WeightsHeader(method=card.id, options=dataclasses.asdict(card.options()), scales=(scale,))
    weights_file.save(tmp_path / "w.safetensors", net.state_dict(), header)
    model = models.load(card, weights=tmp_path / "w.safetensors", device="cpu")
    assert model.scale == scale
    loaded = model.network.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in net.state_dict().items())
    x = torch.rand(1, channels(card), 9, 7)
    if card in PARTIAL:
        with pytest.raises(ValueError, match="takes pictures of a style too"):
            model(x)
        return
    torch.testing.assert_close(model(x), models.Model(card, card.options(), scale, net)(x), rtol=1e-5, atol=1e-5)


@every_card(PARTIAL)
def test_a_part_of_a_network_runs_in_full_precision(card):
    assert card.method.execution.precisions == ("float32",)


@pytest.mark.parametrize(("card", "scale"), PLAIN)
def test_precisions_stay_close(card, scale):
    net = network(card, scale)
    x = torch.rand(1, channels(card), 24, 24)
    exact = models.Model(card, card.options(), scale, net)(x)
    for precision in card.method.execution.precisions:
        if precision == "float16":
            continue  # for GPUs only
        close = models.Model(card, card.options(), scale, net, precision)(x)
        # The weights are random, so the tolerance is for the digits of bfloat16 through the whole network.
        assert (close - exact).abs().max() <= 0.05 * max(1.0, float(exact.abs().max()))


@every_card(TRAINED)
def test_cost_is_counted(card):
    for scale in card.method.network.scales:
        cost = measure(whole_network(card, scale), channels(card))
        assert cost.parameters >= cost.weights > 0
        assert cost.multiply_adds > 0


@every_card(SHIPPING)
def test_shipped_weights_are_what_the_card_says(card):
    shipped = weights_manifest.shipped_weights(card.id)
    for weights in shipped:
        header = weights_file.read_header(weights_manifest.SHIPPED / weights.file)
        assert make_options(card, header.options) == make_options(card, weights.options)
        assert header.precision in ("float16", "int8")
        assert header.trained_on
        assert header.licence
        assert header.commit
    served = list(itertools.chain.from_iterable(w.scales for w in shipped if not w.options))
    if card.method.network.resolve_options is None:
        assert sorted(served) == sorted(card.method.network.scales), (
            "the default options have weights for every scale, once"
        )
    else:
        for gray in (True, False):
            wanted = card.method.network.resolve_options(card.options(), card.task, gray, None)
            assert any(make_options(card, w.options) == wanted for w in shipped)


@every_card([card for card in SHIPPING if "upscale" in card.tasks])
def test_shipped_weights_beat_bicubic(card):
    """On a drawn picture of edges and texture, at every scale: weights in the wrong order or range cannot do this."""
    target = lines_and_ring()
    for scale in card.method.network.scales:
        if scale == 1:
            continue
        small = ops.resize(target, zoom=1 / scale)
        made = inference.prepare(
            card, inference.InferenceRequest(task="upscale", inputs={"scale": scale}, device="cpu")
        )
        result = to_tensor(made(Picture(pixels=small[0].permute(1, 2, 0).numpy())).pixels)
        bicubic = ops.resize(small, (96, 96))
        assert (result - target).square().mean() < 0.8 * (bicubic - target).square().mean()


@every_card([card for card in SHIPPING if "denoise" in card.tasks])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [15, 50])
def test_shipped_weights_remove_noise(card, channels, sigma):
    target = lines_and_ring().expand(1, channels, -1, -1)
    noisy = degrade.add_noise(target, sigma, torch.Generator().manual_seed(0))
    made = inference.prepare(card, inference.InferenceRequest(task="denoise", device="cpu"))
    result = to_tensor(made(Picture(pixels=noisy[0].permute(1, 2, 0).numpy())).pixels)
    assert (result - target).square().mean() < 0.15 * (noisy - target).square().mean()


@every_card([card for card in SHIPPING if "deblock" in card.tasks])
def test_shipped_weights_remove_blocks(card):
    target = lines_and_ring()
    for quality in (10, 30):
        coarse = degrade.jpeg(target, torch.tensor([quality]))
        made = inference.prepare(card, inference.InferenceRequest(task="deblock", device="cpu"))
        result = to_tensor(made(Picture(pixels=coarse[0].permute(1, 2, 0).numpy())).pixels)
        assert (result - target).square().mean() < 0.9 * (coarse - target).square().mean()
