"""Networks that normalise by statistics of the whole picture, computed in tiles with the whole picture's result.

Instance normalisation and AdaIN subtract each feature map's mean and divide by its deviation, both over all positions.
A tile that normalises itself would differ from its neighbours in colour and contrast. So the moments are measured
once over the whole picture: the network is split into local parts, each of which ends with a map whose moments are
needed. Part by part the map is computed tile by tile, each tile from exactly the region that it depends on, and the
tiles' moments are merged (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979) in double precision. Once all moments are known, the result is computed in tiles like any other.

The output of a part is kept for the next one: in style networks, everything at a half and a quarter of the resolution,
which is nearly all the work. If it exceeds the memory limit, it is kept in an unnamed temporary file. Maps of full
resolution that don't fit, such as the first and the last ones, are recomputed when they are needed, and so are all
maps if the disk is full.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import overload

import torch
from torch import Tensor, nn

from safelight.engine.graph import UnknownLayerError
from safelight.engine.sizes import affordable_tile
from safelight.engine.spatial_graph import (
    ElementwiseLayer,
    LocalLayer,
    Size,
    UpsamplingLayer,
    build_spatial_graph,
    input_region,
)
from safelight.engine.tiles import Region, Renderer, Tick
from safelight.nn.blocks import Moments, Normalisation, reflected_indices

_NEAR = 24 << 20  # bytes of a tile that mostly stays in the processor's cache


# --- moments, tile by tile --------------------------------------------------------------------------------------------


class MomentAccumulator:
    """Accumulates the moments of a map that is given in parts, in double precision.

    Example:
        >>> whole = torch.rand(1, 2, 6, 4)
        >>> accumulator = MomentAccumulator()
        >>> for part in whole.split([1, 5], dim=2):
        ...     accumulator.add(part, None)
        >>> torch.allclose(accumulator.moments().variance, whole.var((2, 3), correction=0, keepdim=True))
        True
    """

    def __init__(self) -> None:
        self._places, self._mean, self._squares = torch.zeros(()), torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor, masks: Tensor | None) -> None:
        """Add a part, (1, C, h, w), with its part of the masks, (N, 1, h, w)."""
        if masks is None:
            variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
            places = x.new_full((1, 1, 1, 1), x.shape[2] * x.shape[3]).double()
            squares = variance.double() * places
        else:
            places = masks.double().sum(dim=(2, 3), keepdim=True)
            # One mask at a time: its product with the maps is as large as the maps.
            means: list[Tensor] = []
            others: list[Tensor] = []
            for n in range(len(masks)):
                mask = masks[n : n + 1]
                means.append(_total(mask * x) / places[n : n + 1].clamp(min=1e-12))
                others.append(_total(mask * (x - means[n].float()).square()))
            mean, squares = torch.cat(means), torch.cat(others)
        total = (self._places + places).clamp(min=1e-12)
        apart = mean.double() - self._mean
        self._mean = self._mean + apart * places / total
        self._squares = self._squares + squares + apart.square() * self._places * places / total
        self._places = self._places + places

    def moments(self) -> Moments:
        """Return the moments of all parts, float32."""
        variance = self._squares / self._places.clamp(min=1e-12)
        return Moments(self._mean.float(), variance.float(), self._places.float())


def _total(x: Tensor) -> Tensor:
    return x.sum(dim=(2, 3), keepdim=True).double()


# --- the stage --------------------------------------------------------------------------------------------------------


class StatisticsStage:
    """A network with normalisations on one picture: call ``measure`` first, then use it as a ``Stage``.

    Args:
        network: Maps pictures (1, 3, H, W) to pictures of the same size.
        size: (H, W) of the picture.
        memory: Bytes for the kept maps and a tile's computation together.
        multiple: The sides of the network's input are padded to multiples of it.
        margin: Pixels of mirrored padding around the picture.

    Attributes:
        size: (H, W) of the result, equal to the picture's.
        tile: (H, W) of a tile of the result that the memory allows; set by ``measure``.

    Raises:
        UnknownLayerError: The network has a layer that is neither local nor a normalisation.
    """

    def __init__(self, network: nn.Module, size: Size, memory: int, *, multiple: int = 1, margin: int = 0) -> None:
        self.size = self.tile = size
        self._nodes = build_spatial_graph(network)
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))
        self._tile_memory, self._kept_memory = (
            memory // 4,
            memory - memory // 4,
        )  # bytes of a tile, and of the kept maps
        self._margin = margin
        self._rows, self._columns = (reflected_indices(side, multiple, margin) for side in size)
        self._sizes: list[Size] = [(len(self._rows), len(self._columns))]
        self._channels, self._last = [3], [0]
        for number, node in enumerate(self._nodes, 1):
            layer, sizes = node.layer, [self._sizes[source] for source in node.inputs]
            channels = max(self._channels[source] for source in node.inputs)
            if len(set(sizes)) > 1:
                raise UnknownLayerError("maps of different sizes are joined")
            self._sizes.append(layer.size(sizes[0]) if isinstance(layer, (LocalLayer, UpsamplingLayer)) else sizes[0])
            self._channels.append(layer.channels or channels if isinstance(layer, LocalLayer) else channels)
            self._last.append(len(self._nodes) + 1)
            for source in node.inputs:
                self._last[source] = number  # the last node that reads it
        self._moments: dict[int, Moments] = {}
        self._kept: dict[int, Tensor] = {}
        self._in_memory: dict[int, bool] = {}  # of the kept maps: whether in memory or in a file
        self._read: Callable[[Region], Tensor] | None = None

    def measure(self, read: Callable[[Region], Tensor], progress: Tick) -> float:
        """Measure the moments over the whole picture that each normalisation needs.

        Args:
            read: Returns a region of the picture, (1, 3, h, w); also used later, when tiles are computed.
            progress: Called with the done fraction of the whole work, including the result's tiles.

        Returns:
            The fraction of the whole work that this was; the rest is for the result.
        """
        self._read = read
        steps = [number for number, node in enumerate(self._nodes, 1) if isinstance(node.layer, Normalisation)]
        work: list[float] = []
        kept: dict[int, bool] = {}
        for number in steps:
            target = self._nodes[number - 1].inputs[0]
            work.append(self._work(target, kept))
            kept = self._values_to_keep(target, kept) or kept
        total, done = sum(work) + self._work(len(self._nodes), kept), 0.0
        for number, part in zip(steps, work, strict=True):
            self._measure_moments(number, lambda f, at=done, part=part: progress((at + f * part) / total))
            done += part
        self.tile = self._tile_size(len(self._nodes))
        return done / total

    def input_region(self, region: Region) -> Region:  # noqa: ARG002 - a Stage's
        """Return the first pixel for any region: the input is read by the ``read`` of ``measure`` instead."""
        return Region(0, 1, 0, 1)

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:  # noqa: ARG002 - see input_region
        """Compute a region of the result."""
        last, n = len(self._nodes), self._margin
        return self._compute([last], Region(region.top + n, region.bottom + n, region.left + n, region.right + n))[last]

    def _measure_moments(self, number: int, tick: Tick) -> None:
        """Compute the input map of a normalisation for its moments; keep what is needed later, if it fits."""
        layer, target = self._nodes[number - 1].layer, self._nodes[number - 1].inputs[0]
        assert isinstance(layer, Normalisation)
        fresh = self._values_to_keep(target, self._in_memory) or {}
        size, found = self._sizes[target], MomentAccumulator()
        try:
            room = {value: self._storage_for(value, place) for value, place in fresh.items() if value not in self._kept}
        except OSError:  # no file of this size can be made
            fresh, room = {}, {}
        new = sorted(room)

        def write(region: Region, x: Tensor) -> None:
            parts: list[Tensor] = list(torch.split(x, [self._channels[value] for value in values], dim=1))
            made = dict(zip(values, parts, strict=True))
            found.add(made[target], _part(layer.masks, region))
            for value in new:
                _part(room[value], region).copy_(made[value])

        values = sorted({target, *new})
        stage = _MapStage(size, lambda region: torch.cat(list(self._compute(values, region).values()), dim=1))
        Renderer(self._tile_size(target)).render([stage], Region(0, size[0], 0, size[1]), _empty, write, tick)
        self._moments[number] = found.moments()
        if fresh:
            self._kept = {value: room[value] if value in room else self._kept[value] for value in fresh}
            self._in_memory = fresh

    def _storage_for(self, value: int, in_memory: bool) -> Tensor:
        high, wide = self._sizes[value]
        if in_memory:
            numbers = torch.empty(self._bytes(value) // 4, device=self._device)
        else:
            numbers = file_backed_tensor(self._bytes(value) // 4)
        return numbers.view(1, high, wide, self._channels[value]).permute(0, 3, 1, 2)

    def _values_to_keep(self, target: int, kept: Mapping[int, bool]) -> dict[int, bool] | None:
        """Return the values that layers after ``target`` read, each with whether it fits in memory; None: keep none."""
        fresh = [value for value in range(1, target + 1) if self._last[value] > target]
        if any(self._sizes[value] != self._sizes[target] for value in fresh):
            return None
        new = sum(self._bytes(value) for value in fresh if value not in kept)
        held = sum(self._bytes(value) for value, in_memory in kept.items() if in_memory)
        # The kept values are still read while the new ones are written, and the next part needs as much again.
        fits = new <= self._kept_memory // 2 and new + held <= self._kept_memory
        if not fits and (self._sizes[target] == self._sizes[0] or self._device.type != "cpu"):
            return None
        return {value: kept.get(value, fits) for value in fresh}

    def _bytes(self, value: int) -> int:
        return 4 * self._channels[value] * self._sizes[value][0] * self._sizes[value][1]

    def _needs(self, values: Sequence[int], region: Region, kept: Collection[int]) -> dict[int, Region]:
        """Return the region of each value that a region of some values depends on, down to the kept ones."""
        needs = dict.fromkeys(values, region)
        for value in range(max(values), 0, -1):
            if value in needs and value not in kept:
                node = self._nodes[value - 1]
                for source in node.inputs:
                    region = input_region(node.layer, needs[value], self._sizes[source])
                    needs[source] = _hull(needs[source], region) if source in needs else region
        return dict(sorted(needs.items()))

    def _compute(self, values: Sequence[int], region: Region) -> dict[int, Tensor]:
        """Compute the same region of some values."""
        needs = self._needs(values, region, self._kept)
        made: dict[int, Tensor] = {}
        for value, wanted in needs.items():
            if value == 0:
                made[value] = self._picture(wanted)
            elif value in self._kept:
                made[value] = _part(self._kept[value], wanted)
            else:
                made[value] = self._layer(value, wanted, needs, made)
            for old in [old for old in made if old not in values and not self._later(old, value, needs)]:
                del made[old]
        return {value: _part(made[value], _within(region, needs[value])) for value in sorted(values)}

    def _later(self, old: int, value: int, needs: Mapping[int, Region]) -> bool:
        """Whether a value after ``value`` is still to be computed from ``old``."""
        return any(
            later > value and later not in self._kept and old in self._nodes[later - 1].inputs for later in needs
        )

    def _layer(self, value: int, wanted: Region, needs: Mapping[int, Region], made: Mapping[int, Tensor]) -> Tensor:
        node = self._nodes[value - 1]
        sizes = [self._sizes[source] for source in node.inputs]
        parts = [
            _part(made[source], _within(input_region(node.layer, wanted, size), needs[source]))
            for source, size in zip(node.inputs, sizes, strict=True)
        ]
        match node.layer:
            case Normalisation() as layer:
                return layer.normalise(parts[0], self._moments[value], _part(layer.masks, wanted))
            case ElementwiseLayer() as layer:
                return layer.function(*(parts[a] if isinstance(a, int) else a for a in layer.arguments))
            case layer:
                return layer.run(parts[0], wanted, sizes[0])

    def _picture(self, region: Region) -> Tensor:
        """Read a region of the padded picture."""
        assert self._read is not None
        rows, columns = self._rows[region.top : region.bottom], self._columns[region.left : region.right]
        top, left = int(rows.min()), int(columns.min())
        x = self._read(Region(top, int(rows.max()) + 1, left, int(columns.max()) + 1))
        if self._inside(region):
            return x.contiguous(memory_format=torch.channels_last)
        rows, columns = (rows - top).to(x.device), (columns - left).to(x.device)
        return x[..., rows, :][..., columns].contiguous(memory_format=torch.channels_last)

    def _inside(self, region: Region) -> bool:
        """Whether a region of the padded picture lies inside the picture itself."""
        n, (height, width) = self._margin, self.size
        return min(region.top, region.left) >= n and region.bottom <= n + height and region.right <= n + width

    def _work(self, target: int, kept: Collection[int]) -> float:
        """Return the multiply-adds of a value of the whole picture, plus one for each number of it."""
        size = self._sizes[target]
        work = 0.0
        for value, region in self._needs([target], Region(0, size[0], 0, size[1]), kept).items():
            if value > 0 and value not in kept:
                layer = self._nodes[value - 1].layer
                each = layer.multiply_adds if isinstance(layer, LocalLayer) else 0
                work += (each + self._channels[value]) * region.height * region.width
        return work

    def _tile_size(self, target: int) -> Size:
        """Return the (H, W) of a tile of a value."""
        size = self._sizes[target]
        middle = Region(size[0] // 2, size[0] // 2 + 1, size[1] // 2, size[1] // 2 + 1)
        needs = self._needs([target], middle, self._kept)
        receptive_radius, most, alive = 0.0, 0.0, dict[int, float]()
        for value, region in needs.items():
            zoom = self._sizes[value][0] / size[0]
            receptive_radius = max(
                receptive_radius, middle.top - region.top / zoom, region.bottom / zoom - middle.bottom
            )
            alive[value] = 4 * self._channels[value] * zoom**2
            most = max(most, sum(alive.values()))
            alive = {old: each for old, each in alive.items() if old == target or self._later(old, value, needs)}
        pixel, border = (
            int(1.5 * most) + 1,
            math.ceil(receptive_radius),
        )  # and half as much: the bordered copy that a layer reads
        height, width = affordable_tile(size, border, 0, pixel, min(self._tile_memory, _NEAR))
        if (height + 2 * border) * (width + 2 * border) <= 1.15 * height * width:
            return height, width  # a fifth faster in the cache
        return affordable_tile(size, border, 0, pixel, self._tile_memory)


def file_backed_tensor(count: int) -> Tensor:
    """Return a float32 tensor in an unnamed temporary file, which the system removes with the tensor.

    Raises:
        OSError: The disk is full, or the system does not support such files.
    """
    with tempfile.NamedTemporaryFile(prefix="safelight-") as file:
        if not hasattr(os, "posix_fallocate"):
            raise OSError("expected a system that can reserve disk space, got one that cannot")
        os.posix_fallocate(
            file.fileno(), 0, 4 * count
        )  # writing to a sparse file on a full disk would crash the program
        return torch.from_file(file.name, shared=True, size=count)


class _MapStage:
    """A stage that computes a map by a function, without an input."""

    def __init__(self, size: Size, function: Callable[[Region], Tensor]) -> None:
        self.size, self._function = size, function

    def input_region(self, region: Region) -> Region:
        return region

    def run(self, x: Tensor, region: Region, tick: Tick) -> Tensor:  # noqa: ARG002 - a Stage's
        return self._function(region)


def _empty(region: Region) -> Tensor:  # noqa: ARG001 - the stage has no input
    return torch.empty(0)


def _hull(a: Region, b: Region) -> Region:
    return Region(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))


def _within(region: Region, whole: Region) -> Region:
    """Return a region in coordinates of another one that contains it."""
    top, left = whole.top, whole.left
    return Region(region.top - top, region.bottom - top, region.left - left, region.right - left)


@overload
def _part(x: Tensor, region: Region) -> Tensor: ...
@overload
def _part(x: None, region: Region) -> None: ...
def _part(x: Tensor | None, region: Region) -> Tensor | None:
    return None if x is None else x[..., region.top : region.bottom, region.left : region.right]
