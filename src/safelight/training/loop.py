"""The training loop: crops, a method's step, averaged weights, validation, a log; resumed exactly after a stop.

It reads from top to bottom and serves every method: what differs between them, the network, the loss and the
optimiser, stands in the method's own file. It runs on a CPU (in bfloat16 where the chip gains by it) or on a GPU.
Validation is PSNR, or where no picture is the right answer, the method's own loss on pictures set apart.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.optim import Optimizer

from safelight.checkpoints import provenance, weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader
from safelight.core.card import Trained, channels_of
from safelight.core.training import Recipe
from safelight.engine import device as devices
from safelight.training import datasets
from safelight.training.session import TrainConfig, TrainingSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands: for a progress bar or a log.

    ``loss`` is the mean since the last report, ``psnr`` the last validation in dB, or ``judged`` its loss (``None``
    before the first), ``rate`` the crops per second and ``seconds_left`` the estimate for the rest.
    """

    step: int
    steps: int
    loss: float
    psnr: float | None
    judged: float | None
    rate: float
    seconds_left: float


def stage(recipe: Recipe, done: float) -> tuple[float, float]:
    """After a share of the steps: the share of the training's time that is over, and the network's width."""
    begun = before = 0.0  # the shares of the steps and of the time when a stage begins
    for part in recipe.stages:
        if done < begun + part.steps:
            return before + part.time * (done - begun) / part.steps, part.width
        begun, before = begun + part.steps, before + part.time
    return done, 1.0


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate at a step as a fraction of the peak: a linear warm-up, then a cosine down to zero."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    over, _ = stage(recipe, (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup))
    return 0.5 * (1 + math.cos(math.pi * over))


class WeightAverage:
    """An exponential moving average of a network's weights, which scores higher than the weights themselves."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Move a little towards the network's weights; faster at the start, where old weights are worth nothing."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:  # a count
                self.tensors[name].copy_(tensor)


# --- the state of a run: safetensors, so that resuming executes no foreign code --------------------------------------


def save_state(
    path: Path, network: nn.Module, average: WeightAverage, optimizers: Sequence[Optimizer], facts: dict[str, Any]
) -> None:
    """Write everything that the rest of a run depends on, atomically."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.tensors.items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{parameter}.{key}": torch.as_tensor(v) for key, v in values.items()}
    tensors["generator"] = facts.pop("generator")
    stored = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    weights_file.write_atomic(path, serialise(stored, {"facts": json.dumps(facts)}))


