"""The executors: one for each kind of method, from the inputs of a task to its output.

``executor_for`` is the only place that distinguishes the kinds of method. An executor of pictures either lays out
stages that are computed tile by tile, or works on the whole picture at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeAlias, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight import ops
from safelight.core.card import Card, ClosedForm, Codec, Fitted, Generator, Interpolation, Optimised, Precision, Trained
from safelight.core.options import CardError
from safelight.core.outputs import Bitstream, Image, Images, Output
from safelight.core.solver_input import GeneratorInput, ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.core.task import TaskSpec
from safelight.engine.consistent import ConsistencyStage
from safelight.engine.memory import available_memory
from safelight.engine.row_streaming import cache_bytes
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.sizes import affordable_tile, scale_chain
from safelight.engine.statistics import StatisticsStage
from safelight.engine.tiles import LocalStage, OutOfMemoryError, Region, ResampleStage, Stage, Tick
from safelight.inference.model import Model, choose_precision, load, open_weights, served_scales
from safelight.inference.rendering import NumericError, Rendering, check_finite
from safelight.inference.request import InferenceRequest
from safelight.media.image import ImageSpec, Picture, Rows
from safelight.nn.blocks import fixed_noise
from safelight.ops import CUBIC

Tile: TypeAlias = tuple[int, int]

_MOST_ROWS = 4096  # of a tile of the result: more saves nothing


# --- the interface of all executors -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A method and a checked request: what every executor is built from.

    Attributes:
        card: The method.
        task: The task that it does.
        inputs: The values of the task's inputs, by name, with defaults; checked, and prepared for ``device``.
        options: The options of the method, an instance of its ``Options`` class.
        request: The request of the user.
        device: The device that it computes on.
        models: Loaded networks, by scale, to use in place of the shipped ones; for example one in training.
    """

    card: Card
    task: TaskSpec
    inputs: Mapping[str, Any]
    options: Any
    request: InferenceRequest
    device: torch.device
    models: Mapping[int, Model] | None = None

    def converted(self, y: Tensor | None) -> dict[str, Any]:
        """Convert the inputs that the method accepts, by the names of the fields of ``SolverInput``.

        Args:
            y: The picture, (1, C, H, W) in [0, 1]; ``None``: the task has none.

        Raises:
            CardError: A picture among the inputs has another size than y.
        """
        values: dict[str, Any] = {}
        for spec in self.task.conditions:
            if not spec.optional or spec.name in self.card.accepts:
                value = self.inputs[spec.name] if spec.convert is None else spec.convert(self.inputs, y)
                values[spec.target or spec.name] = value
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run of an executor.

    Attributes:
        source: The picture or the bytes to work on; ``None`` for a task without one.
        spec: Size, depth and metadata of the result; ``None`` if the task does not map one picture to one picture.
        progress: Called with the fraction that is done, in (0, 1].
        warn: Called with each warning about the result.
        observer: Called after each step of an iteration; if it returns ``False``, the iteration stops.
    """

    source: Rows | bytes | None
    spec: ImageSpec | None
    progress: Tick
    warn: Callable[[str], None]
    observer: ProgressCallback


class Executor(Protocol):
    """Turns inputs into an output, for one kind of method.

    Attributes:
        precision: The number format that it computes in.
        scales: The scales of its networks or solvers; empty: any.
    """

    precision: Precision
    scales: tuple[int, ...]

    def execute(self, call: Call) -> Output | Iterator[NDArray[Any]]:
        """Run once. The result of a task from picture to picture is an iterator of rows, computed as they are taken."""
        ...


def executor_for(job: Job) -> Executor:
    """Choose the executor of a method's kind.

    Raises:
        CardError: The request has an input or a setting that this kind does not take, or no weights are shipped.
        CheckpointError: A weights file is broken or belongs to another method.
        BackboneError: The weights of a backbone are not installed.
    """
    card, request = job.card, job.request
    if request.weights is not None and not card.method.learned:
        what = "a formula" if card.method.tiles else "no network"
        raise CardError(f"{card.id} is {what} and takes no weights; leave --weights out")
    if request.ensemble and not card.method.tiles:
        raise CardError(f"{card.id} is no network and takes no ensemble; leave --ensemble out")
    match card.method:
        case Interpolation() as method:
            return InterpolationExecutor(job, method)
        case ClosedForm() | Optimised() as method:
            return SolverExecutor(job, method)
        case Trained() as method if method.apply is not None:
            return SolverExecutor(job, method)
        case Trained() | Fitted() as method:
            return NetworkExecutor(job, method)
        case Generator() as method:
            return GeneratorExecutor(job, method)
        case Codec() as method:
            return CodecExecutor(job, method)
        case _ as unknown:
            assert_never(unknown)


def _rendering(job: Job, call: Call, precision: Precision) -> Rendering:
    assert call.spec is not None
    assert call.source is not None
    assert not isinstance(call.source, bytes)
    return Rendering(
        source=call.source, spec=call.spec, device=job.device, memory=job.request.memory,
        blame=_blame(job.card, precision), progress=call.progress, warn=call.warn,
    )  # fmt: skip


def _blame(card: Card, precision: Precision) -> str:
    return f"{card.id} computed values that are not numbers in {precision}; " + (
        "the picture has some" if precision == "float32" else "try --precision exact"
    )


# --- pictures, tile by tile -------------------------------------------------------------------------------------------


class InterpolationExecutor:
    """An interpolation: resample, then perhaps filter."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, job: Job, method: Interpolation) -> None:
        self.job, self.method = job, method

    def execute(self, call: Call) -> Iterator[NDArray[Any]]:
        """Resample tile by tile."""
        rendering = _rendering(self.job, call, self.precision)
        before, spec = rendering.source.spec, rendering.spec
        stages, tile = self.stages((before.height, before.width), (spec.height, spec.width), spec.channels)
        return rendering.tiles(lambda read: (stages, tile, 0.0), hold=False)  # noqa: ARG005 - nothing is read ahead

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Build the stages from a picture of (H, W) to the target (H, W), and choose the (H, W) of a tile."""
        method, options, request = self.method, self.job.options, self.job.request
        stages: list[Stage] = [ResampleStage(size, target, method.kernel)]
        radius = 0
        if method.after is not None and method.after_radius is not None:
            zoom = max(target[0] / size[0], target[1] / size[1])
            radius = method.after_radius(zoom, options)
            after = partial(_call, method.after, zoom, options)
            stages.append(LocalStage(target, 1, radius, _ensembled(after, request)))
        # Eight copies of a tile in float32: the taps of one axis, the result of the other, the filter's frames.
        memory = request.memory // 2
        side = max(16, min(1024, int(math.sqrt(memory / (32.0 * channels))) - 2 * radius))
        return stages, (side, side)


class NetworkExecutor:
    """A network, several of them for large zooms, and a resize to the exact size where theirs is another."""

    def __init__(self, job: Job, method: Trained | Fitted) -> None:
        self.job, self.method, self.card, request = job, method, job.card, job.request
        self.network, self.execution = method.network, method.execution
        self.scaled = job.task.output.size == "scaled"
        self.precision: Precision = choose_precision(method.execution, request.precision, job.device)
        if request.ensemble and self.execution.global_statistics:
            raise CardError(f"{self.card.id} makes a picture anew and takes no ensemble; leave --ensemble out")
        self._loaded: dict[tuple[int, Any], Model] = {}
        if job.models:
            served: tuple[int, ...] = tuple(sorted(job.models))
        elif request.weights is not None:
            served = open_weights(self.card, request.weights, job.inputs.get("scale"))[1].scales
        else:
            # Which of several networks it is depends on the picture; each has to have weights.
            each = [served_scales(self.card, self._options(gray=gray)) for gray in (True, False)]
            served = tuple(scale for scale in each[0] if scale in each[1])
        self.scales = tuple(scale for scale in served if (scale > 1) == self.scaled)
        if not self.scales:
            known = ", ".join(f"x{scale}" for scale in served)
            raise CardError(
                f"{self.card.id}: expected weights that {job.task.name}, got those for {known}; give others"
            )
        if request.weights is not None and not job.models:
            self._model(max(self.scales), gray=True)  # refuses a foreign file now

    def execute(self, call: Call) -> Iterator[NDArray[Any]]:
        """Run the network tile by tile, or on the whole picture where it takes more than a picture."""
        rendering = _rendering(self.job, call, self.precision)
        before, spec = rendering.source.spec, rendering.spec
        size, target = (before.height, before.width), (spec.height, spec.width)
        if self.scaled and max(target[0] / size[0], target[1] / size[1]) <= 1:
            call.warn(
                f"{spec.width}x{spec.height} is no larger than the picture, so it was resized by bicubic and no "
                "network ran"
            )
        if self.execution.global_statistics:
            return rendering.tiles(lambda read: self.measure(size, read, call.progress), hold=True)
        stages, tile = self.stages(size, target, spec.channels)
        return rendering.tiles(lambda read: (stages, tile, 0.0), hold=False)  # noqa: ARG005 - nothing is read ahead

    def _options(self, *, gray: bool) -> Any:  # noqa: ANN401 - per method
        if self.network.resolve_options is None:
            return self.job.options
        sigma = self.job.inputs.get("sigma")
        return self.network.resolve_options(
            self.job.options, self.job.task.name, gray, None if sigma is None else sigma / 255
        )

    def _model(self, scale: int, *, gray: bool) -> Model:
        if self.job.models:
            return self.job.models[scale]
        request = self.job.request
        from_file = request.weights is not None  # the header of the file then decides the options that are not given
        options = self.job.options if from_file else self._options(gray=gray)
        key = scale, options
        if key not in self._loaded:
            self._loaded[key] = load(
                self.card, scale=scale, options=dict(request.options) if from_file else options,
                weights=request.weights, device=request.device, precision=request.precision, task=self.job.task.name,
            )  # fmt: skip
        return self._loaded[key]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Run the networks whose zooms multiply to the target's, and resize to the exact size."""
        assert not self.execution.global_statistics, "such a network has to read the whole picture first, by measure"
        request, inputs = self.job.request, self.job.inputs
        stages: list[Stage] = []
        input_size, memory = size, request.memory
        share = max(memory // 8, memory * 2 // 5 - 2 * cache_bytes())  # the rest is for strips and bands
        tile = (math.inf, math.inf)  # what each network can afford, the least of them, in pixels of the result
        scales = scale_chain(self.scales, max(target[0] / size[0], target[1] / size[1])) if self.scaled else (1,)
        for scale in scales:
            model = self._model(scale, gray=channels == 1)
            column, pixel = model.memory(self.job.device.type == "cpu")
            if request.ensemble:  # the sum, and a turned copy of the picture and of its result
                pixel += 36 * scale**2
            height, width = affordable_tile(size, model.receptive_radius, column, pixel, share)
            function = _mixed(_ensembled(model, request), inputs.get("strength", 1.0))
            stages.append(LocalStage(size, scale, model.receptive_radius, function, self.execution.size_multiple))
            size = stages[-1].size
            tile = (scale * min(tile[0], height), scale * min(tile[1], width))
        if size != target or not stages:
            tile = (tile[0] * target[0] / size[0], tile[1] * target[1] / size[1])
            stages.append(ResampleStage(size, target, CUBIC))
        if inputs.get("consistent"):
            consistent = ConsistencyStage(input_size, stages)
            # What is computed around a tile comes on top of it, but a tile below a quarter would be mostly that.
            down, across = consistent.margin
            tile = (max(tile[0] / 4, tile[0] - 2 * down), max(tile[1] / 4, tile[1] - 2 * across))
            stages = [consistent]
        return stages, (max(1, int(min(tile[0], _MOST_ROWS))), max(1, int(min(tile[1], target[1]))))

    def measure(
        self, size: tuple[int, int], read: Callable[[Region], Tensor], progress: Tick
    ) -> tuple[list[Stage], Tile, float]:
        """Measure the statistics of the whole picture that the normalisation needs, for a run in tiles.

        Args:
            size: (H, W) of the picture.
            read: Returns a region of the picture, (1, 3, h, w); it is also called by the stages later.
            progress: Called with the fraction of all work, tiles included, that is done, in (0, 1].

        Returns:
            The stages and the (H, W) of a tile, as ``stages`` returns them, and the fraction of all work that was done
            here, in [0, 1].

        Raises:
            CardError: The style pictures do not suit the network.
        """
        model, execution = self._model(1, gray=False), self.execution
        network = model.network
        if self.network.complete is not None:
            y = read(Region(0, size[0], 0, size[1]))
            network = model.complete(y, self.job.converted(y)["styles"])
            del y
        if execution.input_noise:
            read = partial(_grainy, read, execution.input_noise)
        stage = StatisticsStage(
            network, size, self.job.request.memory, multiple=execution.size_multiple, margin=execution.padding
        )
        part = stage.measure(read, progress)
        most = (min(stage.tile[0], _MOST_ROWS), stage.tile[1])
        return [stage], most, part


def _grainy(read: Callable[[Region], Tensor], deviation: float, region: Region) -> Tensor:
    x = read(region)
    return x + deviation * fixed_noise(region.top, region.left, x.shape[-2], x.shape[-1]).to(x)


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
    function: Callable[[Tensor, Tick], Tensor], request: InferenceRequest
) -> Callable[[Tensor, Tick], Tensor]:
    return partial(_over_symmetries, function) if request.ensemble else function


