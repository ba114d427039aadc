"""A translation between two folders: CycleGAN's cycle on one matrix of colours, without a discriminator."""

import torch
from torch import nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Trained, TrainingSpec
from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.core.training import Export, Recipe, Role, UnpairedBatch, ValidationScore
from safelight.tasks.common_inputs import PICTURE

TASK = TaskSpec(
    name="translate", title="Translate", summary="Turn a picture into one of another kind",
    help="Turn pictures into those of another kind.", inputs=(PICTURE,), output=OutputSpec(tag="translated"),
    default="translate/cycle",
)  # fmt: skip


class Cycle:
    """There and back is where one was; what comes there looks, on average, like what is there."""

    def __init__(self, network, recipe):
        self.modules = {"network": network, "back": nn.Conv2d(3, 3, 1)}
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizers = {"both": torch.optim.Adam(parameters, recipe.lr)}

    def losses(self, networks, batch):
        there, back = networks["network"](batch.a), networks["back"](batch.b)
        return {
            "cycle": (networks["back"](there) - batch.a).abs().mean()
            + (networks["network"](back) - batch.b).abs().mean(),
            "domain": (there.mean((0, 2, 3)) - batch.b.mean((0, 2, 3))).abs().mean()
            + (back.mean((0, 2, 3)) - batch.a.mean((0, 2, 3))).abs().mean(),
        }

    def step(self, batch):
        losses = self.losses(self.modules, batch)
        self.optimizers["both"].zero_grad()
        sum(losses.values()).backward()
        self.optimizers["both"].step()
        return {name: loss.detach() for name, loss in losses.items()}

    def validate(self, networks, batches):
        found = [float(self.losses(networks, batch)["domain"]) for batch in batches]
        return ValidationScore("domain gap", sum(found) / len(found))


CARD = Card(
    module="tests.translate.cycle", title="Cycle", summary="For tests.",
    method=Trained(
        network=NetworkSpec(
            build=lambda options, scale: nn.Conv2d(3, 3, 1), input="low-resolution", channels="rgb", scales=(1,),
            receptive_radius=lambda options, scale: 0,
        ),
        execution=ExecutionSpec(precisions=("float32",)),
        training=TrainingSpec(
            algorithm=Cycle, batch=UnpairedBatch, symmetries=2, exports=(Export("network"), Export("back", "back")),
            roles=(Role("a", "pictures of the first kind"), Role("b", "pictures of the second kind")),
            recipe=Recipe(data=("any",), patch=16, batch=8, steps=200, lr=0.03, warmup=5, ema=0.9, time="seconds"),
        ),
    ),
)  # fmt: skip
