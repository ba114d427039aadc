"""The one path from picture to picture: check, choose device and precision, cut into tiles, run, put together.

The command line, the Python face and the benchmark all come through here, so the same input gives the same picture on
each. Methods know nothing of files, depths, devices or tiles; this file knows no method by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight import ops
from safelight.card import (
    Card,
    CardError,
    ClosedForm,
    Condition,
    Interpolation,
    MissingPackageError,
    Optimised,
    Precision,
    Problem,
    Report,
    Solution,
    Step,
    Trained,
    make_options,
)
from safelight.degrade import BlurError, blur_kernel
from safelight.engine import device as devices
from safelight.engine.consistent import Consistent
from safelight.engine.memory import available
from safelight.engine.samples import to_samples, to_tensor
from safelight.engine.sizes import affordable, chain, target_size
from safelight.engine.strips import cache_bytes
from safelight.engine.tiles import Local, OutOfMemoryError, Region, Renderer, Resample, Stage, Tick, first_row
from safelight.engine.window import Held, Window
from safelight.image import Frame, Picture, Rows, picture_of
from safelight.model import Model, PrecisionChoice, choose_precision, load, open_weights, served_scales
from safelight.ops import CUBIC
from safelight.tasks import Task

Tile: TypeAlias = tuple[int, int]

_PIECE = 16 << 20  # bytes of rows that are handed over at once
_MOST_ROWS = 4096  # of a tile of the result: more saves nothing


class NumericError(ArithmeticError):
    """A method computed something that is not a number. Never written to a file as a black picture."""


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


def _ignore(fraction: float) -> None:
    """Tell nobody."""


def _ignore_warning(text: str) -> None:
    """Tell nobody."""


# --- the kinds of method ----------------------------------------------------------------------------------------------


class _Way(Protocol):
    """What a kind of method does that works on parts: it lays out the stages from a picture to its result."""

    precision: Precision
    scales: tuple[int, ...]

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
        """Lay out the way from (H, W) to the target's (H, W), and choose the size of a tile of the result."""
        ...


