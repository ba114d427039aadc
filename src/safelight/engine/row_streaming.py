"""Row streaming: runs all layers of a network on a few rows, then on the next few, computing every row once.

Run layer by layer, a network writes each layer's whole output to memory and reads it back, and the processor waits for
memory most of the time. On small tiles the outputs stay in the cache, but each tile recomputes the border of its
receptive field: with a receptive field of 36 pixels, tiles of 128 pixels cost 2.4 times the work. Here a block of rows
passes through all layers, and each layer keeps only the last rows that its next block needs, two for a 3x3 kernel. So
nothing is computed twice, the block stays in the cache, and the result is that of the whole picture (Alwani et al.,
"Fused-layer CNN accelerators", MICRO 2016, with rows that are kept instead of recomputed).
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight.engine.graph import (
    ConvolutionLayer,
    GraphNode,
    Layer,
    PixelShuffleLayer,
    PixelUnshuffleLayer,
    PointwiseLayer,
    UnknownLayerError,
)

_ROWS = (4, 64)  # minimum and maximum of a block of rows: with fewer, the overhead of calls dominates
_USUAL_CACHE = 8 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Configure glibc to keep up to 256 MB of freed memory for the next block of rows; does nothing elsewhere.

    By default it returns large allocations to the system at once, and every block of rows would fault in its pages
    again: for FSRCNN that is two fifths of the time.
    """
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}):
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # else every block above 128 KB would come from the system


@lru_cache(maxsize=1)
def cache_bytes() -> int:
    """Return the size of the processor's last-level cache in bytes; a typical value if it is unknown."""
    sizes = [_USUAL_CACHE]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    names = getattr(os, "sysconf_names", {})
    if "SC_LEVEL3_CACHE_SIZE" in names:
        sizes.append(os.sysconf("SC_LEVEL3_CACHE_SIZE"))
    return max(sizes)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Channels of a value, and its size as ``zoom`` times the input's."""

    channels: int
    zoom: int


