"""Statistics of a whole picture taken tile by tile: the layers, the moments, what is kept, and that tiles are exact."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from safelight.engine import statistics
from safelight.engine.graph import UnknownLayerError
from safelight.engine.spatial_graph import LocalLayer, build_spatial_graph
from safelight.engine.statistics import MomentAccumulator, StatisticsStage
from safelight.engine.tiles import Region, Renderer
from safelight.nn.blocks import (
    InstanceNorm,
    Moments,
    Normalisation,
    fixed_noise,
    moments,
    pad_reflect,
    reflected_indices,
)


class Net(nn.Module):
    """Every kind of layer once: borders of all kinds, pools, halving, two ways to enlarge, branches, constants."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, padding=2, padding_mode="reflect")
        self.norm1 = InstanceNorm(6)
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm2 = InstanceNorm(8)
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.norm3 = InstanceNorm(8)
        self.edge = nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate", groups=2)
        self.norm4 = InstanceNorm(8)
        self.twice = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear")
        self.mean = nn.AvgPool2d(2)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        x = F.relu(self.norm1(self.first(x - 0.5)))
        x = torch.tanh(self.norm2(self.down(x)))
        x = self.pool(x)
        y = F.relu(self.norm3(self.deep(x)))
        x = x * self.factor + self.norm4(self.edge(y))
        x = self.smooth(self.twice(self.mean(self.smooth(x))))
        return torch.sigmoid(self.last(x))


def net(kind=Net):
    torch.manual_seed(3)
    made = kind().eval()
    for name, parameter in made.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0, 0.3)
    return made


def picture(height, width):
    """Not alike in its parts, so that a tile's own statistics would be others."""
    torch.manual_seed(4)
    ramp = torch.linspace(0, 1, width) * torch.linspace(0.2, 1, height)[:, None]
    return (0.3 * torch.rand(1, 3, height, width) + 0.7 * ramp).clamp(0, 1)


def in_tiles(network, x, multiple, memory, tile=None, margin=0):
    size = (x.shape[-2], x.shape[-1])
    seen = []
    with torch.inference_mode():
        chain = StatisticsStage(network, size, memory, multiple=multiple, margin=margin)
        part = chain.measure(lambda r: x[..., r.top : r.bottom, r.left : r.right], seen.append)
        out = torch.full_like(x, float("nan"))

        def write(region, y):
            out[..., region.top : region.bottom, region.left : region.right] = y

        whole = Region(0, size[0], 0, size[1])
        Renderer(tile or chain.tile).render([chain], whole, lambda _: torch.empty(0), write)
    assert 0 < part < 1
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(part)
    return out, chain


@pytest.mark.parametrize(("height", "width"), [(64, 80), (61, 43), (9, 30), (1, 1)])
@pytest.mark.parametrize("memory", [1 << 14, 1 << 17, 1 << 19, 1 << 30])
def test_tiles_equal_the_whole(height, width, memory):
    network, x = net(), picture(height, width)
    with torch.inference_mode():
        whole = network(pad_reflect(x, 8))[..., :height, :width]
    tiled, _ = in_tiles(network, x, 8, memory)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("tile", [(1, 64), (7, 5), (64, 13)])
def test_any_tile_will_do(tile):
    network, x = net(), picture(48, 56)
    with torch.inference_mode():
        whole = network(x)
    torch.testing.assert_close(in_tiles(network, x, 8, 1 << 20, tile)[0], whole, rtol=0, atol=2e-6)


def test_a_tile_for_itself_would_be_another_picture():
    """What the engine is for: without it, half of the picture comes out differently by more than it may."""
    network, x = net(), picture(64, 80)
    with torch.inference_mode():
        assert (network(x)[..., :40] - network(x[..., :40])).abs().max() > 0.02


def test_what_fits_is_kept_in_memory_and_the_rest_in_files():
    network, x = net(), picture(64, 80)
    _, rich = in_tiles(network, x, 8, 1 << 30)
    _, poor = in_tiles(network, x, 8, 1 << 14)
    assert set(rich._in_memory.values()) == {True}
    assert set(poor._in_memory.values()) == {False}
    assert poor._kept.keys() == rich._kept.keys()


def full_disk(count):
    raise OSError(28, "No space left on device")


def test_on_a_full_disk_maps_are_computed_again(monkeypatch):
    network, x = net(), picture(64, 80)
    with torch.inference_mode():
        whole = network(x)
    monkeypatch.setattr(statistics, "file_backed_tensor", full_disk)
    tiled, chain = in_tiles(network, x, 8, 1 << 14)
    assert not chain._kept
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-6)


def test_a_file_has_no_name_and_room_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    numbers = statistics.file_backed_tensor(1000)
    numbers.copy_(torch.arange(1000))
    assert float(numbers.sum()) == 499_500
    assert not list(tmp_path.iterdir())


def test_keeping_saves_work(monkeypatch):
    """Each place of a map is computed once where it is kept, and once for each later normalisation where it isn't."""
    monkeypatch.setattr(statistics, "file_backed_tensor", full_disk)
    calls = {"rich": 0, "poor": 0}
    for name, memory in (("rich", 1 << 30), ("poor", 1 << 14)):
        network, x = net(), picture(64, 80)
        nodes = build_spatial_graph(network)
        chain = StatisticsStage(network, (64, 80), memory, multiple=8)

        def counted(node, name=name):
            if not isinstance(node.layer, LocalLayer):
                return node

            def function(maps, plain=node.layer.function):
                made = plain(maps)
                calls[name] += made[0].numel()
                return made

            return type(node)(
                LocalLayer(
                    **{f: getattr(node.layer, f) for f in LocalLayer.__slots__ if f != "function"}, function=function
                ),
                node.inputs,
            )

        chain._nodes = tuple(counted(node) for node in nodes)
        with torch.inference_mode():
            chain.measure(lambda r, x=x: x[..., r.top : r.bottom, r.left : r.right], lambda f: None)
    assert calls["poor"] > 2 * calls["rich"]


