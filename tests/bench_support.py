"""What the benchmark's tests share: drawn pictures, and a clock that does not take long."""

import numpy as np
import torch

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
