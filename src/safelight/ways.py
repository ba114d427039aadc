"""How each kind of method gets from a picture to its result: in stages that tiles pull through, or at a whole.

``Runner`` in ``infer`` drives them. What a user asks for is in ``Settings``, and ``check`` refuses what a method does
not have, before any work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from safelight import ops
from safelight.card import (
    Card,
    CardError,
    ClosedForm,
    Interpolation,
    MissingPackageError,
    Optimised,
    Precision,
    Trained,
    make_options,
)
from safelight.degrade import BlurError, blur_kernel
from safelight.engine import device as devices
from safelight.engine.consistent import Consistent
from safelight.engine.memory import available
from safelight.engine.samples import to_tensor
from safelight.engine.sizes import affordable, chain
from safelight.engine.strips import cache_bytes
from safelight.engine.tiles import Local, OutOfMemoryError, Resample, Stage, Tick
from safelight.image import Picture
from safelight.model import Model, PrecisionChoice, choose_precision, load, open_weights, served_scales
from safelight.ops import CUBIC
from safelight.problem import Condition, Problem, Report, Solution
from safelight.tasks import Task

Tile: TypeAlias = tuple[int, int]

_MOST_ROWS = 4096  # of a tile of the result: more saves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user asks for, beside the method and the picture.

    ``task`` is one of the method's tasks; ``None``: that of its folder. ``scale`` is the zoom factor, whole or not (4
    where neither it nor a size is given); ``size`` the target instead: ``"3840x2160"``, ``"3840x"`` or ``"x2160"`` (the
    other side follows), or (W, H). ``options`` are the method's own, loose. ``weights`` is a file that replaces the
    shipped ones. ``ensemble`` averages over the eight symmetries of the square (eight times the work).
    ``memory`` bounds, in bytes, what a tile's computation may hold, beside the picture itself.

    ``sigma`` is the standard deviation of the picture's noise, in units of 0 to 255; ``None``: not known. ``blur`` is
    what blurred it: ``"gaussian:SIGMA"``, ``"none"``, or a file with a kernel. ``strength`` of ``denoise`` and
    ``deblock`` mixes the result with the input: 1 is the result, 0 the input. ``mask`` is a picture that is white, or
    opaque, where ``inpaint`` has to fill. ``frames`` are more pictures of the same scene. ``seed`` is that of methods
    that draw at random.

    ``consistent`` changes a network's enlargement as little as it takes for shrinking it by the bicubic kernel to give
    back the input.
    """

    task: Task | None = None
    scale: float | None = None
    size: str | tuple[int, int] | None = None
    options: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    weights: Path | None = None
    device: devices.Device = "auto"
    precision: PrecisionChoice = "exact"
    ensemble: bool = False
    memory: int = 1 << 30
    sigma: float | None = None
    blur: str | Path | None = None
    strength: float = 1.0
    mask: Picture | None = None
    frames: tuple[Picture, ...] = ()
    seed: int = 0
    consistent: bool = False


_FLAGS: Mapping[Condition, str] = {"sigma": "--sigma", "blur": "--blur", "mask": "--mask", "frames": "several pictures"}


def check(card: Card, task: Task, settings: Settings) -> None:
    """Refuse what the method or its task does not have, before any work.

    Raises:
        CardError: It says what the method has.
        MissingPackageError: The method's package is not installed.
    """
    if task not in card.tasks:
        raise CardError(f"{card.id} does not {task}; it serves: {', '.join(card.tasks)}")
    if card.extra is not None and find_spec(card.extra.module) is None:
        raise MissingPackageError(
            f"{card.id} needs a package that is not installed; get it with: pip install 'safelight[{card.extra.name}]'"
        )
    if task != "upscale" and (settings.scale is not None or settings.size is not None):
        raise CardError(f"{task} keeps a picture's size; leave the scale and the size out, or use upscale")
    given: tuple[tuple[Condition, bool], ...] = (
        ("sigma", settings.sigma is not None),
        ("blur", settings.blur is not None),
        ("mask", settings.mask is not None),
        ("frames", bool(settings.frames)),
    )
    for condition, is_given in given:
        if is_given and condition not in card.takes:
            raise CardError(f"{card.id} takes no {_FLAGS[condition]}; leave it out, or choose a method that does")
    if settings.sigma is not None and not (settings.sigma >= 0 and math.isfinite(settings.sigma)):
        raise CardError(f"expected a sigma of at least 0, in units of 0 to 255, got {settings.sigma:g}")
    if not 0 <= settings.strength <= 1:
        raise CardError(f"expected a strength from 0 (the input) to 1 (the result), got {settings.strength:g}")
    if settings.strength != 1 and task not in ("denoise", "deblock"):
        raise CardError(f"{task} has no strength between the input and the result; leave it out")
    if settings.consistent and not (task == "upscale" and isinstance(card.method, Trained)):
        raise CardError(f"{card.id}: only the networks of upscale have consistent results; leave --consistent out")
    if task == "inpaint" and settings.mask is None:
        raise CardError("inpaint: expected a mask, got none; give a picture that is white where to fill, by --mask")


