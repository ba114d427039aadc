"""The executor of each kind of method: from what a task is told to its output.

``executor_for`` is the one place that knows the kinds of method apart. An executor of pictures either lays out stages
that tiles are pulled through, or solves for the whole picture at once.
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
from safelight.nn.blocks import grain
from safelight.ops import CUBIC

Tile: TypeAlias = tuple[int, int]

_MOST_ROWS = 4096  # of a tile of the result: more saves nothing


# --- what all executors are given and give ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One method made ready for one request: what every executor is built from.

    Attributes:
        card: The method.
        task: What is asked of it.
        inputs: Of the task, by name, with defaults; checked, and made ready for ``device``.
        options: The method's own record of options.
        request: The rest of what the user asks for.
        device: Where it computes.
        models: Networks that are there already, by scale, instead of shipped ones: one in training, say.
    """

    card: Card
    task: TaskSpec
    inputs: Mapping[str, Any]
    options: Any
    request: InferenceRequest
    device: torch.device
    models: Mapping[int, Model] | None = None

    def converted(self, y: Tensor | None) -> dict[str, Any]:
        """Turn the inputs that the method accepts into what it gets, by the fields of ``SolverInput``.

        Args:
            y: What is worked on, (1, C, H, W), if the task has a picture.

        Raises:
            CardError: A picture among the inputs has another size than y.
        """
        found: dict[str, Any] = {}
        for spec in self.task.conditions:
            if not spec.optional or spec.name in self.card.accepts:
                value = self.inputs[spec.name] if spec.convert is None else spec.convert(self.inputs, y)
                found[spec.target or spec.name] = value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One piece of work for an executor.

    Attributes:
        source: The picture that is worked on, or the bytes; ``None`` where nothing goes in.
        spec: What the resulting picture will be; ``None`` where the task makes no single picture of one.
        progress: Told the fraction that is done, in (0, 1].
        warn: Told what the user should know of the result.
        observer: Told where an iteration stands, with the picture so far; it may ask it to stop.
    """

    source: Rows | bytes | None
    spec: ImageSpec | None
    progress: Tick
    warn: Callable[[str], None]
    observer: ProgressCallback


class Executor(Protocol):
    """What turns inputs into an output, for one kind of method.

    Attributes:
        precision: That it computes in.
        scales: The zooms of its networks or solvers; empty: any.
    """

    precision: Precision
    scales: tuple[int, ...]

    def execute(self, call: Call) -> Output | Iterator[NDArray[Any]]:
        """Do the work. A picture that is made of a picture is given as rows, which are computed as they are taken."""
        ...


def executor_for(job: Job) -> Executor:
    """Choose the executor of a method's kind.

    Raises:
        CardError: The request has something that this kind does not take, or no weights are shipped.
        CheckpointError: A weights file that is broken or of another method.
        BackboneError: A backbone has no weights here.
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
        """Lay out the way from (H, W) to the target's (H, W), and choose the (H, W) of a tile of the result."""
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
        own = request.weights is not None  # whose header says what the user doesn't
        options = self.job.options if own else self._options(gray=gray)
        key = scale, options
        if key not in self._loaded:
            self._loaded[key] = load(
                self.card, scale=scale, options=dict(request.options) if own else options, weights=request.weights,
                device=request.device, precision=request.precision, task=self.job.task.name,
            )  # fmt: skip
        return self._loaded[key]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Run the networks whose zooms multiply to the target's, and resize to the exact size."""
        assert not self.execution.global_statistics, "such a network has to read the whole picture first, by measure"
        request, inputs = self.job.request, self.job.inputs
        stages: list[Stage] = []
        given, memory = size, request.memory
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
            consistent = ConsistencyStage(given, stages)
            # What is computed around a tile comes on top of it, but a tile below a quarter would be mostly that.
            down, across = consistent.margin
            tile = (max(tile[0] / 4, tile[0] - 2 * down), max(tile[1] / 4, tile[1] - 2 * across))
            stages = [consistent]
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
    return x + deviation * grain(region.top, region.left, x.shape[-2], x.shape[-1]).to(x)


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
        """Solve for the picture."""
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
        """The whole zoom that reaches the target, or the method's nearest."""
        least = max(1, math.ceil(max(target[0] / size[0], target[1] / size[1]) - 1e-9))
        return min((scale for scale in self.scales if scale >= least), default=max(self.scales, default=least))

    def solve(self, y: Tensor, target: tuple[int, int], observer: ProgressCallback) -> SolverResult:
        """Work on a picture, (1, C, h, w).

        Raises:
            CardError: The mask or a frame has another size.
            OutOfMemoryError: It would take more memory than there is.
        """
        job = self.job
        own_size = "size" in job.card.accepts
        size = (y.shape[-2], y.shape[-1])
        zoom = 1 if own_size else self.zoom(size, target)
        self._check_memory(y, target, zoom)
        y = y.to(job.device)
        known = {each.name for each in dataclasses.fields(SolverInput)}
        found: dict[str, Any] = job.converted(y) | {"size": target if own_size else None}
        own: dict[str, Any] = {name: found[name] for name in found.keys() & known - {"scale"}}
        extra = {name: found[name] for name in found.keys() - known}
        given = SolverInput(task=job.task.name, y=y, scale=zoom, extra=extra, **own)
        match self.method:
            case ClosedForm(solve=solve):
                made = solve(given, job.options)
            case Optimised(run=run):
                made = run(given, job.options, observer)
            case Trained(apply=apply):
                assert apply is not None
                made = apply(self._loaded(zoom), given, job.options)
        x = made.x
        if (x.shape[-2], x.shape[-1]) != target:
            x = ops.resize(x, target)
        if (strength := job.inputs.get("strength", 1.0)) != 1:
            x = y + strength * (x - y)
        return SolverResult(x=x, notes=made.notes)

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
    own = request.weights is not None
    return load(
        job.card, scale=scale, options=dict(request.options) if own else job.options, weights=request.weights,
        device=request.device, precision=request.precision, task=job.task.name,
    ).network  # fmt: skip


# --- what is made of nothing, and what is made bytes ------------------------------------------------------------------


class GeneratorExecutor:
    """A generator: pictures from a seed and what else the task is told."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, job: Job, method: Generator) -> None:
        self.job, self.method = job, method
        self._loaded = None if method.network is None else _network(job, 1)

    def execute(self, call: Call) -> Output:
        """Draw the pictures, of 8 bits."""
        job = self.job
        found = job.converted(None)
        given = GeneratorInput(
            task=job.task.name, seed=found.pop("seed", 0), device=job.device, extra=found,
        )  # fmt: skip

        def observe(step: SolverProgress) -> bool:
            call.progress(min(step.fraction, 1.0))
            return call.observer(step)

        with torch.inference_mode():
            x = self.method.sample(self._loaded, given, job.options, observe)
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
