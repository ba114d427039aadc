"""The one path from picture to picture: check, choose device and precision, cut into tiles, run, put together.

The command line, the Python face and the benchmark all come through here, so the same input gives the same picture on
each. Methods know nothing of files, depths, devices or tiles; this file knows no method by name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from safelight import checkpoint, ops
from safelight.card import Card, CardError, ClosedForm, Precision, Trained, make_options
from safelight.color import rgb_to_ycbcr, ycbcr_to_rgb
from safelight.engine import device as devices
from safelight.engine.cost import measure
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.sizes import chain, target_size
from safelight.engine.tiles import Local, Region, Resample, Stage, render
from safelight.image import Picture
from safelight.ops import CUBIC

PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]

SHIPPED = Path(__file__).parent / "weights"

_CUBIC_REACH = 2  # input pixels on each side of an enlarging bicubic kernel


class NumericError(ArithmeticError):
    """A method computed something that is not a number. Never written to a file as a black picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for, beside the method and the picture.

    ``scale`` is the zoom factor, whole or not; ``size`` the target instead: ``"3840x2160"``, ``"3840x"`` or ``"x2160"``
    (the other side follows), or (W, H). ``options`` are the method's own, loose. ``weights`` is a file that replaces
    the shipped ones. ``ensemble`` averages over the eight symmetries of the square (eight times the work).
    ``memory`` bounds, in bytes, what a tile's computation may hold, beside the picture itself.
    """

    scale: float | None = None
    size: str | tuple[int, int] | None = None
    options: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    weights: Path | None = None
    device: devices.Device = "auto"
    precision: PrecisionChoice = "auto"
    ensemble: bool = False
    memory: int = 1 << 30


# --- a network made ready ---------------------------------------------------------------------------------------------


class Model:
    """A method of one scale on tensors: what ``safelight.load`` gives.

    ``network`` is the plain ``nn.Module``, for export, inspection or further training; it takes what the paper's
    network takes. Calling the model does the rest: interpolation first where the method wants it, and colour.
    """

    def __init__(
        self,
        card: Card,
        options: Any,  # noqa: ANN401 - each method has its own Options class
        scale: int,
        network: nn.Module,
        precision: Precision = "float32",
    ) -> None:
        assert isinstance(card.method, Trained)
        self.card, self.options, self.scale, self.network = card, options, scale, network
        self.method, self.precision = card.method, precision

    @property
    def reach(self) -> int:
        """How many input pixels away a pixel can still influence the result at its place."""
        reach = self.method.reach(self.options, self.scale)
        if self.method.input == "interpolated":
            return math.ceil(reach / self.scale) + _CUBIC_REACH
        return max(reach, _CUBIC_REACH)  # the chroma's bicubic kernel, where the network looks less far

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Enlarge (B, C, H, W), C = 1 or 3, sRGB or gray in [0, 1], to (B, C, H * scale, W * scale).

        A network of the luma works on the Y of BT.601, and the chroma is enlarged by the bicubic kernel, as in the
        papers; a gray picture is taken as Y as it is. A network of RGB sees a gray picture as three equal channels,
        and the mean of its answers is the result. Nothing is clipped.

        Raises:
            ValueError: Another shape.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"expected (B, 1 or 3, H, W), got {tuple(x.shape)}; move channels that come last")
        size = (x.shape[-2] * self.scale, x.shape[-1] * self.scale)
        gray = x.shape[1] == 1
        if self.method.channels == "rgb":
            result = self._run(x.expand(-1, 3, -1, -1), size)
            return result.mean(dim=1, keepdim=True) if gray else result
        if gray:
            return self._run(x, size)
        ycbcr = rgb_to_ycbcr(x)
        luma = self._run(ycbcr[:, :1], size)
        return ycbcr_to_rgb(torch.cat([luma, ops.resize(ycbcr[:, 1:], size)], dim=1))

    def _run(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.method.input == "interpolated":
            x = ops.resize(x, size)
        x = x.contiguous(memory_format=torch.channels_last)
        # Autocast leaves sums, such as VDSR's residual, in float32: only the convolutions lose digits.
        enabled = self.precision != "float32"
        with torch.autocast(x.device.type, getattr(torch, self.precision), enabled=enabled):
            return self.network(x).float()


def find_weights(card: Card, options: Any, scale: int, file: Path | None = None) -> Path:  # noqa: ANN401 - per method
    """Find the weights of a method for a scale: the user's file, or the shipped one, its checksum verified.

    Raises:
        CardError: None is shipped for these options and this scale.
        CheckpointError: The shipped file is damaged.
    """
    method = card.method
    assert isinstance(method, Trained)
    if file is not None:
        return file
    for weights in method.weights:
        if scale in weights.scales and make_options(card, weights.options) == options:
            path = SHIPPED / weights.file
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
                raise checkpoint.CheckpointError(
                    f"{path}: expected the shipped weights, but they are missing or damaged; install safelight again"
                )
            return path
    shipped = ", ".join(f"x{'/x'.join(map(str, w.scales))} {dict(w.options) or ''}".strip() for w in method.weights)
    raise CardError(
        f"{card.id} ships no weights for scale {scale} with {options}; it ships: {shipped or 'none'}. "
        f"Train them with `safelight train {card.id}`, or name a file with --weights"
    )


def load(
    card: Card,
    *,
    scale: int | None = None,
    options: Mapping[str, int | float | str] | None = None,
    weights: Path | None = None,
    device: devices.Device = "auto",
    precision: PrecisionChoice = "auto",
) -> Model:
    """Build a method's network and fill it with the shipped weights, or with a file's.

    Args:
        card: Of a trained method.
        scale: A scale of the method. ``None``: the file's, or the method's largest.
        options: The architecture. ``None``: the file's, or the method's defaults.
        weights: A safetensors file with Safelight's header.
        device: ``"auto"``: the fastest there is.
        precision: ``"auto"``: float32 on a CPU, float16 on a GPU where the method's card allows it.

    Raises:
        CardError: A scale, an option or a combination that the method does not have.
        CheckpointError: The file is broken or belongs to another method, scale or architecture.
        DeviceError: This machine has no such device.
    """
    method = card.method
    if not isinstance(method, Trained):
        raise CardError(f"{card.id} is a formula and has no network; call safelight.upscale(x, method={card.name!r})")
    if weights is not None:
        header = checkpoint.read_header(weights)
        if header.method != card.id:
            raise checkpoint.CheckpointError(f"{weights.name}: expected weights of {card.id}, got {header.method}")
        options = header.options if options is None else options
        scale = max(header.scales) if scale is None else scale
        if scale not in header.scales:
            known = ", ".join(map(str, header.scales))
            raise checkpoint.CheckpointError(f"{weights.name}: expected weights for x{scale}, got those for {known}")
    scale = max(method.scales) if scale is None else scale
    if scale not in method.scales:
        raise CardError(f"{card.id} has no scale {scale}; it has: {', '.join(map(str, method.scales))}")
    made = make_options(card, options or {})
    path = find_weights(card, made, scale, weights)
    tensors, _ = checkpoint.load(path)
    network = method.network(made, scale)
    checkpoint.fill(network, tensors, path)
    target = devices.choose(device)
    settled = choose_precision(method, target, precision)
    return Model(card, made, scale, devices.place(network, target).eval(), settled)


def choose_precision(method: Trained, device: torch.device, precision: PrecisionChoice) -> Precision:
    """Settle the precision: what the user asks for if the method allows it, else the exact one for the device.

    Raises:
        CardError: The method's card does not list the precision.
    """
    if precision == "auto":
        return "float16" if device.type == "cuda" and "float16" in method.precisions else "float32"
    if precision not in method.precisions:
        raise CardError(f"this method does not run in {precision}; it runs in: {', '.join(method.precisions)}")
    return precision


# --- a method on pictures ---------------------------------------------------------------------------------------------


class Runner:
    """A method with settings, ready for any number of pictures. A network is loaded once, when it is first needed."""

    def __init__(self, card: Card, settings: Settings) -> None:
        self.card, self.settings = card, settings
        self.options = make_options(card, settings.options)
        self.device = devices.choose(settings.device)
        self.precision: Precision = "float32"
        self._models: dict[int, Model] = {}
        match card.method:
            case ClosedForm():
                if settings.weights is not None:
                    raise CardError(f"{card.id} is a formula and takes no weights; leave --weights out")
                if settings.precision not in ("auto", "float32"):
                    raise CardError(f"{card.id} is a formula and runs in float32; leave --precision out")
                self.scales: tuple[int, ...] = ()
            case Trained() as method:
                self.precision = choose_precision(method, self.device, settings.precision)
                self.scales = method.scales
                if settings.weights is not None:
                    self.scales = checkpoint.read_header(settings.weights).scales
                    self.options = self._model(max(self.scales)).options
                for scale in self.scales:
                    find_weights(card, self.options, scale, settings.weights)
            case _ as unknown:
                assert_never(unknown)
        if settings.size is None or settings.scale is not None:
            self.size(64, 64)  # refuses a scale out of range now, not at the first picture

    def describe(self) -> str:
        """Say in one line what runs, where and how."""
        plus = "+" if self.settings.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result for a picture of ``width`` x ``height``."""
        return target_size(self.settings.scale, self.settings.size, width, height)

    def _model(self, scale: int) -> Model:
        if scale not in self._models:
            settings = self.settings
            options = settings.options if settings.weights is None or settings.options else None
            self._models[scale] = load(
                self.card, scale=scale, options=options, weights=settings.weights, device=settings.device,
                precision=settings.precision,
            )  # fmt: skip
        return self._models[scale]

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], int]:
        """Lay out the way from a picture to its result, and the side of a tile of the result."""
        w, h = self.size(width, height)
        size = (height, width)
        stages: list[Stage] = []
        zoom = max(w / width, h / height)
        match self.card.method:
            case ClosedForm() as method:
                stages.append(Resample(size, (h, w), method.kernel))
                reach = 0
                if method.after is not None and method.after_reach is not None:
                    reach = method.after_reach(zoom, self.options)
                    function = partial(_after, method, zoom, self.options)
                    stages.append(Local((h, w), 1, reach, self._ensembled(function)))
                return stages, _tile(
                    reach=reach, least=1024, bytes_per_pixel=4.0 * channels * 8, memory=self.settings.memory
                )
            case Trained() as method:
                sides: list[int] = []
                for scale in chain(self.scales, zoom):
                    model = self._model(scale)
                    stage = Local(size, scale, model.reach, self._ensembled(model))
                    stages.append(stage)
                    size = stage.size
                    bytes_in = measure(model.network, 1 if method.channels == "y" else 3).bytes
                    zoomed = scale if method.input == "interpolated" else 1  # how much larger the network sees it
                    side = _tile(
                        reach=model.reach, least=256 // zoomed, bytes_per_pixel=1.5 * bytes_in * zoomed**2,
                        memory=self.settings.memory,
                    )  # fmt: skip
                    sides = [s * scale for s in [*sides, side]]
                if size != (h, w):
                    sides = [max(1, int(s * min(h / size[0], w / size[1]))) for s in sides]
                    stages.append(Resample(size, (h, w), CUBIC))
                if not stages:
                    stages.append(Resample(size, (h, w), CUBIC))
                return stages, min(sides, default=1024)
            case _ as unknown:
                assert_never(unknown)

    def _ensembled(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return partial(ops.self_ensemble, function) if self.settings.ensemble else function

    def __call__(self, picture: Picture, progress: Callable[[float], None] | None = None) -> Picture:
        """Run the method on one picture. Depth, alpha, profile and metadata are kept.

        Args:
            picture: Of any size, depth and number of channels.
            progress: Told the fraction that is done, in (0, 1].

        Raises:
            SizeError: The size asked for does not suit the picture.
            NumericError: The result is not a number somewhere.
            OutOfMemoryError: Even the smallest tile does not fit.
        """
        height, width = picture.height, picture.width
        w, h = self.size(width, height)
        warnings = [*picture.warnings]
        if abs(w / width - h / height) > 0.01 * max(w / width, h / height) and min(w, h) > 8:
            warnings.append(f"{w}x{h} changes the shape of a {width}x{height} picture; --size {w}x keeps it")
        if isinstance(self.card.method, Trained) and max(w / width, h / height) <= 1:
            warnings.append(f"{w}x{h} is no larger than the picture, so it was resized by bicubic and no network ran")
        if picture.pixels.dtype == np.float32 and (picture.pixels.min() < 0 or picture.pixels.max() > 1):
            warnings.append("samples outside [0, 1] were clipped")
        stages, tile = self.stages(width, height, picture.channels)
        pixels = np.empty((h, w, picture.channels), picture.pixels.dtype)

        def read(region: Region) -> Tensor:
            return to_tensor(picture.pixels[region.top : region.bottom, region.left : region.right]).to(self.device)

        def write(region: Region, x: Tensor) -> None:
            if not torch.isfinite(x).all():
                raise NumericError(
                    f"{self.card.id} computed values that are not numbers in {self.precision}; try --precision float32"
                )
            pixels[region.top : region.bottom, region.left : region.right] = to_samples(x, pixels.dtype)

        with torch.inference_mode():
            render(stages, read, write, tile=tile, progress=progress)
        alpha = None if picture.alpha is None else _enlarge_alpha(picture.alpha, (h, w))
        return replace(picture, pixels=pixels, alpha=alpha, warnings=tuple(warnings))


def _after(method: ClosedForm, zoom: float, options: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - per method
    assert method.after is not None
    return method.after(x, zoom, options)


def _tile(*, reach: int, least: int, bytes_per_pixel: float, memory: int) -> int:
    """Choose the side of a tile in a stage's input pixels.

    Large enough that the border, which neighbours compute too, adds at most a quarter to the work, if the memory
    allows it; never more than the memory holds, and at least ``least`` where it can be: below that, overheads show.
    """
    affordable = int(math.sqrt(memory / bytes_per_pixel)) - 2 * reach
    return max(16, min(affordable, max(least, 17 * reach)))


def _enlarge_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge the alpha channel by the bicubic kernel: coverage is not a picture, and networks ring on it."""
    result = np.empty(size, alpha.dtype)

    def read(region: Region) -> Tensor:
        return to_tensor(alpha[region.top : region.bottom, region.left : region.right, None])

    def write(region: Region, x: Tensor) -> None:
        result[region.top : region.bottom, region.left : region.right] = to_samples(x, alpha.dtype)[..., 0]

    render([Resample((alpha.shape[0], alpha.shape[1]), size, CUBIC)], read, write, tile=1024)
    return result


def prepare(card: Card, settings: Settings) -> Runner:
    """Make a method ready, checking all that can be checked without a picture.

    Raises:
        CardError: An unknown option, or weights that are not shipped.
        SizeError: A scale out of range.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
    """
    return Runner(card, settings)


def apply(card: Card, picture: Picture, settings: Settings, progress: Callable[[float], None] | None = None) -> Picture:
    """Run a method on one picture: ``prepare(card, settings)(picture)``."""
    return prepare(card, settings)(picture, progress)