class RowStreaming:
    """Runs the graph of a network on the CPU by row streaming.

    Args:
        nodes: The layers, as ``build_graph`` returns them.
        channels: Channels of the network's input.
        dtype: Data type of convolutions: float32, or bfloat16 for speed. Those that read the picture itself, and the
            last one, stay in float32: bfloat16 is coarser than the steps of an 8-bit picture.

    Raises:
        UnknownLayerError: Layers read one value with different padding, or a pixel unshuffle is not the first layer.

    Attributes:
        cell: The sides of a picture have to be multiples of it: the factor of the first pixel unshuffle, or 1.
    """

    def __init__(self, nodes: Sequence[GraphNode], channels: int, dtype: torch.dtype = torch.float32) -> None:
        self.cell = 1
        match nodes:
            case (GraphNode(layer=PixelUnshuffleLayer(cell=cell)), *_):
                self.cell, channels = cell, channels * cell**2
                nodes = [GraphNode(node.layer, tuple(value - 1 for value in node.inputs)) for node in nodes[1:]]
            case _:
                pass
        if any(isinstance(node.layer, PixelUnshuffleLayer) or min(node.inputs) < 0 for node in nodes):
            raise UnknownLayerError("a pixel unshuffle is not the first layer alone")
        last = max((n for n, node in enumerate(nodes) if isinstance(node.layer, ConvolutionLayer)), default=-1)
        keep_freed_memory()
        picture = {0}  # values that are elementwise functions of the picture
        self._nodes: list[GraphNode] = []
        for n, node in enumerate(nodes):
            if picture.issuperset(node.inputs) and not isinstance(node.layer, ConvolutionLayer):
                picture.add(n + 1)
            short = n < last and not picture.issuperset(node.inputs)
            self._nodes.append(GraphNode(_prepared(node.layer, dtype if short else torch.float32), node.inputs))
        self._kept = [dtype if n < last else torch.float32 for n in range(len(nodes))]  # of a convolution's output
        self._shapes = [_Shape(channels, 1)]
        self._readers: list[list[int]] = [[]]
        for n, node in enumerate(self._nodes):
            inputs = [self._shapes[value] for value in node.inputs]
            if len({shape.zoom for shape in inputs}) > 1:
                raise UnknownLayerError("pictures of different sizes are joined")
            made = node.layer.channels(tuple(shape.channels for shape in inputs))
            self._shapes.append(_Shape(made, inputs[0].zoom * node.layer.zoom))
            self._readers.append([])
            for value in node.inputs:
                self._readers[value].append(n)
        for readers in self._readers:
            borders = {r.repeat_edge for n in readers if (r := self._nodes[n].layer).above + r.below > 0}
            if len(borders) > 1:
                raise UnknownLayerError("two convolutions with different borders read one value")
        # A value that a single layer reads row by row needs no kept rows and no copy.
        self._direct = [self._is_direct(value) for value in range(len(self._shapes))]

    def _is_direct(self, value: int) -> bool:
        readers = self._readers[value]
        if value == 0 or len(readers) != 1:
            return False
        node = self._nodes[readers[0]]
        return node.layer.above == node.layer.below == node.layer.extra == 0 and len(node.inputs) == 1

    def rows(self, width: int) -> int:
        """Return the number of rows per block with which a convolution's input and output fill half the cache.

        This is the mean over the convolutions weighted by their multiply-adds, so that a few wide layers do not reduce
        the blocks of all others.
        """
        work = held = 0
        for node, made in zip(self._nodes, self._shapes[1:], strict=True):
            if isinstance(node.layer, ConvolutionLayer):
                read, weight = self._shapes[node.inputs[0]], node.layer.weight
                adds = weight.numel() * read.zoom**2
                item = weight.element_size()
                work += adds
                held += adds * item * (read.channels * read.zoom**2 + made.channels * made.zoom**2)
        fitting = cache_bytes() // 2 * work // max(1, held * width)
        return max(_ROWS[0], min(_ROWS[1], fitting))

    def bytes_per_column(self) -> int:
        """Return the maximum memory in bytes of one pixel column in all layers, for a block of minimum height."""
        lag = [0.0]  # how many rows a value lags behind the input
        for node in self._nodes:
            lag.append(max(lag[value] + node.layer.below / self._shapes[value].zoom for value in node.inputs))
        total = 0.0
        for value, readers in enumerate(self._readers):
            shape = self._shapes[value]
            behind = [lag[n + 1] - lag[value] + self._nodes[n].layer.above / shape.zoom for n in readers]
            total += 4 * shape.channels * shape.zoom**2 * (max(behind, default=0.0) + _ROWS[0])
        return math.ceil(total / self.cell)

    def __call__(self, x: Tensor, tick: Callable[[float], None]) -> Tensor:
        """Run (1, C, H, W), float32, to (1, C', H * zoom, W * zoom), float32.

        Args:
            x: The picture; its sides are multiples of ``cell``.
            tick: Called after each block with the fraction that is done.
        """
        made, last = self._shapes[-1], self._nodes[-1].layer
        cell = self.cell
        height, width = x.shape[-2] // cell, x.shape[-1] // cell
        rows = self.rows(width)
        # Whole cells of the last layer; the outermost may lie partly outside the picture.
        margin = last.extra * last.zoom
        shape = (1, made.channels, height * made.zoom + margin, width * made.zoom + margin)
        out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        values = [
            _RowWindow(shape, [self._nodes[n].layer for n in readers], height, width)
            for shape, readers in zip(self._shapes, self._readers, strict=True)
        ]
        done = [0] * len(self._nodes)  # positions that each layer has computed
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            strip = x[:, :, cell * top : cell * bottom]
            values[0].append(bottom - top, x.dtype).copy_(F.pixel_unshuffle(strip, cell) if cell > 1 else strip)
            values[0].close()
            for n, node in enumerate(self._nodes):
                self._step(n, node, values, done, out)
            tick(bottom / height)
        first = last.shift
        return out[:, :, first : first + height * made.zoom, first : first + width * made.zoom]

    def _dtype(self, n: int, parts: Sequence[Tensor]) -> torch.dtype:
        """Return the data type of a layer's output."""
        match self._nodes[n].layer:
            case ConvolutionLayer():
                return self._kept[n]
            case PointwiseLayer(arguments=arguments):
                values = [parts[a] if isinstance(a, int) else a for a in arguments]
                return values[0].dtype if len(values) == 1 else torch.result_type(values[0], values[1])
            case _:
                return parts[0].dtype

    def _step(self, n: int, node: GraphNode, values: list[_RowWindow], done: list[int], out: Tensor) -> None:
        """Compute the output rows of a layer that its available input rows allow."""
        layer, made = node.layer, values[n + 1]
        inputs = [values[value] for value in node.inputs]
        first, stop = done[n], min(value.ready(layer.below) for value in inputs)
        stop = min(stop, inputs[0].height + layer.extra)
        if stop > first:
            done[n] = stop
            parts = [value.take(first - layer.above, stop + layer.below) for value in inputs]
            top, end = made.end, min(made.height, layer.zoom * stop - layer.shift)
            cut = top - (layer.zoom * first - layer.shift)  # rows of the first cell that lie above the picture
            if n + 1 == len(self._nodes):
                _compute(layer, parts, out[:, :, layer.zoom * first : layer.zoom * stop])
            elif self._direct[n + 1] or layer.shift:
                rows = _compute(layer, parts, None)[:, :, cut : cut + end - top].to(self._dtype(n, parts))
                if self._direct[n + 1]:
                    made.give(rows)
                else:
                    made.append(end - top, rows.dtype).copy_(rows)
                    made.close()
            else:
                _compute(layer, parts, made.append(end - top, self._dtype(n, parts)))
                made.close()
        for value, source in zip(inputs, node.inputs, strict=True):
            if self._readers[source][-1] == n:
                nodes = self._nodes
                value.forget(min(done[reader] - nodes[reader].layer.above for reader in self._readers[source]))


