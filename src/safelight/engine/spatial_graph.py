"""A network as a graph of spatial layers, each of which knows the region of its input that it needs: for exact tiles.

``graph`` covers networks of one resolution, for row streaming. This module covers those that downsample and upsample,
with borders of any kind, pooling, and layers that need statistics of the whole feature map.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from safelight.engine.graph import UnknownLayerError
from safelight.engine.tiles import Region
from safelight.engine.tracing import trace
from safelight.nn.blocks import Normalisation

Size: TypeAlias = tuple[int, int]


# --- layers, with the region of the input that a region of the output depends on --------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class LocalLayer:
    """A convolution or a pooling: ``function`` computes without padding, which is added at the picture's edges."""

    function: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    padding: int
    mode: str  # of F.pad
    channels: int | None  # output channels; None: as many as input channels
    multiply_adds: int  # per output position

    def size(self, size: Size) -> Size:
        """Return the (H, W) of the output."""
        high, wide = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in size)
        return high, wide

    def _span(self, start: int, end: int) -> tuple[int, int]:
        return self.stride * start - self.padding, self.stride * (end - 1) - self.padding + self.kernel

    def input_region(self, region: Region, size: Size) -> Region:
        """Return the region under the kernel, clipped to the input."""
        (top, bottom), (left, right) = self._span(region.top, region.bottom), self._span(region.left, region.right)
        return Region(max(0, top), min(size[0], bottom), max(0, left), min(size[1], right))

    def run(self, x: Tensor, region: Region, size: Size) -> Tensor:
        """Compute a region of the output from its input region."""
        (top, bottom), (left, right) = self._span(region.top, region.bottom), self._span(region.left, region.right)
        border = (max(0, -left), max(0, right - size[1]), max(0, -top), max(0, bottom - size[0]))
        return self.function(F.pad(x, border, mode=self.mode) if any(border) else x)


