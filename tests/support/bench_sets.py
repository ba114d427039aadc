"""What the benchmark's tests share: drawn pictures, random weights, and a clock that does not take long."""

import hashlib

import numpy as np
import torch

from safelight.checkpoints import weights_file, weights_manifest
from safelight.checkpoints.weights_file import WeightsHeader
from safelight.checkpoints.weights_manifest import Weights
from safelight.core.options import make_options
from safelight.evaluation import bench
from safelight.media import image
from safelight.media.image import Picture

CLOCK = bench.Clock(width=48, height=24, rounds=1)


def silent(line):
    pass


def texture(height, width, channels, seed):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    waves = 128 + 60 * np.sin(0.4 * x + 0.2 * y + c + seed) + 40 * np.sin(0.05 * x * (1 + c) - 0.7 * y)
    noise = np.random.default_rng(seed).normal(0, 8, waves.shape)
    return np.clip(waves + noise, 0, 255).astype(np.uint8)


def to_pixels(path):
    return torch.from_numpy(image.read(path).pixels).permute(2, 0, 1).contiguous()


def ship_random(card, folder, scales, options=None, seed=0):
    """Put random weights into a folder and into its list of weights, in the place of others of these options."""
    options = options or {}
    path = folder / f"{'-'.join(map(str, (card.name, *options.values())))}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = card.method.network.build(make_options(card, options), scales[0])
    weights_file.save(path, network.state_dict(), WeightsHeader(method=card.id, options=options, scales=scales))
    content = path.read_bytes()
    weights = Weights(
        file=path.name, method=card.id, options=options, scales=scales, bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(), licence="Apache-2.0", url=None,
    )  # fmt: skip
    listed = weights_manifest.read(folder) if (folder / weights_manifest.NAME).is_file() else ()
    weights_manifest.write(folder, [*(other for other in listed if other.file != path.name), weights])


def write_sets(folder):
    """Gray sets of two pictures, and one of six in colour, of which the first and the last are taken."""
    for number, (name, channels, count) in enumerate(
        (("Set12", 1, 2), ("BSD68_gray", 1, 2), ("classic5", 1, 2), ("BSD100", 3, 6), ("Set5", 3, 1), ("Set14", 3, 1))
    ):
        (folder / name).mkdir()
        for i in range(count):
            pixels = texture(56, 48 + 8 * (i % 3), channels, 10 * number + i)
            image.write(Picture(pixels=pixels), folder / name / f"{i}.png")
    return folder
