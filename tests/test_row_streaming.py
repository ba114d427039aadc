"""Strips: a network computed a few rows at a time gives what it gives on the whole picture, whatever its layers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safelight import catalog
from safelight.core.card import Trained, channels_of
from safelight.engine import row_streaming as module
from safelight.engine.graph import ConvolutionLayer, UnknownLayerError, build_graph
from safelight.engine.row_streaming import RowStreaming
from safelight.inference.model import Model
from support.runners import random_network

TRAINED = [card for card in catalog.CARDS if isinstance(card.method, Trained)]


def ignore(fraction):
    pass


def run(network, x, rows, dtype=torch.float32):
    """Run in strips of a given height, however small the picture."""
    strips = RowStreaming(build_graph(network), x.shape[1], dtype)
    strips.rows = lambda width: rows
    return strips(x, ignore)


def same(network, x, rows):
    with torch.inference_mode():
        torch.testing.assert_close(run(network, x, rows), network(x), rtol=1e-5, atol=1e-5)


def channels(card):
    return 1 if channels_of(card.method.network, card.options()) == "y" else 3


LOCAL = [card for card in TRAINED if not card.method.execution.global_statistics]  # engine/statistics.py has the others


@pytest.mark.parametrize("card", LOCAL, ids=lambda card: card.id)
@pytest.mark.parametrize("rows", [1, 4, 7, 100])
def test_every_network_is_computed_in_strips(card, rows):
    """A new network whose layers are unknown to the strips fails here: then say so, or teach them."""
    for scale in card.method.network.scales:
        network = random_network(card, scale)
        for height, width in ((1, 1), (3, 8), (30, 11)):
            n = card.method.execution.size_multiple
            same(network, torch.rand(1, channels(card), n * height, n * width), rows)


class Branches(nn.Module):
    """Two branches of different depth from one value, a constant, a long skip, and numbers around them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(1, 4, 1, 1))
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1))
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = (1 - x) * 2 - self.mean
        y = self.deep(x) + self.wide(x)
        return 0.5 * self.last(y * x + x / 3)


class Cells(nn.Module):
    """Gathers cells, and gives them back with something added."""

    def __init__(self, r):
        super().__init__()
        self.cells = nn.PixelUnshuffle(r)
        self.conv = nn.Conv2d(2 * r * r, 2 * r * r, 3, padding=1)
        self.pixels = nn.PixelShuffle(r)

    def forward(self, x):
        cells = self.cells(x)
        return self.pixels(cells - self.conv(cells))


@pytest.mark.parametrize("r", [2, 3])
def test_cells_are_gathered_before_the_strips(r):
    network = Cells(r).eval()
    for rows in (1, 2, 5):
        same(network, torch.rand(1, 2, 7 * r, 5 * r), rows)
    assert RowStreaming(build_graph(network), 2).cell == r


def test_cells_are_gathered_nowhere_else():
    twice = nn.Sequential(Cells(2), Cells(2)).eval()
    with pytest.raises(UnknownLayerError, match="pixel unshuffle"):
        RowStreaming(build_graph(twice), 2)


def test_branches_wait_for_each_other():
    for rows in (1, 2, 5):
        same(Branches().eval(), torch.rand(1, 4, 17, 9), rows)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 4), st.integers(1, 3), st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_a_transposed_convolution_is_a_sub_pixel_convolution(s, k, p, out, rows, data):
    """Every stride, kernel and padding that enlarges exactly by the stride."""
    output_padding = s + 2 * p - k
    if not 0 <= output_padding < s:
        return
    network = nn.ConvTranspose2d(
        2, out, k, stride=s, padding=p, output_padding=output_padding, bias=data.draw(st.booleans())
    )
    same(nn.Sequential(network), torch.rand(1, 2, data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))), rows)


@given(
    st.lists(
        st.sampled_from(
            ["conv3", "conv5", "edge", "relu", "prelu", "leaky", "tanh", "sigmoid", "shuffle", "deconv", "one"]
        ),
        min_size=1,
        max_size=7,
    ),
    st.integers(1, 6),
    st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_chains_of_layers(names, rows, height):
    make = {
        "conv3": lambda: nn.Conv2d(4, 4, 3, padding=1),
        "conv5": lambda: nn.Conv2d(4, 4, (5, 3), padding="same", groups=2),
        "edge": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"),
        "one": lambda: nn.Conv2d(4, 4, 1, bias=False),
        "relu": nn.ReLU,
        "prelu": lambda: nn.PReLU(4),
        "leaky": nn.LeakyReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "shuffle": lambda: nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.PixelShuffle(2)),
        "deconv": lambda: nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1),
    }
    kept = [name for n, name in enumerate(names) if name not in ("shuffle", "deconv") or n < 3]
    torch.manual_seed(0)
    same(nn.Sequential(*(make[name]() for name in kept)), torch.rand(1, 4, height, 5), rows)