@dataclass(frozen=True, slots=True)
class UpsamplingLayer:
    """Upsample ``factor`` times in both directions, by repetition or, with ``linear``, by bilinear interpolation."""

    factor: int
    linear: bool = False

    channels = None
    multiply_adds = 0

    def size(self, size: Size) -> Size:
        """Return the (H, W) of the output."""
        return self.factor * size[0], self.factor * size[1]

    def input_region(self, region: Region, size: Size) -> Region:
        """Return the region that is upsampled, with one more position on each side for interpolation."""
        f, more = self.factor, int(self.linear)
        return Region(
            max(0, region.top // f - more),
            min(size[0], -(-region.bottom // f) + more),
            max(0, region.left // f - more),
            min(size[1], -(-region.right // f) + more),
        )

    def run(self, x: Tensor, region: Region, size: Size) -> Tensor:
        """Upsample, and crop the region."""
        large = F.interpolate(x, scale_factor=self.factor, mode="bilinear" if self.linear else "nearest")
        part = self.input_region(region, size)
        top, left = region.top - self.factor * part.top, region.left - self.factor * part.left
        return large[..., top : top + region.height, left : left + region.width]


@dataclass(frozen=True, slots=True, eq=False)
class ElementwiseLayer:
    """An elementwise function of one or two maps; ints among the arguments are indices of the node's inputs."""

    function: Callable[..., Tensor]
    arguments: tuple[int | Tensor, ...]

    channels = None
    multiply_adds = 0


SpatialLayer: TypeAlias = LocalLayer | UpsamplingLayer | ElementwiseLayer | Normalisation


@dataclass(frozen=True, slots=True, eq=False)
class SpatialNode:
    """A layer and the numbers of its inputs: 0 is the picture, n + 1 the output of the n-th node."""

    layer: SpatialLayer
    inputs: tuple[int, ...]


# --- building the graph -----------------------------------------------------------------------------------------------

_UNARY: Mapping[Any, Callable[[Tensor], Tensor]] = {
    F.relu: F.relu, torch.relu: F.relu, nn.ReLU: F.relu, torch.tanh: torch.tanh, nn.Tanh: torch.tanh,
    torch.sigmoid: torch.sigmoid, nn.Sigmoid: torch.sigmoid,
}  # fmt: skip
_BINARY: Mapping[Any, Callable[..., Tensor]] = {
    operator.add: torch.add, torch.add: torch.add, operator.sub: torch.sub, torch.sub: torch.sub,
    operator.mul: torch.mul, torch.mul: torch.mul, operator.truediv: torch.div, torch.div: torch.div,
}  # fmt: skip


def build_spatial_graph(network: nn.Module) -> tuple[SpatialNode, ...]:
    """Trace a network, and return its layers in the order of computation; the last one's output is the network's.

    Raises:
        UnknownLayerError: The network has a layer that is neither local nor a ``Normalisation``.
    """
    graph = trace(network, (Normalisation,))
    modules: dict[str, nn.Module] = dict(cast("Any", network).named_modules())
    nodes: list[SpatialNode] = []
    values: dict[fx.Node, int] = {}
    constants: dict[fx.Node, Tensor] = {}
    for step in graph.nodes:
        match step.op:
            case "placeholder":
                values[step] = 0
            case "get_attr":
                constants[step] = operator.attrgetter(str(step.target))(network)
            case "output":
                (made,) = step.args
                if values.get(made) != len(nodes):
                    raise UnknownLayerError("the network's last layer is not its result")
            case _:
                sources = tuple(dict.fromkeys(a for a in step.args if isinstance(a, fx.Node) and a not in constants))
                layer = _layer(step, modules, constants, sources)
                if layer is None:
                    values[step] = values[sources[0]]
                    continue
                nodes.append(SpatialNode(layer, tuple(values[source] for source in sources)))
                values[step] = len(nodes)
    return tuple(nodes)


def _layer(
    step: fx.Node,
    modules: Mapping[str, nn.Module],
    constants: Mapping[fx.Node, Tensor],
    sources: Sequence[fx.Node],
) -> SpatialLayer | None:
    kind: Any = step.target
    if step.op == "call_module":
        module = modules[str(step.target)]
        kind = type(module)
        match module:
            case Normalisation():
                return module
            case nn.Identity():
                return None
            case nn.Conv2d():
                return _convolution(module)
            case nn.AvgPool2d() | nn.MaxPool2d():
                return _pooling(module)
            case nn.Upsample() if _enlarges(module):
                return UpsamplingLayer(int(cast("Any", module.scale_factor)), linear=module.mode == "bilinear")
            case _:
                pass
    if kind in _UNARY and len(sources) == 1:
        return ElementwiseLayer(_UNARY[kind], (0,))
    if kind in _BINARY and len(step.args) == 2 and sources and not step.kwargs:
        places: list[int | Tensor] = []
        for argument in step.args:
            if isinstance(argument, fx.Node):
                places.append(constants[argument] if argument in constants else sources.index(argument))
            else:
                places.append(torch.tensor(float(cast("Any", argument))))
        return ElementwiseLayer(_BINARY[kind], tuple(places))
    raise UnknownLayerError(f"{step.format_node()}")


def _enlarges(module: nn.Upsample) -> bool:
    """Whether it is nearest or bilinear upsampling by an integer factor."""
    known = module.mode == "nearest" or (module.mode == "bilinear" and not module.align_corners)
    return known and module.size is None and float(cast("Any", module.scale_factor)).is_integer()


def _convolution(module: nn.Conv2d) -> LocalLayer:
    kernel, stride, padding, dilation = module.kernel_size, module.stride, module.padding, module.dilation
    square = all(len(set(cast("Any", pair))) == 1 for pair in (kernel, stride, padding, dilation))
    if not square or isinstance(padding, str) or module.padding_mode == "circular":
        raise UnknownLayerError(f"{module}")
    weight, bias, groups = module.weight.detach(), module.bias, module.groups
    weight = weight.contiguous(memory_format=torch.channels_last)
    return LocalLayer(
        function=lambda x: F.conv2d(x, weight, bias, stride=stride, dilation=dilation, groups=groups),
        kernel=dilation[0] * (kernel[0] - 1) + 1,
        stride=stride[0],
        padding=int(padding[0]),
        mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
        channels=weight.shape[0],
        multiply_adds=weight.numel(),
    )


def _pooling(module: nn.AvgPool2d | nn.MaxPool2d) -> LocalLayer:
    kernel, stride = module.kernel_size, module.stride
    if not (isinstance(kernel, int) and isinstance(stride, int)) or module.padding != 0 or module.ceil_mode:
        raise UnknownLayerError(f"{module}")
    return LocalLayer(
        function=module, kernel=kernel, stride=stride, padding=0, mode="constant", channels=None, multiply_adds=0
    )


def input_region(layer: SpatialLayer, region: Region, size: Size) -> Region:
    """Return the region of a layer's input, of this (H, W), that a region of its output depends on."""
    return layer.input_region(region, size) if isinstance(layer, (LocalLayer, UpsamplingLayer)) else region
