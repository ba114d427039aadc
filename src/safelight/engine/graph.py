"""A network as a graph of a few kinds of layer, built by tracing the module.

Supported are layers with a neighbourhood of fixed size: convolutions, elementwise functions, sums of branches, and
pixel shuffles. ``build_graph`` refuses any other network, which then runs as a plain module.

Three exact rewritings are applied. A transposed convolution of stride s becomes the equal sub-pixel convolution:
s x s convolutions of the small picture, one for each position of an output pixel in its cell of s x s, whose outputs
are then interleaved (Shi et al., "Is the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009).
A factor after a convolution is multiplied into its weights. And convolutions before a pixel shuffle compute their
channels in the order in which the shuffle writes them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from safelight.engine.tracing import trace
from safelight.nn import blocks


class UnknownLayerError(NotImplementedError):
    """A network has an unsupported layer; it has to run as a plain module."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvolutionLayer:
    """A convolution with zero or replicate padding, optionally followed by a ReLU and a pixel shuffle.

    Output position i depends on the input rows i - ``above`` to i + ``below``, and likewise for columns; there are
    ``extra`` more positions than rows. With ``zoom`` s a position is a cell of s x s output pixels, whose first row
    and column lie at s * i - ``shift``; pixels outside the picture are cropped.
    """

    weight: Tensor
    bias: Tensor | None
    above: int
    below: int
    left: int
    right: int
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    repeat_edge: bool = False
    relu: bool = False
    zoom: int = 1
    shift: int = 0
    extra: int = 0

    def channels(self, inputs: tuple[int, ...]) -> int:  # noqa: ARG002 - given by the weights
        """Return the number of output channels."""
        return self.weight.shape[0] // self.zoom**2


@dataclass(frozen=True, slots=True, eq=False)
class PointwiseLayer:
    """An elementwise function of one or two maps and perhaps a constant, which supports ``out=``."""

    function: Callable[..., Tensor]
    arguments: tuple[int | Tensor, ...]  # an int is the index of one of the node's inputs
    takes_out: bool = True

    above = below = shift = extra = 0
    zoom = 1
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Return the number of output channels: a map of one channel is broadcast."""
        return max(inputs)


@dataclass(frozen=True, slots=True)
class PixelShuffleLayer:
    """Rearrange r x r channels to an r times larger map, as ``nn.PixelShuffle`` does.

    Channels are ordered (channel, row, column of the cell), as in torch, or, with ``cells``, (row, column, channel):
    then a row of a cell is contiguous in memory before and after.
    """

    zoom: int
    cells: bool = False

    above = below = shift = extra = 0
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Return the number of output channels."""
        return inputs[0] // self.zoom**2


@dataclass(frozen=True, slots=True)
class PixelUnshuffleLayer:
    """Rearrange cells of r x r pixels to channels, as ``nn.PixelUnshuffle`` does; only as the first layer."""

    cell: int

    above = below = shift = extra = 0
    zoom = 1
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Return the number of output channels."""
        return inputs[0] * self.cell**2


Layer: TypeAlias = ConvolutionLayer | PointwiseLayer | PixelShuffleLayer | PixelUnshuffleLayer


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """A layer and the numbers of its inputs: 0 is the network's input, n + 1 the output of the n-th node."""

    layer: Layer
    inputs: tuple[int, ...]


_BINARY: Mapping[Any, Callable[..., Tensor]] = {
    operator.add: torch.add, torch.add: torch.add, operator.iadd: torch.add,
    operator.sub: torch.sub, torch.sub: torch.sub,
    operator.mul: torch.mul, torch.mul: torch.mul,
    operator.truediv: torch.div, torch.div: torch.div,
}  # fmt: skip


def _relu(x: Tensor, *, out: Tensor | None = None) -> Tensor:
    return torch.clamp(x, min=0, out=out)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope.to(x.dtype))


_UNARY: Mapping[Any, Callable[..., Tensor]] = {
    F.relu: _relu, torch.relu: _relu, torch.tanh: torch.tanh, F.tanh: torch.tanh, torch.sigmoid: torch.sigmoid,
    nn.ReLU: _relu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid,
}  # fmt: skip


