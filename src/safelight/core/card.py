"""The records that describe a method. Each method's file ends with one of them, ``CARD``.

The command line, the Python functions, the server, the benchmark, the contract tests and the documentation are built
from the cards and know no method by name. Nothing here computes anything about a picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from safelight.core.options import NoOptions
from safelight.core.solver_input import GeneratorInput, ProgressCallback, SolverInput, SolverResult
from safelight.core.task import Task
from safelight.core.training import (
    PICTURES_ROLE,
    Batch,
    Export,
    FitSpec,
    PairBatch,
    Perceptual,
    Promise,
    Recipe,
    Role,
    Trainer,
)
from safelight.degrade import Degradation
from safelight.ops import color_adapter
from safelight.ops.color_adapter import ColorAdapter
from safelight.ops.resampling import Kernel

Precision = Literal["float32", "bfloat16", "float16"]
Channels = Literal["y", "rgb"]


class MissingPackageError(RuntimeError):
    """A method needs an optional package that is not installed. The message says how to install it."""


# --- papers and numbers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Where a method was published. ``link`` is an arXiv or DOI address."""

    title: str
    authors: str
    venue: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One row of a paper's table: the mean over a test set, under the protocol that ``bench`` gives for the task.

    ``level`` says how much worse the pictures were made: the zoom of ``upscale``, the noise's standard deviation of
    ``denoise`` (of 255), the JPEG quality of ``deblock``; ``None`` where the task has no levels. ``psnr`` is in dB;
    ``ssim`` is in [-1, 1]; ``None`` where the paper does not print it. ``metrics`` holds what else it prints, by the
    name of the metric. ``options`` are those of the network that the paper measured, where they are not the method's
    defaults.
    """

    data: str
    level: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    task: Task = "upscale"
    options: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict[str, int | float | str])

    @property
    def values(self) -> dict[str, float]:
        """All numbers that are known, by the name of the metric."""
        known = {"psnr": self.psnr, "ssim": self.ssim, **self.metrics}
        return {name: value for name, value in known.items() if value is not None}


def promised(published: Sequence[Score], floors: Mapping[float, float], allowed: float = 0.1) -> tuple[Promise, ...]:
    """Promise a paper's own rows: those of ``floors``, a floor for each level of Set5, and others but for ``allowed``.

    Args:
        published: The rows; those of Set5 that have no floor are not promised.
        floors: PSNR in dB, by level.
        allowed: How many decibels the floors of the other sets are below what is published.
    """
    return tuple(
        Promise(
            data=row.data, level=row.level, psnr=row.psnr, task=row.task, options=row.options,
            floor=floors[row.level] if row.data == "Set5" else round(row.psnr - allowed, 2),
        )
        for row in published
        if row.psnr is not None and row.level is not None and (row.data != "Set5" or row.level in floors)
    )  # fmt: skip


# --- weights that others published ------------------------------------------------------------------------------------


class LayoutError(ValueError):
    """A published weights file holds another network than the paper's. The message completes "expected ..., got"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedWeights:
    """Published weights of other code, renamed to the layers of our network.

    ``scales`` are the scales that the tensors fit. If a network has the same layers at each scale, they are several,
    and the name of the file or the user decides.
    """

    tensors: Mapping[str, Tensor]
    options: Mapping[str, int | float | str]
    scales: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLayout:
    """The layout of the weights files of published code.

    ``name`` is the name of that code, ``link`` its address. A file has this layout if it has all of ``keys``.
    ``adopt(tensors)`` is a pure function of its float32 tensors, by their names there; it raises ``LayoutError`` if
    they belong to another network.
    """

    name: str
    link: str
    keys: tuple[str, ...]
    adopt: Callable[[Mapping[str, Tensor]], ConvertedWeights]