def load_state(
    path: Path, network: nn.Module, average: WeightAverage, optimizers: Sequence[Optimizer]
) -> dict[str, Any]:
    """Put a saved state back and return its facts."""
    tensors, metadata = weights_file.read_file(path)
    facts: dict[str, Any] = json.loads(metadata["facts"])
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    for name, tensor in average.tensors.items():
        tensor.copy_(tensors[f"average.{name}"])
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, parameter, key = name.split(".")
                state.setdefault(int(parameter), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    facts["generator"] = tensors["generator"]
    return facts


# --- the loop ---------------------------------------------------------------------------------------------------------


def train(plan: TrainConfig, report: Callable[[Progress], None], *, resume: bool = True) -> WeightsHeader:
    """Train, and leave three files: the weights at ``plan.out``, beside them a ``.csv`` log and a ``.state``.

    The weights are the averaged ones of the best validation so far. A run that was stopped goes on from its last
    saved state, exactly: the crops and the weights are those of a run that was never stopped.

    Args:
        plan: What to train, on what, how long.
        report: Called a few times a second.
        resume: Go on from ``.state`` if there is one; ``False`` starts again.

    Returns:
        The header of the weights.

    Raises:
        CheckpointError: The state belongs to another plan, or ``plan.start`` does not fit.
        data.DataError: The folders hold no usable pictures.
        FloatingPointError: The loss is no longer a number.
    """
    method = plan.card.method
    assert isinstance(method, Trained)
    recipe = plan.recipe
    device = devices.choose(plan.device)
    bfloat16 = plan.precision == "bfloat16" or (
        plan.precision == "auto" and (device.type == "cuda" or (device.type == "cpu" and devices.bfloat16_pays()))
    )

    exact = 1.0 if not bfloat16 else 0.0 if plan.precision == "bfloat16" else recipe.exact
    short = recipe.steps * (1 - exact)  # the steps in bfloat16, before those in float32

    split = datasets.load(plan.folders, channels_of(method.network, plan.options))
    generator = torch.Generator().manual_seed(plan.seed)
    torch.manual_seed(plan.seed)  # the layers' own initialisation draws from torch's global generator
    network = method.network.build(plan.options, plan.scales[0])
    if plan.start is not None:
        _begin_from(network, plan.start)
    network = devices.place(network, device)
    average = WeightAverage(network, recipe.ema)
    lesson = TrainingSession(plan, network, split, device)
    training, learned_from = lesson.training, split.sha256 + lesson.sha256
    for optimizer in training.optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]

    state_path, log_path = plan.out.with_suffix(".state"), plan.out.with_suffix(".csv")
    first, seconds, best, since = 0, 0.0, -math.inf, 0
    total = torch.zeros((), device=device)  # of the losses since the last validation
    log: list[tuple[int, float, float, float]] = []  # step, seconds, loss, validation
    if resume and state_path.exists():
        facts = load_state(state_path, network, average, training.optimizers)
        if facts["fingerprint"] != plan.fingerprint(learned_from):
            raise CheckpointError(
                f"{state_path} is of a run with other settings, pictures or backbone; --restart begins anew"
            )
        first, seconds, best, log = facts["step"], facts["seconds"], facts["best"], facts["log"]
        total.fill_(facts["loss"])
        since = facts["since"]
        generator.set_state(facts["generator"])

    def save(step: int) -> None:
        facts = {
            "fingerprint": plan.fingerprint(learned_from), "step": step, "seconds": seconds, "best": best, "log": log,
            "loss": float(total), "since": since, "generator": generator.get_state(),
        }  # fmt: skip
        save_state(state_path, network, average, training.optimizers, facts)

    header = WeightsHeader(
        method=plan.card.id,
        options=dataclasses.asdict(plan.options),
        scales=plan.scales,
        trained_on=tuple(
            datasets.described(path.name)
            for path in (*plan.folders, *(style for style in plan.styles if style.is_dir()))
        ),
        recipe={k: getattr(recipe, k) for k in ("patch", "batch", "steps", "rate", "warmup", "ema", "exact")}
        | {"seed": plan.seed, "start": "" if plan.start is None else plan.start.name}
        | ({"stages": [dataclasses.astuple(stage) for stage in recipe.stages]} if recipe.stages else {})
        | ({} if lesson.psnr else {"styles": [path.name for path in plan.styles]} | lesson.backbone),
        device=devices.describe(device) + (", bfloat16" if short > 0 else ""),
        commit=provenance.code_version(),
    )
    started = saved = time.perf_counter()
    for step in range(first, recipe.steps):
        if method.training.grow is not None:
            method.training.grow(network, stage(recipe, step / recipe.steps)[1])
        factor = learning_rate(recipe, step)
        for optimizer in training.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

        batch = lesson.draw(generator)  # in float32: what bfloat16 makes of a picture is another degradation
        with torch.autocast(device.type, torch.bfloat16, enabled=step < short):
            losses = training.step(batch)
        average.update(network, step)
        total += sum(losses.values())
        since += 1

        now = time.perf_counter()
        validating = (step + 1) % plan.validate_every == 0 or step + 1 == recipe.steps
        if validating or now - started > 0.5:
            seconds += now - started
            started = now
            loss = float(total) / since
            if not math.isfinite(loss):
                raise FloatingPointError(f"{plan.card.id}: the loss is {loss} at step {step}; lower the rate (--rate)")
            if validating:
                network.eval()
                score = lesson.score(_averaged(method, plan, average, device))
                network.train()
                log.append((step + 1, round(seconds, 1), loss, round(score, 4)))
                if (score if lesson.psnr else -score) > best:
                    best = score if lesson.psnr else -score
                    scores = {"validation PSNR" if lesson.psnr else "validation loss": round(score, 4)}
                    header = dataclasses.replace(header, steps=step + 1, seconds=round(seconds, 1), scores=scores)
                    weights_file.save(plan.out, average.tensors, header)
                total.zero_()
                since = 0
                started = time.perf_counter()
                _write_log(log_path, log, "psnr" if lesson.psnr else "validation_loss")
            if validating or now - saved > plan.save_every:
                save(step + 1)
                saved = time.perf_counter()
            rate = recipe.batch * (step + 1) / max(seconds, 1e-9)
            left = (recipe.steps - step - 1) * seconds / (step + 1)
            last = log[-1][3] if log else None
            psnr, judged = (last, None) if lesson.psnr else (None, last)
            report(
                Progress(
                    step=step + 1, steps=recipe.steps, loss=loss, psnr=psnr, judged=judged, rate=rate, seconds_left=left
                )
            )  # fmt: skip
    return weights_file.read_header(plan.out)


def _averaged(method: Trained, plan: TrainConfig, average: WeightAverage, device: torch.device) -> nn.Module:
    network = method.network.build(plan.options, plan.scales[0])
    network.load_state_dict(average.tensors)
    return devices.place(network, device).eval()


def _begin_from(network: nn.Module, path: Path) -> None:
    """Copy every tensor that has the same name and shape: the other scale's body, without its upsampler."""
    tensors, _ = weights_file.load(path)
    own = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise CheckpointError(f"{path.name}: no tensor of it fits this network; start from the same method's weights")
    network.load_state_dict(own | fitting)


def _write_log(path: Path, log: Sequence[tuple[int, float, float, float]], score: str) -> None:
    """Keep the whole log: step, seconds of training, mean loss, and the validation's score: PSNR in dB, or a loss."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("step", "seconds", "loss", score))
        writer.writerows((step, seconds, f"{loss:.6g}", value) for step, seconds, loss, value in log)
