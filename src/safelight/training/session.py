"""What a training run learns from: the plan, its batches, and how good networks are at what was set apart.

Where there is a right answer, a network is scored by PSNR through the path that a user's picture takes. Where there is
none, the training scores it itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from safelight import inference, ops, tasks
from safelight.checkpoints import backbones
from safelight.core.card import Card, NetworkSpec, TrainingSpec
from safelight.core.task import Task
from safelight.core.training import (
    Batch,
    LabelledBatch,
    PairBatch,
    Perceptual,
    PictureBatch,
    Recipe,
    Role,
    ScoredTrainer,
    Trainer,
    UnpairedBatch,
    ValidationScore,
)
from safelight.degrade import Degradation, Shrink, flatten_mixtures
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.inference.model import Model
from safelight.media.image import Picture
from safelight.metrics import psnr
from safelight.training import datasets

TrainPrecision = Literal["auto", "float32", "bfloat16"]
_HELD_BATCHES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run, complete: the same plan on the same machine gives the same weights.

    Attributes:
        card: The method.
        options: Its options.
        scales: One scale, or all of them for a network that serves all.
        recipe: The method's recipe, perhaps changed.
        data: Folders of pictures, or files, by the role that they have.
        out: The weights' file.
        start: A weights file to begin from.
        backbone: The network that pictures are compared by, of trainings that need one.
        device: Where it runs.
        devices: Processes that share each batch, one for each device.
        precision: ``auto`` takes bfloat16 where it is faster.
        seed: Of the weights at the start and of the crops.
        validate_every: Steps between validations.
        save_every: Seconds between saved states; one is saved at each validation, too.
    """

    card: Card
    options: Any
    scales: tuple[int, ...]
    recipe: Recipe
    data: Mapping[str, tuple[Path, ...]]
    out: Path
    start: Path | None = None
    backbone: str = "lens"
    device: devices.Device = "auto"
    devices: int = 1
    precision: TrainPrecision = "auto"
    seed: int = 0
    validate_every: int = 500
    save_every: float = 60

    @property
    def network(self) -> NetworkSpec:
        """What the method's network is."""
        assert self.card.network is not None
        return self.card.network

    @property
    def training(self) -> TrainingSpec:
        """How it is trained."""
        assert self.card.training is not None
        return self.card.training

    def fingerprint(self, learned_from: str) -> str:
        """What must be equal for a run to be resumed: all but the place, the devices and the precision.

        Args:
            learned_from: Hashes of the pictures and of the backbone.
        """
        recipe = {k: v for k, v in dataclasses.asdict(self.recipe).items() if k not in ("time", "promises")}
        return json.dumps(
            [self.card.id, dataclasses.asdict(self.options), self.scales, recipe, self.seed, learned_from]
        )


