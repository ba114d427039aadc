"""An enlarger that is trained against a discriminator: SRGAN's two phases on a network of three layers."""

import torch
import torch.nn.functional as F
from torch import nn

from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Trained, TrainingSpec
from safelight.core.training import Phase, Recipe


class Generator(nn.Module):
    """(B, 1, h, w) luma to (B, 1, 2 h, 2 w): repeated pixels, and what three convolutions add."""

    def __init__(self, options, scale):
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x):
        return self.layers(x) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


class Adversarial:
    """First the pixels alone, then the discriminator's opinion as well."""

    def __init__(self, network, recipe):
        self.generator = network
        self.discriminator = nn.Sequential(nn.Conv2d(1, 16, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4, 2))
        self.modules = {"network": self.generator, "discriminator": self.discriminator}
        self.optimizers = {name: torch.optim.Adam(net.parameters(), recipe.lr) for name, net in self.modules.items()}
        self.phase = ""

    def step(self, batch):
        made = self.generator(batch.input)
        losses = {"pixel": F.l1_loss(made, batch.target)}
        if self.phase == "adversarial":
            real, fake = self.discriminator(batch.target), self.discriminator(made.detach())
            losses["discriminator"] = F.softplus(-real).mean() + F.softplus(fake).mean()
            self._update("discriminator", losses["discriminator"])
            losses["adversarial"] = 1e-3 * F.softplus(-self.discriminator(made)).mean()
        self._update("network", losses["pixel"] + losses.get("adversarial", 0))
        return {name: loss.detach() for name, loss in losses.items()}

    def _update(self, name, loss):
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


CARD = Card(
    module="tests.upscale.gan",
    title="GAN enlarger",
    summary="For tests.",
    method=Trained(
        network=NetworkSpec(
            build=Generator, input="low-resolution", channels="y", scales=(2,),
            receptive_radius=lambda options, scale: 2,
        ),
        execution=ExecutionSpec(precisions=("float32",)),
        training=TrainingSpec(
            algorithm=Adversarial,
            recipe=Recipe(
                data=("any",), patch=12, batch=8, steps=400, lr=3e-3, warmup=5, time="seconds",
                phases=(Phase(name="pixels", steps=0.7), Phase(name="adversarial", steps=0.3, lr={"network": 2e-4})),
            ),
        ),
    ),
)  # fmt: skip
