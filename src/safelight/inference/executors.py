"""How each kind of method gets from a picture to its result: in stages that tiles pull through, or at a whole.

``Runner`` in ``infer`` drives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from safelight import ops
from safelight.checkpoints import backbones
from safelight.core.card import Card, ClosedForm, Interpolation, Optimised, Precision, Trained
from safelight.core.options import CardError, make_options
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverResult
from safelight.degrade import BlurError, blur_kernel
from safelight.engine import device as devices
from safelight.engine.consistent import Consistent
from safelight.engine.memory import available
from safelight.engine.row_streaming import cache_bytes
from safelight.engine.sizes import affordable, chain
from safelight.engine.statistics import StatisticsStage
from safelight.engine.tiles import LocalStage, OutOfMemoryError, Region, ResampleStage, Stage, Tick
from safelight.features.backbone import Backbone
from safelight.inference.model import Model, choose_precision, load, open_weights, served_scales
from safelight.inference.request import InferenceRequest, begin_of, frame_of, mask_of, styles_of
from safelight.nn.blocks import grain
from safelight.ops.resampling import CUBIC
from safelight.tasks import Task

Tile: TypeAlias = tuple[int, int]

_MOST_ROWS = 4096  # of a tile of the result: more saves nothing


# --- the kinds of method ----------------------------------------------------------------------------------------------


class Executor(Protocol):
    """What a kind of method does that works on parts: it lays out the stages from a picture to its result."""

    precision: Precision
    scales: tuple[int, ...]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Lay out the way from (H, W) to the target's (H, W), and choose the size of a tile of the result."""
        ...


class InterpolationExecutor:
    """An interpolation: resample, then perhaps filter."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, card: Card, method: Interpolation, settings: InferenceRequest) -> None:
        if settings.weights is not None:
            raise CardError(f"{card.id} is a formula and takes no weights; leave --weights out")
        self.method, self.settings = method, settings
        self.options = make_options(card, settings.options)

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Resample, and filter if the method does."""
        method = self.method
        stages: list[Stage] = [ResampleStage(size, target, method.kernel)]
        receptive_radius = 0
        if method.after is not None and method.after_radius is not None:
            zoom = max(target[0] / size[0], target[1] / size[1])
            receptive_radius = method.after_radius(zoom, self.options)
            after = partial(_call, method.after, zoom, self.options)
            stages.append(LocalStage(target, 1, receptive_radius, _ensembled(after, self.settings)))
        # Eight copies of a tile in float32: the taps of one axis, the result of the other, the filter's frames.
        memory = self.settings.memory // 2
        side = max(16, min(1024, int(math.sqrt(memory / (32.0 * channels))) - 2 * receptive_radius))
        return stages, (side, side)


class NetworkExecutor:
    """A network, several of them for large zooms, and a resize to the exact size where theirs is another."""

    def __init__(
        self, card: Card, method: Trained, settings: InferenceRequest, models: Mapping[int, Model] | None
    ) -> None:
        self.card, self.method, self.settings = card, method, settings
        self.task: Task = card.task if settings.task is None else settings.task
        self.device = devices.choose(settings.device)
        self.precision: Precision = choose_precision(method, settings.precision, self.device)
        if settings.ensemble and method.execution.global_statistics:
            raise CardError(f"{card.id} makes a picture anew and takes no ensemble; leave --ensemble out")
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
        if self.method.network.resolve_options is None:
            return options
        sigma = self.settings.sigma
        return self.method.network.resolve_options(options, self.task, gray, None if sigma is None else sigma / 255)

    def _model(self, scale: int, *, gray: bool) -> Model:
        if self._given:
            return self._given[scale]
        settings = self.settings
        own = settings.weights is not None  # whose header says what the user doesn't
        options = dict(settings.options) if own else asdict(self._options(gray=gray))
        key = scale, tuple(options.items())
        if key not in self._loaded:
            self._loaded[key] = load(
                self.card, scale=scale, options=options, weights=settings.weights, device=settings.device,
                precision=settings.precision, task=self.task,
            )  # fmt: skip
        return self._loaded[key]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Run the networks whose zooms multiply to the target's, and resize to the exact size."""
        execution = self.method.execution
        assert not execution.global_statistics, "such a network has to read the whole picture first, by measure"
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
            height, width = affordable(size, model.receptive_radius, column, pixel, share)
            function = _mixed(_ensembled(model, self.settings), self.settings.strength)
            stages.append(LocalStage(size, scale, model.receptive_radius, function, execution.size_multiple))
            size = stages[-1].size
            tile = (scale * min(tile[0], height), scale * min(tile[1], width))
        if size != target or not stages:
            tile = (tile[0] * target[0] / size[0], tile[1] * target[1] / size[1])
            stages.append(ResampleStage(size, target, CUBIC))
        if self.settings.consistent:
            way = Consistent(given, stages)
            # What is computed around a tile comes on top of it, but a tile below a quarter would be mostly that.
            down, across = way.margin
            tile = (max(tile[0] / 4, tile[0] - 2 * down), max(tile[1] / 4, tile[1] - 2 * across))
            stages = [way]
        return stages, (max(1, int(min(tile[0], _MOST_ROWS))), max(1, int(min(tile[1], target[1]))))

    def measure(
        self, size: tuple[int, int], read: Callable[[Region], Tensor], progress: Tick
    ) -> tuple[list[Stage], Tile, float]:
        """Take the statistics of a picture that a network with such needs, so that it can then work in tiles.

        Args:
            size: (H, W) of the picture.
            read: Gives a region of it, (1, 3, h, w); also later.
            progress: Told the fraction of the whole work, tiles included, that is done.

        Returns:
            The stages and the size of a tile, as from ``stages``, and which part of the whole work this was.

        Raises:
            CardError: The pictures of styles don't go with the network.
        """
        settings, model = self.settings, self._model(1, gray=False)
        network = model.network
        if self.method.network.complete is not None:
            y = read(Region(0, size[0], 0, size[1]))
            network = model.complete(y, styles_of(settings.styles, y))
            del y
        execution = self.method.execution
        if execution.input_noise:
            read = partial(_grainy, read, execution.input_noise)
        chain = StatisticsStage(
            network, size, settings.memory, multiple=execution.size_multiple, margin=execution.padding
        )
        part = chain.measure(read, progress)
        most = (min(chain.tile[0], _MOST_ROWS), chain.tile[1])
        return [chain], most, part


