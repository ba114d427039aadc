"""The training loop: batches, a method's step, averaged weights, validation, a log; resumed exactly after a stop.

It reads from top to bottom and serves every method: what differs between them, the networks, the losses and the
optimisers, stands in the method's own file. It runs on a CPU (in bfloat16 where the chip gains by it) or on GPUs, one
or several. Validation is PSNR, or what a training measures itself.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from safelight.checkpoints import provenance, weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader
from safelight.core.training import Export, Phase, PhasedTrainer, Recipe, Trainer, ValidationScore
from safelight.engine import device as devices
from safelight.training import datasets, session, state
from safelight.training.processes import Processes
from safelight.training.session import TrainConfig, TrainingSession
from safelight.training.state import LossMeter, WeightAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands: for a progress bar or a log.

    Attributes:
        step: Steps that are done.
        steps: Steps in all.
        phase: The name of the phase, of a training with several; else empty.
        loss: The mean of the loss since the last validation: of the training's own sum where it names one ``loss``.
        losses: The means of the losses by name.
        score: The last validation; ``None`` before the first.
        crops_per_second: Examples that are learned from in a second.
        seconds_left: An estimate for the rest.
    """

    step: int
    steps: int
    phase: str
    loss: float
    losses: Mapping[str, float]
    score: ValidationScore | None
    crops_per_second: float
    seconds_left: float


# --- learning rates ---------------------------------------------------------------------------------------------------


def stage(recipe: Recipe, done: float) -> tuple[float, float]:
    """After a share of the steps: the share of the training's time that is over, and the network's width."""
    begun = before = 0.0  # the shares of the steps and of the time when a stage begins
    for part in recipe.stages:
        if done < begun + part.steps:
            return before + part.time * (done - begun) / part.steps, part.width
        begun, before = begun + part.steps, before + part.time
    return done, 1.0


