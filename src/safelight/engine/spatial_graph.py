"""A network's layers as an exact tile needs them: which places of its input a place of each layer is made from.

``graph`` lists networks of one resolution for strips of rows. Here are those that go down to half the size and up
again, with borders of any kind, pooling, and steps that need statistics of the whole map.
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


# --- layers: which places of its input a place of its result is made from ---------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class LocalLayer:
    """A convolution or a pooling: ``function`` computes the inside, the border is added where the picture ends."""

    function: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    padding: int
    mode: str  # of F.pad
    made: int | None  # channels of the result; None: as many as of the input
    work: int  # multiply-adds for a place of the result

    def size(self, size: Size) -> Size:
        """The size of the result."""
        high, wide = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in size)
        return high, wide

    def _span(self, start: int, end: int) -> tuple[int, int]:
        return self.stride * start - self.padding, self.stride * (end - 1) - self.padding + self.kernel

    def reads(self, region: Region, size: Size) -> Region:
        """The places under the kernel, as far as the input goes."""
        (top, bottom), (left, right) = self._span(region.top, region.bottom), self._span(region.left, region.right)
        return Region(max(0, top), min(size[0], bottom), max(0, left), min(size[1], right))

    def run(self, x: Tensor, region: Region, size: Size) -> Tensor:
        """Compute a region of the result from the part of the input that it reads."""
        (top, bottom), (left, right) = self._span(region.top, region.bottom), self._span(region.left, region.right)
        border = (max(0, -left), max(0, right - size[1]), max(0, -top), max(0, bottom - size[0]))
        return self.function(F.pad(x, border, mode=self.mode) if any(border) else x)


@dataclass(frozen=True, slots=True)
class Enlarge:
    """Enlarge ``factor`` times in both directions: repeat each place, or with ``linear`` interpolate between them."""

    factor: int
    linear: bool = False

    made = None
    work = 0

    def size(self, size: Size) -> Size:
        """The size of the result."""
        return self.factor * size[0], self.factor * size[1]

    def reads(self, region: Region, size: Size) -> Region:
        """The places that the region is made of, and where those are interpolated, one more on each side."""
        f, more = self.factor, int(self.linear)
        return Region(
            max(0, region.top // f - more),
            min(size[0], -(-region.bottom // f) + more),
            max(0, region.left // f - more),
            min(size[1], -(-region.right // f) + more),
        )

    def run(self, x: Tensor, region: Region, size: Size) -> Tensor:
        """Enlarge, and cut the region out."""
        large = F.interpolate(x, scale_factor=self.factor, mode="bilinear" if self.linear else "nearest")
        part = self.reads(region, size)
        top, left = region.top - self.factor * part.top, region.left - self.factor * part.left
        return large[..., top : top + region.height, left : left + region.width]


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """A function of single places of one or two maps; ints among the arguments name the node's inputs."""

    function: Callable[..., Tensor]
    arguments: tuple[int | Tensor, ...]

    made = None
    work = 0


Layer: TypeAlias = LocalLayer | Enlarge | Apply | Normalisation


@dataclass(frozen=True, slots=True, eq=False)
class SpatialNode:
    """A layer and the values that it reads: 0 is the picture, n + 1 the result of the n-th node."""

    layer: Layer
    inputs: tuple[int, ...]


# --- from a module to its layers --------------------------------------------------------------------------------------

_UNARY: Mapping[Any, Callable[[Tensor], Tensor]] = {
    F.relu: F.relu, torch.relu: F.relu, nn.ReLU: F.relu, torch.tanh: torch.tanh, nn.Tanh: torch.tanh,
    torch.sigmoid: torch.sigmoid, nn.Sigmoid: torch.sigmoid,
}  # fmt: skip
_BINARY: Mapping[Any, Callable[..., Tensor]] = {
    operator.add: torch.add, torch.add: torch.add, operator.sub: torch.sub, torch.sub: torch.sub,
    operator.mul: torch.mul, torch.mul: torch.mul, operator.truediv: torch.div, torch.div: torch.div,
}  # fmt: skip


def lower(network: nn.Module) -> tuple[SpatialNode, ...]:
    """List a network's layers in the order in which they are computed; the last one's result is the network's.

    Raises:
        UnknownLayerError: It has a layer that is neither local nor a ``Normalisation``.
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
) -> Layer | None:
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
                return Enlarge(int(cast("Any", module.scale_factor)), linear=module.mode == "bilinear")
            case _:
                pass
    if kind in _UNARY and len(sources) == 1:
        return Apply(_UNARY[kind], (0,))
    if kind in _BINARY and len(step.args) == 2 and sources and not step.kwargs:
        places: list[int | Tensor] = []
        for argument in step.args:
            if isinstance(argument, fx.Node):
                places.append(constants[argument] if argument in constants else sources.index(argument))
            else:
                places.append(torch.tensor(float(cast("Any", argument))))
        return Apply(_BINARY[kind], tuple(places))
    raise UnknownLayerError(f"{step.format_node()}")


def _enlarges(module: nn.Upsample) -> bool:
    """Whether it is one of the two ways to enlarge that are known, by a whole number."""
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
        made=weight.shape[0],
        work=weight.numel(),
    )


def _pooling(module: nn.AvgPool2d | nn.MaxPool2d) -> LocalLayer:
    kernel, stride = module.kernel_size, module.stride
    if not (isinstance(kernel, int) and isinstance(stride, int)) or module.padding != 0 or module.ceil_mode:
        raise UnknownLayerError(f"{module}")
    return LocalLayer(function=module, kernel=kernel, stride=stride, padding=0, mode="constant", made=None, work=0)


def reads(layer: Layer, region: Region, size: Size) -> Region:
    """Tell which region of a layer's input, of this size, a region of its result is made from."""
    return layer.reads(region, size) if isinstance(layer, (LocalLayer, Enlarge)) else region