def build_graph(network: nn.Module) -> tuple[GraphNode, ...]:
    """Trace a network, and return its layers in the order of computation; the last one's output is the network's.

    Weights are shared with the network unless they are rewritten.

    Raises:
        UnknownLayerError: The network has an unsupported layer, or can't be traced.
    """
    try:
        graph = trace(network)
    except (TraceError, TypeError, RuntimeError) as error:
        raise UnknownLayerError(f"the network can't be traced: {error}") from None
    modules: dict[str, nn.Module] = dict(cast("Any", network).named_modules())
    nodes: list[GraphNode] = []
    values: dict[fx.Node, int] = {}  # the number of each traced value
    constants: dict[fx.Node, Tensor] = {}
    result = -1
    for step in graph.nodes:
        match step.op:
            case "placeholder":
                if values:
                    raise UnknownLayerError("the network takes more than one picture")
                values[step] = 0
            case "get_attr":
                constants[step] = operator.attrgetter(str(step.target))(network)
            case "call_module" | "call_function" | "call_method":
                layer, sources = _layer(step, modules, constants)
                inputs = tuple(values[source] for source in sources)
                if layer is None:
                    values[step] = inputs[0]
                else:
                    nodes.append(GraphNode(layer, inputs))
                    values[step] = len(nodes)
            case _:
                (made,) = step.args
                if made not in values:
                    raise UnknownLayerError("the network gives more than one picture")
                result = values[made]
    return _joined(nodes, result)


def _layer(
    step: fx.Node, modules: Mapping[str, nn.Module], constants: Mapping[fx.Node, Tensor]
) -> tuple[Layer | None, tuple[fx.Node, ...]]:
    """Return the layer of a traced step, or None for an identity, and the values it reads."""
    arguments: list[Any] = list(step.args)
    sources = tuple(dict.fromkeys(a for a in arguments if isinstance(a, fx.Node) and a not in constants))
    kind: Any = step.target
    if step.op == "call_module":
        module = modules[str(step.target)]
        kind = type(module)
        match module:
            case nn.Identity() | nn.Dropout():
                return None, sources
            case nn.Conv2d():
                return _convolution(module), sources
            case nn.ConvTranspose2d():
                return _sub_pixel(module), sources
            case nn.PixelShuffle():
                return PixelShuffleLayer(module.upscale_factor), sources
            case nn.PixelUnshuffle():
                return PixelUnshuffleLayer(module.downscale_factor), sources
            case nn.PReLU():
                return PointwiseLayer(_prelu, (0, module.weight.detach()), takes_out=False), sources
            case nn.LeakyReLU():
                slope = torch.full((1,), module.negative_slope)
                return PointwiseLayer(_prelu, (0, slope), takes_out=False), sources
            case nn.BatchNorm2d():
                raise UnknownLayerError("batch normalisation that is not folded into its convolution")
            case _:
                pass
    if kind in _UNARY and len(sources) == 1:
        return PointwiseLayer(_UNARY[kind], (0,)), sources
    if kind in _BINARY and len(arguments) == 2 and sources and not step.kwargs:
        places: list[int | Tensor] = []
        for argument in arguments:
            if isinstance(argument, fx.Node):
                constant = constants.get(argument)
                places.append(sources.index(argument) if constant is None else constant)
            else:
                places.append(torch.tensor(float(argument)))
        return PointwiseLayer(_BINARY[kind], tuple(places)), sources
    raise UnknownLayerError(f"{step.format_node()}")