def phase_at(recipe: Recipe, step: int) -> tuple[Phase | None, int, int]:
    """The phase that a step belongs to, ``None`` of a recipe without, its first step and the one behind its last."""
    begun, first = 0.0, 0
    for phase in recipe.phases:
        begun += phase.steps
        last = round(begun * recipe.steps)
        if step < last or phase is recipe.phases[-1]:
            return phase, first, last
        first = last
    return None, 0, recipe.steps


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate at a step as a fraction of the peak: in each phase a linear warm-up, then a cosine down to zero."""
    phase, first, last = phase_at(recipe, step)
    if step - first < recipe.warmup:
        return (step - first + 1) / recipe.warmup
    if phase is not None and phase.schedule == "constant":
        return 1.0
    over, _ = stage(recipe, (step - first - recipe.warmup) / max(1, last - first - recipe.warmup))
    return 0.5 * (1 + math.cos(math.pi * over))


def set_learning_rates(trainer: Trainer, recipe: Recipe, step: int, peaks: Mapping[str, Sequence[float]]) -> None:
    """Set the rates of a step, and tell a training in phases which one it is.

    Args:
        trainer: Its optimisers.
        recipe: The phases and the schedule.
        step: Counted from 0.
        peaks: The optimisers' own rates, one for each of their groups; a phase may have others.
    """
    factor = learning_rate(recipe, step)
    phase, _, _ = phase_at(recipe, step)
    for name, optimizer in trainer.optimizers.items():
        for group, own in zip(optimizer.param_groups, peaks[name], strict=True):
            group["lr"] = (own if phase is None else phase.lr.get(name, own)) * factor
    if phase is not None:
        cast("PhasedTrainer", trainer).phase = phase.name


# --- the loop ---------------------------------------------------------------------------------------------------------


def train(plan: TrainConfig, report: Callable[[Progress], None], *, resume: bool = True) -> WeightsHeader:
    """Train, and leave three files: the weights at ``plan.out``, beside them a ``.csv`` log and a ``.state``.

    The weights are the averaged ones of the best validation so far; a training of several networks may leave a file of
    each. A run that was stopped goes on from its last saved state, exactly: the crops and the weights are those of a
    run that was never stopped.

    Args:
        plan: What to train, on what, how long.
        report: Called a few times a second.
        resume: Go on from ``.state`` if there is one; ``False`` starts again.

    Returns:
        The header of the weights.

    Raises:
        CheckpointError: The state belongs to another plan, or ``plan.start`` does not fit.
        DataError: The folders hold no usable pictures.
        FloatingPointError: The loss is no longer a number.
        MissingPackageError: Several devices, and no Lightning Fabric.
        ValueError: The processes can't share the batch, or the method's training is not sound.
    """
    recipe, spec = plan.recipe, plan.training
    processes = Processes(plan.devices, devices.choose(plan.device))
    device = processes.device
    bfloat16 = plan.precision == "bfloat16" or (
        plan.precision == "auto" and (device.type == "cuda" or (device.type == "cpu" and devices.bfloat16_pays()))
    )
    tail = 1.0 if not bfloat16 else 0.0 if plan.precision == "bfloat16" else recipe.fp32_tail
    short = recipe.steps * (1 - tail)  # the steps in bfloat16, before those in float32

    data = session.load(plan)
    generator = torch.Generator().manual_seed(plan.seed)
    torch.manual_seed(plan.seed)  # the layers' own initialisation draws from torch's global generator
    network = plan.network.build(plan.options, plan.scales[0])
    if plan.start is not None:
        _begin_from(network, plan.start)
    lesson = TrainingSession(plan, devices.place(network, device), data, device)
    trainer = lesson.trainer
    averages = {one.module: WeightAverage(trainer.modules[one.module], recipe.ema) for one in spec.exports}
    peaks = {k: [group["lr"] for group in optimizer.param_groups] for k, optimizer in trainer.optimizers.items()}
    processes.average_gradients(trainer.optimizers.values())

    state_path, log_path = plan.out.with_suffix(".state"), plan.out.with_suffix(".csv")
    first, seconds, best, meter = 0, 0.0, None, LossMeter(device)
    log: list[dict[str, float]] = []  # a row for each validation, by the names of the columns
    score: ValidationScore | None = None
    fingerprint = plan.fingerprint(lesson.sha256)
    if resume and state_path.exists():
        tensors, facts = state.read(state_path)
        if facts.get("fingerprint") != fingerprint:
            raise CheckpointError(
                f"{state_path} is of a run with other settings, pictures or backbone; --restart begins anew"
            )
        state.restore(tensors, trainer, averages)
        generator.set_state(tensors["tensor.generator"])
        first, seconds, best, log = facts["step"], facts["seconds"], facts["best"], facts["log"]
        score = None if facts["score"] is None else ValidationScore(**facts["score"])
        meter.restore(facts["losses"])
    processes.wait()  # until all have read what the first will write again

    def save(step: int) -> None:
        facts = {
            "fingerprint": fingerprint, "step": step, "seconds": seconds, "best": best, "log": log,
            "score": None if score is None else dataclasses.asdict(score), "losses": meter.state(),
        }  # fmt: skip
        state.save(state_path, trainer, averages, {"generator": generator.get_state()}, facts)

    header = _header(plan, lesson, device, bfloat16=short > 0)
    started = saved = time.perf_counter()
    for step in range(first, recipe.steps):
        if spec.grow is not None:
            spec.grow(network, stage(recipe, step / recipe.steps)[1])
        set_learning_rates(trainer, recipe, step, peaks)

        batch = lesson.draw(generator)  # in float32: what bfloat16 makes of a picture is another degradation
        # What a step draws at random is a function of its number alone, so that it need not be saved.
        torch.manual_seed((plan.seed * recipe.steps + step) * processes.count + processes.rank)
        with torch.autocast(device.type, torch.bfloat16, enabled=step < short):
            losses = trainer.step(processes.share(batch))
        for name, average in averages.items():
            average.update(trainer.modules[name], step)
        meter.add(processes.mean(losses))
        if processes.rank > 0:
            continue

        now = time.perf_counter()
        validating = (step + 1) % plan.validate_every == 0 or step + 1 == recipe.steps
        if validating or now - started > 0.5:
            seconds += now - started
            started = now
            means = meter.means()
            if not all(map(math.isfinite, means.values())):
                shown = ", ".join(f"{name} {value}" for name, value in means.items() if not math.isfinite(value))
                raise FloatingPointError(f"{plan.card.id}: {shown} at step {step}; lower the learning rate (--lr)")
            if validating:
                score = lesson.score({name: average.network for name, average in averages.items()})
                score = dataclasses.replace(score, value=float(score.value))
                rounded = round(score.value, 4)
                row = {"step": step + 1, "seconds": round(seconds, 1), **means, column(score, means): rounded}
                log.append(row)
                if score.beats(best):
                    best = score.value
                    header = dataclasses.replace(
                        header, steps=step + 1, seconds=round(seconds, 1), scores={f"validation {score.name}": rounded}
                    )
                    _export(plan, averages, header)
                meter.clear()
                started = time.perf_counter()
                _write_log(log_path, log)
            if validating or now - saved > plan.save_every:
                save(step + 1)
                saved = time.perf_counter()
            phase, _, _ = phase_at(recipe, step)
            report(
                Progress(
                    step=step + 1, steps=recipe.steps, phase="" if phase is None else phase.name,
                    loss=means["loss"], losses={k: v for k, v in means.items() if k != "loss"} or means, score=score,
                    crops_per_second=recipe.batch * (step + 1) / max(seconds, 1e-9),
                    seconds_left=(recipe.steps - step - 1) * seconds / (step + 1),
                )
            )  # fmt: skip
    processes.wait()
    return weights_file.read_header(plan.out)


# --- files ------------------------------------------------------------------------------------------------------------


def _header(plan: TrainConfig, lesson: TrainingSession, device: torch.device, *, bfloat16: bool) -> WeightsHeader:
    """What the weights' file says of the run, before the first step."""
    recipe = plan.recipe
    kept: dict[str, Any] = {
        k: getattr(recipe, k) for k in ("patch", "batch", "steps", "lr", "warmup", "ema", "fp32_tail")
    }
    kept |= {"seed": plan.seed, "start": "" if plan.start is None else plan.start.name}
    if recipe.stages:
        kept["stages"] = [dataclasses.astuple(part) for part in recipe.stages]
    if recipe.phases:
        kept["phases"] = [dataclasses.asdict(phase) for phase in recipe.phases]
    return WeightsHeader(
        method=plan.card.id,
        options=dataclasses.asdict(plan.options),
        scales=plan.scales,
        trained_on=datasets.described_all(plan.data),
        recipe=kept | lesson.facts,
        device=devices.describe(device) + (", bfloat16" if bfloat16 else "")
        + (f", {plan.devices} processes" if plan.devices > 1 else ""),
        commit=provenance.code_version(),
    )  # fmt: skip