# --- moments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_moments_of_parts_are_those_of_the_whole(masked):
    torch.manual_seed(0)
    x = torch.randn(1, 4, 37, 29) * 3 + 50  # far from zero: a naive sum of squares would lose its digits
    masks = torch.rand(2, 1, 37, 29) if masked else None
    found = MomentAccumulator()
    for region in Region(0, 37, 0, 29).tiles(8, 11):
        rows, columns = slice(region.top, region.bottom), slice(region.left, region.right)
        found.add(x[..., rows, columns], None if masks is None else masks[..., rows, columns])
    whole, parts = moments(x.double(), None if masks is None else masks.double()), found.moments()
    torch.testing.assert_close(parts.mean.double(), whole.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(parts.variance.double(), whole.variance, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.places.double(), whole.places, rtol=1e-6, atol=1e-6)


def test_moments_survive_a_hundred_million_places():
    """Float32 sums would be off by a per mille: here constant parts are added whose moments are known."""
    found = MomentAccumulator()
    part = torch.tensor([0.0, 1.0]).repeat(500_000).view(1, 1, 1000, 1000)
    for _ in range(100):
        found.add(part, None)
    result = found.moments()
    assert float(result.places) == 1e8
    assert float(result.mean) == pytest.approx(0.5, abs=1e-7)
    assert float(result.variance) == pytest.approx(0.25, abs=1e-7)


def test_an_empty_mask_has_no_moments_and_no_nan():
    found = MomentAccumulator()
    found.add(torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    assert torch.isfinite(found.moments().mean).all()
    assert torch.isfinite(found.moments().variance).all()


def test_instance_norm_is_torchs():
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(5), nn.InstanceNorm2d(5, affine=True)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 9, 8) * 2 + 1
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


# --- networks that it can't do, and sides -------------------------------------------------------------------------


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        return self.shuffle(self.conv(x))


class Skipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return x + self.pool(x)


class Batched(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.InstanceNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize("kind", [Shuffled, Batched])
def test_a_layer_that_it_does_not_know_is_named(kind):
    with pytest.raises(UnknownLayerError, match=r"shuffle|norm"):
        StatisticsStage(kind(), (8, 8), 1 << 20)


def test_maps_of_different_sizes_are_refused():
    with pytest.raises(UnknownLayerError, match="different sizes"):
        StatisticsStage(net(Skipped), (8, 8), 1 << 20)


def test_a_picture_is_mirrored_at_its_borders():
    assert [len(reflected_indices(side, 4, 0)) for side in (1, 8, 9, 13)] == [8, 8, 12, 16]
    x = picture(5, 9)
    large = pad_reflect(x, 4, 3)
    assert large.shape[-2:] == (12, 16)
    assert torch.equal(large[..., 3:8, 3:12], x)
    assert torch.equal(large[..., :8, :15], F.pad(x, (3, 3, 3, 0), mode="reflect"))
    assert pad_reflect(x, 1) is x
    assert torch.equal(pad_reflect(x[..., :1, :1], 4, 2), x[..., :1, :1].expand(-1, -1, 8, 8))


def test_grain_is_white_and_of_its_place():
    whole = fixed_noise(0, 0, 300, 400)
    torch.testing.assert_close(fixed_noise(17, 1024 + 30, 50, 60), whole[..., 17:67, 30:90], rtol=0, atol=0)
    assert abs(float(whole.std()) - 1) < 0.01
    assert abs(float((whole[..., 1:] * whole[..., :-1]).mean())) < 0.01


@pytest.mark.parametrize(("height", "width"), [(61, 43), (5, 30), (1, 1)])
@pytest.mark.parametrize("memory", [1 << 14, 1 << 17, 1 << 30])
def test_a_margin_is_seen_and_cut_off(height, width, memory):
    network, x = net(), picture(height, width)
    with torch.inference_mode():
        whole = network(pad_reflect(x, 8, 11))[..., 11 : 11 + height, 11 : 11 + width]
    torch.testing.assert_close(in_tiles(network, x, 8, memory, margin=11)[0], whole, rtol=0, atol=2e-6)


class Masked(Normalisation):
    """Subtracts under each mask the mean there."""

    def normalise(self, x: torch.Tensor, given: Moments, masks):
        return x - (masks * given.mean).sum(dim=0, keepdim=True)


def test_each_mask_has_its_own_moments():
    x = picture(16, 24)
    masks = torch.zeros(2, 1, 16, 24)
    masks[0, ..., :10], masks[1, ..., 10:] = 1, 1

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.norm = Masked(masks)

        def forward(self, x):
            return self.norm(self.first(x))

    network = net(Two)
    tiled, _ = in_tiles(network, x, 1, 1 << 14)
    with torch.inference_mode():
        torch.testing.assert_close(tiled, network(x), rtol=0, atol=1e-6)
    assert tiled[..., :10].mean(dim=(2, 3)).abs().max() < 1e-6
    assert tiled[..., 10:].mean(dim=(2, 3)).abs().max() < 1e-6