# --- the kinds of method ----------------------------------------------------------------------------------------------


class Way(Protocol):
    """What a kind of method does that works on parts: it lays out the stages from a picture to its result."""

    precision: Precision
    scales: tuple[int, ...]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Lay out the way from (H, W) to the target's (H, W), and choose the size of a tile of the result."""
        ...


class Formula:
    """An interpolation: resample, then perhaps filter."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, card: Card, method: Interpolation, settings: Settings) -> None:
        if settings.weights is not None:
            raise CardError(f"{card.id} is a formula and takes no weights; leave --weights out")
        self.method, self.settings = method, settings
        self.options = make_options(card, settings.options)

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Resample, and filter if the method does."""
        method = self.method
        stages: list[Stage] = [Resample(size, target, method.kernel)]
        reach = 0
        if method.after is not None and method.after_reach is not None:
            zoom = max(target[0] / size[0], target[1] / size[1])
            reach = method.after_reach(zoom, self.options)
            after = partial(_call, method.after, zoom, self.options)
            stages.append(Local(target, 1, reach, _ensembled(after, self.settings)))
        # Eight copies of a tile in float32: the taps of one axis, the result of the other, the filter's frames.
        memory = self.settings.memory // 2
        side = max(16, min(1024, int(math.sqrt(memory / (32.0 * channels))) - 2 * reach))
        return stages, (side, side)


