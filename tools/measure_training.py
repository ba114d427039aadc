"""Measure training: how fast the loop is, against the plain one and against the machine, and how soon PSNR comes.

    python tools/measure_training.py --data TRAINING_SETS

Writes ``results/training.json``. For each network, in one run:

- the plain loop, as a first script would have it: float32, torch's own layout, Adam, the network as it stands; the
  safelight loop beside it, as ``safelight train`` runs it. The two are timed in turns, crops and degradations included:
  a step of the whole network, and the mean over the recipe, in which networks may grow and end in float32;
- where a step's time goes: crops, network (forward and backward), optimiser, average;
- the fraction of the limit: what a 3x3 convolution of 64 channels reaches, forward and backward, in the same run and
  precision. Arithmetic is counted as 6 floating point operations for each multiply-add: 2 forward, 4 backward;
- with ``--seconds S``, PSNR against wall time: both loops train for S seconds with a cosine over just that time.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import torch
import torch.nn.functional as F
from harness import Row
from torch import Tensor, nn

from safelight import catalog
from safelight.core.card import Card, Trained, channels_of
from safelight.core.options import make_options
from safelight.core.training import GrowthStage
from safelight.engine import device as devices
from safelight.engine.cost import measure
from safelight.training import datasets, loop, session

NETWORKS = (("srcnn", 3), ("fsrcnn", 3), ("espcn", 3), ("vdsr", 3), ("edsr", 2), ("lamp", 4))
CURVES = ("fsrcnn", "vdsr", "edsr")
ROUNDS, ROUND_SECONDS = 3, 3.0
POINTS = 6  # validations along a curve
ADAM_RATE = 4e-4  # the field's 1e-4 is for a hundred times more steps
FOLDERS = ("t91", "bsds399")
WHAT = "training on a CPU: the loop against the plain one, and against a convolution's rate in GFLOP/s"


def plan_of(card: Card, scale: int, folder: Path, steps: int = 1) -> session.TrainConfig:
    """The recipe's own plan, for another number of steps."""
    method = card.method
    assert isinstance(method, Trained)
    return session.TrainConfig(
        card=card, options=make_options(card, {}), scales=(scale,),
        data={"data": tuple(folder / name for name in FOLDERS)},
        out=Path("w.safetensors"), recipe=dataclasses.replace(method.training.recipe, steps=steps),
    )  # fmt: skip


def prepared(name: str, scale: int, folder: Path) -> tuple[session.TrainConfig, Trained, session.TrainingData]:
    """Give a network's plan and method, and read its pictures."""
    card = catalog.find(name, "upscale")
    method = card.method
    assert isinstance(method, Trained)
    plan = plan_of(card, scale, folder)
    return plan, method, session.load(plan)


class Plain:
    """The loop that everybody writes first."""

    def __init__(self, plan: session.TrainConfig, data: session.TrainingData) -> None:
        method = plan.card.method
        assert isinstance(method, Trained)
        torch.manual_seed(0)
        self.network = method.network.build(plan.options, plan.scales[0])
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=ADAM_RATE)
        (kind,) = session.degradations(plan)
        pictures = [sample.pixels for sample in data.splits[0].train]
        self.crops = datasets.Crops(pictures, kind, patch=plan.recipe.patch, batch=plan.recipe.batch)
        self.generator = torch.Generator().manual_seed(0)

    def step(self, fraction: float = 0.0) -> None:
        """Draw, compute, update."""
        for group in self.optimizer.param_groups:
            group["lr"] = ADAM_RATE * 0.5 * (1 + math.cos(math.pi * fraction))
        batch = self.crops.draw(self.generator)
        self.optimizer.zero_grad()
        F.mse_loss(self.network(batch.input), batch.target).backward()
        self.optimizer.step()


class Ours:
    """A step as ``train.train`` takes it, in parts that can be timed."""

    def __init__(self, plan: session.TrainConfig, data: session.TrainingData) -> None:
        method = plan.card.method
        assert isinstance(method, Trained)
        torch.manual_seed(0)
        device = torch.device("cpu")
        self.network = devices.place(method.network.build(plan.options, plan.scales[0]), device)
        self.lesson = session.TrainingSession(plan, self.network, data, device)
        self.average = loop.WeightAverage(self.network, plan.recipe.ema)
        self.generator = torch.Generator().manual_seed(0)
        self.method, self.recipe = method, plan.recipe
        self.fp32_tail = 0.0 if plan.precision == "bfloat16" else plan.recipe.fp32_tail
        self.bfloat16 = devices.bfloat16_pays() and self.fp32_tail < 1

    def step(self) -> None:
        """Draw, compute, update, average."""
        batch = self.lesson.draw(self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            self.lesson.trainer.step(batch)
        self.average.update(self.network, 1)

    def seconds(self) -> tuple[float, float]:
        """Time a step: of the whole network, and the mean over the recipe."""
        mean = whole = 0.0
        for stage in self.recipe.stages or (GrowthStage(width=1, steps=1, time=1),):
            if self.method.training.grow is not None:
                self.method.training.grow(self.network, stage.width)
            whole = timed(self.step)  # the last stage has all channels
            mean += stage.steps * whole
        if self.bfloat16 and self.fp32_tail:
            self.bfloat16 = False
            mean += self.fp32_tail * (timed(self.step) - whole)
            self.bfloat16 = True
        return whole, mean

    def shares(self) -> dict[str, float]:
        """Which part of a step each of its parts takes."""
        (optimizer,) = self.lesson.trainer.optimizers.values()
        parts = {
            "crops": timed(lambda: self.lesson.draw(self.generator)),
            "optimiser": timed(optimizer.step),
            "average": timed(lambda: self.average.update(self.network, 1)),
        }
        whole = timed(self.step)
        shares = {name: round(seconds / whole, 3) for name, seconds in parts.items()}
        return {"network": round(1 - sum(shares.values()), 3), **shares}


def timed(work: Callable[[], object]) -> float:
    """Seconds a call, over about ``ROUND_SECONDS`` and after two calls that warm up."""
    return harness.mean(harness.seconds_of(work, warm=2, at_least=ROUND_SECONDS))


def limit(*, bfloat16: bool) -> float:
    """The rate of four 3x3 convolutions of 64 channels, forward and backward, in GFLOP/s."""
    channels, side, batch = 64, 48, 16
    four = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4)))
    layers = devices.place(four, torch.device("cpu"))
    x = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)
    x = (x.bfloat16() if bfloat16 else x).requires_grad_()

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y: Tensor = layers(x)
            y.float().mean().backward()

    return 6e-9 * 4 * 9 * channels**2 * batch * side**2 / timed(work)


