"""Pictures: in files, as samples and as tensors."""

import numpy as np
import torch

from safelight import ops
from safelight.media import image
from safelight.media.image import Picture


def draw(path, seed=0, size=(64, 64)):
    """Write noise in 8 bits and three channels, which no two seeds share, over what is there; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image.write(Picture(pixels=pixels), path, overwrite=True)
    return path


def draw_waves(path, size=(24, 32), seed=0, noise=0.0, channels=3):
    """Write smooth waves, so that there is something to enlarge, with noise of so many levels; return the path."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0 : size[0], 0 : size[1]] / 7
    waves = np.stack([np.sin(down * a + across * b + c) for a, b, c in rng.uniform(0.3, 2, (channels, 3))], axis=-1)
    samples = waves * 100 + 128 + noise * rng.standard_normal(waves.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.write(Picture(pixels=samples.clip(0, 255).round().astype(np.uint8)), path)
    return path


def noise(height=21, width=33, channels=3, dtype=np.uint8, seed=0):
    """Samples over the whole range of a type, (height, width, channels)."""
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, channels), dtype=np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def ramps(height=48, width=64, channels=3):
    """Samples in 8 bits that rise across, down and along the diagonal, (height, width, channels)."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)]
    return np.stack(planes[:channels], 2).round().astype(np.uint8)


def noisy(x, sigma, seed=0):
    """A tensor of samples in [0, 1] with Gaussian noise of so many levels of 255, not clipped."""
    return x + sigma / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def shapes(height=72, width=88, channels=1):
    """A ramp, a disc, a bar and stripes: edges, flats and texture in [0.1, 0.9], (1, 1 or 3, height, width)."""
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((u - 0.3) ** 2 + (v - 0.4) ** 2 < 0.05).float()
    bar = ((u - v).abs() < 0.05).float()
    stripes = 0.15 * torch.sin(50 * u) * (v > 0.7)
    gray = 0.3 + 0.3 * u + 0.25 * disc - 0.2 * bar + stripes
    if channels == 1:
        return gray[None, None].clamp(0.1, 0.9)
    return torch.stack((gray, gray - 0.1 * disc, gray + 0.1 * (v - 0.5)))[None].clamp(0.1, 0.9)


def lines_and_ring(height=96, width=96):
    """Slanted lines over a disc, slightly blurred: edges and texture in [0, 1], (1, 1, height, width)."""
    yy, xx = np.mgrid[0:height, 0:width]
    ring = np.hypot(xx - width / 2, yy - height / 2) - 27
    lines = 0.5 + 0.25 * np.sign(np.sin((xx + 0.6 * yy) / 9)) + 0.15 * np.sign(ring)
    return ops.gaussian_blur(torch.from_numpy(lines.astype(np.float32))[None, None].clamp(0, 1), 0.7)
