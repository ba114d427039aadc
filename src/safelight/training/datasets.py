"""Pictures to train and to measure on: folders read into memory, split by content, cut into random crops.

Nothing is downloaded: data sets lie in a folder that the user names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from safelight import ops
from safelight.core.card import Channels
from safelight.core.training import Batch
from safelight.degrade import Degradation
from safelight.media import image
from safelight.metrics.protocol import round_to_8_bits
from safelight.ops.color import rgb_to_y

TERMS: Mapping[str, str] = {
    "t91": "91 images of Yang et al. 2010, research use",
    "bsds399": "BSDS500 train and test without one picture of Set5, research use",
    "photos_hq": "camera samples and CC0 wallpapers, free use",
    "imagenet": "223 sample pictures of ImageNet's classes, research use",
    "style": "63 paintings and photographs that published code for style transfer comes with, mixed terms",
}
"""The terms of the training sets that the shipped weights come from, by the name of their folder."""


class DataError(ValueError):
    """A folder that cannot be trained or measured on. The message says what was expected."""


def described(name: str) -> str:
    """Name a training set with its terms, for the header of weights that are trained on it.

    Example:
        >>> described("my-photos")
        'my-photos (terms not stated)'
    """
    return f"{name} ({TERMS.get(name, 'terms not stated')})"


def files(folder: Path) -> list[Path]:
    """List the picture files under ``folder``, in all its folders, sorted by path.

    Raises:
        DataError: It is not a folder, or no picture lies in it.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of pictures, got {folder}; it does not exist or is a file")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in image.SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"no picture lies in {folder}; expected files that end in {', '.join(sorted(image.SUFFIXES))}")
    return found


def read_tensor(path: Path, channels: Channels) -> Tensor:
    """Read a picture as (C, H, W) uint8: RGB, or the luma Y of BT.601 studio range rounded to 8 bits.

    A gray picture is taken as Y as it is, and as three equal channels of RGB.
    """
    picture = image.read(path)
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    if pixels.dtype != torch.uint8:
        scale = 255 / 65535 if pixels.dtype == torch.uint16 else 255
        pixels = ops.round_half_up(pixels.double() * scale).clamp(0, 255).to(torch.uint8)
    if channels == "rgb":
        return pixels.expand(3, -1, -1).contiguous()
    return pixels.contiguous() if pixels.shape[0] == 1 else luma(pixels)


def read_styles(paths: Sequence[Path]) -> tuple[tuple[Tensor, ...], str]:
    """Read pictures of styles, files or all of a folder, as (3, h, w) uint8, with a fingerprint of the files together.

    Args:
        paths: At least one.

    Raises:
        DataError: There is none, or a folder holds none.
        image.PictureError: A picture is broken.
    """
    found = [file for path in paths for file in (files(path) if path.is_dir() else [path])]
    if not found:
        raise DataError("expected a picture of the style, got none; give one by --style")
    sha256 = hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()
    return tuple(read_tensor(path, "rgb") for path in found), sha256


def reduced(picture: Tensor, side: int) -> Tensor:
    """Reduce a picture, (C, H, W) uint8, so that its shorter side is no longer than this many pixels."""
    small = ops.reduced(picture.unsqueeze(0).float() / 255, side)[0]
    return (small * 255).round().to(torch.uint8)


def luma(rgb: Tensor) -> Tensor:
    """Turn (3, H, W) uint8 into (1, H, W) uint8, as MATLAB's ``rgb2ycbcr`` on an 8-bit picture."""
    return (round_to_8_bits(rgb_to_y(rgb.double() / 255)) * 255).round().to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Split:
    """Pictures for training and for validation, (C, H, W) uint8, and a fingerprint of all the files together."""

    train: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    sha256: str


def load(folders: Sequence[Path], channels: Channels, *, validation: int = 10) -> Split:
    """Read every picture of some folders and set a few apart for validation.

    The split depends on the files' bytes alone, not on their names or order: the pictures with the smallest SHA-256
    validate, ``validation`` of them but at most every tenth.

    Raises:
        DataError: No pictures, or fewer than two.
        image.PictureError: A picture is broken.
    """
    hashed = {hashlib.sha256(path.read_bytes()).hexdigest(): path for folder in folders for path in files(folder)}
    ordered = sorted(hashed.items())
    if len(ordered) < 2:
        raise DataError(f"expected at least 2 different pictures, got {len(ordered)} in {', '.join(map(str, folders))}")
    held = min(validation, max(1, len(ordered) // 10))
    tensors = [read_tensor(path, channels) for _, path in ordered]
    fingerprint = hashlib.sha256("".join(digest for digest, _ in ordered).encode()).hexdigest()
    return Split(tuple(tensors[held:]), tuple(tensors[:held]), fingerprint)


class Crops:
    """Random crops with their degraded versions, made on the device that the pictures lie on.

    A batch is a function of the pictures and the generator's state alone, which makes resuming exact.

    Args:
        pictures: (C, H, W) uint8, all on one device. Those too small for a crop are left out.
        degradation: Makes the inputs.
        patch: Side of a crop, as the degradation counts it.
        batch: Crops in a batch.

    Raises:
        DataError: Every picture is too small.
    """

    def __init__(self, pictures: Sequence[Tensor], degradation: Degradation, *, patch: int, batch: int) -> None:
        self.side = degradation.side(patch)
        self.pictures = [picture for picture in pictures if min(picture.shape[-2:]) >= self.side]
        if not self.pictures:
            raise DataError(f"every picture is smaller than a crop of {self.side}x{self.side}; lower the patch")
        self.degradation, self.patch, self.batch = degradation, patch, batch
        area = torch.tensor([float(picture.shape[-1] * picture.shape[-2]) for picture in self.pictures])
        self.chance = area / area.sum()

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch. ``generator`` is on the CPU, so that every device draws the same crops."""
        drawn = torch.multinomial(self.chance, self.batch, replacement=True, generator=generator)
        which = cast("list[int]", drawn.tolist())
        place = cast("list[list[float]]", torch.rand(self.batch, 2, generator=generator).tolist())
        turn = cast("list[int]", torch.randint(8, (self.batch,), generator=generator).tolist())
        crops: list[Tensor] = []
        for i, (down, across), k in zip(which, place, turn, strict=True):
            height, width = self.pictures[i].shape[-2:]
            top, left = int(down * (height - self.side + 1)), int(across * (width - self.side + 1))
            crops.append(ops.dihedral(self.pictures[i][:, top : top + self.side, left : left + self.side], k))
        clean = torch.stack(crops).float() / 255
        degraded, target = self.degradation.pair(clean, self.patch, generator)
        return Batch(input=degraded, target=target)
