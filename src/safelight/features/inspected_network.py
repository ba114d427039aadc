"""Any network whose layers can be inspected: a backbone, or one that restores pictures.

A backbone knows its layers. Of other networks they are found by running them once: each part that is called is a layer
under its name in the network, such as ``body.8``, and ``output`` is what comes out at the end.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from safelight import ops
from safelight.features.backbone import Backbone, BackboneError
from safelight.ops.color import rgb_to_ycbcr

OUTPUT = "output"
_PROBE = 32  # side of the picture by which layers are found
_WIDE = 4  # pixels across the strip by which receptive fields are found; more where layers do not fit in
_LONGEST = 1024  # pixels along it: a layer that sees more is said to see everything

_Convolution = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """The facts of one layer.

    Attributes:
        name: As the user writes it.
        channels: Of its maps.
        stride: How many pixels of the network's input lie between two of its values; below 1 after an enlargement.
        field: The side of the square that a value is computed from, in pixels of the network's input; ``None``: all.
    """

    name: str
    channels: int
    stride: float
    field: int | None


class _Enough(Exception):  # noqa: N818 - no error: it ends a run when the last layer asked for is there
    """Ends a forward pass early: all requested maps have been computed."""


class InspectedNetwork:
    """A network whose layers are inspected.

    Args:
        network: A backbone, or a module that takes pictures (B, C, H, W) in [0, 1] and gives pictures.
        name: What it is called.
        channels: C: 1 for a network of luma, or 3 for RGB.
        zoom: How much a picture is enlarged by the bicubic kernel before the network gets it.
    """

    def __init__(self, network: Backbone | nn.Module, name: str, *, channels: int = 3, zoom: int = 1) -> None:
        self.network, self.name, self.channels, self.zoom = network, name, channels, zoom

    @property
    def restores(self) -> bool:
        """Whether the network restores pictures, as opposed to a backbone."""
        return not isinstance(self.network, Backbone)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @cached_property
    def _found(self) -> dict[str, tuple[int, float]]:
        """The channels and the stride of each layer of a network that is no backbone, in the order of their maps."""
        found: dict[str, tuple[int, float]] = {}

        def note(name: str, maps: Tensor) -> None:
            if maps.ndim == 4:
                found.setdefault(name, (maps.shape[1], _PROBE / maps.shape[-1]))

        handles = self._hook(set(self._modules()), note)
        try:
            with torch.no_grad():
                note(OUTPUT, self.network(self._blank(_PROBE, _PROBE)))
        except (RuntimeError, TypeError) as error:
            raise BackboneError(
                f"{self.name}: expected a network from picture to picture, got one that takes something else; "
                "look at another"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        return found

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers, from the picture on."""
        return self.network.layers if isinstance(self.network, Backbone) else tuple(self._found)

    def check(self, layers: Sequence[str]) -> None:
        """Check that all layers exist.

        Raises:
            BackboneError: The message lists the close ones.
        """
        known = self.layers
        for layer in layers:
            if layer not in known:
                close = difflib.get_close_matches(layer, known, n=4, cutoff=0.4) or known[:8]
                raise BackboneError(f"{self.name} has no layer {layer!r}; did you mean {', '.join(close)}?")

    def layer(self, name: str) -> InspectedLayer:
        """Return the facts of a layer.

        Raises:
            BackboneError: There is no such layer.
        """
        self.check([name])
        if isinstance(self.network, Backbone):
            sight = self.network.receptive_field(name)
            return InspectedLayer(name, sight.channels, sight.stride, sight.field)
        channels, stride = self._found[name]
        return InspectedLayer(name, channels, stride, self._fields[name])

    def channels_of(self, name: str) -> int:
        """Count the channels of a layer.

        Raises:
            BackboneError: There is no such layer.
        """
        self.check([name])
        return (
            self.network.receptive_field(name).channels if isinstance(self.network, Backbone) else self._found[name][0]
        )

    def check_channels(self, layer: str, channels: Sequence[int]) -> None:
        """Check that a layer has all these channels.

        Raises:
            BackboneError: The message says how many it has.
        """
        count = self.channels_of(layer)
        for channel in channels:
            if not 0 <= channel < count:
                raise BackboneError(f"{self.name}: expected a channel of {layer} from 0 to {count - 1}, got {channel}")

    # --- running it ---------------------------------------------------------------------------------------------------

    def prepare(self, picture: Tensor) -> Tensor:
        """Turn pictures (B, 1 or 3, H, W), sRGB or gray in [0, 1], into what the network takes.

        A network of luma gets the Y of BT.601, or a gray picture as it is, and one that refines an enlargement gets the
        picture enlarged. Gradients flow back.
        """
        x = picture
        if self.channels == 1 and x.shape[1] == 3:
            x = rgb_to_ycbcr(x)[:, :1]
        x = x.expand(-1, self.channels, -1, -1)
        return x if self.zoom == 1 else ops.resize(x, (x.shape[-2] * self.zoom, x.shape[-1] * self.zoom))

    def maps(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute the maps of some layers; the network is run no further than the last of them.

        A layer that is run several times gives its first maps.

        Args:
            x: What ``prepare`` gives, or pictures of the network's own channels. Gradients flow back to it.
            layers: Their names.

        Returns:
            For each name the maps, (B, channels, h, w).

        Raises:
            BackboneError: An unknown layer, or a picture too small for it.
        """
        self.check(layers)
        if isinstance(self.network, Backbone):
            return self.network(x, layers)
        wanted, maps = set(layers), dict[str, Tensor]()

        def keep(name: str, made: Tensor) -> None:
            maps.setdefault(name, made.clone())  # a later layer may work in place
            if len(maps) == len(wanted):
                raise _Enough

        handles = self._hook(wanted - {OUTPUT}, keep)
        try:
            made = self.network(x)
            if OUTPUT in wanted:
                maps[OUTPUT] = made
        except _Enough:
            pass
        except RuntimeError as error:
            if x.shape[-1] >= _PROBE and x.shape[-2] >= _PROBE:
                raise
            raise BackboneError(
                f"{self.name}: expected a larger picture, got {x.shape[-1]}x{x.shape[-2]}; its layers do not fit in"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        return {layer: maps[layer] for layer in layers}

    def _modules(self) -> dict[str, nn.Module]:
        named = cast(nn.Module, self.network).named_modules()  # pyright: ignore[reportUnknownVariableType]
        return {name: module for name, module in cast(Iterator[tuple[str, nn.Module]], named) if name}

    def _hook(self, names: set[str], told: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
        handles: list[RemovableHandle] = []
        for name, module in self._modules().items():
            if name in names:

                def look(module: nn.Module, inputs: Any, made: Any, name: str = name) -> None:  # noqa: ANN401, ARG001
                    if isinstance(made, Tensor):
                        told(name, made)

                handles.append(module.register_forward_hook(look))
        return handles

    def _blank(self, height: int, width: int) -> Tensor:
        parameter = next(self.network.parameters())
        return torch.zeros(1, self.channels, height, width, dtype=parameter.dtype, device=parameter.device)

    # --- what it is made of -------------------------------------------------------------------------------------------

    def kernels(self, layer: str | None = None) -> tuple[str, Tensor]:
        """Take the weights of a convolution.

        Args:
            layer: Its name; ``None``: the first one.

        Returns:
            The layer's name and its weights, (outputs, inputs of a group, kh, kw); of a transposed convolution, too.

        Raises:
            BackboneError: There is no such layer, or it is none; the message names the convolutions near it.
        """
        if layer is not None:
            self.check([layer])
        found = self._convolutions(layer)
        name = next(iter(found), None) if layer is None else layer
        if name is None or name not in found:
            inside = [known for known in found if layer is not None and known.startswith(f"{layer}.")]
            close = inside or difflib.get_close_matches(layer or "", found, n=4, cutoff=0.1) or list(found)[:4]
            raise BackboneError(f"{self.name}: {layer} is no convolution; there is: {', '.join(close[:4]) or 'none'}")
        module = found[name]
        weight = module.weight.detach()
        return name, weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight

    def _convolutions(self, upto: str | None) -> dict[str, _Convolution]:
        """Find the convolutions by the names of their layers; of a backbone those up to a layer."""
        network = self.network
        if not isinstance(network, Backbone):
            modules = self._modules()
            return {name: module for name in self.layers if isinstance(module := modules.get(name), _Convolution)}
        made: list[tuple[Tensor, _Convolution]] = []

        def look(module: nn.Module, inputs: Any, maps: Tensor) -> None:  # noqa: ANN401, ARG001
            assert isinstance(module, _Convolution)
            made.append((maps, module))

        handles = [
            module.register_forward_hook(look) for module in network.modules() if isinstance(module, _Convolution)
        ]
        asked = network.layers[: 1 + (0 if upto is None else network.layers.index(upto))]
        side = min(max(64, network.receptive_field(asked[-1]).field), 320)
        try:
            with torch.no_grad():
                maps = network(self._blank(side, side), asked)
        finally:
            for handle in handles:
                handle.remove()
        found: dict[str, _Convolution] = {}
        for tensor, module in made:  # a step of a backbone that is a convolution has its very tensor as its maps
            name = next((name for name in asked if maps[name] is tensor), None)
            if name is not None:
                found[name] = module
        return found

    # --- what it sees -------------------------------------------------------------------------------------------------

    @cached_property
    def _open(self) -> nn.Module:
        """Copy the network with all-positive weights and without biases, so that every dependency shows in the result.

        All weights are positive, so that no two can cancel, and what is added to or taken from its values is zero.
        Weights are the reciprocal of their number: a layer is a mean, and its values stay of a size.
        """
        network = copy.deepcopy(self.network).cpu().double()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    parameter.fill_(1 / parameter[0].numel())
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            for buffer in network.buffers():
                buffer.zero_()
        return network

    @cached_property
    def _fields(self) -> dict[str, int | None]:
        """Count the rows of the input that a value of each layer depends on, from the response to a single bright row.

        The open copy looks at pictures that are black but for one row. All layers are seen in one run, for as many
        neighbouring rows as lie between two values of the coarsest layer. A strip of the picture is enough, since no
        layer here treats rows and columns differently.
        """
        opened = InspectedNetwork(self._open, self.name, channels=self.channels)
        rows = max(1, math.ceil(max(stride for _, stride in self._found.values())))
        left, fields = list(self.layers), dict[str, int | None]()
        length, wide = 2 * _PROBE, _WIDE
        while left and length <= _LONGEST:
            x = torch.zeros(rows + 1, self.channels, length, wide, dtype=torch.float64)  # the last one stays black
            first = length // 2
            for row in range(rows):
                x[row, :, first + row] = 1
            try:
                with torch.no_grad():
                    made = opened.maps(x, left)
            except BackboneError:
                if wide >= _PROBE:
                    raise
                wide *= 4
                continue
            for layer in left:
                changed = (made[layer][:-1] != made[layer][-1]).any(dim=3).any(dim=1)
                field = _seen(changed, self._found[layer][1], first)
                if field is not None:
                    fields[layer] = field
            left = [layer for layer in left if layer not in fields]
            length *= 2
        everywhere = self._everywhere({layer: field for layer, field in fields.items() if field}, wide)
        found = {layer: None if layer in everywhere else fields.get(layer) for layer in self.layers}
        # A sigmoid at the end rounds away what is faint: the result sees no less than any layer does.
        known = [field for field in found.values() if field is not None]
        found[OUTPUT] = max(known) if len(known) == len(found) else None
        return found

    def _everywhere(self, fields: Mapping[str, int], wide: int) -> set[str]:
        """Find the layers that a row changes far from itself, as the statistics of whole maps make it.

        Where all weights are equal, a normalisation takes away all that a row of light leaves. So the network looks
        with its own weights, at noise with and without another row in it.
        """
        length = 2 * min(max(fields.values(), default=0), _LONGEST) + 2 * _PROBE
        drawn = torch.Generator().manual_seed(0)
        one = torch.rand(1, self.channels, length, wide, dtype=torch.float64, generator=drawn)
        other, row = one.clone(), length // 2
        other[:, :, row] = 1 - other[:, :, row]
        subject = InspectedNetwork(copy.deepcopy(self.network).cpu().double(), self.name, channels=self.channels)
        with torch.no_grad():
            made = subject.maps(torch.cat([one, other]), list(fields))
        found: set[str] = set()
        for layer, field in fields.items():
            stride = self._found[layer][1]
            rows = (made[layer][0] != made[layer][1]).any(dim=2).any(dim=0).nonzero().flatten()
            if any(abs(stride * int(place) - row) > field + stride for place in rows):
                found.add(layer)
        return found


def _seen(changed: Tensor, stride: float, first: int) -> int | None:
    """Count the rows that a value sees, from the rows of maps that rows of the input change.

    Args:
        changed: Which rows of the maps, (rows, h), change by the rows ``first``, ``first`` + 1, ... of the input.
        stride: Rows of the input between two rows of the maps.
        first: The first row.

    Returns:
        The most that a value sees, or ``None``: what changes reaches the border.
    """
    zoom = max(1, round(1 / stride))
    ranges: dict[int, list[float]] = {}  # for each place of a row in its cell: what it sees, relative to itself
    for row, response in enumerate(changed):
        hit = [int(place) for place in response.nonzero().flatten()]
        if not hit:
            continue
        if hit[0] == 0 or hit[-1] == len(response) - 1:
            return None
        for place in hit:
            ranges.setdefault(place % zoom, []).append(first + row - stride * (place - place % zoom))
    return max((round(max(seen) - min(seen)) + 1 for seen in ranges.values()), default=0)
