"""The papers' own facts of the networks that restore: counts, what each is for, and whose weights they take."""

import dataclasses

import pytest
import torch

from safelight.catalog import find
from safelight.core.card import LayoutError
from safelight.core.options import make_options
from safelight.degrade import Jpeg, Noise, Shrink
from safelight.engine.cost import measure
from safelight.methods.deblock import dncnn3
from safelight.methods.denoise import dncnn, red


def cost(card, **options):
    made = make_options(card, options)
    return measure(card.method.network.build(made, 1), 3 if options.get("variant") == "CB" else 1)


@pytest.mark.parametrize(
    ("variant", "weights"),
    [
        # TIP 2017, section IV-A: 20 layers for a blind network, 64 channels, kernels of 3x3.
        ("B", 9 * 64 + 18 * 9 * 64 * 64 + 9 * 64),
        ("CB", 9 * 3 * 64 + 18 * 9 * 64 * 64 + 9 * 64 * 3),
    ],
)
def test_dncnn_weights(variant, weights):
    assert cost(dncnn.CARD, variant=variant).weights == weights
    network = dncnn.DnCNN(dncnn.Options(variant), 1)
    assert 2 + len(network.middle) == 20


def test_dncnn3_is_one_network_of_twenty_layers_for_three_tasks():
    assert measure(dncnn3.DnCNN3(dncnn3.CARD.options(), 1), 1).weights == 664_704
    assert dncnn3.CARD.tasks == ("deblock", "denoise", "upscale")
    for task in dncnn3.CARD.tasks:
        assert find("dncnn3", task) is dncnn3.CARD
    [mixture] = dncnn3.degradations(dncnn3.CARD.options())
    kinds = mixture.kinds
    assert [type(kind) for kind in kinds] == [Jpeg, Noise, Shrink, Shrink, Shrink]
    assert (kinds[0].low, kinds[0].high, kinds[1].low, kinds[1].high) == (5, 99, 0, 55)  # section IV-A
    assert {kind.scale for kind in kinds[2:]} == {2, 3, 4}


@pytest.mark.parametrize(("layers", "width", "weights"), [("10", 64, 296_064), ("30", 128, 4_131_072)])
def test_red_weights(layers, width, weights):
    # RED30 has 4,131 thousand in the tables of others (MemNet, ICCV 2017): 30 layers of 128 channels.
    assert cost(red.CARD, layers=layers, width=width).weights == weights


def test_red_skips_join_mirrored_layers():
    """Without the decoder's own answer, what arrives at a mirrored layer is what the encoder kept there."""
    network = red.RED(red.Options("10"), 1)
    kept = {}
    for i, layer in enumerate(network.encode, start=1):
        layer.register_forward_hook(lambda _m, _x, out, i=i: kept.__setitem__(i, torch.relu(out)))
    arrived = {}
    for i, layer in enumerate(network.decode, start=1):
        layer.register_forward_pre_hook(lambda _m, x, i=i: arrived.__setitem__(i, x[0]))
    with torch.no_grad():
        for layer in network.decode[:-1]:
            layer.weight.zero_()
        network(torch.rand(1, 1, 8, 8))
    # Five layers each way: the sums follow the first and the third transposed convolution.
    torch.testing.assert_close(arrived[2], kept[4])
    torch.testing.assert_close(arrived[4], kept[2])
    assert not arrived[3].any()


def test_every_restoring_network_starts_as_the_identity():
    """The residual is nearly zero before training, so that the first steps do not have to unlearn a picture."""
    x = torch.rand(1, 1, 16, 16)
    for network in (
        dncnn.DnCNN(dncnn.Options("B"), 1),
        dncnn3.DnCNN3(dncnn3.CARD.options(), 1),
        red.RED(red.Options(), 1),
    ):
        with torch.no_grad():
            assert (network(x) - x).abs().max() < 0.25


@pytest.mark.parametrize("sigma", [None, 0, 15 / 255, 25 / 255, 1])
def test_dncnn_picks_by_colour_whatever_the_level(sigma):
    for gray, variant in ((True, "B"), (False, "CB")):
        assert dncnn.resolve_options(dncnn.Options(), "denoise", gray, sigma) == dncnn.Options(variant)
        assert dncnn.resolve_options(dncnn.Options("B"), "denoise", gray, sigma) == dncnn.Options("B")


def test_red_picks_by_task():
    assert red.resolve_options(red.Options(), "upscale", True, None) == red.Options(work="enlarge")
    assert red.resolve_options(red.Options("30"), "denoise", False, 0.1) == red.Options("30", work="noise")


def test_what_a_network_is_trained_on_follows_its_options():
    assert dncnn.degradations(dncnn.Options("CB")) == (Noise(0, 55),)
    assert red.degradations(red.Options(work="noise")) == (Noise(0, 70),)
    [mixture] = red.degradations(red.Options(work="enlarge"))
    assert [kind.scale for kind in mixture.kinds] == [2, 3, 4]


@pytest.mark.parametrize(("variant", "channels"), [("B", 1), ("CB", 3)])
def test_published_dncnn_weights_are_taken(variant, channels):
    """The authors' layout: the convolutions of a Sequential with a ReLU after each, 0, 2 and so on."""
    own = dncnn.DnCNN(dncnn.Options(variant), 1)
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    layers = [own.first, *own.middle, own.last]
    theirs = {f"{2 * i}.{kind}": getattr(layer, kind) for i, layer in enumerate(layers) for kind in ("weight", "bias")}
    assert all(key in theirs for key in dncnn.FOREIGN[0].keys)
    adopted = dncnn.adopt(theirs)
    assert adopted.options == {"variant": variant}
    network = dncnn.DnCNN(dncnn.Options(variant), 1)
    network.load_state_dict(dict(adopted.tensors))
    x = torch.rand(1, channels, 9, 9)
    torch.testing.assert_close(network(x), own(x))


def test_a_dncnn_of_another_depth_is_refused():
    for layers in (12, 17):
        tensors = {f"{2 * i}.weight": torch.zeros(64, 1 if i == 0 else 64, 3, 3) for i in range(layers)}
        with pytest.raises(LayoutError, match=f"of 20 layers, {layers} layers of 1 channels"):
            dncnn.adopt(tensors)


def test_promises_are_the_papers_numbers():
    for card in (dncnn.CARD, dncnn3.CARD, red.CARD):
        table = {(s.task, s.data, s.level, tuple(sorted(s.options.items()))): s.psnr for s in card.published}
        for promise in card.method.training.recipe.promises:
            key = promise.task, promise.data, promise.level, tuple(sorted(promise.options.items()))
            assert table[key] == promise.psnr
            assert promise.floor == pytest.approx(promise.psnr - 0.15)
            assert dataclasses.is_dataclass(make_options(card, promise.options))