class _Formula:
    """An interpolation: resample, then perhaps filter."""

    precision: Precision = "float32"
    scales: tuple[int, ...] = ()

    def __init__(self, card: Card, method: Interpolation, settings: Settings) -> None:
        if settings.weights is not None:
            raise CardError(f"{card.id} is a formula and takes no weights; leave --weights out")
        self.method, self.settings = method, settings
        self.options = make_options(card, settings.options)

    def stages(self, size: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[list[Stage], Tile]:
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


class _Network:
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


class _Whole:
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
        if self.device.type == "cpu" and need > available():
            raise OutOfMemoryError(
                f"{self.card.id} works on the whole picture at once and needs about {need / 2**30:.1f} GiB, where "
                f"{available() / 2**30:.1f} are free; take a smaller picture or scale, or a method that works in tiles"
            )
        problem = Problem(
            task=self.task, y=y.to(self.device), scale=zoom, seed=self.settings.seed, blur=self.blur,
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


# --- a method on pictures ---------------------------------------------------------------------------------------------


class Runner:
    """A method with settings, ready for any number of pictures. A network is loaded once, when it is first needed.

    Args:
        card: The method.
        settings: What the user asks for.
        models: Networks that are there already, by scale, instead of shipped ones: one in training, say.

    Attributes:
        observer: Told where an iterative method stands, with the picture so far; it may ask it to stop.

    Raises:
        CardError: An unknown option, a setting that the method does not have, weights that are not shipped, or a
            scale out of range.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
    """

    def __init__(self, card: Card, settings: Settings, models: Mapping[int, Model] | None = None) -> None:
        self.card, self.settings = card, settings
        self.task: Task = card.task if settings.task is None else settings.task
        self.observer: Report = _go_on
        self.device = devices.choose(settings.device)
        _check(card, self.task, settings)
        match card.method:
            case Interpolation() as method:
                self._way: _Way | _Whole = _Formula(card, method, settings)
            case ClosedForm() | Optimised() as method:
                self._way = _Whole(card, method, settings)
            case Trained() as method:
                self._way = _Network(card, method, settings, models)
            case _ as unknown:
                assert_never(unknown)
        if self.task == "upscale" and (settings.size is None or settings.scale is not None):
            self.size(64, 64)  # refuses a scale out of range now, not at the first picture

    def describe(self) -> str:
        """Say in one line what runs, where and how."""
        plus = "+" if self.settings.ensemble else ""
        return f"{self.card.id}{plus}, {self.device.type}, {self._way.precision}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Tell the (W, H) of the result for a picture of ``width`` x ``height``."""
        if self.task != "upscale":
            return width, height
        scale, scales = self.settings.scale, self._way.scales
        if scale is None and self.settings.size is None and scales and 4 not in scales:
            scale = max(scales)  # a user's own weights for x3 are for enlarging by 3
        return target_size(scale, self.settings.size, width, height)

    def stages(self, width: int, height: int, channels: int) -> tuple[list[Stage], Tile]:
        """Lay out the way from a picture to its result, and choose the (H, W) of a tile of the result."""
        w, h = self.size(width, height)
        assert not isinstance(self._way, _Whole)
        return self._way.stages((height, width), (h, w), channels)

    def __call__(self, picture: Picture, progress: Tick = _ignore) -> Picture:
        """Run the method on one picture. Depth, alpha, profile and metadata are kept.

        Args:
            picture: Of any size, depth and number of channels.
            progress: Told the fraction that is done, in (0, 1].

        Raises:
            SizeError: The size asked for does not suit the picture.
            NumericError: The result is not a number somewhere.
            OutOfMemoryError: Even the smallest tile does not fit.
        """
        warnings: list[str] = []
        frame, bands = self.stream(Held(picture), progress, warnings.append)
        rows = np.empty((frame.height, frame.width, frame.bands), frame.dtype)
        top = 0
        for band in bands:
            rows[top : top + len(band)] = band
            top += len(band)
        result = picture_of(frame, rows)
        return replace(result, warnings=(*result.warnings, *warnings))

    def stream(
        self, source: Rows, progress: Tick = _ignore, warn: Callable[[str], None] = _ignore_warning
    ) -> tuple[Frame, Iterator[NDArray[Any]]]:
        """Run the method on a picture that comes in rows and goes in rows, so that neither lies in memory whole.

        Args:
            source: The picture. Its rows are read as they are needed.
            progress: Told the fraction that is done, in (0, 1].
            warn: Told what the user should know and what shows only on the way; the frame has the rest.

        Returns:
            What the result is, and its rows (h, width, bands) in bands from top to bottom, computed as they are asked
            for. The iterator raises NumericError, OutOfMemoryError and whatever reading the source raises.

        Raises:
            SizeError: The size asked for does not suit the picture.
        """
        before = source.frame
        w, h = self.size(before.width, before.height)
        notes = [*before.warnings]
        if (
            abs(w / before.width - h / before.height) > 0.01 * max(w / before.width, h / before.height)
            and min(w, h) > 8
        ):
            notes.append(f"{w}x{h} changes the shape of a {before.width}x{before.height} picture; --size {w}x keeps it")
        if self.task == "upscale" and isinstance(self._way, _Network) and max(w / before.width, h / before.height) <= 1:
            notes.append(f"{w}x{h} is no larger than the picture, so it was resized by bicubic and no network ran")
        if self.task == "deblock" and before.jpeg_quality is not None:
            notes.append(f"a JPEG file of quality {before.jpeg_quality}, by its quantisation tables")
        frame = replace(before, width=w, height=h, jpeg_quality=None, warnings=tuple(notes))
        return frame, self._bands(source, frame, progress, warn)

    def _bands(self, source: Rows, frame: Frame, progress: Tick, warn: Callable[[str], None]) -> Iterator[NDArray[Any]]:
        if isinstance(self._way, _Whole):
            yield from self._whole(self._way, source, frame, progress, warn)
            return
        before = source.frame
        stages, tile = self.stages(before.width, before.height, before.channels)
        # Two bands may be there: one is computed while the other is encoded.
        most = self.settings.memory // (10 * frame.width * frame.bands * frame.dtype.itemsize)
        tile = (min(tile[0], max(16, most)), tile[1])
        coverage: list[Stage] = [Resample((before.height, before.width), (frame.height, frame.width), CUBIC)]
        for stage in stages:
            if isinstance(stage, Consistent):
                stage.written = partial(_as_written, frame.dtype)
        window = Window(source, warn)
        renderer = Renderer(tile, behind=0 if self.device.type == "cpu" else 1)
        for top, bottom in ops.spans(frame.height, tile[0]):
            whole = Region(top, bottom, 0, frame.width)
            band = np.empty((whole.height, whole.width, frame.bands), frame.dtype)
            with torch.inference_mode():
                renderer.render(
                    stages,
                    whole,
                    partial(self._read, window),
                    partial(self._write, band[..., : frame.channels], top),
                    lambda fraction, top=top, rows=whole.height: progress((top + fraction * rows) / frame.height),
                )
                if frame.alpha:
                    # Coverage is not a picture, and networks ring on it: the bicubic kernel enlarges it.
                    Renderer((1024, 1024)).render(
                        coverage, whole, window.coverage, partial(_put, band[..., frame.channels :], top)
                    )
            window.forget(min(first_row(stages, bottom), first_row(coverage, bottom)))
            rows = max(1, _PIECE // band[0].nbytes)
            for start, end in ops.spans(len(band), rows):
                yield band[start:end]
        for stage in stages:
            if isinstance(stage, Consistent):
                warn(stage.remark())

    def _whole(
        self, way: _Whole, source: Rows, frame: Frame, progress: Tick, warn: Callable[[str], None]
    ) -> Iterator[NDArray[Any]]:
        """Read the whole picture, restore it, and give it row by row."""
        before = source.frame
        window = Window(source, warn)
        whole = Region(0, before.height, 0, before.width)

        def report(step: Step) -> bool:
            progress(min(step.fraction, 1.0))
            return self.observer(step)

        with torch.inference_mode(False):  # an iteration may need gradients
            solution = way.solve(window.colors(whole).clone(), (frame.height, frame.width), report)
        for note in solution.notes:
            warn(note)
        rows = np.empty((frame.height, frame.width, frame.bands), frame.dtype)
        result = Region(0, frame.height, 0, frame.width)
        self._write(rows[..., : frame.channels], 0, result, solution.x.detach())
        if frame.bands > frame.channels:
            axes: list[Stage] = [Resample((before.height, before.width), (frame.height, frame.width), CUBIC)]
            Renderer((1024, 1024)).render(axes, result, window.coverage, partial(_put, rows[..., frame.channels :], 0))
        progress(1.0)
        for start, end in ops.spans(frame.height, max(1, _PIECE // rows[0].nbytes)):
            yield rows[start:end]

    def _read(self, window: Window, region: Region) -> Tensor:
        return window.colors(region).to(self.device)

    def _write(self, band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
        if not torch.isfinite(x).all():
            raise NumericError(
                f"{self.card.id} computed values that are not numbers in {self._way.precision}; "
                + ("the picture has some" if self._way.precision == "float32" else "try --precision exact")
            )
        _put(band, top, region, x)


def _as_written(dtype: np.dtype[Any], x: Tensor) -> Tensor:
    return to_tensor(to_samples(x, dtype)).to(x.device)


def _put(band: NDArray[Any], top: int, region: Region, x: Tensor) -> None:
    band[region.top - top : region.bottom - top, region.left : region.right] = to_samples(x, band.dtype)


_FLAGS: Mapping[Condition, str] = {"sigma": "--sigma", "blur": "--blur", "mask": "--mask", "frames": "several pictures"}


def _check(card: Card, task: Task, settings: Settings) -> None:
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


def _go_on(step: Step) -> bool:  # noqa: ARG001 - nobody looks
    return True


def prepare(card: Card, settings: Settings) -> Runner:
    """Make a method ready, checking all that can be checked without a picture; raises what ``Runner`` raises."""
    return Runner(card, settings)


def apply(card: Card, picture: Picture, settings: Settings, progress: Tick = _ignore) -> Picture:
    """Run a method on one picture: ``prepare(card, settings)(picture)``."""
    return prepare(card, settings)(picture, progress)