class _RowWindow:
    """The rows of one value that are computed and still needed: a window that slides down the picture.

    Row 0 is the picture's first; above it and below the last are as many rows of padding as the readers need.
    """

    def __init__(self, shape: _Shape, readers: Sequence[Layer], height: int, width: int) -> None:
        self.height, self.width, self.channels = height * shape.zoom, width * shape.zoom, shape.channels
        self.end = 0  # computed rows
        self._above = max((layer.above for layer in readers), default=0)
        self._below = max((layer.below + layer.extra for layer in readers), default=0)
        self._repeat = any(layer.repeat_edge for layer in readers)
        self._first = -self._above  # the first row of the window
        self._rows: Tensor | None = None
        self._begun = self._whole = False  # whether the padding above, and below, is filled

    def ready(self, below: int) -> int:
        """Return how many positions a layer that needs ``below`` rows below each can compute."""
        return self.end + (self._below if self._whole else 0) - below

    def append(self, count: int, dtype: torch.dtype) -> Tensor:
        """Append uninitialised rows and return them; fill them before ``close``."""
        old = self._rows
        top = self._above if old is None else 0
        kept = 0 if old is None else old.shape[2]
        bottom = self._below if self.end + count == self.height else 0
        shape = (1, self.channels, top + kept + count + bottom, self.width)
        new = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        if old is not None:
            new[:, :, :kept].copy_(old)
        self._rows = new
        self.end += count
        return new[:, :, top + kept : top + kept + count]

    def close(self) -> None:
        """Fill the padding above and below, once the rows next to it are computed."""
        rows = self._rows
        assert rows is not None
        if not self._begun and self._above:
            edge = rows[:, :, self._above : self._above + 1] if self._repeat else 0
            rows[:, :, : self._above] = edge
        if self.end == self.height and self._below:
            edge = rows[:, :, -self._below - 1 : -self._below] if self._repeat else 0
            rows[:, :, -self._below :] = edge
        self._begun, self._whole = True, self.end == self.height

    def give(self, rows: Tensor) -> None:
        """Set new rows without a copy, for a single reader that consumes them at once."""
        self._rows, self._first = rows, self.end
        self.end += rows.shape[2]

    def take(self, first: int, stop: int) -> Tensor:
        """Return rows [first, stop)."""
        assert self._rows is not None
        return self._rows[:, :, first - self._first : stop - self._first]

    def forget(self, before: int) -> None:
        """Drop the rows above ``before``, and free their memory."""
        rows = self._rows
        if rows is None:
            return
        drop = min(max(0, before - self._first), rows.shape[2])
        if drop:
            self._rows = rows[:, :, drop:].clone(memory_format=torch.channels_last)
            self._first += drop


