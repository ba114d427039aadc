"""Twelve ways to spoil a picture, each at five strengths: pure functions, for training and for measuring the lens.

Each takes pictures (B, 3, H, W) in [0, 1], a strength in the unit that ``Kind.unit`` says, and a generator, which most
have no use for. It gives pictures of the same shape, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from safelight import ops
from safelight.degrade import jpeg
from safelight.ops.color import rgb_to_ycbcr, ycbcr_to_rgb

Distort = Callable[[Tensor, float, Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of distortion.

    ``strengths`` rise from hardly visible to ugly. ``trained`` says whether the lens saw this kind in its training.
    """

    name: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    distort: Distort
    trained: bool


def gaussian_blur(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Blur by a Gaussian."""
    return ops.gaussian_blur(x, strength)


def gaussian_noise(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Add white noise, clipped."""
    return (x + torch.randn(x.shape, generator=generator) * (strength / 255)).clamp(0, 1)


def jpeg_artefacts(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Compress luma and chroma by the luma's table, chroma at full size; the strength is 100 minus the quality."""
    batch = x.shape[0]
    planes = rgb_to_ycbcr(x).flatten(0, 1).unsqueeze(1)
    coded = jpeg(planes, torch.full((3 * batch,), round(100 - strength)))
    return ycbcr_to_rgb(coded.view(batch, 3, *x.shape[-2:])).clamp(0, 1)


def downsampling(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Shrink and enlarge again, both bicubic."""
    height, width = x.shape[-2:]
    small = ops.resize(x, (max(1, round(height / strength)), max(1, round(width / strength))))
    return ops.resize(small, (height, width)).clamp(0, 1)


def contrast(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Move all values towards the picture's mean, by this part of the way."""
    return x.lerp(x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x), strength)


def brightness(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Add the same to all values, clipped."""
    return (x + strength).clamp(0, 1)


def colour_cast(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Make red stronger and blue weaker, as under a lamp; gray pictures are spoiled too."""
    return (x * torch.tensor([1 + strength, 1.0, 1 - strength]).view(1, 3, 1, 1)).clamp(0, 1)


def warp(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Shift every pixel by a smooth random field that changes over about 16 pixels; the strength is its deviation."""
    batch, _, height, width = x.shape
    coarse = torch.randn((batch, 2, height // 16 + 3, width // 16 + 3), generator=generator)
    field = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    field = strength * field / field.std().clamp(min=1e-6)
    rows = torch.arange(height).view(1, -1, 1) + field[:, 0]
    columns = torch.arange(width).view(1, 1, -1) + field[:, 1]
    grid = torch.stack([2 * columns / max(1, width - 1) - 1, 2 * rows / max(1, height - 1) - 1], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def quantisation(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Round to few values a channel; the strength is the step, 1 / (values - 1)."""
    return ((x / strength).round() * strength).clamp(0, 1)


def salt_and_pepper(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Make this part of the pixels black or white."""
    drawn = torch.rand((x.shape[0], 1, *x.shape[-2:]), generator=generator)
    return x.masked_fill(drawn < strength / 2, 0).masked_fill(drawn > 1 - strength / 2, 1)


def motion_blur(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Average along a line of this length from the left upper to the right lower, each pixel of it once."""
    length = round(strength)
    before, after = (length - 1) // 2, length // 2
    padded = F.pad(x, (before, after, before, after), mode="replicate")
    height, width = x.shape[-2:]
    return torch.stack([padded[..., i : i + height, i : i + width] for i in range(length)]).mean(dim=0)


def mosaic(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Give all pixels of each square block its mean."""
    block = round(strength)
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, -width % block, 0, -height % block), mode="replicate")
    return F.interpolate(F.avg_pool2d(padded, block), scale_factor=block)[..., :height, :width]


# fmt: off
KINDS: tuple[Kind, ...] = (
    Kind("gaussian blur", "sigma in pixels", (0.6, 1, 1.6, 2.5, 4), gaussian_blur, trained=True),
    Kind("gaussian noise", "sigma of 255", (4, 8, 16, 32, 64), gaussian_noise, trained=True),
    Kind("jpeg", "100 - quality", (40, 60, 75, 87, 94), jpeg_artefacts, trained=True),
    Kind("downsampling", "factor", (1.5, 2, 3, 4, 6), downsampling, trained=True),
    Kind("contrast", "part lost", (0.1, 0.2, 0.35, 0.5, 0.7), contrast, trained=True),
    Kind("brightness", "added", (0.03, 0.06, 0.12, 0.2, 0.3), brightness, trained=True),
    Kind("colour cast", "part of red and blue", (0.05, 0.1, 0.2, 0.3, 0.5), colour_cast, trained=True),
    Kind("warp", "pixels", (0.3, 0.7, 1.3, 2.5, 4), warp, trained=True),
    Kind("quantisation", "step", (1 / 31, 1 / 15, 1 / 7, 1 / 4, 1 / 2), quantisation, trained=False),
    Kind("salt and pepper", "part of pixels", (0.002, 0.005, 0.015, 0.05, 0.15), salt_and_pepper, trained=False),
    Kind("motion blur", "pixels", (3, 5, 9, 15, 25), motion_blur, trained=False),
    Kind("mosaic", "pixels", (2, 3, 4, 6, 10), mosaic, trained=False),
)
# fmt: on


# --- for training: the kinds that are trained, and three more ---------------------------------------------------------


def saturation(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Take this part of the colour away."""
    return x.lerp(x.mean(dim=1, keepdim=True).expand_as(x), strength)


def sharpening(x: Tensor, strength: float, _: Generator) -> Tensor:
    """Add the difference to a blurred version, this many times."""
    return (x + strength * (x - ops.gaussian_blur(x, 1.5))).clamp(0, 1)


def coarse_noise(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Add noise that changes over four pixels, the same to all channels."""
    batch, _, height, width = x.shape
    noise = torch.randn((batch, 1, height // 4 + 1, width // 4 + 1), generator=generator) * (strength / 255)
    return (x + F.interpolate(noise, size=(height, width), mode="bilinear")).clamp(0, 1)


SPOILING: tuple[tuple[Distort, Sequence[float]], ...] = (
    *((kind.distort, kind.strengths) for kind in KINDS if kind.trained),
    (saturation, (0.1, 0.3, 0.6, 1.0)),
    (sharpening, (0.3, 0.8, 2.0, 4.0)),
    (coarse_noise, (4, 8, 16, 32)),
)


def spoil(x: Tensor, generator: Generator) -> Tensor:
    """Spoil pictures (B, 3, H, W) each in another way, one in four in two ways, at any strength."""
    spoiled: list[Tensor] = []
    for i in range(x.shape[0]):
        crop = x[i : i + 1]
        for _ in range(2 if below(4, generator) == 0 else 1):
            distort, strengths = SPOILING[below(len(SPOILING), generator)]
            low = below(len(strengths) - 1, generator)
            part, weaker = (float(torch.rand((), generator=generator)) for _ in range(2))
            strength = strengths[low] + part * (strengths[low + 1] - strengths[low])
            crop = distort(crop, strength * (1 - 0.4 * weaker), generator)
        spoiled.append(crop)
    return torch.cat(spoiled)


def below(n: int, generator: Generator) -> int:
    """Draw an integer from 0 to n - 1."""
    return int(torch.randint(n, (), generator=generator))