def degradations(plan: TrainConfig) -> tuple[Degradation, ...]:
    """List what the inputs of pairs are made by; each step trains one of them, drawn at random."""
    if plan.training.degradations is not None:
        return plan.training.degradations(plan.options)
    return tuple(Shrink(scale, plan.network.input == "interpolated") for scale in plan.scales)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The pictures of a run.

    Attributes:
        splits: Of each role that batches are drawn from, in order; a single one of aligned pairs.
        whole: The pictures of the role that is not drawn from, uint8.
        sha256: Of all files together.
        classes: Of labelled pictures.
    """

    splits: tuple[datasets.Split[datasets.Sample], ...]
    whole: tuple[Tensor, ...]
    sha256: str
    classes: tuple[str, ...] = ()


def load(plan: TrainConfig) -> TrainingData:
    """Read a plan's pictures.

    Raises:
        datasets.DataError: The folders hold no usable pictures, or a role has none.
        image.PictureError: A picture is broken.
    """
    spec, channels = plan.training, plan.network.channels_of(plan.options)
    for role in spec.roles:
        if not plan.data.get(role.name):
            raise datasets.DataError(f"expected {role.help}, got none; give it by {role.flag}")

    def split(role: Role) -> datasets.Split[datasets.Sample]:
        paths = plan.data[role.name]
        if not role.held_out:
            pictures, sha256 = datasets.read_styles(paths)
            return datasets.Split(tuple(map(datasets.Sample, pictures)), (), sha256)
        kind = PictureBatch if spec.batch in (PairBatch, UnpairedBatch) else spec.batch
        return datasets.load_samples(kind, [paths], channels, frames=plan.recipe.frames)

    drawn = [role for role in spec.roles if role.drawn]
    if spec.batch is PairBatch and len(drawn) == 2:
        splits = [datasets.load_samples(PairBatch, [plan.data[role.name] for role in drawn], channels)]
    else:
        splits = [split(role) for role in drawn]
    whole = [datasets.read_styles(plan.data[role.name]) for role in spec.roles if not role.drawn]
    return TrainingData(
        tuple(splits),
        tuple(picture for pictures, _ in whole for picture in pictures),
        "".join([*(split.sha256 for split in splits), *(sha256 for _, sha256 in whole)]),
        datasets.classes(plan.data[drawn[0].name]) if spec.batch is LabelledBatch else (),
    )


def validate(plan: TrainConfig, network: nn.Module, samples: Sequence[datasets.Sample]) -> float:
    """Mean PSNR in dB over what was set apart."""
    kinds = () if samples[0].target is not None else flatten_mixtures(degradations(plan))
    return mean_psnr(plan.card, plan.options, network, samples, kinds, plan.device)


def mean_psnr(
    card: Card,
    options: Any,  # noqa: ANN401 - each method has its own Options class
    network: nn.Module,
    samples: Sequence[datasets.Sample],
    kinds: Sequence[Degradation],
    device: devices.Device,
) -> float:
    """Mean PSNR in dB through the path that a user's picture takes.

    It is taken of Y where the network enlarges and of the picture's own channels elsewhere, as the papers do.

    Args:
        card: The method.
        options: Its options.
        network: Of one of its scales.
        samples: Clean pictures; aligned pairs where there is no degradation.
        kinds: What makes inputs of clean pictures.
        device: Where it runs.
    """
    values: list[float] = []
    generator = torch.Generator().manual_seed(0)  # the same noise at each validation
    for degradation in kinds or (None,):
        scale = 1 if degradation is None else degradation.scale
        model = Model(card, options, scale, network)
        settings = inference.InferenceRequest(
            task=_task_at(card, scale),
            inputs={"scale": scale if scale > 1 else None},
            device=device,
        )
        runner = inference.Runner(card, settings, {scale: model})
        for sample in samples:
            clean = _part(sample.pixels, scale)
            if degradation is None:
                degraded, target = clean, _part(cast("Tensor", sample.target), scale)
            else:
                degraded, target = degradation.validation_pair(clean, generator)
            result = to_tensor(runner(Picture(pixels=degraded[0].permute(1, 2, 0).numpy())).pixels)
            channel = "y" if scale > 1 or target.shape[1] == 1 else "rgb"
            shave = scale if scale > 1 else 0
            rounding = "8-bit-y" if channel == "y" else "8-bit"
            values.append(float(psnr(result, target, channel=channel, shave=shave, rounding=rounding)))
    return sum(values) / len(values)


def _task_at(card: Card, scale: int) -> Task:
    """Find the task of a method that a scale belongs to: one that enlarges, or one that keeps the size."""
    fitting = (name for name in card.tasks if (tasks.find(name).output.size == "scaled") == (scale > 1))
    return next(fitting, card.task)


def _part(picture: Tensor, scale: int) -> Tensor:
    """Take the upper left of a picture as (1, C, H, W) in [0, 1]: the largest are ten times the others."""
    return ops.crop_to_multiple(picture[:, :360, :480], scale).unsqueeze(0).float() / 255


class TrainingSession:
    """How one plan's steps are made and its networks scored.

    Attributes:
        trainer: The method's networks, optimisers and step, all on the device.
        sha256: Of the pictures and of the backbone's numbers.
        facts: What the header of the weights keeps of the data: folders by role, classes, backbone.
    """

    def __init__(self, plan: TrainConfig, network: nn.Module, data: TrainingData, device: torch.device) -> None:
        self._plan, self._data, self._device = plan, data, device
        spec, recipe = plan.training, plan.recipe
        self.sha256 = data.sha256
        self.facts: dict[str, Any] = {
            "data": {role: [path.name for path in paths] for role, paths in plan.data.items()}
        }
        if data.classes:
            self.facts["classes"] = list(data.classes)

        train = [split.train for split in data.splits]
        self._source = datasets.Mixture(self._sources(train))
        if isinstance(spec.algorithm, Perceptual):
            backbone = backbones.load(plan.backbone, device=device)
            self.sha256 += backbone.sha256
            styles = [path.name for role in spec.roles[1:] for path in plan.data[role.name]]
            self.facts |= {"styles": styles, "backbone": backbone.name, "backbone_sha256": backbone.sha256}
            whole = tuple(picture.to(device).unsqueeze(0) / 255 for picture in data.whole)
            self.trainer: Trainer = spec.algorithm.begin(network, recipe, backbone, whole)
        else:
            self.trainer = spec.algorithm(network, recipe)
        if spec.exports[0].module not in self.trainer.modules or any("." in name for name in self.trainer.modules):
            raise ValueError(f"{plan.card.id}: expected modules with {spec.exports[0].module}, and no dot in a name")
        for module in self.trainer.modules.values():
            devices.place(module, device)

        self._scored = hasattr(self.trainer, "validate")
        if not self._scored and spec.batch is not PairBatch:
            raise ValueError(f"{plan.card.id}: expected a training with `validate`: only pairs are scored by PSNR")
        if self._scored:
            held = [split.validation or split.train for split in data.splits]
            generator = torch.Generator().manual_seed(0)
            sources = self._sources(held)
            self._held = [sources[i % len(sources)].draw(generator) for i in range(_HELD_BATCHES)]

    def _sources(self, splits: Sequence[Sequence[datasets.Sample]]) -> list[datasets.Source]:
        """Make what batches are drawn from: several for pairs with several degradations, each step trains one."""
        spec, recipe = self._plan.training, self._plan.recipe

        def samples(of: Sequence[datasets.Sample]) -> list[datasets.Sample]:
            side = None if spec.shorter_side is None else round(spec.shorter_side * recipe.patch)
            return [datasets.reduced_sample(sample, side).to(self._device) for sample in of]

        def crops(kind: type[Batch], of: Sequence[datasets.Sample]) -> datasets.Samples:
            return datasets.Samples(
                kind, samples(of), side=recipe.patch, batch=recipe.batch, symmetries=spec.symmetries,
                frames=recipe.frames,
            )  # fmt: skip

        if spec.batch is UnpairedBatch:
            first, second = splits
            return [datasets.Domains(crops(PictureBatch, first), crops(PictureBatch, second))]
        if spec.batch is PairBatch and splits[0][0].target is None:
            pictures = [sample.pixels for sample in samples(splits[0])]
            return [
                datasets.Crops(pictures, each, patch=recipe.patch, batch=recipe.batch, symmetries=spec.symmetries)
                for each in degradations(self._plan)
            ]
        return [crops(spec.batch, splits[0])]

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch."""
        return self._source.draw(generator)

    @torch.no_grad()
    def score(self, networks: Mapping[str, nn.Module]) -> ValidationScore:
        """Score networks with averaged weights, by the names of the modules that are exported."""
        torch.manual_seed(0)  # what a validation draws is the same each time
        if self._scored:
            return cast("ScoredTrainer", self.trainer).validate(networks, self._held)
        network = networks[self._plan.training.exports[0].module]
        value = validate(self._plan, network, self._data.splits[0].validation)
        return ValidationScore("PSNR", value, higher_is_better=True, unit="dB")
