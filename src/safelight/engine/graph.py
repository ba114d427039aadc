"""What a network computes, as a list of a few kinds of layer: read from the module by tracing it.

Only layers that look at a neighbourhood of fixed size are known: convolutions, functions of single values, sums of
branches, and the layers that enlarge. Whatever else a network has, ``lower`` refuses, and the network runs as it is.

Three rewritings happen here, all exact. A transposed convolution of stride s becomes the equal sub-pixel convolution:
s x s small convolutions of the small picture, one for each place of a result pixel in its cell of s x s, whose results
are then interleaved (Shi et al., "Is the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009).
A factor that a convolution's result is multiplied by goes into its weights. And convolutions before an interleaving
make their channels in the order in which the interleaving writes them.
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
    """A network has a layer that can't be computed strip by strip; it has to run as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Convolve:
    """A convolution, whose border is zero or repeats the edge, perhaps a ReLU, and then perhaps an interleaving.

    Place i of the result is made from the rows i - ``above`` to i + ``below`` of the input, and from the columns
    likewise; there are ``extra`` places more than rows. With ``zoom`` s a place is a cell of s x s result pixels,
    whose first row and column lie at s * i - ``shift``; what lies outside the picture is cut off.
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

    def channels(self, inputs: tuple[int, ...]) -> int:  # noqa: ARG002 - the weights say it
        """Number of channels of the result."""
        return self.weight.shape[0] // self.zoom**2


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise:
    """A function of single values, of one or two pictures and perhaps a constant, which takes ``out=``."""

    function: Callable[..., Tensor]
    arguments: tuple[int | Tensor, ...]  # an int names one of the node's inputs
    takes_out: bool = True

    above = below = shift = extra = 0
    zoom = 1
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Number of channels of the result: a picture of one channel is spread over many."""
        return max(inputs)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Interleave r x r channels to an r times larger picture.

    Channels come as (channel, row, column of the cell), as torch has it, or, with ``cells``, as (row, column, channel):
    then a row of a cell is one run of memory, before and after.
    """

    zoom: int
    cells: bool = False

    above = below = shift = extra = 0
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Number of channels of the result."""
        return inputs[0] // self.zoom**2


@dataclass(frozen=True, slots=True)
class Gather:
    """Make the r x r pixels of a cell into channels, as ``nn.PixelUnshuffle`` does: the first layer, or none."""

    cell: int

    above = below = shift = extra = 0
    zoom = 1
    repeat_edge = False

    def channels(self, inputs: tuple[int, ...]) -> int:
        """Number of channels of the result."""
        return inputs[0] * self.cell**2


Layer: TypeAlias = Convolve | Pointwise | Shuffle | Gather


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A layer and the values that it reads: 0 is the network's input, n + 1 the result of the n-th node."""

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


def lower(network: nn.Module) -> tuple[Node, ...]:
    """List a network's layers in the order in which they are computed; the last one's result is the network's.

    Weights are shared with the network where they are not rewritten.

    Raises:
        UnknownLayerError: the network does something else.
    """
    try:
        graph = trace(network)
    except (TraceError, TypeError, RuntimeError) as error:
        raise UnknownLayerError(f"the network can't be traced: {error}") from None
    modules: dict[str, nn.Module] = dict(cast("Any", network).named_modules())
    nodes: list[Node] = []
    values: dict[fx.Node, int] = {}  # what each traced value is among ours
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
                    nodes.append(Node(layer, inputs))
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
    """Tell which layer a traced step is, None for one that changes nothing, and which values it reads."""
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
                return Shuffle(module.upscale_factor), sources
            case nn.PixelUnshuffle():
                return Gather(module.downscale_factor), sources
            case nn.PReLU():
                return Pointwise(_prelu, (0, module.weight.detach()), takes_out=False), sources
            case nn.LeakyReLU():
                slope = torch.full((1,), module.negative_slope)
                return Pointwise(_prelu, (0, slope), takes_out=False), sources
            case nn.BatchNorm2d():
                raise UnknownLayerError("batch normalisation that is not folded into its convolution")
            case _:
                pass
    if kind in _UNARY and len(sources) == 1:
        return Pointwise(_UNARY[kind], (0,)), sources
    if kind in _BINARY and len(arguments) == 2 and sources and not step.kwargs:
        places: list[int | Tensor] = []
        for argument in arguments:
            if isinstance(argument, fx.Node):
                constant = constants.get(argument)
                places.append(sources.index(argument) if constant is None else constant)
            else:
                places.append(torch.tensor(float(argument)))
        return Pointwise(_BINARY[kind], tuple(places)), sources
    raise UnknownLayerError(f"{step.format_node()}")


