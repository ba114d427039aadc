"""The one path from picture to picture: check, choose device and precision, cut into tiles, run, put together.

The command line, the Python face and the benchmark all come through here, so the same input gives the same picture on
each. Methods know nothing of files, depths, devices or tiles; this file knows no method by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
import torch
from torch import Tensor

from safelight import checkpoint, ops
from safelight.card import Card, CardError, ClosedForm, Precision, Trained, make_options
from safelight.engine import device as devices
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.sizes import chain, target_size
from safelight.engine.tiles import Local, Region, Resample, Stage, render
from safelight.image import Picture
from safelight.model import Model, PrecisionChoice, choose_precision, load, served_scales
from safelight.ops import CUBIC


class NumericError(ArithmeticError):
    """A method computed something that is not a number. Never written to a file as a black picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for, beside the method and the picture.

    ``scale`` is the zoom factor, whole or not (4 where neither it nor a size is given); ``size`` the target instead:
    ``"3840x2160"``, ``"3840x"`` or ``"x2160"`` (the other side follows), or (W, H). ``options`` are the method's own,
    loose. ``weights`` is a file that replaces
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


# --- the two kinds of method ------------------------------------------------------------------------------------------


class _Way(Protocol):
    """What a kind of method does: it lays out the stages from a picture to its result."""

    precision: Precision
    scales: tuple[int, ...]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], int]:
        """Lay out the way from (H, W) to the target's (H, W), and choose the side of a tile of the result."""
        ...


