"""What each task is measured on and how: the test sets, the levels, the degradation, and what must come out of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from torch import Tensor

from safelight import catalog, degrade, metrics, ops
from safelight.core.task import Task
from safelight.media import image
from safelight.media.image import Picture

Kind = Literal["luma", "gray", "rgb"]

INPUT: Final = "input"
"""Stands for a method in the anchors: the degraded picture itself, against its original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSpec:
    """A test set: what tables call it, and the folder that it lies in.

    Of a ``luma`` set, a network of one channel gets the luma and one of RGB the colours, and luma is compared. A
    ``gray`` set is gray to all; of an ``rgb`` set all three channels are given and compared. ``every`` keeps each n-th
    picture in the order of the names, from the first.
    """

    name: str
    folder: str
    kind: Kind
    every: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What a method gets, and the original, (1, C, H, W) float64 in [0, 1], that its result is compared with."""

    picture: Picture
    reference: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What must come out, in dB and as SSIM, and how far off it may be. ``None``: that metric is not claimed."""

    psnr: float
    psnr_tolerance: float
    ssim: float | None = None
    ssim_tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The benchmark of one task.

    Attributes:
        task: The task.
        sets: The test sets.
        headline: The set that short tables show.
        levels: How much worse the pictures are made, as ``Score.level`` counts.
        unit: How a level is written, with ``{}`` for the number.
        protocol: Everything that a number depends on, in words.
        degrade: Makes the sample of an original, (C, H, W) uint8, at a level.
        anchor: The method whose rows are known from the literature, or ``INPUT``.
        known: Tells what the anchor must come to on a set (by its name) at a level; ``None`` where nobody knows.
        plotted: The sets whose pictures the plot's means are taken over.
        clock: What the timed pictures are, in words.
        left_out: Methods that run only when they are named, and why.
    """

    task: Task
    sets: tuple[SetSpec, ...]
    headline: str
    levels: tuple[int, ...]
    unit: str
    protocol: str
    degrade: Callable[[Tensor, int], Sample]
    anchor: str
    known: Callable[[str, int], Known | None]
    plotted: tuple[str, ...]
    clock: str
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    def label(self, level: int) -> str:
        """Write a level, such as ``x2``."""
        return self.unit.format(level)

    def labels(self, levels: Iterable[int]) -> str:
        """Write several levels, such as ``x2 x3`` or ``sigma 15, 25``."""
        if self.task == "upscale":
            return " ".join(map(self.label, levels))
        return self.unit.format(", ".join(map(str, levels)))

    def scale(self, level: int) -> int:
        """The zoom at a level: 1 for all tasks but ``upscale``."""
        return level if self.task == "upscale" else 1

    def metric(self, kind: Kind, level: int) -> metrics.Protocol:
        """How a result on a set of some kind is compared with the original."""
        if kind == "luma":
            return metrics.SR_OLDER.with_shave(level)
        return metrics.Protocol(channel="rgb" if kind == "rgb" else "y", rounding="8-bit")


def fingerprint(pixels: Tensor) -> str:
    """The SHA-256 of a picture's shape and samples, (C, H, W) uint8, in hexadecimal: no file name, no format."""
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _picture(x: Tensor) -> Picture:
    """Make a float picture of (1, C, H, W), whatever its range."""
    return Picture(pixels=x[0].permute(1, 2, 0).to(torch.float32).contiguous().numpy())


_ROUNDING = "(peak 255) and SSIM (11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region)"
_MEAN = (
    "a number is the mean over the pictures of a set. Every method runs through the path that a user's picture takes."
)
_COLOUR = SetSpec(name="BSD20 RGB", folder="BSD100", kind="rgb", every=5)
_COLOUR_WORDS = (
    "BSD20 RGB is every fifth picture of BSD100 in colour; PSNR there is of all three channels together and SSIM their "
    "mean. No paper has this set."
)
_DIP = "it takes many minutes a picture; name it with --methods, or read docs/dip.md"


# --- upscale ----------------------------------------------------------------------------------------------------------

_BICUBIC: Final = "upscale/bicubic"
# In dB and in SSIM. With Set14's gray picture used as Y, the published SSIM of the set does not come out (0.7736 for
# 0.7742 at x3) though its PSNR does, so SSIM is claimed on Set5 alone.
_TOLERANCES: Mapping[str, tuple[float, float | None]] = {
    "Set5": (0.01, 0.0005),
    "Set14": (0.015, None),
    "BSD100": (0.015, None),
}


def _shrunk(pixels: Tensor, scale: int) -> Sample:
    """The low-resolution float picture, neither rounded nor clipped."""
    reference = ops.crop_to_multiple(pixels, scale).unsqueeze(0).double() / 255
    return Sample(_picture(degrade.Downsample(scale)(reference)), reference)


def _bicubic(name: str, scale: int) -> Known | None:
    psnr, ssim = _TOLERANCES[name]
    for score in catalog.find(_BICUBIC).published:
        if (score.data, score.level) == (name, scale):
            return Known(psnr=score.psnr, psnr_tolerance=psnr, ssim=score.ssim, ssim_tolerance=ssim)
    return None