def _grainy(read: Callable[[Region], Tensor], deviation: float, region: Region) -> Tensor:
    x = read(region)
    return x + deviation * grain(region.top, region.left, x.shape[-2], x.shape[-1]).to(x)


class SolverExecutor:
    """A closed form or an iteration over the whole picture, and a resize where the zoom is not a whole number."""

    precision: Precision = "float32"

    def __init__(self, card: Card, method: ClosedForm | Optimised, settings: InferenceRequest) -> None:
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
        self.backbone = backbone_for(card, settings, self.device)

    def zoom(self, size: tuple[int, int], target: tuple[int, int]) -> int:
        """The whole zoom that reaches the target, or the method's nearest."""
        least = max(1, math.ceil(max(target[0] / size[0], target[1] / size[1]) - 1e-9))
        return min((scale for scale in self.scales if scale >= least), default=max(self.scales, default=least))

    def solve(self, y: Tensor, target: tuple[int, int], report: ProgressCallback) -> SolverResult:
        """Restore a picture, (1, C, h, w).

        Raises:
            CardError: The mask or a frame has another size.
            OutOfMemoryError: It would take more memory than there is.
        """
        size = (y.shape[-2], y.shape[-1])
        zoom = 1 if "size" in self.card.accepts else self.zoom(size, target)
        pixels = max(size[0] * size[1] * zoom**2, target[0] * target[1])
        need = self.method.bytes * pixels * y.shape[1] * (1 + len(self.settings.frames) // 4)
        if isinstance(self.method, Optimised):
            need += self.method.pixel_bytes * pixels
        free = available()
        if self.device.type == "cpu" and need > free:
            raise OutOfMemoryError(
                f"{self.card.id} works on the whole picture at once and needs about {need / 2**30:.1f} GiB, where "
                f"{free / 2**30:.1f} are free; take a smaller picture or scale, or a method that works in tiles"
            )
        y = y.to(self.device)
        settings = self.settings
        problem = SolverInput(
            task=self.task, y=y, scale=zoom, seed=settings.seed, blur=self.blur,
            sigma=None if settings.sigma is None else settings.sigma / 255,
            mask=None if settings.mask is None else (mask_of(settings.mask, size) >= 0.5).float().to(self.device),
            frames=tuple(frame_of(frame, y) for frame in settings.frames),
            styles=styles_of(settings.styles, y), size=target if "size" in self.card.accepts else None,
            backbone=self.backbone, begin=None if settings.begin is None else begin_of(settings.begin, y),
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
        return SolverResult(x=x, notes=made.notes)


def backbone_for(card: Card, settings: InferenceRequest, device: torch.device) -> Backbone | None:
    """Make ready what a method compares pictures by; ``None`` if it takes none.

    Raises:
        BackboneError: There is no such backbone, or it has no weights here.
    """
    if "backbone" not in card.accepts:
        return None
    if isinstance(settings.backbone, Backbone):
        return settings.backbone.to(device)
    return backbones.load(settings.backbone or "lens", device=device)


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


def _ensembled(
    function: Callable[[Tensor, Tick], Tensor], settings: InferenceRequest
) -> Callable[[Tensor, Tick], Tensor]:
    return partial(_over_symmetries, function) if settings.ensemble else function


def _over_symmetries(function: Callable[[Tensor, Tick], Tensor], x: Tensor, tick: Tick) -> Tensor:
    turns = count()

    def turned(x: Tensor) -> Tensor:
        turn = next(turns)
        return function(x, lambda fraction: tick((turn + fraction) / 8))

    return ops.self_ensemble(turned, x)