def _convolution(module: nn.Conv2d) -> ConvolutionLayer:
    receptive_radius = [d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    padding: Any = module.padding
    odd = all(k % 2 == 1 for k in module.kernel_size)
    if module.stride != (1, 1) or not odd or (padding != "same" and tuple(padding) != tuple(receptive_radius)):
        raise UnknownLayerError("a convolution that changes the size")
    if module.padding_mode not in ("zeros", "replicate"):
        raise UnknownLayerError(f"a convolution with a border of {module.padding_mode}")
    return ConvolutionLayer(
        weight=module.weight.detach(),
        bias=None if module.bias is None else module.bias.detach(),
        above=receptive_radius[0],
        below=receptive_radius[0],
        left=receptive_radius[1],
        right=receptive_radius[1],
        dilation=cast("tuple[int, int]", module.dilation),
        groups=module.groups,
        repeat_edge=module.padding_mode == "replicate",
    )


def _sub_pixel(module: nn.ConvTranspose2d) -> ConvolutionLayer:
    """Rewrite a transposed convolution of stride s that enlarges exactly s times."""
    (s, s_x), (k, k_x), (p, p_x) = module.stride, module.kernel_size, cast("tuple[int, int]", module.padding)
    square = s == s_x and k == k_x and p == p_x and module.output_padding[0] == module.output_padding[1]
    exact = square and s + 2 * p - k == module.output_padding[0] and module.groups == 1 and module.dilation == (1, 1)
    if not exact:
        raise UnknownLayerError("a transposed convolution that does not enlarge by its stride exactly")
    weight, above, below, shift = blocks.transposed_as_convolution(module.weight.detach(), s, p)
    bias = None if module.bias is None else module.bias.detach().repeat_interleave(s * s)
    return ConvolutionLayer(
        weight=weight.contiguous(memory_format=torch.channels_last),
        bias=bias,
        above=above,
        below=below,
        left=above,
        right=below,
        zoom=s,
        shift=shift,
        extra=int(shift > 0),
    )


def _joined(nodes: list[GraphNode], result: int) -> tuple[GraphNode, ...]:
    """Fuse factors and ReLUs into the convolutions before them, where no other layer reads the value between."""
    if result < 1:
        raise UnknownLayerError("the network gives its input")
    readers = [0] * (len(nodes) + 1)
    readers[result] += 1
    for node in nodes:
        for value in node.inputs:
            readers[value] += 1
    alias = list(range(len(nodes) + 1))
    kept: dict[int, GraphNode] = {}
    for number, node in enumerate(nodes, 1):
        inputs = tuple(alias[value] for value in node.inputs)
        before = kept.get(inputs[0])
        if before is not None and len(inputs) == 1 and readers[node.inputs[0]] == 1:
            layer = _absorbed(before.layer, node.layer)
            if layer is not None:
                kept[inputs[0]] = GraphNode(layer, before.inputs)
                alias[number] = inputs[0]
                continue
        kept[number] = GraphNode(node.layer, inputs)
    if alias[result] != max(kept):
        raise UnknownLayerError("the network computes something after its result")
    order = {old: new for new, old in enumerate(kept, 1)}
    order[0] = 0
    return _by_cells([GraphNode(node.layer, tuple(order[value] for value in node.inputs)) for node in kept.values()])


def _by_cells(nodes: list[GraphNode]) -> tuple[GraphNode, ...]:
    """Order the channels before each pixel shuffle by cells, where only convolutions and sums compute them."""
    readers = [0] * (len(nodes) + 1)
    for node in nodes:
        for value in node.inputs:
            readers[value] += 1

    def makers(value: int) -> list[int] | None:
        """Return the indices of the convolutions whose sum a value is, or None if it is something else."""
        if value == 0 or readers[value] != 1:
            return None
        node = nodes[value - 1]
        match node.layer:
            case ConvolutionLayer(zoom=1, groups=1):
                return [value - 1]
            case PointwiseLayer(function=function, arguments=(int(), int())) if function is torch.add:
                found = [makers(source) for source in node.inputs]
                return None if None in found else [n for part in found if part is not None for n in part]
            case _:
                return None

    for place, node in enumerate(nodes):
        if isinstance(node.layer, PixelShuffleLayer):
            found = makers(node.inputs[0])
            if found is not None:
                for n in found:
                    nodes[n] = replace(
                        nodes[n], layer=_in_cells(cast("ConvolutionLayer", nodes[n].layer), node.layer.zoom)
                    )
                nodes[place] = replace(node, layer=replace(node.layer, cells=True))
    return tuple(nodes)


def _in_cells(layer: ConvolutionLayer, s: int) -> ConvolutionLayer:
    """Reorder a convolution's output channels from (channel, row, column of the cell) to (row, column, channel)."""

    def moved(x: Tensor) -> Tensor:
        return x.view(-1, s, s, *x.shape[1:]).movedim(0, 2).flatten(0, 2)

    weight = moved(layer.weight).contiguous(memory_format=torch.channels_last)
    return replace(layer, weight=weight, bias=None if layer.bias is None else moved(layer.bias))


def _absorbed(first: Layer, second: Layer) -> Layer | None:
    """Fuse a convolution and the next layer into one, or return None if that is impossible."""
    if not isinstance(first, ConvolutionLayer) or first.relu:
        return None
    match second:
        case PointwiseLayer(function=f) if f is _relu:
            return replace(first, relu=True)
        case PointwiseLayer(function=f, arguments=(0, Tensor() as factor)) if f is torch.mul and factor.ndim == 0:
            if factor == 1:
                return first
            bias = None if first.bias is None else first.bias * factor
            return replace(first, weight=first.weight * factor, bias=bias)
        case _:
            return None