def test_factors_and_rectifiers_go_into_the_convolution():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return x + self.b(torch.relu(self.a(x))) * 0.1

    network = Scaled()
    nodes = build_graph(network)
    assert [type(node.layer).__name__ for node in nodes] == ["ConvolutionLayer", "ConvolutionLayer", "PointwiseLayer"]
    assert nodes[0].layer.relu
    same(network, torch.rand(1, 2, 9, 9), 2)


@pytest.mark.parametrize("cut", ["nothing", "groups", "tanh"])
def test_channels_are_made_in_the_order_of_their_cells(cut):
    """Only where convolutions alone make them: a group's channels have their places; other functions are left alone."""

    class Enlarging(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(2, 8, 3, padding=1, groups=2 if cut == "groups" else 1)
            self.b, self.shuffle = nn.Conv2d(2, 8, 5, padding=2, bias=False), nn.PixelShuffle(2)

        def forward(self, x):
            a = torch.tanh(self.a(x)) if cut == "tanh" else self.a(x)
            return self.shuffle(a + self.b(x))

    network = Enlarging()
    assert build_graph(network)[-1].layer.cells == (cut == "nothing")
    same(network, torch.rand(1, 2, 9, 7), 2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 3),
        nn.Conv2d(2, 2, 2, padding="same"),
        nn.Conv2d(2, 2, 3, stride=2, padding=1),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(2, 2, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.InstanceNorm2d(2),
        nn.Identity(),
    ],
    ids=repr,
)
def test_what_is_not_local_is_refused(layer):
    with pytest.raises(UnknownLayerError):
        RowStreaming(build_graph(nn.Sequential(layer)), 2)


def test_two_borders_of_one_value_are_refused():
    class Borders(nn.Module):
        def __init__(self):
            super().__init__()
            self.zeros = nn.Conv2d(2, 2, 3, padding=1)
            self.edge = nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate")

        def forward(self, x):
            return self.zeros(x) + self.edge(x)

    with pytest.raises(UnknownLayerError, match="different borders"):
        RowStreaming(build_graph(Borders()), 2)


def test_a_network_that_is_refused_runs_as_it_is():
    card = catalog.find("espcn")
    network = nn.Sequential(random_network(card, 2), nn.InstanceNorm2d(1))
    model = Model(card, card.options(), 2, network.eval())
    x = torch.rand(2, 1, 6, 7)
    torch.testing.assert_close(model(x), network(x))


def test_changed_weights_are_seen():
    """Rewritten weights are copies: a network that is trained further may not be run with the old ones."""
    card = catalog.find("fsrcnn")
    network = random_network(card, 2)
    model = Model(card, card.options(), 2, network)
    x = torch.rand(1, 1, 6, 7)
    before = model(x)
    with torch.no_grad():
        network.deconv.weight.add_(1)
    assert not torch.allclose(model(x), before)
    torch.testing.assert_close(model(x), network(x).detach(), rtol=1e-4, atol=1e-4)


def test_bfloat16_keeps_the_first_and_the_last_convolution():
    network = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)))
    strips = RowStreaming(build_graph(network), 4, torch.bfloat16)
    dtypes = [node.layer.weight.dtype for node in strips._nodes if isinstance(node.layer, ConvolutionLayer)]
    assert dtypes == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32]
    x = torch.rand(1, 4, 9, 9)
    with torch.inference_mode():
        difference = (strips(x, ignore) - network(x)).abs().max()
    assert 0 < difference < 0.01


def test_progress_is_told_strip_by_strip():
    seen = []
    strips = RowStreaming(build_graph(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))), 1)
    strips.rows = lambda width: 3
    strips(torch.rand(1, 1, 10, 4), seen.append)
    assert seen == [0.3, 0.6, 0.9, 1.0]


def test_the_height_of_a_strip_follows_the_cache(monkeypatch):
    strips = RowStreaming(build_graph(random_network(catalog.find("vdsr"), 2)), 1)
    heights = []
    for size in (1 << 10, 4 << 20, 32 << 20, 1 << 40):
        monkeypatch.setattr(module, "cache_bytes", lambda size=size: size)
        heights.append(strips.rows(1920))
    assert heights == sorted(heights)
    assert heights[0] == 4
    assert heights[-1] == 64
    assert 4 < heights[2] < 64


def test_kept_rows_take_the_memory_that_is_foretold():
    """The estimate that tiles are chosen by: all rows that lie in any layer's window at any time."""
    card = catalog.find("edsr")
    strips = RowStreaming(build_graph(random_network(card, 2)), 3)
    strips.rows = lambda width: 4
    most = 0
    step = strips._step

    def watched(n, node, values, done, out):
        nonlocal most
        step(n, node, values, done, out)
        most = max(most, sum(v._rows.nbytes for v in values if v._rows is not None))

    strips._step = watched
    strips(torch.rand(1, 3, 60, 8), ignore)
    assert most <= 8 * strips.bytes_per_column() <= 4 * most