def _over_symmetries(function: Callable[[Tensor, Tick], Tensor], x: Tensor, tick: Tick) -> Tensor:
    turns = count()

    def turned(x: Tensor) -> Tensor:
        turn = next(turns)
        return function(x, lambda fraction: tick((turn + fraction) / 8))

    return ops.self_ensemble(turned, x)


# --- pictures, as a whole ---------------------------------------------------------------------------------------------


class SolverExecutor:
    """A closed form, an iteration, or a network that takes more than a picture, on the whole picture at once.

    A resize follows where the zoom is not a whole number.
    """

    precision: Precision = "float32"

    def __init__(self, job: Job, method: ClosedForm | Optimised | Trained) -> None:
        self.job, self.method = job, method
        self.scales = method.network.scales if isinstance(method, Trained) else method.scales
        self._network: torch.nn.Module | None = None

    def execute(self, call: Call) -> Iterator[NDArray[Any]]:
        """Solve for the whole picture, and return its rows."""
        rendering = _rendering(self.job, call, self.precision)
        target = (rendering.spec.height, rendering.spec.width)

        def observe(step: SolverProgress) -> bool:
            call.progress(min(step.fraction, 1.0))
            return call.observer(step)

        def solve(y: Tensor) -> Tensor:
            result = self.solve(y, target, observe)
            for note in result.notes:
                call.warn(note)
            return result.x

        return rendering.whole(solve)

    def zoom(self, size: tuple[int, int], target: tuple[int, int]) -> int:
        """Return the smallest scale of the method that reaches the target, or its largest if none does."""
        least = max(1, math.ceil(max(target[0] / size[0], target[1] / size[1]) - 1e-9))
        return min((scale for scale in self.scales if scale >= least), default=max(self.scales, default=least))

    def solve(self, y: Tensor, target: tuple[int, int], observer: ProgressCallback) -> SolverResult:
        """Run the method on a picture.

        Args:
            y: The picture, (1, C, h, w) in [0, 1].
            target: (H, W) of the result.
            observer: Called after each step of an iteration; if it returns ``False``, the iteration stops.

        Returns:
            The result, (1, C, H, W), and notes for the user.

        Raises:
            CardError: The mask or a frame has another size than the picture.
            OutOfMemoryError: The method needs more memory than is free.
        """
        job = self.job
        own_size = "size" in job.card.accepts
        size = (y.shape[-2], y.shape[-1])
        zoom = 1 if own_size else self.zoom(size, target)
        self._check_memory(y, target, zoom)
        y = y.to(job.device)
        known = {each.name for each in dataclasses.fields(SolverInput)}
        values: dict[str, Any] = job.converted(y) | {"size": target if own_size else None}
        fields: dict[str, Any] = {name: values[name] for name in values.keys() & known - {"scale"}}
        extra = {name: values[name] for name in values.keys() - known}
        solver_input = SolverInput(task=job.task.name, y=y, scale=zoom, extra=extra, **fields)
        match self.method:
            case ClosedForm(solve=solve):
                result = solve(solver_input, job.options)
            case Optimised(run=run):
                result = run(solver_input, job.options, observer)
            case Trained(apply=apply):
                assert apply is not None
                result = apply(self._loaded(zoom), solver_input, job.options)
        x = result.x
        if (x.shape[-2], x.shape[-1]) != target:
            x = ops.resize(x, target)
        if (strength := job.inputs.get("strength", 1.0)) != 1:
            x = y + strength * (x - y)
        return SolverResult(x=x, notes=result.notes)

    def _loaded(self, scale: int) -> torch.nn.Module:
        if self._network is None:
            self._network = _network(self.job, scale)
        return self._network

    def _check_memory(self, y: Tensor, target: tuple[int, int], zoom: int) -> None:
        method = self.method
        pixels = max(y.shape[-2] * y.shape[-1] * zoom**2, target[0] * target[1])
        if isinstance(method, Trained):
            need = method.execution.bytes * pixels
        else:
            need = method.bytes * pixels * y.shape[1] * (1 + len(self.job.inputs.get("frames", ())) // 4)
            need += method.pixel_bytes * pixels
        free = available_memory()
        if self.job.device.type == "cpu" and need > free:
            raise OutOfMemoryError(
                f"{self.job.card.id} works on the whole picture at once and needs about {need / 2**30:.1f} GiB, where "
                f"{free / 2**30:.1f} are free; take a smaller picture or scale, or a method that works in tiles"
            )


def _network(job: Job, scale: int) -> torch.nn.Module:
    """Load the plain network of a method that is not run in tiles."""
    if job.models:
        return job.models[scale].network
    request = job.request
    from_file = request.weights is not None
    return load(
        job.card, scale=scale, options=dict(request.options) if from_file else job.options, weights=request.weights,
        device=request.device, precision=request.precision, task=job.task.name,
    ).network  # fmt: skip


# --- generators and codecs --------------------------------------------------------------------------------------------


class GeneratorExecutor:
    """A generator: pictures from a seed and the inputs of the task."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, job: Job, method: Generator) -> None:
        self.job, self.method = job, method
        self._loaded = None if method.network is None else _network(job, 1)

    def execute(self, call: Call) -> Output:
        """Draw the pictures, of 8 bits."""
        job = self.job
        values = job.converted(None)
        generator_input = GeneratorInput(
            task=job.task.name, seed=values.pop("seed", 0), device=job.device, extra=values,
        )  # fmt: skip

        def observe(step: SolverProgress) -> bool:
            call.progress(min(step.fraction, 1.0))
            return call.observer(step)

        with torch.inference_mode():
            x = self.method.sample(self._loaded, generator_input, job.options, observe)
        check_finite(x, _blame(job.card, self.precision))
        call.progress(1.0)
        pictures = tuple(Picture(pixels=to_samples(each[None], np.dtype(np.uint8))) for each in x)
        if job.task.output.kind == "image":
            return Image(pictures[0])
        return Images(pictures)


class CodecExecutor:
    """A codec: a picture to bytes, or bytes to a picture, as the task has it."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, job: Job, method: Codec) -> None:
        self.job, self.method = job, method
        self._loaded = None if method.network is None else _network(job, 1)

    def execute(self, call: Call) -> Output:
        """Compress the picture, or decompress the bytes."""
        job, output = self.job, self.job.task.output
        with torch.inference_mode():
            if isinstance(call.source, bytes):
                x = self.method.decompress(self._loaded, call.source, job.options)
                check_finite(x, _blame(job.card, self.precision))
                call.progress(1.0)
                return Image(Picture(pixels=to_samples(x, np.dtype(np.uint8))))
            assert call.source is not None
            spec = call.source.spec
            y = to_tensor(call.source.read(spec.height)[..., : spec.channels]).to(job.device)
            data = self.method.compress(self._loaded, y, job.options)
            call.progress(1.0)
            return Bitstream(data=data, suffix=output.suffix)


__all__ = ["Call", "Executor", "Job", "NumericError", "executor_for"]