# --- kinds of method --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation:
    """A formula for each pixel: resample to the target size with ``kernel``, then perhaps filter.

    ``after(x, scale, options)`` receives the resampled picture (B, C, H, W) and the larger of the two zoom factors and
    returns one of the same size; ``after_radius(scale, options)`` is the radius of its neighbourhood, in pixels.
    """

    kind: ClassVar[str] = "interpolation"
    label: ClassVar[str] = "a formula for each pixel"
    tiles: ClassVar[bool] = True
    learned: ClassVar[bool] = False
    iterates: ClassVar[bool] = False

    kernel: Kernel
    after: Callable[[Tensor, float, Any], Tensor] | None = None
    after_radius: Callable[[float, Any], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm:
    """A formula for the whole picture: every pixel depends on every other, so it is never cut into tiles.

    ``bytes`` is the memory that it takes per sample (pixel and channel) of the result; a picture that would need more
    memory than is free is refused before the work. ``scales`` are the scales that it solves for, empty for all whole
    ones; other sizes are reached by a resize. ``pixel_bytes`` is further memory per pixel, of any channels.
    """

    kind: ClassVar[str] = "closed form"
    label: ClassVar[str] = "a formula for the whole picture"
    tiles: ClassVar[bool] = False
    learned: ClassVar[bool] = False
    iterates: ClassVar[bool] = False

    solve: Callable[[SolverInput, Any], SolverResult]
    bytes: int
    scales: tuple[int, ...] = ()
    pixel_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimised:
    """An iteration over the whole picture. It reports its current picture, and returns the best when asked to stop.

    ``bytes`` and ``scales`` are as in ``ClosedForm``; ``pixel_bytes`` come on top, per pixel of any channels.
    """

    kind: ClassVar[str] = "iteration"
    label: ClassVar[str] = "an iteration over the whole picture"
    tiles: ClassVar[bool] = False
    learned: ClassVar[bool] = False
    iterates: ClassVar[bool] = True

    run: Callable[[SolverInput, Any, ProgressCallback], SolverResult]
    bytes: int = 0
    pixel_bytes: int = 0
    scales: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What the network is.

    Attributes:
        build: ``build(options, scale)`` makes the network with random weights. It maps (B, C, h, w) to (B, C, h * z,
            w * z), float32, samples in [0, 1]; C is 1 or 3, and z is ``scale``, or 1 where the input is interpolated.
        input: The picture as it is, ``"low-resolution"``, or enlarged by the bicubic kernel, ``"interpolated"``.
        channels: ``"y"`` for a network of one channel or ``"rgb"`` for one of three, by the options where there are
            networks of both.
        plane_adapters: How colours get to a network of one channel that keeps the size, by task, where it does not
            take the planes of RGB.
        scales: The zooms that it can be built for; 1 stands for the tasks that keep the size.
        receptive_radius: ``receptive_radius(options, scale)`` is the radius of the receptive field, in pixels of the
            network's input: how far away, at most, a pixel influences the output pixels that lie in it. Of a network
            that normalises by statistics of the whole picture, it is that with the statistics held fixed.
        scale_agnostic: Whether a single network, with the same weights, serves every scale.
        resolve_options: ``resolve_options(options, task, gray, sigma)`` settles options that depend on the picture: a
            network of gray pictures, say, or one for a noise of the standard deviation ``sigma``, in [0, 1], which is
            ``None`` where it is not told.
        foreign_layouts: The published layouts of weights that can be loaded.
        complete: ``complete(network, options, solver_input)`` makes a network from picture to picture of one that is a
            part of it, for one picture and its styles.
        backbone: ``backbone(options)`` names the backbone that ``complete`` needs.
    """

    build: Callable[[Any, int], nn.Module]
    input: Literal["low-resolution", "interpolated"] = "low-resolution"
    channels: Channels | Callable[[Any], Channels]
    scales: tuple[int, ...] = (1,)
    receptive_radius: Callable[[Any, int], int] = lambda options, scale: 0  # noqa: ARG005 - not run in tiles
    scale_agnostic: bool = False
    resolve_options: Callable[[Any, Task, bool, float | None], Any] | None = None
    foreign_layouts: tuple[ForeignLayout, ...] = ()
    complete: Callable[[Any, Any, SolverInput], nn.Module] | None = None
    backbone: Callable[[Any], str] | None = None
    plane_adapters: Mapping[Task, ColorAdapter] = dataclasses.field(default_factory=dict[Task, ColorAdapter])

    def channels_of(self, options: Any) -> Channels:  # noqa: ANN401 - each method has its own Options class
        """Say whether the network with these options is one of a single channel or of RGB."""
        return self.channels(options) if callable(self.channels) else self.channels

    def color_adapter(self, options: Any, scale: int, task: Task) -> ColorAdapter:  # noqa: ANN401 - as above
        """Choose how a picture's colours get to the network with these options, and back.

        Args:
            options: Of the method.
            scale: The zoom; a network of one channel that enlarges works on the luma, as in the papers.
            task: What the network is used for.
        """
        if self.channels_of(options) == "rgb":
            return color_adapter.rgb_or_equal_channels
        if scale > 1:
            return color_adapter.luma_and_bicubic_chroma
        return self.plane_adapters.get(task, color_adapter.rgb_planes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """How the network is run.

    Attributes:
        precisions: The number formats that cost little of the result's quality; see docs/internals/engine.md.
        global_statistics: Whether the network normalises by the mean and variance of whole maps
            (``blocks.Normalisation``), which the engine takes once over the picture.
        size_multiple: What height and width of the network's input have to be multiples of, and at least twice. The
            picture is mirrored at its borders to get there.
        padding: How many mirrored pixels the network wants to see around a picture. They are cut off the result.
        bytes: Memory that a network takes, per pixel of the result, which is run on the whole picture at once.
        input_noise: Standard deviation, in [0, 1], of the noise (``blocks.fixed_noise``) that is added to the input.
    """

    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    global_statistics: bool = False
    size_multiple: int = 1
    padding: int = 0
    bytes: int = 0
    input_noise: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """How the network is trained.

    Attributes:
        algorithm: ``algorithm(network, recipe)`` makes the object that owns the optimisers and does one step for each
            batch; ``Perceptual`` for a training by what a backbone sees.
        recipe: Data, sizes, steps and learning rate, and the number that this aims at.
        degradations: ``degradations(options)`` says what the inputs of pairs are made by, of clean pictures; ``None``:
            by shrinking them by the scale.
        batch: What a step receives.
        roles: What the folders of training data are for, in the order in which the batch takes them.
        shorter_side: Pictures are first reduced so that their shorter side is at most this many times a crop's;
            ``None``: crops are cut from pictures as they are.
        symmetries: How a crop may be turned: 8 stands for quarter turns and mirroring, 2 for mirroring left and right,
            1 for neither.
        exports: The networks that are written to files, the first one of them the one that the method builds.
        grow: ``grow(network, width)`` sets the share of its channels, in (0, 1], that a network in training has, for a
            recipe with stages.
    """

    algorithm: Callable[[Any, Recipe], Trainer] | Perceptual
    recipe: Recipe
    degradations: Callable[[Any], tuple[Degradation, ...]] | None = None
    batch: type[Batch] = PairBatch
    roles: tuple[Role, ...] = (PICTURES_ROLE,)
    shorter_side: float | None = None
    symmetries: Literal[1, 2, 8] = 8
    exports: tuple[Export, ...] = (Export(),)
    grow: Callable[[Any, float], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network whose weights are learned: what it is, how it is run and how it is trained.

    ``apply(network, solver_input, options)``: of a network that takes more than the picture, such as a second frame. It
    is run on the whole picture at once; without it, the network is run tile by tile.
    """

    kind: ClassVar[str] = "network"
    label: ClassVar[str] = "a network"
    learned: ClassVar[bool] = True
    iterates: ClassVar[bool] = False

    network: NetworkSpec
    execution: ExecutionSpec = ExecutionSpec()
    training: TrainingSpec
    apply: Callable[[Any, SolverInput, Any], SolverResult] | None = None

    @property
    def tiles(self) -> bool:
        """Whether it is run tile by tile."""
        return self.apply is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Dictionaries, forests, regressors: arrays that are fitted to examples, not by a gradient. Run as a network is.

    Attributes:
        network: A module that holds the arrays as buffers; its state has the names and the shapes that ``fit`` gives.
        fit: How the arrays are made of pictures.
        execution: How the module is run.
    """

    kind: ClassVar[str] = "fitted"
    label: ClassVar[str] = "fitted to examples"
    tiles: ClassVar[bool] = True
    learned: ClassVar[bool] = True
    iterates: ClassVar[bool] = False

    network: NetworkSpec
    fit: FitSpec
    execution: ExecutionSpec = ExecutionSpec(precisions=("float32",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Pictures out of nothing but a seed and what the task is told.

    Attributes:
        sample: ``sample(network, given, options, progress)`` draws pictures, (n, 1 or 3, H, W) in [0, 1], n as the
            task's inputs say. ``network`` is the loaded one, or ``None`` where there is none.
        network: What is learned, if anything is.
        training: How.
    """

    kind: ClassVar[str] = "generator"
    label: ClassVar[str] = "a generator"
    tiles: ClassVar[bool] = False
    iterates: ClassVar[bool] = False

    sample: Callable[[Any, GeneratorInput, Any, ProgressCallback], Tensor]
    network: NetworkSpec | None = None
    training: TrainingSpec | None = None

    @property
    def learned(self) -> bool:
        """Whether there are weights."""
        return self.network is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A picture to bytes and back.

    Attributes:
        compress: ``compress(network, y, options)`` makes the bytes of a picture, (1, C, H, W) in [0, 1].
        decompress: ``decompress(network, data, options)`` makes a picture of them, the same on every machine.
        network: What is learned, if anything is.
        training: How.
    """

    kind: ClassVar[str] = "codec"
    label: ClassVar[str] = "a codec"
    tiles: ClassVar[bool] = False
    iterates: ClassVar[bool] = False

    compress: Callable[[Any, Tensor, Any], bytes]
    decompress: Callable[[Any, bytes, Any], Tensor]
    network: NetworkSpec | None = None
    training: TrainingSpec | None = None

    @property
    def learned(self) -> bool:
        """Whether there are weights."""
        return self.network is not None


Method = Interpolation | ClosedForm | Optimised | Trained | Fitted | Generator | Codec


def channels_of(network: NetworkSpec, options: Any) -> Channels:  # noqa: ANN401 - each method has its own Options class
    """Say whether the network with these options is one of a single channel or of RGB."""
    return network.channels_of(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionalPackage:
    """An optional package: the module to import, and the extra of ``pip install 'safelight[NAME]'`` that has it."""

    module: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The facts of one method; everything else derives from them.

    ``module`` is the file's ``__name__``: the method's name and its task are read from it, so a thing is named once.
    ``summary`` is one line for people. ``published`` holds the paper's own table. ``other_tasks`` lists further tasks
    that the method serves, beside that of its folder; ``accepts`` what else a user may tell it; ``extra`` an optional
    package.
    """

    module: str
    title: str
    summary: str
    method: Method
    options: type[Any] = NoOptions
    paper: Paper | None = None
    published: tuple[Score, ...] = ()
    other_tasks: tuple[Task, ...] = ()
    accepts: frozenset[str] = frozenset()
    extra: OptionalPackage | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that it does, the task of its folder first."""
        return (self.task, *self.other_tasks)

    @property
    def task(self) -> Task:
        """The folder that the method's file lies in."""
        return self.module.split(".")[-2]

    @property
    def network(self) -> NetworkSpec | None:
        """What is learned; ``None``: the method has no weights."""
        match self.method:
            case Trained() | Fitted() | Generator() | Codec():
                return self.method.network
            case _:
                return None

    @property
    def training(self) -> TrainingSpec | None:
        """How the network is trained by steps; ``None``: the method isn't."""
        match self.method:
            case Trained() | Generator() | Codec():
                return self.method.training
            case _:
                return None

    @property
    def fit(self) -> FitSpec | None:
        """How the method is fitted to pictures without a gradient; ``None``: it isn't."""
        return self.method.fit if isinstance(self.method, Fitted) else None

    @property
    def execution(self) -> ExecutionSpec:
        """How the network is run."""
        match self.method:
            case Trained() | Fitted():
                return self.method.execution
            case _:
                return ExecutionSpec(precisions=("float32",))

    @property
    def scales(self) -> tuple[int, ...] | None:
        """The zooms that the method has; ``None``: any."""
        match self.method:
            case ClosedForm() | Optimised():
                return self.method.scales or None
            case _:
                return None if self.network is None else self.network.scales

    @property
    def name(self) -> str:
        """The name of the method's file."""
        return self.module.split(".")[-1]

    @property
    def id(self) -> str:
        """``task/name``, as people write it."""
        return f"{self.task}/{self.name}"