_UPSCALE = Track(
    task="upscale",
    sets=tuple(SetSpec(name=name, folder=name, kind="luma") for name in ("Set5", "Set14", "BSD100")),
    headline="Set5",
    levels=(2, 3, 4),
    unit="x{}",
    protocol=(
        "The older protocol of the super-resolution papers. Cut the original to a multiple of the scale. Take its Y "
        "(BT.601 studio range, rounded to 8 bits; a gray original is used as Y as it is), shrink it by MATLAB's "
        "antialiased bicubic kernel in floating point, not rounded, and enlarge that by the method. An RGB network "
        "gets the RGB original, shrunk alike, and Y is taken from its result, rounded to 8 bits before and after. "
        f"Round to 8 bits, leave out as many pixels as the scale on each side, and take PSNR {_ROUNDING} of every "
        f"picture; {_MEAN}"
    ),
    degrade=_shrunk,
    anchor=_BICUBIC,
    known=_bicubic,
    plotted=("Set14", "BSD100"),  # Set5's five pictures say too little to rank methods by
    clock="Each method enlarges the same 8-bit RGB picture to {width}x{height} pixels at every scale",
    left_out={"denoise/dip": _DIP},
)


# --- denoise ----------------------------------------------------------------------------------------------------------


def _noisy(pixels: Tensor, sigma: int) -> Sample:
    """Noise that is the same at each run, and at each level but for its strength."""
    reference = pixels.unsqueeze(0).double() / 255
    generator = torch.Generator().manual_seed(int(fingerprint(pixels)[:15], 16))
    return Sample(_picture(degrade.add_noise(reference.float(), sigma, generator)), reference)


def _noise_alone(name: str, sigma: int) -> Known:  # noqa: ARG001 - the same on every set
    return Known(psnr=round(20 * math.log10(255 / sigma), 4), psnr_tolerance=0.02)


_DENOISE = Track(
    task="denoise",
    sets=(
        SetSpec(name="Set12", folder="Set12", kind="gray"),
        SetSpec(name="BSD68", folder="BSD68_gray", kind="gray"),
        _COLOUR,
    ),
    headline="BSD68",
    levels=(15, 25, 50),
    unit="sigma {}",
    protocol=(
        "The protocol of the denoising papers. To the 8-bit original, white Gaussian noise of standard deviation sigma "
        "is added in units of 0 to 255; the sum is neither clipped nor rounded, and the method gets it in floating "
        "point. It is told sigma if it can be told. The noise is drawn by torch's generator on the CPU, seeded for "
        "each picture with the first 15 hexadecimal digits of the SHA-256 of its shape and samples, so it is the same "
        "for every method and at each run. The result is clipped and rounded to 8 bits and compared with the original "
        f"over the whole picture, by PSNR {_ROUNDING}; {_MEAN} {_COLOUR_WORDS} The anchor is the noisy picture "
        "itself, not clipped, whose PSNR is 20 log10(255 / sigma)."
    ),
    degrade=_noisy,
    anchor=INPUT,
    known=_noise_alone,
    plotted=("BSD68",),
    clock="Each method restores the same 8-bit picture of {width}x{height} pixels, gray, or RGB if it is for RGB alone",
    left_out={"denoise/dip": _DIP},
)


# --- deblock ----------------------------------------------------------------------------------------------------------

# The JPEG's own PSNR and SSIM on classic5: every paper on the subject prints them, ARCNN's (ICCV 2015) first.
_CLASSIC5: Mapping[int, tuple[float, float]] = {
    10: (27.82, 0.7595),
    20: (30.12, 0.8344),
    30: (31.48, 0.8666),
    40: (32.43, 0.8849),
}


def _compressed(pixels: Tensor, quality: int) -> Sample:
    """What a real file gives back: written by libjpeg and read again."""
    original = Picture(pixels=pixels.permute(1, 2, 0).contiguous().numpy())
    decoded = image.read(image.encode(original, "jpeg", quality=quality))
    return Sample(decoded, pixels.unsqueeze(0).double() / 255)


def _jpeg_alone(name: str, quality: int) -> Known | None:
    if name != "classic5":
        return None
    psnr, ssim = _CLASSIC5[quality]
    return Known(psnr=psnr, psnr_tolerance=0.01, ssim=ssim, ssim_tolerance=0.0005)


_DEBLOCK = Track(
    task="deblock",
    sets=(SetSpec(name="classic5", folder="classic5", kind="gray"), _COLOUR),
    headline="classic5",
    levels=(10, 20, 30, 40),
    unit="quality {}",
    protocol=(
        "The protocol of the papers on JPEG artefacts. The 8-bit original is written as a baseline JPEG file at the "
        "IJG's quality, by libjpeg through libvips, and read again; the method gets the 8-bit picture that the file "
        "gives. Its result, rounded to 8 bits, is compared with the original over the whole picture, by PSNR "
        f"{_ROUNDING}; {_MEAN} {_COLOUR_WORDS} Its files are of full chroma resolution (4:4:4). The anchor is the "
        "JPEG itself."
    ),
    degrade=_compressed,
    anchor=INPUT,
    known=_jpeg_alone,
    plotted=("classic5",),
    clock="Each method restores the same 8-bit picture of {width}x{height} pixels, gray, or RGB if it is for RGB alone",
)

TRACKS: Final[Mapping[Task, Track]] = {track.task: track for track in (_UPSCALE, _DENOISE, _DEBLOCK)}