def export_path(out: Path, export: Export) -> Path:
    """Name the file of an exported network: ``w-ROLE.safetensors`` beside ``w.safetensors``."""
    return out if not export.role else out.with_name(f"{out.stem}-{export.role}{out.suffix}")


def _export(plan: TrainConfig, averages: Mapping[str, WeightAverage], header: WeightsHeader) -> None:
    for export in plan.training.exports:
        own = dataclasses.replace(header, options={**header.options, **export.options})
        weights_file.save(export_path(plan.out, export), averages[export.module].tensors, own)


def _begin_from(network: nn.Module, path: Path) -> None:
    """Copy every tensor that has the same name and shape: the other scale's body, without its upsampler."""
    tensors, _ = weights_file.load(path)
    own = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise CheckpointError(f"{path.name}: no tensor of it fits this network; start from the same method's weights")
    network.load_state_dict(own | fitting)


def column(score: ValidationScore, losses: Mapping[str, float]) -> str:
    """Name the log's column of a score: ``psnr``, ``fid``, or ``validation_loss`` where a loss is called the same."""
    name = score.name.lower()
    return f"validation_{name}" if name in losses else name


def _write_log(path: Path, log: Sequence[Mapping[str, float]]) -> None:
    """Keep the whole log: step, seconds of training, mean losses, and the score, of which the last column is."""
    losses = dict.fromkeys(name for row in log for name in list(row)[2:-1])
    score = list(log[-1])[-1]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("step", "seconds", *losses, score))
        for row in log:
            means = [f"{row[name]:.6g}" if name in row else "" for name in losses]
            writer.writerow((int(row["step"]), row["seconds"], *means, row[score]))
