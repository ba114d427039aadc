"""The papers' own facts: parameter counts, and what each network computes where that can be said in other words."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from safelight import ops
from safelight.catalog import CARDS, find
from safelight.core.card import Trained
from safelight.engine.cost import measure
from safelight.methods.upscale import edsr, espcn, fsrcnn, lamp, srcnn, vdsr


def cost(name, scale, **options):
    card = find(name)
    channels = 1 if card.method.network.channels == "y" else 3
    return measure(card.method.network.build(card.options(**options), scale), channels)


def test_srcnn_weights():
    # TPAMI 2016: 8,032 and 57,184 weights without biases; 9-3-5 by (81 + 9 * 32) * 64 + 25 * 32.
    assert cost("srcnn", 3, kernels="9-1-5").weights == 8_032
    assert cost("srcnn", 3, kernels="9-3-5").weights == (81 + 9 * 32) * 64 + 25 * 32 == 24_416
    assert cost("srcnn", 3, kernels="9-5-5").weights == 57_184
    assert cost("srcnn", 3).parameters == 57_184 + 64 + 32 + 1
    assert cost("srcnn", 3).multiply_adds == 57_184  # it works at the high resolution


def test_fsrcnn_weights():
    # ECCV 2016: 12,464 for FSRCNN (56, 12, 4) and 3,937 for FSRCNN-s (32, 5, 1), without biases and PReLUs.
    assert cost("fsrcnn", 3).weights == 12_464
    assert cost("fsrcnn", 3, d=32, s=5, m=1).weights == 25 * 32 + 32 * 5 * 2 + 9 * 25 + 81 * 32 == 3_937
    assert cost("fsrcnn", 3).multiply_adds == pytest.approx(12_464 / 9)
    assert {cost("fsrcnn", scale).parameters for scale in (2, 3, 4)} == {12_464 + 56 * 4 + 12 * 10 + 1}


@pytest.mark.parametrize(("scale", "parameters"), [(2, 21_284), (3, 22_729), (4, 24_752)])
def test_espcn_parameters(scale, parameters):
    assert cost("espcn", scale).parameters == parameters


def test_vdsr_weights():
    for scale in (2, 3, 4):
        assert cost("vdsr", scale).weights == 664_704
        assert cost("vdsr", scale).parameters == 665_921


@pytest.mark.parametrize(
    ("variant", "scale", "parameters"),
    [
        ("baseline", 2, 1_369_859),
        ("baseline", 3, 1_554_499),
        ("baseline", 4, 1_517_571),
        ("full", 2, 40_729_603),
        ("full", 3, 43_680_003),
        ("full", 4, 43_089_923),
    ],
)
def test_edsr_parameters(variant, scale, parameters):
    # CVPRW 2017 and the authors' repository: 1.37, 1.55, 1.52 and 40.73, 43.68, 43.09 million.
    assert cost("edsr", scale, variant=variant).parameters == parameters


def test_vdsr_starts_as_bicubic():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 30, 30)
    assert (vdsr.VDSR(find("vdsr").options(), 2)(x) - x).abs().mean() < 0.05


def test_vdsr_adds_its_input():
    net = vdsr.VDSR(find("vdsr").options(), 2)
    torch.nn.init.zeros_(net.last.weight)
    x = torch.rand(1, 1, 12, 12)
    assert torch.equal(net(x), x)


GROWING = [("vdsr", vdsr, 2), ("edsr", edsr, 2), ("edsr", edsr, 3), ("edsr", edsr, 4)]


@pytest.mark.parametrize(("name", "module", "scale"), GROWING)
def test_channels_that_join_later_change_nothing_when_they_do(name, module, scale):
    card = find(name)
    torch.manual_seed(0)
    net = card.method.network.build(card.options(), scale)
    growing = card.method.training.algorithm(net, card.method.training.recipe).forward
    x = torch.rand(1, 1 if name == "vdsr" else 3, 24, 24)
    whole = net(x)
    for stage in card.method.training.recipe.stages:
        module.grow(net, stage.width)
        torch.testing.assert_close(growing(x), whole, rtol=1e-5, atol=1e-6)
    # Not because nothing is there yet: the first channels do change the picture.
    layer = net.first if name == "vdsr" else net.head
    with torch.no_grad():
        layer.weight[: layer.out_channels // 4].zero_()
    assert (net(x) - whole).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "module", "scale"), GROWING)
def test_a_narrow_network_trains_its_own_channels_alone(name, module, scale):
    card = find(name)
    net = card.method.network.build(card.options(), scale)
    growing = card.method.training.algorithm(net, card.method.training.recipe).forward
    x = torch.rand(1, 1 if name == "vdsr" else 3, 9, 9)
    layer = net.middle[3] if name == "vdsr" else net.body[3].conv2
    module.grow(net, 0.25)
    growing(x).sum().backward()
    assert layer.weight.grad[:16, :16].abs().min(dim=1).values.max() > 0
    assert layer.weight.grad[16:].count_nonzero() == layer.weight.grad[:, 16:].count_nonzero() == 0
    net.zero_grad()
    module.grow(net, 1)
    growing(x).sum().backward()
    assert layer.weight.grad[:16, 16:].count_nonzero() > 0


def test_the_last_recipe_stage_has_the_whole_network():
    growing = [card.method for card in CARDS if isinstance(card.method, Trained) and card.method.training.grow]
    assert len(growing) >= 2
    for method in growing:
        stages = method.training.recipe.stages
        assert stages[-1].width == 1
        assert sum(stage.steps for stage in stages) == pytest.approx(1)
        assert sum(stage.time for stage in stages) == pytest.approx(1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_fsrcnn_in_training_is_the_same_function(scale):
    torch.manual_seed(0)
    net = fsrcnn.FSRCNN(find("fsrcnn").options(), scale)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    Y = torch.rand(2, 1, 9, 13)
    answers = [form(Y) for form in (net, fsrcnn.FSRCNNInTraining(net))]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(answer.square().sum(), list(net.parameters())) for answer in answers]
    for plain, ours in zip(*slopes, strict=True):
        torch.testing.assert_close(plain, ours, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lamp_begins_as_the_bicubic_kernel(scale):
    net = lamp.Lamp(find("lamp").options(), scale)
    torch.nn.init.zeros_(net.tail.weight)
    x = torch.rand(1, 3, 11, 14)
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    torch.testing.assert_close(net(x)[inside], ops.resize(x, zoom=scale)[inside])


@pytest.mark.parametrize("variant", ["base", "small"])
def test_lamps_chain_begins_near_the_identity(variant):
    torch.manual_seed(0)
    net = lamp.Lamp(find("lamp").options(variant=variant), 4)
    first = F.relu(net.head(torch.rand(1, 3, 16, 16)))
    features = first
    for conv in net.body:
        features = F.relu(conv(features))
    assert torch.corrcoef(torch.stack([first.flatten(), features.flatten()]))[0, 1] > 0.9


def test_espcn_shuffle_is_equation_4():
    """PS(T)[x, y, c] = T[floor(x/r), floor(y/r), C r mod(y, r) + C mod(x, r) + c], with rows for y."""
    r = 3
    net = espcn.ESPCN(find("espcn").options(), r)
    T = torch.rand(1, r * r, 4, 5)
    out = net.shuffle(T)[0, 0]
    for y, x in np.ndindex(4 * r, 5 * r):
        assert out[y, x] == T[0, r * (y % r) + x % r, y // r, x // r]


def test_fsrcnn_deconvolution_centres_its_kernel():
    """A single input pixel spreads its 9x9 kernel around its own place, s times farther."""
    for s in (2, 3, 4):
        net = fsrcnn.FSRCNN(fsrcnn.Options(), s)
        x = torch.zeros(1, 56, 9, 9)
        x[0, :, 4, 4] = 1
        with torch.no_grad():
            net.deconv.bias.zero_()
            touched = net.deconv(x)[0, 0].nonzero()
        assert touched.min() == 4 * s - 4
        assert touched.max() == 4 * s + 4
        assert net.deconv(x).shape[-1] == 9 * s


def test_fsrcnn_and_srcnn_options_change_the_network():
    assert len(fsrcnn.FSRCNN(fsrcnn.Options(m=2), 2).map) == 2
    assert srcnn.SRCNN(srcnn.Options("9-1-5")).conv2.kernel_size == (1, 1)


def test_srcnn_repeats_the_border():
    net = srcnn.SRCNN(srcnn.Options())
    flat = net(torch.full((1, 1, 20, 20), 0.4))
    assert flat.std() < 1e-6


def test_edsr_block_is_figure_2c():
    block = edsr.ResBlock(4, 0.1)
    x = torch.randn(1, 4, 6, 6)
    expected = x + 0.1 * block.conv2(F.relu(block.conv1(x)))
    torch.testing.assert_close(block(x), expected)


def test_edsr_adds_the_mean_back():
    net = edsr.EDSR(edsr.Options(), 2)
    for p in net.parameters():
        torch.nn.init.zeros_(p)
    out = net(torch.rand(1, 3, 5, 5))
    torch.testing.assert_close(out, torch.tensor(edsr.DIV2K_MEAN).view(1, 3, 1, 1).expand(1, 3, 10, 10))
