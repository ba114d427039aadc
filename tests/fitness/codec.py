"""A codec with a bitstream: eight numbers for each block of 4 x 4 pixels, learned, rounded and packed by zlib."""

import struct
import zlib

import torch
import torch.nn.functional as F
from torch import nn

from safelight.core.card import Card, Codec, NetworkSpec, TrainingSpec
from safelight.core.inputs import InputSpec
from safelight.core.outputs import OutputSpec
from safelight.core.task import TaskSpec
from safelight.core.training import PictureBatch, Recipe, ValidationScore
from safelight.tasks.common_inputs import PICTURE

COMPRESS = TaskSpec(
    name="compress", title="Compress", summary="Make a picture small", help="Make pictures small.", inputs=(PICTURE,),
    output=OutputSpec(kind="bitstream", suffix=".tiny"), default="compress/blocks",
)  # fmt: skip
DECOMPRESS = TaskSpec(
    name="decompress", title="Decompress", summary="Open what compress wrote", help="Open what compress wrote.",
    inputs=(InputSpec(name="file", kind="bytes", main=True, flag=None, help="What `compress` wrote."),),
    output=OutputSpec(size="own", tag="decompressed"), default="compress/blocks",
)  # fmt: skip


class Blocks(nn.Module):
    """An analysis and a synthesis, both linear: (B, 3, H, W) to (B, 8, H / 4, W / 4) and back."""

    def __init__(self, options, scale):
        super().__init__()
        self.analysis, self.synthesis = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(8, 3, 4, 4)


class RateDistortion:
    """Balle's noise in the place of rounding; rate by the numbers' magnitude."""

    def __init__(self, network, recipe):
        self.network, self.modules = network, {"network": network}
        self.optimizers = {"network": torch.optim.Adam(network.parameters(), recipe.lr)}

    def step(self, batch):
        z = 16 * self.network.analysis(batch.pictures - 0.5)
        made = self.network.synthesis((z + torch.rand_like(z) - 0.5) / 16) + 0.5
        distortion, rate = F.mse_loss(made, batch.pictures), 1e-4 * z.abs().mean()
        self.optimizers["network"].zero_grad()
        (distortion + rate).backward()
        self.optimizers["network"].step()
        return {"distortion": distortion.detach(), "rate": rate.detach()}

    def validate(self, networks, batches):
        x, network = batches[0].pictures[:1], networks["network"]
        made = decompress(network, compress(network, x, None), None)
        return ValidationScore("bitstream MSE", float(F.mse_loss(made, x)))


def compress(network, y, options):
    height, width = y.shape[-2:]
    y = F.pad(y.expand(-1, 3, -1, -1), (0, -width % 4, 0, -height % 4), mode="replicate")
    z = (16 * network.analysis(y - 0.5)).round().clamp(-127, 127).to(torch.int8)
    return struct.pack(">HH", height, width) + zlib.compress(z.numpy().tobytes(), 9)


def decompress(network, data, options):
    height, width = struct.unpack(">HH", data[:4])
    z = torch.frombuffer(bytearray(zlib.decompress(data[4:])), dtype=torch.int8).float()
    x = network.synthesis(z.view(1, 8, -(-height // 4), -(-width // 4)) / 16) + 0.5
    return x[..., :height, :width].clamp(0, 1)


RECIPE = Recipe(data=("any",), patch=16, batch=16, steps=300, lr=5e-3, warmup=5, ema=0.9, time="seconds")
CARD = Card(
    module="tests.compress.blocks", title="Blocks", summary="For tests.", other_tasks=("decompress",),
    method=Codec(
        compress=compress, decompress=decompress, network=NetworkSpec(build=Blocks, channels="rgb"),
        training=TrainingSpec(algorithm=RateDistortion, batch=PictureBatch, recipe=RECIPE),
    ),
)  # fmt: skip
