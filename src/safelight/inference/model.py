"""A network made ready: built from its card, filled with weights, on a device. What ``safelight.load`` gives."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from safelight import ops
from safelight.checkpoints import backbones, conversion, weights_file, weights_manifest
from safelight.core.card import Card, ExecutionSpec, Precision
from safelight.core.options import CardError, fits_weights, make_options
from safelight.core.progress import ignore_progress
from safelight.core.solver_input import SolverInput, Style
from safelight.core.task import Task
from safelight.engine import device as devices
from safelight.engine.cost import Cost, measure
from safelight.engine.graph import UnknownLayerError, build_graph
from safelight.engine.row_streaming import RowStreaming
from safelight.features.backbone import Backbone, BackboneError
from safelight.nn.blocks import fixed_noise, pad_reflect

PrecisionChoice = Literal["exact", "fast"]

_CUBIC_REACH = 2  # input pixels on each side of an enlarging bicubic kernel


def _device_of(network: nn.Module) -> torch.device:
    """Return the device of a network: that of its first parameter, or of its first buffer if it has no parameters."""
    return next(itertools.chain(network.parameters(), network.buffers())).device


class Model:
    """A loaded network of one scale, to be called on tensors. ``safelight.load`` returns it.

    ``network`` is the plain ``nn.Module``, for export, inspection or further training; its input is that of the paper's
    network. Calling the model also interpolates the picture first, if the method does, and converts colours.

    Args:
        card: The method.
        options: The options of the method, an instance of its ``Options`` class.
        scale: The scale of the network.
        network: The network, with its weights.
        precision: The number format that it computes in.
        task: The task, which decides how a network of one channel treats colour; ``None``: that of the method's folder.
        trained_with: The SHA-256 of the weights of the backbone that the network was trained with; empty: not known.
    """

    def __init__(
        self,
        card: Card,
        options: Any,  # noqa: ANN401 - each method has its own Options class
        scale: int,
        network: nn.Module,
        precision: Precision = "float32",
        task: Task | None = None,
        trained_with: str = "",
    ) -> None:
        assert card.network is not None
        self.trained_with = trained_with
        self.card, self.options, self.scale, self.network = card, options, scale, network
        self.spec, self.execution, self.precision = card.network, card.execution, precision
        self.channels = card.network.channels_of(options)
        self.task: Task = card.task if task is None else task
        self._adapter = card.network.color_adapter(options, scale, self.task)
        self._lowered: tuple[object, RowStreaming | None] | None = None
        self._loaded: Backbone | None = None

    @cached_property
    def cost(self) -> Cost:
        """The cost of the network. It is counted once, and not again for each picture of a batch."""
        gray = torch.full((1, 3, 256, 256), 0.5, device=_device_of(self.network))
        return measure(self.complete(gray, (Style(x=gray),), random=0), self._channels)

    @torch.no_grad()
    def complete(self, y: Tensor, styles: tuple[Style, ...], *, random: int | None = None) -> nn.Module:
        """Return the network from picture to picture, which may depend on the picture and its styles.

        Args:
            y: The picture, (1, 3, H, W), in [0, 1].
            styles: The style pictures.
            random: A seed for a backbone with random weights, to count the cost; ``None``: its real weights.

        Raises:
            BackboneError: The weights of the backbone are not installed, or not those used in training.
            CardError: The style pictures do not suit the network.
        """
        spec = self.spec
        if spec.complete is None:
            return self.network
        backbone = None
        if spec.backbone is not None:
            name = spec.backbone(self.options)
            backbone = self._backbone(name) if random is None else backbones.load(name, random=random)
            backbone = backbone.to(y.device)
        solver_input = SolverInput(task=self.task, y=y, styles=styles, backbone=backbone)
        return spec.complete(self.network, self.options, solver_input).eval()

    def _backbone(self, name: str) -> Backbone:
        """Load the backbone that the network was trained with, once for all pictures."""
        if self._loaded is None:
            loaded = backbones.load(name)
            if self.trained_with not in ("", loaded.sha256):
                raise BackboneError(
                    f"{self.card.id}: expected the weights of {name} that its own were trained with, got others; train "
                    f"it anew, or install those that were used by `safelight fetch`"
                )
            self._loaded = loaded
        return self._loaded

    @property
    def receptive_radius(self) -> int:
        """The radius of the receptive field of the whole model, in pixels of its input."""
        receptive_radius = self.spec.receptive_radius(self.options, self.scale)
        if self.scale == 1:
            return receptive_radius
        if self.spec.input == "interpolated":
            return math.ceil(receptive_radius / self.scale) + _CUBIC_REACH
        return max(receptive_radius, _CUBIC_REACH)  # the chroma's bicubic kernel, where the network looks less far

    @property
    def _strips(self) -> RowStreaming | None:
        """The network as run strip by strip; ``None`` if it has a layer that does not allow it.

        It is built again when the weights have changed, since it holds converted copies of some.
        """
        if self.execution.global_statistics:
            return None
        state = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.network.parameters())
        if self._lowered is None or self._lowered[0] != state:
            try:
                strips = RowStreaming(build_graph(self.network), self._channels, getattr(torch, self.precision))
            except UnknownLayerError:
                strips = None
            self._lowered = (state, strips)
        return self._lowered[1]

    @property
    def _zoom(self) -> int:
        """The factor by which the network alone enlarges its input."""
        return 1 if self.spec.input == "interpolated" else self.scale

    @property
    def _channels(self) -> int:
        return 1 if self.channels == "y" else 3

    def memory(self, on_cpu: bool) -> tuple[int, int]:
        """Estimate what a call takes beside its input and its result: bytes a column, and bytes a pixel, of its input.

        Args:
            on_cpu: There the network runs in strips, where it can.
        """
        enlarged = self.scale // self._zoom  # how much larger the network sees the picture
        # Colours there and back, the chroma's enlargement and its sums, the network's input and result.
        around = 80 * self.scale**2
        strips = self._strips if on_cpu else None
        if strips is None:
            return 0, int(1.5 * self.cost.bytes * enlarged**2) + around
        return strips.bytes_per_column() * enlarged, around

    @torch.inference_mode()
    def __call__(self, x: Tensor, tick: Callable[[float], None] = ignore_progress) -> Tensor:
        """Restore (B, C, H, W), C = 1 or 3, sRGB or gray in [0, 1], to (B, C, H * scale, W * scale).

        How colours get to a network of one channel, and a gray picture to one of RGB, says ``ops.color_adapter``.
        Nothing is clipped.

        Args:
            x: The pictures.
            tick: Told the fraction that is done.

        Raises:
            ValueError: Another shape.
        """
        if self.spec.complete is not None:
            raise ValueError(f"{self.card.id} takes pictures of a style too; call safelight.{self.card.task}")
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"expected (B, 1 or 3, H, W), got {tuple(x.shape)}; move channels that come last")
        size = (x.shape[-2] * self.scale, x.shape[-1] * self.scale)
        return self._adapter(x, lambda planes: self._run(planes, size, tick), size)

    def _run(self, x: Tensor, size: tuple[int, int], tick: Callable[[float], None]) -> Tensor:
        if self.spec.input == "interpolated" and self.scale > 1:
            x = ops.resize(x, size)
        return self.run(x, tick)

    @torch.inference_mode()
    def run(self, x: Tensor, tick: Callable[[float], None] = ignore_progress) -> Tensor:
        """Run the network alone on (B, C, H, W), the input that it was trained on, in this model's precision.

        On a CPU it runs strip by strip, if its layers allow it: the same numbers up to rounding, several times faster.
        """
        height, width = x.shape[-2:]
        execution = self.execution
        if execution.input_noise:
            x = x + execution.input_noise * fixed_noise(0, 0, height, width).to(x)
        x = pad_reflect(x, execution.size_multiple, execution.padding)
        strips = self._strips if x.device.type == "cpu" else None
        if strips is not None:
            n = len(x)
            parts = [strips(x[i : i + 1], lambda f, i=i: tick((i + f) / n)) for i in range(n)]
            y = parts[0] if n == 1 else torch.cat(parts)
        else:
            # Autocast leaves sums, such as VDSR's residual, in float32: only the convolutions lose digits.
            enabled = self.precision != "float32"
            with torch.autocast(x.device.type, getattr(torch, self.precision), enabled=enabled):
                y = self.network(x.contiguous(memory_format=torch.channels_last)).float()
        start, zoom = execution.padding * self._zoom, self._zoom
        return y[..., start : start + height * zoom, start : start + width * zoom]


def served_scales(card: Card, options: Any) -> tuple[int, ...]:  # noqa: ANN401 - per method
    """List the scales for which weights of this architecture are shipped.

    Raises:
        CardError: No weights are shipped for these options.
    """
    shipped = weights_manifest.shipped_weights(card.id)
    scales = sorted({scale for one in shipped if fits_weights(options, one.options) for scale in one.scales})
    if not scales:
        raise CardError(_not_shipped(card, f"{options}"))
    return tuple(scales)


def _not_shipped(card: Card, wanted: str) -> str:
    records = weights_manifest.shipped_weights(card.id)
    shipped = ", ".join(f"x{'/x'.join(map(str, w.scales))} {dict(w.options) or ''}".strip() for w in records)
    return (
        f"{card.id} ships no weights for {wanted}; it ships: {shipped or 'none'}. "
        f"Train them with `safelight train {card.id}`, or name a file with --weights"
    )


def find_weights(card: Card, options: Any, scale: int) -> Path:  # noqa: ANN401 - per method
    """Find the shipped weights of a method for a scale, and verify their checksum.

    Raises:
        CardError: No weights are shipped for these options and this scale.
        CheckpointError: The shipped file is damaged.
    """
    for weights in weights_manifest.shipped_weights(card.id):
        if scale in weights.scales and fits_weights(options, weights.options):
            return weights_manifest.verified_path(weights)
    raise CardError(_not_shipped(card, f"scale {scale} with {options}"))


def open_weights(card: Card, file: Path, scale: float | None = None) -> tuple[Path, weights_file.WeightsHeader]:
    """Open a weights file of the user: one that Safelight wrote, or a published one, which is converted first.

    Args:
        card: The method, which has a network.
        file: The file.
        scale: The scale that the user asks for. It is used only if neither the tensors nor the name of the file decide
            which scale the weights are for.

    Returns:
        The path of a file in Safelight's format, and its header, reduced to the scales that the file is used for.

    Raises:
        CheckpointError: The file is broken or belongs to another method, or its scale is ambiguous.
        OSError: A published file was converted, and the converted file cannot be written.
    """
    spec = card.network
    assert spec is not None
    path = conversion.convert_if_needed(card, file)
    header = weights_file.read_header(path)
    name = weights_file.printable_name(file)
    if header.method != card.id:
        raise weights_file.CheckpointError(
            f"{name}: expected weights of {card.id}, got {ascii(header.method)[1:-1][:60]}"
        )
    if spec.scale_agnostic or len(header.scales) == 1:
        return path, header
    named = {int(a or b) for a, b in re.findall(r"(?<![a-z0-9])(?:x(\d)|(\d)x)(?![a-z0-9])", file.name.lower())}
    fitting = tuple(one for one in header.scales if (one in named if named else one == scale))
    if len(fitting) != 1:
        known = ", ".join(f"x{known}" for known in header.scales)
        raise weights_file.CheckpointError(
            f"{name}: expected weights that tell their scale, got those that fit {known} alike; "
            f"say which by the scale, or in the name, such as {card.name}_x{header.scales[0]}.pth"
        )
    return path, replace(header, scales=fitting)


def load(
    card: Card,
    *,
    scale: int | None = None,
    options: Mapping[str, int | float | str] | None = None,
    weights: Path | None = None,
    device: devices.Device = "auto",
    precision: PrecisionChoice = "exact",
    task: Task | None = None,
) -> Model:
    """Build the network of a method, and load the shipped weights or those of a file into it.

    Args:
        card: The method, which has a network.
        scale: A scale of the method; ``None``: that of the file, or the method's largest.
        options: Options of the method; those that are not given are the file's, or the method's defaults.
        weights: A safetensors file with Safelight's header, or a published checkpoint of the method; ``None``: the
            shipped weights.
        device: ``"auto"`` is the fastest device that is available.
        precision: ``"exact"`` is float32; ``"fast"`` is a 16-bit format, if the device is faster with it.
        task: One of the method's tasks; ``None``: that of its folder.

    Raises:
        CardError: A scale, an option or a combination that the method does not have.
        CheckpointError: The file is broken or belongs to another method, scale or architecture.
        DeviceError: The requested device is not available.
        OSError: A published file was converted, and the converted file cannot be written.
    """
    spec = card.network
    if spec is None:
        raise CardError(
            f"{card.id} has no network: it is no trained method; call safelight.{card.task}(x, method={card.name!r})"
        )
    path = None
    if weights is not None:
        path, header = open_weights(card, weights, scale)
        options = {**header.options, **(options or {})}
        scale = max(header.scales) if scale is None else scale
        if scale not in header.scales:
            known = ", ".join(map(str, header.scales))
            name = weights_file.printable_name(weights)
            raise weights_file.CheckpointError(f"{name}: expected weights for x{scale}, got those for {known}")
    scale = max(spec.scales) if scale is None else scale
    if scale not in spec.scales:
        raise CardError(f"{card.id} has no scale {scale}; it has: {', '.join(map(str, spec.scales))}")
    options_record = options if isinstance(options, card.options) else make_options(card, options or {})
    path = find_weights(card, options_record, scale) if path is None else path
    network = spec.build(options_record, scale)
    weights_file.check_compatible(network, weights_file.read_shapes(path)[0], path)  # before the tensors take memory
    tensors, header = weights_file.load(path)
    weights_file.load_into(network, tensors, path)
    trained_with = str(header.recipe.get("backbone_sha256", "")) if spec.backbone is not None else ""
    target = devices.choose(device)
    settled = choose_precision(card.execution, precision, target)
    return Model(card, options_record, scale, devices.place(network, target).eval(), settled, task, trained_with)


def choose_precision(execution: ExecutionSpec, precision: PrecisionChoice, device: torch.device) -> Precision:
    """Choose the number format: float32, or with ``"fast"`` the 16-bit format that the device is faster with.

    A method allows a 16-bit format only if its loss of quality was measured to be small (docs/internals/engine.md).
    """
    if precision == "exact":
        return "float32"
    if device.type == "cuda":
        return max(execution.precisions, key=("float32", "bfloat16", "float16").index)
    gains = device.type == "cpu" and "bfloat16" in execution.precisions and devices.bfloat16_pays()
    return "bfloat16" if gains else "float32"