def row(name: str, scale: int, folder: Path, limits: dict[str, float]) -> Row:
    """Time both loops of one network in turns."""
    plan, method, split = prepared(name, scale, folder)
    plain, ours = Plain(plan, split), Ours(plan, split)
    rounds = [(timed(plain.step), *ours.seconds()) for _ in range(ROUNDS)]
    plainly, here, mean = (sorted(times)[ROUNDS // 2] for times in zip(*rounds, strict=True))
    cost = measure(
        method.network.build(plan.options, scale), 1 if channels_of(method.network, plan.options) == "y" else 3
    )
    gflop = 6e-9 * cost.multiply_adds * (plan.recipe.patch * scale) ** 2 * plan.recipe.batch
    return {
        "method": plan.card.id,
        "scale": scale,
        "batch": plan.recipe.batch,
        "patch": plan.recipe.patch,
        "plain_crops_per_second": round(plan.recipe.batch / plainly, 1),
        "plain_of_limit": round(gflop / plainly / limits["float32"], 3),
        "crops_per_second": round(plan.recipe.batch / here, 1),
        "gflop_per_second": round(gflop / here, 1),
        "of_limit": round(gflop / here / limits["bfloat16" if ours.bfloat16 else "float32"], 3),
        "times_plain": round(plainly / here, 2),
        "recipe_crops_per_second": round(plan.recipe.batch / mean, 1),
        "recipe_times_plain": round(plainly / mean, 2),
        "shares": ours.shares(),
    }


def curves(name: str, scale: int, folder: Path, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """PSNR on the validation pictures against seconds of training, of both loops."""
    plan, _, split = prepared(name, scale, folder)
    plain = Plain(plan, split)
    found: list[tuple[float, float]] = []
    passed = 0.0
    for point in range(1, POINTS + 1):
        start = time.perf_counter()
        while passed + time.perf_counter() - start < seconds * point / POINTS:
            plain.step(min(1.0, (passed + time.perf_counter() - start) / seconds))
        passed += time.perf_counter() - start
        psnr = session.validate(plan, plain.network.eval(), split.splits[0].validation)
        plain.network.train()
        found.append((round(passed, 1), round(psnr, 3)))
    steps = max(POINTS, int(seconds / Ours(plan, split).seconds()[1]))
    with tempfile.TemporaryDirectory() as place:
        whole = dataclasses.replace(
            plan_of(plan.card, scale, folder, steps), out=Path(place) / "w.safetensors", validate_every=steps // POINTS
        )
        loop.train(whole, lambda progress: None)  # noqa: ARG005 - nobody watches
        lines = whole.out.with_suffix(".csv").read_text().splitlines()[1:]
    ours = [(float(line.split(",")[1]), round(float(line.split(",")[3]), 3)) for line in lines]
    return {"plain": found, "ours": ours}


def main() -> None:
    """Measure the networks of ``NETWORKS``."""
    parser = harness.parser(__doc__, data=" and ".join(FOLDERS), out="training.json")
    parser.add_argument("--methods", type=harness.words, default="", help="only these: for a quick look, with --out")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training for each curve; 0: no curves")
    asked = parser.parse_args()
    limits = {name: round(limit(bfloat16=name == "bfloat16"), 1) for name in ("float32", "bfloat16")}
    rows: list[Row] = []
    device = devices.describe(devices.choose("cpu"))
    facts = harness.record(WHAT, device=device, limits=limits, rows=rows)
    for name, scale in NETWORKS:
        if asked.methods and name not in asked.methods:
            continue
        rows.append(harness.show(row(name, scale, asked.data, limits)))
        harness.write(asked.out, facts)
    for found in rows:
        name = found["method"].split("/")[1]
        if asked.seconds and name in CURVES:
            found["curves"] = harness.show(curves(name, found["scale"], asked.data, asked.seconds))
            harness.write(asked.out, facts)


if __name__ == "__main__":
    main()