class _Formula:
    """A closed form: resample, then perhaps filter."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, card: Card, method: ClosedForm, settings: Settings) -> None:
        if settings.weights is not None:
            raise CardError(f"{card.id} is a formula and takes no weights; leave --weights out")
        if settings.precision not in ("auto", "float32"):
            raise CardError(f"{card.id} is a formula and runs in float32; leave --precision out")
        self.method, self.settings = method, settings
        self.options = make_options(card, settings.options)

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], int]:
        method = self.method
        stages: list[Stage] = [Resample(size, target, method.kernel)]
        reach = 0
        if method.after is not None and method.after_reach is not None:
            zoom = max(target[0] / size[0], target[1] / size[1])
            reach = method.after_reach(zoom, self.options)
            after = partial(_call, method.after, zoom, self.options)
            stages.append(Local(target, 1, reach, _ensembled(after, self.settings)))
        # Eight copies of a tile in float32: the taps of one axis, the result of the other, the filter's frames.
        return stages, _tile(reach=reach, least=1024, bytes_per_pixel=32.0 * channels, memory=self.settings.memory)


class _Network:
    """A network, several of them for large zooms, and a resize to the exact size where theirs is another."""

    def __init__(self, card: Card, method: Trained, settings: Settings, models: Mapping[int, Model] | None) -> None:
        self.card, self.method, self.settings = card, method, settings
        self.precision: Precision = choose_precision(method, settings.precision)
        self._models = dict(models or {})
        if models:
            self.scales: tuple[int, ...] = tuple(sorted(models))
        elif settings.weights is not None:
            self.scales = checkpoint.read_header(settings.weights).scales
            self._model(max(self.scales))  # refuses a foreign file now
        else:
            self.scales = served_scales(card, make_options(card, settings.options))

    def _model(self, scale: int) -> Model:
        if scale not in self._models:
            settings = self.settings
            options = settings.options if settings.weights is None or settings.options else None
            self._models[scale] = load(
                self.card, scale=scale, options=options, weights=settings.weights, device=settings.device,
                precision=settings.precision,
            )  # fmt: skip
        return self._models[scale]

    def stages(
        self,
        size: tuple[int, int],
        target: tuple[int, int],
        channels: int,  # noqa: ARG002 - networks fix theirs
    ) -> tuple[list[Stage], int]:
        stages: list[Stage] = []
        sides: list[float] = []  # for each network, the side of a tile that it can afford, in pixels of the result
        for scale in chain(self.scales, max(target[0] / size[0], target[1] / size[1])):
            model = self._model(scale)
            stages.append(Local(size, scale, model.reach, _ensembled(model, self.settings)))
            size = stages[-1].size
            enlarged = scale if self.method.input == "interpolated" else 1  # how much larger the network sees it
            side = _tile(
                reach=model.reach,
                least=256 // enlarged,
                bytes_per_pixel=1.5 * model.cost.bytes * enlarged**2,
                memory=self.settings.memory,
            )
            sides = [s * scale for s in [*sides, side]]
        if size != target or not stages:
            sides = [s * min(target[0] / size[0], target[1] / size[1]) for s in sides]
            stages.append(Resample(size, target, CUBIC))
        return stages, max(1, int(min(sides, default=1024)))


def _call(function: Callable[[Tensor, float, Any], Tensor], zoom: float, options: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - per method
    return function(x, zoom, options)


def _ensembled(function: Callable[[Tensor], Tensor], settings: Settings) -> Callable[[Tensor], Tensor]:
    return partial(ops.self_ensemble, function) if settings.ensemble else function


def _tile(*, reach: int, least: int, bytes_per_pixel: float, memory: int) -> int:
    """Choose the side of a tile in a stage's input pixels.

    Large enough that the border, which neighbours compute too, adds at most a quarter to the work, if the memory
    allows it; never more than the memory holds, and at least ``least`` where it can be: below that, overheads show.
    """
    affordable = int(math.sqrt(memory / bytes_per_pixel)) - 2 * reach
    return max(16, min(affordable, max(least, 17 * reach)))


# --- a method on pictures ---------------------------------------------------------------------------------------------


class Runner:
    """A method with settings, ready for any number of pictures. A network is loaded once, when it is first needed.

    Args:
        card: The method.
        settings: What the user asks for.
        models: Networks that are there already, by scale, instead of shipped ones: one in training, say.

    Raises:
        CardError: An unknown option, a setting that the method does not have, weights that are not shipped, or a
            scale out of range.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
    """

    def __init__(self, card: Card, settings: Settings, models: Mapping[int, Model] | None = None) -> None:
        self.card, self.settings = card, settings
        self.device = devices.choose(settings.device)
        match card.method:
            case ClosedForm() as method:
                self._way: _Way = _Formula(card, method, settings)
            case Trained() as method:
                self._way = _Network(card, method, settings, models)
            case _ as unknown:
                assert_never(unknown)
        if settings.size is None or settings.scale is not None:
            self.size(64, 64)  # refuses a scale out of range now, not at the first picture

    def describe(self) -> str:
        """Say in one line what runs, where and how."""
        plus = "+" if self.settings.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self._way.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result for a picture of ``width`` x ``height``."""
        scale, scales = self.settings.scale, self._way.scales
        if scale is None and self.settings.size is None and scales and 4 not in scales:
            scale = max(scales)  # a user's own weights for x3 are for enlarging by 3
        return target_size(scale, self.settings.size, width, height)

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], int]:
        """Lay out the way from a picture to its result, and the side of a tile of the result."""
        w, h = self.size(width, height)
        return self._way.stages((height, width), (h, w), channels)

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
        if self._way.scales and max(w / width, h / height) <= 1:
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
                    f"{self.card.id} computed values that are not numbers in {self._way.precision}; "
                    "try --precision float32"
                )
            pixels[region.top : region.bottom, region.left : region.right] = to_samples(x, pixels.dtype)

        with torch.inference_mode():
            render(stages, read, write, tile=tile, progress=progress)
        alpha = None if picture.alpha is None else _enlarge_alpha(picture.alpha, (h, w))
        return replace(picture, pixels=pixels, alpha=alpha, warnings=tuple(warnings))


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
    """Make a method ready, checking all that can be checked without a picture; raises what ``Runner`` raises."""
    return Runner(card, settings)


def apply(card: Card, picture: Picture, settings: Settings, progress: Callable[[float], None] | None = None) -> Picture:
    """Run a method on one picture: ``prepare(card, settings)(picture)``."""
    return prepare(card, settings)(picture, progress)
