"""What a training consists of: its data, its batches, its recipe, its step, and the steps that several methods share.

A method with a step of its own writes it in its file, where it reads as the paper's algorithm box.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from safelight.core.task import Task
from safelight.degrade import Degradation
from safelight.features.backbone import Backbone

# --- the data ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Role:
    """What a folder of training data is for.

    Attributes:
        name: ``"data"`` is given by ``--data``, any other by ``--data-NAME``.
        help: One line for people.
        drawn: Whether batches are drawn from it. If not, its pictures go whole to the training's beginning.
        held_out: Whether a part of it is set apart for validation.
        short: Another flag that it is given by; empty: there is none.
    """

    name: str
    help: str
    drawn: bool = True
    held_out: bool = True
    short: str = ""

    @property
    def flag(self) -> str:
        """How it is given on the command line."""
        return "--data" if self.name == "data" else f"--data-{self.name}"


PICTURES_ROLE = Role("data", "a folder of pictures")
STYLE_ROLE = Role("style", "a picture of the style", drawn=False, held_out=False, short="--style")
STYLES_ROLE = Role("style", "a picture of the style", held_out=False, short="--style")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a training step receives. Pictures are (B, C, H, W), float32 in [0, 1]; B is the same in all fields."""

    def share(self, index: int, of: int) -> Self:
        """Cut the batch into equal parts, one for each of several processes, and return one of them.

        Raises:
            ValueError: The number of examples is not a multiple of the number of parts.
        """

        def part(value: Any) -> Any:  # noqa: ANN401 - tensors and tuples of captions
            if len(value) % of:
                raise ValueError(f"expected a batch that {of} processes share, got {len(value)}; change --batch")
            n = len(value) // of
            return value[index * n : (index + 1) * n]

        return dataclasses.replace(self, **{f.name: part(getattr(self, f.name)) for f in dataclasses.fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBatch(Batch):
    """Inputs and their right answers.

    With one role, the inputs are degraded versions of its pictures. With two, the pictures of both are aligned: those
    of one file name make a pair.
    """

    input: Tensor
    target: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureBatch(Batch):
    """Single pictures."""

    pictures: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpairedBatch(Batch):
    """Pictures of two domains, one for each role, which have nothing to do with each other."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBatch(Batch):
    """Pictures and the class of each, (B,) int64: the index of its sub-folder among the sorted names of all."""

    pictures: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionBatch(Batch):
    """Pictures, and a caption of each: drawn among the lines of the ``.txt`` beside it, or of ``captions.json``."""

    pictures: Tensor
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipBatch(Batch):
    """Successive frames, (B, T, C, H, W): each clip is a folder of frames, in the order of their names."""

    frames: Tensor


# --- the step ---------------------------------------------------------------------------------------------------------


class Trainer(Protocol):
    """One method's training: its networks, its optimisers and its step.

    All that a step depends on is in ``modules`` (parameters and buffers, such as a pool of earlier pictures) and in
    ``optimizers``: a run that was stopped finds both as they were. Names hold no dot.
    """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The networks by name, among them the one that the method builds."""
        ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """The optimisers by name, each with its peak learning rate."""
        ...

    def step(self, batch: Any) -> Mapping[str, Tensor]:  # noqa: ANN401 - each training has its own kind of batch
        """Update the networks once and return the losses, detached scalars, by name."""
        ...


class PhasedTrainer(Trainer, Protocol):
    """A training in phases: ``phase`` is the name of the one that the next step belongs to."""

    phase: str


@dataclass(frozen=True, slots=True)
class ValidationScore:
    """How good networks are: ``PSNR`` in dB, ``loss``, ``FID``, ``bits``, whatever a training measures.

    Attributes:
        name: What it is called in the log and in the header of the weights.
        value: The number.
        higher_is_better: Its direction.
        unit: Such as ``dB``; empty for none.
    """

    name: str
    value: float
    higher_is_better: bool = False
    unit: str = ""

    def beats(self, best: float | None) -> bool:
        """Whether this is better than the best value so far."""
        return best is None or (self.value > best if self.higher_is_better else self.value < best)


class ScoredTrainer(Trainer, Protocol):
    """A training that scores its networks itself, where PSNR says nothing."""

    def validate(self, networks: Mapping[str, nn.Module], batches: Sequence[Any]) -> ValidationScore:
        """Score networks.

        Args:
            networks: Those that are exported, by their names in ``modules``, with averaged weights.
            batches: Drawn from what was set apart, the same ones each time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptual:
    """A training by what a backbone sees.

    ``begin(network, recipe, backbone, styles)`` receives the whole pictures of the role that is not drawn, (1, 3, h, w)
    each.
    """

    begin: Callable[[Any, Recipe, Backbone, Sequence[Tensor]], ScoredTrainer]


@dataclass(frozen=True, slots=True)
class Export:
    """A network that is written to a weights file.

    Attributes:
        module: Its name in ``Trainer.modules``.
        role: Added to the file's name, as in ``w-inverse.safetensors``; empty for the file that ``--out`` names.
        options: Options of the method that the file is for, where they differ from those that were trained.
    """

    module: str = "network"
    role: str = ""
    options: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict[str, int | float | str])


# --- the recipe -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStage:
    """A part of the training of a network that grows: a narrow one sees many more pixels in an hour, and learns more.

    ``width`` is the share of the channels that are there, ``steps`` the share of the steps, and ``time`` that of the
    time which these take, about. The learning rate follows the time: its cosine runs once over all stages.
    """

    width: float
    steps: float
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a training, such as one by a pixel loss before one against a discriminator.

    Attributes:
        name: What ``PhasedTrainer.phase`` is during it.
        steps: Its share of all steps, in (0, 1].
        lr: The peak learning rates of optimisers, by name; the others keep their own.
        schedule: ``"cosine"`` falls to zero at the phase's end, ``"constant"`` stays. Both begin with a warm-up.
    """

    name: str
    steps: float
    lr: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    schedule: Literal["cosine", "constant"] = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How networks are trained, and the number that this promises.

    Attributes:
        data: Names of the sets of pictures.
        patch: Side of a crop, of enlargers in low-resolution pixels.
        batch: Crops in a step.
        steps: Steps in all.
        lr: The peak learning rate, reached after ``warmup`` steps and falling to zero along a cosine.
        warmup: Steps over which the learning rate rises.
        ema: Decay of the averaged weights that are kept.
        start: The scale whose weights the other scales start from.
        steps_after_start: Steps of those; ``None``: all scales start at random.
        fp32_tail: Share of the steps, the last ones, that compute in float32 where the others may in bfloat16, whose
            rounding a network that carries the picture through its layers learns to make up for.
        stages: Those of a network that grows; without them it is whole from the start.
        phases: Those of a training with several; their shares of the steps add up to 1.
        frames: Successive frames of a clip.
        time: How long it takes and on what.
        promises: The paper's numbers, which this recipe aims at.

    Raises:
        ValueError: The phases don't add up, or there are stages as well.
    """

    data: tuple[str, ...]
    patch: int
    batch: int
    steps: int
    lr: float
    warmup: int = 100
    ema: float = 0.999
    start: int | None = None
    steps_after_start: int | None = None
    fp32_tail: float = 0.0
    stages: tuple[GrowthStage, ...] = ()
    phases: tuple[Phase, ...] = ()
    frames: int = 1
    time: str
    promises: tuple[Promise, ...] = ()

    def __post_init__(self) -> None:
        if self.phases and (self.stages or abs(sum(phase.steps for phase in self.phases) - 1) > 1e-9):
            raise ValueError("expected phases whose shares of the steps add up to 1, and no stages beside them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The number that a recipe aims at, a paper's, and the floor: worse weights do not ship unless that is told.

    The fields are those of ``Score``; ``psnr`` and ``floor`` are in dB, or numbers of another metric if ``metric``
    names one.
    """

    data: str
    level: float | None
    psnr: float
    floor: float
    task: Task = "upscale"
    options: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict[str, int | float | str])
    metric: str = "psnr"

    @property
    def value(self) -> float:
        """What is promised, of ``metric``."""
        return self.psnr


# --- fitting without gradients ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FitData:
    """What arrays are fitted to.

    Attributes:
        pictures: (C, H, W) uint8 each; C is 1 or 3, as the method's network takes.
        roles: The pictures of further roles, by the role's name.
        scale: The zoom; 1 where the size stays.
        degradations: What makes the method's inputs of pictures.
    """

    pictures: Sequence[Tensor]
    roles: Mapping[str, Sequence[Tensor]]
    scale: int
    degradations: tuple[Degradation, ...]


Fit = Callable[[FitData, Any, torch.Generator, Callable[[float], None]], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSpec:
    """How dictionaries, forests and regressors are fitted to examples.

    Attributes:
        fit: ``fit(examples, options, generator, progress)`` returns the arrays, named and shaped as the state of the
            method's module. ``progress`` is told the fraction that is done, in [0, 1].
        data: Names of the sets of pictures that it is meant for.
        time: How long it takes, and on what.
        roles: What its folders are for.
        degradations: ``degradations(options)`` makes inputs of pictures; ``None``: shrinking by the scale does.
        promises: The numbers that it aims at.
    """

    fit: Fit
    data: tuple[str, ...]
    time: str
    roles: tuple[Role, ...] = (PICTURES_ROLE,)
    degradations: Callable[[Any], tuple[Degradation, ...]] | None = None
    promises: tuple[Promise, ...] = ()


# --- steps that three or more methods share ---------------------------------------------------------------------------


def descend(optimizer: Optimizer, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take one step of an optimiser down the sum of named terms, each a () tensor, and return their values."""
    optimizer.zero_grad(set_to_none=True)
    sum(terms.values(), torch.zeros(())).backward()
    optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def score_of_terms(batches: Iterable[Mapping[str, Tensor]]) -> ValidationScore:
    """Score a network by the sum of the terms of its loss, the mean over the batches."""
    sums = [float(torch.stack(list(terms.values())).sum()) for terms in batches]
    return ValidationScore("loss", sum(sums) / len(sums))


class Regression:
    """Make the network's output equal the target: the step of every network trained for PSNR.

    Args:
        network: What is trained.
        optimizer: Over its parameters.
        loss: ``loss(output, target) -> ()`` tensor.
        forward: The same function of the same parameters, in a form that trains faster. ``None``: the network itself.
        clip: Gradients longer than this, in the L2 norm over all parameters, are shortened to it. ``None``: never.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        forward: nn.Module | None = None,
        clip: float | None = None,
    ) -> None:
        self.modules = {"network": network}
        self.optimizers = {"network": optimizer}
        self.network, self.optimizer = network, optimizer
        self.forward = network if forward is None else forward
        self.loss = loss
        self.clip = clip

    def step(self, batch: PairBatch) -> dict[str, Tensor]:
        """Take one step of the optimiser and return ``{"loss": ...}``."""
        self.optimizer.zero_grad(set_to_none=True)
        # The loss is taken in float32 also where the network runs in bfloat16: a mean over a patch needs the digits.
        loss = self.loss(self.forward(batch.input).float(), batch.target)
        loss.backward()
        if self.clip is not None:
            clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        return {"loss": loss.detach()}
