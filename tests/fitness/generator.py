"""A generator of small pictures: a GAN from 8 random numbers to 8 x 8 pixels, and a task without a picture in."""

import torch
import torch.nn.functional as F
from torch import nn

from safelight.core.card import Card, Generator, NetworkSpec, TrainingSpec
from safelight.core.inputs import InputSpec
from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.core.training import PictureBatch, Recipe, ValidationScore
from safelight.tasks.common_inputs import SEED

COUNT = InputSpec(
    name="count", kind="integer", help="How many pictures.", default=1, low=1, high=64, expects="a count from 1 to 64"
)  # fmt: skip
TASK = TaskSpec(
    name="generate", title="Generate", summary="Draw pictures from nothing", help="Draw pictures from nothing.",
    inputs=(COUNT, SEED), output=OutputSpec(kind="images", size="own"), default="generate/dots",
)  # fmt: skip


def build(options, scale):
    """(B, 8) normal numbers to (B, 3, 8, 8)."""
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 192), nn.Sigmoid(), nn.Unflatten(1, (3, 8, 8)))


class Adversarial:
    """Goodfellow's two players, on pictures of 8 x 8 pixels."""

    def __init__(self, network, recipe):
        discriminator = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        self.modules = {"network": network, "discriminator": discriminator}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), recipe.lr, betas=(0.5, 0.9))
            for name, module in self.modules.items()
        }

    def step(self, batch):
        network, discriminator = self.modules.values()
        made = network(torch.randn(len(batch.pictures), 8))
        d = F.softplus(-discriminator(batch.pictures)).mean() + F.softplus(discriminator(made.detach())).mean()
        g = F.softplus(-discriminator(made)).mean()
        for name, loss in (("discriminator", d), ("network", F.softplus(-discriminator(made)).mean())):
            self.optimizers[name].zero_grad()
            loss.backward()
            self.optimizers[name].step()
        return {"discriminator": d.detach(), "generator": g.detach()}

    def validate(self, networks, batches):
        """How far the mean picture is from that of the data."""
        real = torch.cat([batch.pictures for batch in batches]).mean(0)
        made = networks["network"](torch.randn(64, 8, generator=torch.Generator().manual_seed(0))).mean(0)
        return ValidationScore("mean gap", float((made - real).abs().mean()))


def sample(network, given, options, progress):
    """Draw (count, 3, 8, 8)."""
    z = torch.randn(given.extra["count"], 8, generator=torch.Generator().manual_seed(given.seed))
    return network(z.to(given.device))


CARD = Card(
    module="tests.generate.dots",
    title="GAN",
    summary="For tests.",
    method=Generator(
        sample=sample,
        network=NetworkSpec(build=build, channels="rgb"),
        training=TrainingSpec(
            algorithm=Adversarial, batch=PictureBatch, symmetries=1,
            recipe=Recipe(data=("any",), patch=8, batch=32, steps=300, lr=2e-3, warmup=5, ema=0.9, time="seconds"),
        ),
    ),
)  # fmt: skip
