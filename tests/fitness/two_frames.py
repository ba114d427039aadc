"""A method of two frames: the picture between them, as a mixture whose weights a network of one layer learns."""

import torch
import torch.nn.functional as F
from torch import nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Trained, TrainingSpec
from safelight.core.outputs import OutputSpec
from safelight.core.solver_input import SolverResult
from safelight.core.task import TaskSpec
from safelight.core.training import ClipBatch, Recipe, ValidationScore
from safelight.tasks.common_inputs import FRAMES, PICTURE

TASK = TaskSpec(
    name="between", title="Between", summary="Make the frame between two", help="Make the frame between two.",
    inputs=(PICTURE, FRAMES), output=OutputSpec(tag="between"), default="between/mixture",
)  # fmt: skip


class Mixture(nn.Module):
    """Two frames, (B, 3, H, W) each, to the one between them."""

    def __init__(self, options, scale):
        super().__init__()
        self.layer = nn.Conv2d(6, 3, 5, padding=2, padding_mode="replicate")

    def forward(self, first, second):
        return self.layer(torch.cat([first, second], 1))


class Middle:
    """The middle one of three frames, by mean squared error."""

    def __init__(self, network, recipe):
        self.network, self.modules = network, {"network": network}
        self.optimizers = {"network": torch.optim.Adam(network.parameters(), recipe.lr)}

    def step(self, batch):
        first, middle, last = batch.frames.unbind(1)
        loss = F.mse_loss(self.network(first, last), middle)
        self.optimizers["network"].zero_grad()
        loss.backward()
        self.optimizers["network"].step()
        return {"loss": loss.detach()}

    def validate(self, networks, batches):
        errors = [
            float(F.mse_loss(networks["network"](batch.frames[:, 0], batch.frames[:, 2]), batch.frames[:, 1]))
            for batch in batches
        ]
        return ValidationScore("middle MSE", sum(errors) / len(errors))


def apply(network, given, options):
    """Mix the picture and its one further frame."""
    (other,) = given.frames
    with torch.inference_mode():
        return SolverResult(x=network(given.y, other).clamp(0, 1), notes=("the frame between 2",))


CARD = Card(
    module="tests.between.mixture", title="Mixture", summary="For tests.", accepts=frozenset({"frames"}),
    method=Trained(
        network=NetworkSpec(build=Mixture, channels="rgb"),
        execution=ExecutionSpec(precisions=("float32",), bytes=200),
        training=TrainingSpec(
            algorithm=Middle, batch=ClipBatch,
            recipe=Recipe(data=("any",), patch=16, batch=8, steps=300, lr=0.01, warmup=5, ema=0.9, frames=3,
                          time="seconds"),
        ),
        apply=apply,
    ),
)  # fmt: skip
