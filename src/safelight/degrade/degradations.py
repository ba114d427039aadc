"""Degradations that make training pairs from clean pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops
from safelight.degrade.linear import Downsample
from safelight.ops.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb

_MARGIN = 4  # low-resolution pixels around a crop: the bicubic kernel down and up again never meets the crop's border


class Degradation(Protocol):
    """Makes the inputs of a network from clean pictures: crops for training, whole pictures for validation.

    ``scale`` is the zoom that undoes it, 1 where the size stays.
    """

    @property
    def scale(self) -> int:
        """The zoom."""
        ...

    def side(self, patch: int) -> int:
        """Return the side in pixels of the clean crop that a pair of ``patch`` needs."""
        ...

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make (input, target) of clean crops, (N, C, side, side) in [0, 1]."""
        ...

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make (input, target) of one whole clean picture, (1, C, H, W), at a strength in the middle of the range."""
        ...

    def describe(self) -> str:
        """Describe the degradation in a few words."""
        ...


@dataclass(frozen=True, slots=True)
class Shrink:
    """Reduce by a whole factor with the antialiased bicubic kernel, as ``Downsample`` does.

    Attributes:
        scale: The whole factor.
        interpolated: Whether the input is enlarged again by the bicubic kernel, for networks that expect it.
        of_large: Whether ``patch`` counts pixels of the large picture; otherwise it counts those of the small one.
    """

    scale: int
    interpolated: bool
    of_large: bool = False

    def side(self, patch: int) -> int:
        """The patch with a margin that the kernel may look at."""
        return (self._small(patch) + 2 * _MARGIN) * self.scale

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Cut the margin off, so that the crop's border is in neither."""
        small = Downsample(self.scale)(clean)
        margin = _MARGIN * self.scale
        target = clean[..., margin:-margin, margin:-margin].contiguous()
        if self.interpolated:
            enlarged = ops.resize(small, (clean.shape[-2], clean.shape[-1]))
            return enlarged[..., margin:-margin, margin:-margin].contiguous(), target
        return small[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN].contiguous(), target

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - nothing is drawn
        """Shrink the picture, whose sides have to be multiples of the scale."""
        return Downsample(self.scale)(clean), clean

    def describe(self) -> str:
        """The zoom."""
        return f"x{self.scale}"

    def _small(self, patch: int) -> int:
        return max(1, patch // self.scale) if self.of_large else patch


@dataclass(frozen=True, slots=True)
class Noise:
    """Add white Gaussian noise, of a standard deviation drawn for each crop from [low, high], in units of 0 to 255.

    The sum is neither clipped nor rounded, as in the denoising papers.
    """

    low: float
    high: float
    scale: int = 1

    def side(self, patch: int) -> int:
        """The patch: noise has no border."""
        return patch

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Draw a level and the noise of each crop."""
        sigma = self.low + (self.high - self.low) * torch.rand(len(clean), 1, 1, 1, generator=generator)
        return add_noise(clean, sigma, generator), clean

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise of the level nearest to 25 that the range has."""
        return add_noise(clean, self._middle, generator), clean

    def describe(self) -> str:
        """The level of ``validation_pair``."""
        return f"noise {self._middle:g}"

    @property
    def _middle(self) -> float:
        return min(max(self.low, 25.0), self.high)


def add_noise(x: Tensor, sigma: Tensor | float, generator: torch.Generator) -> Tensor:
    """Add white Gaussian noise of standard deviation ``sigma`` (of 255) to (B, C, H, W) in [0, 1], without clipping.

    The noise is drawn on the generator's device, the CPU, so that it is the same on every device.
    """
    drawn = torch.randn(x.shape, generator=generator)
    return x + (drawn * (sigma / 255)).to(x.device)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Compress a picture by JPEG, at a quality drawn for each crop from [low, high].

    With ``halved``, the chroma of every other picture is stored at half the size. With ``noise`` there was noise in the
    picture before, as in a camera's file: of a standard deviation drawn from 0 to that, of 255.
    """

    low: int
    high: int
    halved: bool = False
    noise: float = 0.0
    scale: int = 1

    def side(self, patch: int) -> int:
        """Whole blocks, and room to place the patch anywhere on their grid."""
        unit = 16 if self.halved else 8
        return unit * math.ceil((patch + unit - 1) / unit)

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Compress each crop, and cut the patch out at a random place of the grid of blocks."""
        quality = torch.randint(self.low, self.high + 1, (len(clean),), generator=generator)
        down, across = (int(v) for v in torch.randint(clean.shape[-1] - patch + 1, (2,), generator=generator))
        inner = (..., slice(down, down + patch), slice(across, across + patch))
        taken = clean
        if self.noise:
            taken = add_noise(clean, self.noise * torch.rand(len(clean), 1, 1, 1, generator=generator), generator)
        made = jpeg(taken, quality)
        if self.halved:
            made[1::2] = jpeg(taken[1::2], quality[1::2], halved=True)
        return made[inner].contiguous(), clean[inner].contiguous()

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Compress at the quality nearest to 20 that the range has, after noise of half the most."""
        taken = add_noise(clean, self.noise / 2, generator) if self.noise else clean
        return jpeg(taken, torch.tensor([self._middle]), halved=self.halved), clean

    def describe(self) -> str:
        """The quality of ``validation_pair``, and its noise."""
        return f"quality {self._middle}" + (f" after noise {self.noise / 2:g}" if self.noise else "")

    @property
    def _middle(self) -> int:
        return min(max(self.low, 20), self.high)


@dataclass(frozen=True, slots=True)
class MixedDegradation:
    """Degrade the crops of a batch in turn by each of several kinds, whose inputs are as large as their targets.

    In a batch of one kind at a time, an optimiser that scales its steps by the gradients of the last few batches meets
    gradients of very different sizes in turn.
    """

    kinds: tuple[Degradation, ...]
    scale: int = 1

    def side(self, patch: int) -> int:
        """Return the largest side that any of the kinds needs, in pixels."""
        return max(kind.side(patch) for kind in self.kinds)

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Degrade an equal share of the crops by each kind."""
        pairs: list[tuple[Tensor, Tensor]] = []
        for n, kind in enumerate(self.kinds):
            share, side = clean[n :: len(self.kinds)], kind.side(patch)
            if len(share):
                pairs.append(kind.pair(share[..., :side, :side], patch, generator))
        least = min(target.shape[-1] for _, target in pairs)  # a patch of 40 holds 13 pixels of a third: 39
        degraded, targets = zip(*pairs, strict=True)
        return torch.cat([x[..., :least, :least] for x in degraded]), torch.cat(
            [x[..., :least, :least] for x in targets]
        )

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make the validation pair of the first kind; validation measures each kind by itself."""
        return self.kinds[0].validation_pair(clean, generator)

    def describe(self) -> str:
        """Describe all kinds."""
        return ", ".join(kind.describe() for kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Gray:
    """Take the colours out of crops of RGB and degrade what is left, for networks of RGB that meet gray pictures too.

    They see three equal channels, whose noise is equal too.
    """

    kind: Degradation
    scale: int = 1

    def side(self, patch: int) -> int:
        """Return the side that the kind needs, in pixels."""
        return self.kind.side(patch)

    def pair(self, clean: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Degrade one channel, and give it three times."""
        degraded, target = self.kind.pair(_gray(clean), patch, generator)
        return degraded.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1)

    def validation_pair(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make the kind's validation pair of one gray channel."""
        return self.kind.validation_pair(_gray(clean), generator)

    def describe(self) -> str:
        """Describe the kind, marked as gray."""
        return f"gray: {self.kind.describe()}"


def _gray(x: Tensor) -> Tensor:
    """The luma of JFIF, which is 1 where white is."""
    return (rgb_to_y(x) * 255 - 16) / 219


def flatten_mixtures(degradations: Iterable[Degradation]) -> tuple[Degradation, ...]:
    """Flatten a list of degradations: each mixture is replaced by its kinds.

    Example:
        >>> mixture = MixedDegradation((Shrink(2, True), Shrink(3, True)))
        >>> [kind.scale for kind in flatten_mixtures([mixture, Noise(0, 55)])]
        [2, 3, 1]
    """
    return tuple(
        kind for each in degradations for kind in (each.kinds if isinstance(each, MixedDegradation) else (each,))
    )


# Tables K.1 and K.2 of the JPEG standard (ITU-T T.81), which the IJG's library scales by its quality.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)


def quantisation_table(quality: Tensor, base: Sequence[Sequence[int]] = LUMINANCE) -> Tensor:
    """The IJG's table at qualities 1 to 100: (N,) integers to (N, 8, 8) float32.

    Example:
        >>> quantisation_table(torch.tensor([50]))[0, 0, :3]
        tensor([16., 11., 10.])
    """
    quality = quality.to(torch.int64)
    percent = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = torch.tensor(base, device=quality.device) * percent[:, None, None]
    return ((table + 50) // 100).clamp(1, 255).float()


def jpeg(x: Tensor, quality: Tensor, *, halved: bool = False) -> Tensor:
    """Compress pictures by baseline JPEG and decode them again: what a file would give back.

    The entropy coding loses nothing and is left out. libjpeg's integer transforms may differ by a level in places, two
    in colour.

    Args:
        x: (N, 1 or 3, H, W) in [0, 1], gray or sRGB; rounded to 8 bits first.
        quality: (N,) integers, 1 to 100, the IJG's scale, or one for all.
        halved: Store the chroma of a colour picture at half the size (4:2:0), and enlarge it as libjpeg does.

    Returns:
        (N, 1 or 3, H, W), multiples of 1/255.
    """
    height, width = x.shape[-2:]
    unit = 16 if halved else 8
    padded = F.pad(x, (0, -width % unit, 0, -height % unit), mode="replicate")
    levels = ops.round_half_up(padded * 255).clamp(0, 255)
    quality = quality.to(x.device)
    if x.shape[1] == 1:
        return (_coded(levels - 128, quantisation_table(quality)) + 128)[..., :height, :width] / 255
    ycbcr = rgb_to_ycbcr(levels / 255) * 255
    luma = ops.round_half_up((ycbcr[:, :1] - 16) * (255 / 219)) - 128  # JFIF's range is full, BT.601's that of studios
    chroma = (ycbcr[:, 1:] - 128) * (255 / 224)
    chroma = ops.round_half_up(F.avg_pool2d(chroma, 2) if halved else chroma).clamp(-128, 127)
    chroma = _coded(chroma, quantisation_table(quality, CHROMINANCE))
    if halved:
        chroma = chroma[..., : (height + 1) // 2, : (width + 1) // 2]  # the edge is repeated, not what fills the blocks
        chroma = ops.round_half_up(F.interpolate(chroma, scale_factor=2, mode="bilinear"))
    luma = _coded(luma, quantisation_table(quality)) + 128
    decoded = [plane[..., :height, :width] for plane in (luma * (219 / 255) + 16, chroma * (224 / 255) + 128)]
    return ops.round_half_up(ycbcr_to_rgb(torch.cat(decoded, dim=1) / 255) * 255).clamp(0, 255) / 255


def _coded(levels: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosines of blocks of 8 x 8: (N, C, H, W) whole numbers from -128 to 127, of whole blocks."""
    n, channels, height, width = levels.shape
    blocks = levels.view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)  # (N, C, rows, columns, 8, 8)
    k = torch.arange(8, dtype=torch.float64, device=levels.device)
    dct = torch.cos((2 * k + 1) * k[:, None] * math.pi / 16) / 2  # T.81, A.3.3: row u, column x
    dct[0] /= math.sqrt(2)
    dct = dct.to(levels.dtype)
    table = table.view(-1, 1, 1, 1, 8, 8)
    coefficients = torch.round(dct @ blocks @ dct.T / table) * table
    decoded = (dct.T @ coefficients @ dct).transpose(3, 4).reshape(levels.shape)
    return ops.round_half_up(decoded).clamp(-128, 127)


ENLARGED = tuple(Shrink(scale, interpolated=True, of_large=True) for scale in (2, 3, 4))
"""What the bicubic kernel makes of a half, a third and a quarter of a picture's size, enlarged to it again."""