def _prepared(layer: Layer, dtype: torch.dtype) -> Layer:
    """Convert a convolution's weights once, to the fastest memory layout."""
    if not isinstance(layer, ConvolutionLayer):
        return layer
    weight = layer.weight.to(dtype).contiguous(memory_format=torch.channels_last)
    return replace(layer, weight=weight, bias=None if layer.bias is None else layer.bias.to(dtype))


def _compute(layer: Layer, parts: Sequence[Tensor], out: Tensor | None) -> Tensor:
    """Compute a layer on rows, into ``out`` if given, which has the size of the output."""
    if isinstance(layer, PointwiseLayer):
        values = [parts[a] if isinstance(a, int) else a for a in layer.arguments]
        if out is None:
            return layer.function(*values)
        return layer.function(*values, out=out) if layer.takes_out else out.copy_(layer.function(*values))
    relu = isinstance(layer, ConvolutionLayer) and layer.relu
    made = _convolve(layer, parts[0]) if isinstance(layer, ConvolutionLayer) else parts[0]
    if relu and out is not None and layer.zoom == 1 and made.dtype == out.dtype:
        return torch.clamp(made, min=0, out=out)
    if relu:
        made.clamp_(min=0)
    if layer.zoom > 1:
        # (C s s, rows, columns) to (C, rows s, columns s): pixel_shuffle as a view, so that all is one copy.
        s = layer.zoom
        _, channels, rows, columns = made.shape
        if isinstance(layer, PixelShuffleLayer) and layer.cells:
            cells = made.view(1, s, s, channels // s**2, rows, columns).permute(0, 3, 4, 1, 5, 2)
        else:
            cells = made.view(1, channels // s**2, s, s, rows, columns).permute(0, 1, 4, 2, 5, 3)
        if out is not None:
            halves = torch.unflatten(torch.unflatten(out, 3, (columns, s)), 2, (rows, s))
            halves.copy_(cells)
            return out
        made = cells.reshape(1, channels // s**2, rows * s, columns * s)
        if layer.shift:
            made = made[..., layer.shift : layer.shift + s * parts[0].shape[-1]]
    return made if out is None else out.copy_(made)


def _convolve(layer: ConvolutionLayer, x: Tensor) -> Tensor:
    width = x.shape[-1]
    x = x.to(layer.weight.dtype)
    side = max(layer.left, layer.right + layer.extra)
    if layer.repeat_edge:
        x = F.pad(x, (side, side, 0, 0), mode="replicate")
    padding = (0, 0 if layer.repeat_edge else side)
    y = F.conv2d(x, layer.weight, layer.bias, padding=padding, dilation=layer.dilation, groups=layer.groups)
    if layer.zoom == 1:
        return y
    lead = side - layer.left  # columns of positions that lie left of the picture
    return y[..., lead : lead + width + layer.extra]
