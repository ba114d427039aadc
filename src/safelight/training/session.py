"""What a training run learns from: the plan, its batches, and how good a network is at what was set apart.

Where there is a right answer, networks are scored by PSNR through the path that a user's picture takes. Where there is
none, as in giving a picture a style, the method's own loss judges them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from safelight import inference, ops
from safelight.checkpoints import backbones
from safelight.core.card import Card, Trained
from safelight.core.training import Batch, Judged, Perceptual, Recipe, Training
from safelight.degrade import AsItIs, Degradation, Shrink, single
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.inference.model import Model
from safelight.media.image import Picture
from safelight.metrics import psnr
from safelight.training import datasets

TrainPrecision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run, complete: the same plan on the same machine gives the same weights.

    ``scales`` holds one scale, or all of them for a network that serves all. ``start`` is a weights file to begin
    from. Every ``validate_every`` steps the averaged weights are scored; then, and every ``save_every`` seconds, the
    state is saved. ``styles``, files or folders, and ``backbone`` are for methods that learn a style, or to give any.
    """

    card: Card
    options: Any
    scales: tuple[int, ...]
    recipe: Recipe
    folders: tuple[Path, ...]
    out: Path
    start: Path | None = None
    styles: tuple[Path, ...] = ()
    backbone: str = "lens"
    device: devices.Device = "auto"
    precision: TrainPrecision = "auto"
    seed: int = 0
    validate_every: int = 500
    save_every: float = 60

    def fingerprint(self, learned_from: str) -> str:
        """What must be equal for a run to be resumed: all but the place, the device and the precision.

        Args:
            learned_from: Hashes of the pictures and of the backbone.
        """
        recipe = {k: v for k, v in dataclasses.asdict(self.recipe).items() if k not in ("time", "promises")}
        return json.dumps(
            [self.card.id, dataclasses.asdict(self.options), self.scales, recipe, self.seed, learned_from]
        )


def degradations(plan: TrainConfig) -> tuple[Degradation, ...]:
    """List what the inputs are made by; each step trains one of them, drawn at random."""
    method = plan.card.method
    assert isinstance(method, Trained)
    if method.training.degradations is not None:
        return method.training.degradations(plan.options)
    return tuple(Shrink(scale, method.network.input == "interpolated") for scale in plan.scales)


def validate(plan: TrainConfig, network: nn.Module, pictures: Sequence[Tensor]) -> float:
    """Mean PSNR in dB over the validation pictures and degradations, through the path that a user's picture takes.

    It is taken of Y where the network enlarges and of the picture's own channels elsewhere, as the papers do.
    """
    values: list[float] = []
    generator = torch.Generator().manual_seed(0)  # the same noise at each validation
    for degradation in single(degradations(plan)):
        scale = degradation.scale
        model = Model(plan.card, plan.options, scale, network)
        settings = inference.InferenceRequest(
            task="upscale" if scale > 1 else plan.card.task,
            inputs={"scale": scale if scale > 1 else None},
            device=plan.device,
        )
        runner = inference.Runner(plan.card, settings, {scale: model})
        for picture in pictures:
            part = picture[:, :360, :480]  # the largest pictures are ten times the others
            clean = ops.crop_to_multiple(part, scale).unsqueeze(0).float() / 255
            degraded, target = degradation.typical(clean, generator)
            result = to_tensor(runner(Picture(pixels=degraded[0].permute(1, 2, 0).numpy())).pixels)
            channel = "y" if scale > 1 or target.shape[1] == 1 else "rgb"
            shave = scale if scale > 1 else 0
            rounding = "8-bit-y" if channel == "y" else "8-bit"
            values.append(float(psnr(result, target, channel=channel, shave=shave, rounding=rounding)))
    return sum(values) / len(values)


class TrainingSession:
    """How one plan's steps are made and its networks scored.

    Attributes:
        training: The method's step.
        psnr: Whether a score is one, in dB; else it is a loss, the less the better.
        sha256: Of the pictures of styles, and of the backbone's numbers; empty without.
        backbone: Its name and what its numbers hash to; empty without.
    """

    def __init__(self, plan: TrainConfig, network: nn.Module, split: datasets.Split, device: torch.device) -> None:
        method = plan.card.method
        assert isinstance(method, Trained)
        self._plan, self._validation = plan, split.validation
        recipe = plan.recipe

        perceptual = isinstance(method.training.algorithm, Perceptual)

        def crops(pictures: Sequence[Tensor], kind: Degradation) -> datasets.Crops:
            if perceptual:  # what a crop shows must be like what a picture shows: a thing, not a patch of its surface
                pictures = [datasets.reduced(x, 2 * recipe.patch) for x in pictures]
            return datasets.Crops([x.to(device) for x in pictures], kind, patch=recipe.patch, batch=recipe.batch)

        self._crops = [crops(split.train, each) for each in degradations(plan)]
        self._styles: datasets.Crops | None = None
        self._judged: Judged | None = None
        self._held: tuple[Batch, ...] = ()
        self.sha256, self.backbone = "", dict[str, str]()
        match method.training.algorithm:
            case Perceptual(begin=begin, draws=draws):
                backbone = backbones.load(plan.backbone, device=device)
                self.backbone = {"backbone": backbone.name, "backbone_sha256": backbone.sha256}
                styles, sha256 = datasets.read_styles(plan.styles)
                self.sha256 = sha256 + backbone.sha256
                if draws:
                    self._styles = crops(styles, AsItIs())
                given = () if draws else tuple(style.to(device).unsqueeze(0) / 255 for style in styles)
                self.training: Training = begin(network, recipe, backbone, given)
                self._judged = self.training
                generator = torch.Generator().manual_seed(0)
                held = crops(split.validation, AsItIs())
                self._held = tuple(self._styled(held.draw(generator), generator) for _ in range(4))
            case begin:
                self.training = begin(network, recipe)
        self.psnr = self._judged is None

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch, of one of the degradations."""
        which = int(torch.randint(len(self._crops), (), generator=generator))
        return self._styled(self._crops[which].draw(generator), generator)

    def _styled(self, batch: Batch, generator: torch.Generator) -> Batch:
        drawn = self._styles
        return batch if drawn is None else dataclasses.replace(batch, style=drawn.draw(generator).input)

    @torch.no_grad()
    def score(self, network: nn.Module) -> float:
        """Score a network that is not being trained, on the pictures that were set apart."""
        if self._judged is None:
            return validate(self._plan, network, self._validation)
        return sum(float(self._judged.judge(network, batch)) for batch in self._held) / len(self._held)
