"""Tiles: that memory running out changes nothing but the tiles, and that costs are the papers'."""

import threading

import pytest
import torch
from torch import nn

from safelight import catalog
from safelight.core.card import Trained
from safelight.engine import device, graph, tiles
from safelight.engine.cost import measure
from safelight.engine.tiles import LocalStage, OutOfMemoryError, Region, Renderer, ResampleStage
from safelight.ops.resampling import CUBIC

TRAINED = [card for card in catalog.CARDS if isinstance(card.method, Trained)]
PICTURE = torch.rand(1, 1, 40, 50)


def read(region):
    return PICTURE[..., region.top : region.bottom, region.left : region.right]


def rendered(stages, tile=16, behind=0):
    height, width = stages[-1].size
    out = torch.full((1, 1, height, width), float("nan"))
    regions = []

    def write(g, x):
        assert out[..., g.top : g.bottom, g.left : g.right].isnan().all()
        out[..., g.top : g.bottom, g.left : g.right] = x
        regions.append(g)

    Renderer((tile, tile), behind=behind).render(stages, Region(0, height, 0, width), read, write)
    assert not out.isnan().any()
    return out, regions


def blur(x, tick=None):
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


class Failing:
    """A function that runs out of memory on inputs above a size, or at its n-th call."""

    def __init__(self, error, largest=10**9, at=None):
        self.error, self.largest, self.at, self.calls, self.failures = error, largest, at, 0, 0

    def __call__(self, x, tick):
        self.calls += 1
        if x.numel() > self.largest or self.calls == self.at:
            self.failures += 1
            raise self.error
        return blur(x)


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
]


@pytest.mark.parametrize("error", ERRORS, ids=["MemoryError", "cuda", "cpu"])
@pytest.mark.parametrize("at", range(1, 13))
@pytest.mark.parametrize("behind", [0, 1])
def test_out_of_memory_at_any_tile_gives_the_same_picture(error, at, behind):
    whole = blur(PICTURE)
    failing = Failing(error, at=at)
    out, _ = rendered([LocalStage((40, 50), 1, 1, failing)], behind=behind)
    assert failing.failures == 1
    torch.testing.assert_close(out, whole)


def test_smaller_tiles_are_kept_after_the_first_failure():
    failing = Failing(MemoryError(), largest=24 * 24)
    out, regions = rendered([LocalStage((40, 50), 1, 1, failing)], tile=64)
    torch.testing.assert_close(out, blur(PICTURE))
    assert failing.failures <= 2
    assert max(max(g.height, g.width) for g in regions) <= 25


def test_memory_that_never_suffices_is_an_error_in_one_line():
    with pytest.raises(OutOfMemoryError, match="not enough memory even for the smallest tile") as caught:
        rendered([LocalStage((40, 50), 1, 1, Failing(MemoryError(), largest=0))])
    assert "\n" not in str(caught.value)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="a mistake"):
        rendered([LocalStage((40, 50), 1, 1, Failing(RuntimeError("a mistake"), at=2))])


def test_stages_chain():
    first = LocalStage((40, 50), 1, 1, blur)
    stages = [first, ResampleStage((40, 50), (71, 33), CUBIC), LocalStage((71, 33), 1, 1, blur)]
    out, _ = rendered(stages, tile=11)
    whole, _ = rendered(stages, tile=1000)
    torch.testing.assert_close(out, whole)


@pytest.mark.parametrize("size", [(40, 50), (41, 51), (3, 50), (1, 1)])
def test_cells_are_the_pictures_in_every_tile(size):
    """What depends on the place in a cell comes out alike, also at a border that cuts cells."""
    x = torch.rand(1, 1, *size)

    def by_place(x, tick):
        assert x.shape[-2] % 2 == x.shape[-1] % 2 == 0
        cells = torch.nn.functional.pixel_unshuffle(x, 2)
        return torch.nn.functional.pixel_shuffle(cells * torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1), 2)

    out = torch.full((1, 1, *size), -1.0)
    Renderer((7, 11)).render(
        [LocalStage(size, 1, 3, by_place, 2)],
        Region(0, size[0], 0, size[1]),
        lambda g: x[..., g.top : g.bottom, g.left : g.right],
        lambda g, part: out[..., g.top : g.bottom, g.left : g.right].copy_(part),
    )
    factors = torch.tensor([[1.0, 2], [3, 4]]).repeat(26, 26)[: size[0], : size[1]]
    torch.testing.assert_close(out, x * factors)


def test_progress_reaches_one():
    seen = []

    def halves(x, tick):
        tick(0.5)
        return blur(x)

    stages = [LocalStage((40, 50), 1, 1, halves), LocalStage((40, 50), 1, 1, halves)]
    Renderer((16, 16)).render(stages, Region(0, 40, 0, 50), read, lambda g, x: None, seen.append)
    assert len(seen) == 12 * 3  # twice on the way and once at the end of each tile
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_region_quarters_cover_it():
    region = Region(3, 8, 10, 11)
    assert sum(q.height * q.width for q in region.quarters()) == 5
    assert tiles.Region(0, 1, 0, 1).quarters() == (Region(0, 1, 0, 1),)


def test_cost_of_a_known_network():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)
    )
    cost = measure(net, 3)
    assert cost.parameters == 3 * 8 * 9 + 8 + 8 * 16 + 1
    assert cost.weights == 3 * 8 * 9 + 8 * 16
    assert cost.multiply_adds == (3 * 8 * 9 + 8 * 16) / 4


def test_devices():
    assert device.available()[-1] == "cpu"
    assert device.choose("cpu").type == "cpu"
    if "cuda" not in device.available():
        with pytest.raises(device.DeviceError, match="it has: cpu"):
            device.choose("cuda")


def test_a_trace_leaves_other_threads_alone():
    """torch.fx exchanges the methods of all modules while it traces: what others compute is not to notice it."""
    done = threading.Event()
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(40)))
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    x = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        expected = other(x)
    wrong = []

    def compute():
        try:
            with torch.inference_mode():
                while not done.is_set():
                    if not torch.equal(other(x), expected):
                        wrong.append("another result")
        except Exception as error:
            wrong.append(repr(error))

    def lower():
        try:
            for _ in range(25):
                assert len(graph.build_graph(network)) == 40
        except Exception as error:
            wrong.append(repr(error))

    computing = [threading.Thread(target=compute) for _ in range(2)]
    tracing = [threading.Thread(target=lower) for _ in range(2)]
    for thread in computing + tracing:
        thread.start()
    for thread in tracing:
        thread.join()
    done.set()
    for thread in computing:
        thread.join()
    assert wrong == []