def _convolution(module: nn.Conv2d) -> Convolve:
    receptive_radius = [d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    padding: Any = module.padding
    odd = all(k % 2 == 1 for k in module.kernel_size)
    if module.stride != (1, 1) or not odd or (padding != "same" and tuple(padding) != tuple(receptive_radius)):
        raise UnknownLayerError("a convolution that changes the size")
    if module.padding_mode not in ("zeros", "replicate"):
        raise UnknownLayerError(f"a convolution with a border of {module.padding_mode}")
    return Convolve(
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


def _sub_pixel(module: nn.ConvTranspose2d) -> Convolve:
    """Rewrite a transposed convolution of stride s that enlarges exactly s times."""
    (s, s_x), (k, k_x), (p, p_x) = module.stride, module.kernel_size, cast("tuple[int, int]", module.padding)
    square = s == s_x and k == k_x and p == p_x and module.output_padding[0] == module.output_padding[1]
    exact = square and s + 2 * p - k == module.output_padding[0] and module.groups == 1 and module.dilation == (1, 1)
    if not exact:
        raise UnknownLayerError("a transposed convolution that does not enlarge by its stride exactly")
    weight, above, below, shift = blocks.sub_pixel(module.weight.detach(), s, p)
    bias = None if module.bias is None else module.bias.detach().repeat_interleave(s * s)
    return Convolve(
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


def _joined(nodes: list[Node], result: int) -> tuple[Node, ...]:
    """Put factors and ReLUs into the convolutions before them, where nobody else reads between the two."""
    if result < 1:
        raise UnknownLayerError("the network gives its input")
    readers = [0] * (len(nodes) + 1)
    readers[result] += 1
    for node in nodes:
        for value in node.inputs:
            readers[value] += 1
    alias = list(range(len(nodes) + 1))
    kept: dict[int, Node] = {}
    for number, node in enumerate(nodes, 1):
        inputs = tuple(alias[value] for value in node.inputs)
        before = kept.get(inputs[0])
        if before is not None and len(inputs) == 1 and readers[node.inputs[0]] == 1:
            layer = _absorbed(before.layer, node.layer)
            if layer is not None:
                kept[inputs[0]] = Node(layer, before.inputs)
                alias[number] = inputs[0]
                continue
        kept[number] = Node(node.layer, inputs)
    if alias[result] != max(kept):
        raise UnknownLayerError("the network computes something behind its result")
    order = {old: new for new, old in enumerate(kept, 1)}
    order[0] = 0
    return _by_cells([Node(node.layer, tuple(order[value] for value in node.inputs)) for node in kept.values()])


def _by_cells(nodes: list[Node]) -> tuple[Node, ...]:
    """Let each interleaving get its channels in the order of its cells, where only convolutions and sums make them."""
    readers = [0] * (len(nodes) + 1)
    for node in nodes:
        for value in node.inputs:
            readers[value] += 1

    def makers(value: int) -> list[int] | None:
        """Number the convolutions whose sum a value is, or give None if it is something else."""
        if value == 0 or readers[value] != 1:
            return None
        node = nodes[value - 1]
        match node.layer:
            case Convolve(zoom=1, groups=1):
                return [value - 1]
            case Pointwise(function=function, arguments=(int(), int())) if function is torch.add:
                found = [makers(source) for source in node.inputs]
                return None if None in found else [n for part in found if part is not None for n in part]
            case _:
                return None

    for place, node in enumerate(nodes):
        if isinstance(node.layer, Shuffle):
            found = makers(node.inputs[0])
            if found is not None:
                for n in found:
                    nodes[n] = replace(nodes[n], layer=_in_cells(cast("Convolve", nodes[n].layer), node.layer.zoom))
                nodes[place] = replace(node, layer=replace(node.layer, cells=True))
    return tuple(nodes)


def _in_cells(layer: Convolve, s: int) -> Convolve:
    """Bring a convolution's channels from the order (channel, row, column), of a cell, to (row, column, channel)."""

    def moved(x: Tensor) -> Tensor:
        return x.view(-1, s, s, *x.shape[1:]).movedim(0, 2).flatten(0, 2)

    weight = moved(layer.weight).contiguous(memory_format=torch.channels_last)
    return replace(layer, weight=weight, bias=None if layer.bias is None else moved(layer.bias))


def _absorbed(first: Layer, second: Layer) -> Layer | None:
    """Join a convolution and what follows it into one layer, or return None where that can't be."""
    if not isinstance(first, Convolve) or first.relu:
        return None
    match second:
        case Pointwise(function=f) if f is _relu:
            return replace(first, relu=True)
        case Pointwise(function=f, arguments=(0, Tensor() as factor)) if f is torch.mul and factor.ndim == 0:
            if factor == 1:
                return first
            bias = None if first.bias is None else first.bias * factor
            return replace(first, weight=first.weight * factor, bias=bias)
        case _:
            return None