class Network:
    """A network, several of them for large zooms, and a resize to the exact size where theirs is another."""

    def __init__(self, card: Card, method: Trained, settings: Settings, models: Mapping[int, Model] | None) -> None:
        self.card, self.method, self.settings = card, method, settings
        self.task: Task = card.task if settings.task is None else settings.task
        self.device = devices.choose(settings.device)
        self.precision: Precision = choose_precision(method, settings.precision, self.device)
        self._given = models
        self._loaded: dict[tuple[int, Any], Model] = {}
        if models:
            served: tuple[int, ...] = tuple(sorted(models))
        elif settings.weights is not None:
            served = open_weights(card, settings.weights, settings.scale)[1].scales
        else:
            # Which of several networks it is depends on the picture; each has to have weights.
            each = [served_scales(card, self._options(gray=gray)) for gray in (True, False)]
            served = tuple(scale for scale in each[0] if scale in each[1])
        self.scales = tuple(scale for scale in served if (scale > 1) == (self.task == "upscale"))
        if not self.scales:
            known = ", ".join(f"x{scale}" for scale in served)
            raise CardError(f"{card.id}: expected weights that {self.task}, got those for {known}; give others")
        if settings.weights is not None and not models:
            self._model(max(self.scales), gray=True)  # refuses a foreign file now

    def _options(self, *, gray: bool) -> Any:  # noqa: ANN401 - per method
        options = make_options(self.card, self.settings.options)
        if self.method.pick is None:
            return options
        sigma = self.settings.sigma
        return self.method.pick(options, self.task, gray, None if sigma is None else sigma / 255)

    def _model(self, scale: int, *, gray: bool) -> Model:
        if self._given:
            return self._given[scale]
        settings = self.settings
        own = settings.weights is not None and not settings.options  # the file says which
        options = None if own else asdict(self._options(gray=gray))
        key = scale, None if options is None else tuple(options.items())
        if key not in self._loaded:
            self._loaded[key] = load(
                self.card, scale=scale, options=options, weights=settings.weights, device=settings.device,
                precision=settings.precision, task=self.task,
            )  # fmt: skip
        return self._loaded[key]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Run the networks whose zooms multiply to the target's, and resize to the exact size."""
        stages: list[Stage] = []
        given, memory = size, self.settings.memory
        share = max(memory // 8, memory * 2 // 5 - 2 * cache_bytes())  # the rest is for strips and bands
        tile = (math.inf, math.inf)  # what each network can afford, the least of them, in pixels of the result
        scales = (1,) if self.task != "upscale" else chain(self.scales, max(target[0] / size[0], target[1] / size[1]))
        for scale in scales:
            model = self._model(scale, gray=channels == 1)
            column, pixel = model.memory(self.device.type == "cpu")
            if self.settings.ensemble:  # the sum, and a turned copy of the picture and of its result
                pixel += 36 * scale**2
            height, width = affordable(size, model.reach, column, pixel, share)
            function = _mixed(_ensembled(model, self.settings), self.settings.strength)
            stages.append(Local(size, scale, model.reach, function))
            size = stages[-1].size
            tile = (scale * min(tile[0], height), scale * min(tile[1], width))
        if size != target or not stages:
            tile = (tile[0] * target[0] / size[0], tile[1] * target[1] / size[1])
            stages.append(Resample(size, target, CUBIC))
        if self.settings.consistent:
            way = Consistent(given, stages)
            # What is computed around a tile comes on top of it, but a tile below a quarter would be mostly that.
            down, across = way.margin
            tile = (max(tile[0] / 4, tile[0] - 2 * down), max(tile[1] / 4, tile[1] - 2 * across))
            stages = [way]
        return stages, (max(1, int(min(tile[0], _MOST_ROWS))), max(1, int(min(tile[1], target[1]))))


class Whole:
    """A closed form or an iteration over the whole picture, and a resize where the zoom is not a whole number."""

    precision: Precision = "float32"

    def __init__(self, card: Card, method: ClosedForm | Optimised, settings: Settings) -> None:
        if settings.weights is not None or settings.ensemble:
            what = "weights" if settings.weights is not None else "ensemble"
            raise CardError(f"{card.id} is no network and takes no {what}; leave --{what} out")
        self.card, self.method, self.settings = card, method, settings
        self.task: Task = card.task if settings.task is None else settings.task
        self.options = make_options(card, settings.options)
        try:
            self.blur = None if settings.blur is None else blur_kernel(settings.blur)
        except BlurError as error:
            raise CardError(str(error)) from None
        self.scales = method.scales
        self.device = devices.choose(settings.device)

    def zoom(self, size: tuple[int, int], target: tuple[int, int]) -> int:
        """The whole zoom that reaches the target, or the method's nearest."""
        least = max(1, math.ceil(max(target[0] / size[0], target[1] / size[1]) - 1e-9))
        return min((scale for scale in self.scales if scale >= least), default=max(self.scales, default=least))

    def solve(self, y: Tensor, target: tuple[int, int], report: Report) -> Solution:
        """Restore a picture, (1, C, h, w).

        Raises:
            CardError: The mask or a frame has another size.
            OutOfMemoryError: It would take more memory than there is.
        """
        size = (y.shape[-2], y.shape[-1])
        zoom = self.zoom(size, target)
        need = self.method.bytes * y.numel() * zoom**2 * (1 + len(self.settings.frames) // 4)
        free = available()
        if self.device.type == "cpu" and need > free:
            raise OutOfMemoryError(
                f"{self.card.id} works on the whole picture at once and needs about {need / 2**30:.1f} GiB, where "
                f"{free / 2**30:.1f} are free; take a smaller picture or scale, or a method that works in tiles"
            )
        y = y.to(self.device)
        problem = Problem(
            task=self.task, y=y, scale=zoom, seed=self.settings.seed, blur=self.blur,
            sigma=None if self.settings.sigma is None else self.settings.sigma / 255,
            mask=self._mask(size), frames=tuple(self._frame(frame, y) for frame in self.settings.frames),
        )  # fmt: skip
        match self.method:
            case ClosedForm():
                made = self.method.solve(problem, self.options)
            case Optimised():
                made = self.method.run(problem, self.options, report)
        x = made.x
        if (x.shape[-2], x.shape[-1]) != target:
            x = ops.resize(x, target)
        if self.settings.strength != 1:
            x = y + self.settings.strength * (x - y)
        return Solution(x=x, notes=made.notes)

    def _mask(self, size: tuple[int, int]) -> Tensor | None:
        mask = self.settings.mask
        if mask is None:
            return None
        if (mask.height, mask.width) != size:
            raise CardError(
                f"expected a mask of {size[1]}x{size[0]}, the size of the picture, got {mask.width}x{mask.height}; "
                "draw it on the picture itself"
            )
        drawn = to_tensor(mask.pixels).mean(dim=1, keepdim=True)
        if mask.alpha is not None and bool((drawn == drawn.flatten()[0]).all()):
            drawn = to_tensor(mask.alpha[..., None] if mask.alpha.ndim == 2 else mask.alpha)
        return (drawn >= 0.5).float().to(self.device)

    def _frame(self, frame: Picture, y: Tensor) -> Tensor:
        x = to_tensor(frame.pixels)
        if x.shape[-2:] != y.shape[-2:]:
            raise CardError(
                f"expected frames of one size, got {y.shape[-1]}x{y.shape[-2]} and {frame.width}x{frame.height}; "
                "take pictures of one camera, uncropped"
            )
        if x.shape[1] != y.shape[1]:
            raise CardError("expected frames that are all gray or all in colour, got both; convert them")
        return x.to(self.device)


def _mixed(function: Callable[[Tensor, Tick], Tensor], strength: float) -> Callable[[Tensor, Tick], Tensor]:
    return function if strength == 1 else partial(_mix, function, strength)


def _mix(function: Callable[[Tensor, Tick], Tensor], strength: float, x: Tensor, tick: Tick) -> Tensor:
    return torch.lerp(x, function(x, tick), strength)


def _call(
    function: Callable[[Tensor, float, Any], Tensor],
    zoom: float,
    options: Any,  # noqa: ANN401 - per method
    x: Tensor,
    tick: Tick,  # noqa: ARG001 - done at once
) -> Tensor:
    return function(x, zoom, options)


def _ensembled(function: Callable[[Tensor, Tick], Tensor], settings: Settings) -> Callable[[Tensor, Tick], Tensor]:
    return partial(_over_symmetries, function) if settings.ensemble else function


def _over_symmetries(function: Callable[[Tensor, Tick], Tensor], x: Tensor, tick: Tick) -> Tensor:
    turns = count()

    def turned(x: Tensor) -> Tensor:
        turn = next(turns)
        return function(x, lambda fraction: tick((turn + fraction) / 8))

    return ops.self_ensemble(turned, x)
