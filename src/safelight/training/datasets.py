"""Pictures to train and to measure on: folders read into memory, split by content, cut into random crops.

Nothing is downloaded: data sets lie in a folder that the user names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor

from safelight import ops
from safelight.core.card import Channels
from safelight.core.training import (
    Batch,
    CaptionBatch,
    ClipBatch,
    LabelledBatch,
    PairBatch,
    PictureBatch,
    UnpairedBatch,
)
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


def described_all(data: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    """Name the folders of all roles with their terms; single files stand in the recipe only."""
    return tuple(described(path.name) for paths in data.values() for path in paths if path.is_dir())


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
    small = ops.shrink_to_side(picture.unsqueeze(0).float() / 255, side)[0]
    return (small * 255).round().to(torch.uint8)


def luma(rgb: Tensor) -> Tensor:
    """Turn (3, H, W) uint8 into (1, H, W) uint8, as MATLAB's ``rgb2ycbcr`` on an 8-bit picture."""
    return (round_to_8_bits(rgb_to_y(rgb.double() / 255)) * 255).round().to(torch.uint8)


Item = TypeVar("Item")
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Split(Generic[Item]):
    """What is learned from and what validates, and a fingerprint of all the files together."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture (C, H, W), or a clip (T, C, H, W), uint8, with what is known of it.

    Attributes:
        pixels: The samples of it.
        target: The aligned right answer, of the same height and width.
        label: The index of its class.
        captions: Sentences that describe it.
    """

    pixels: Tensor
    target: Tensor | None = None
    label: int = 0
    captions: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Sample:
        """Move it to a device."""
        target = None if self.target is None else self.target.to(device)
        return dataclasses.replace(self, pixels=self.pixels.to(device), target=target)


def reduced_sample(sample: Sample, side: int | None) -> Sample:
    """Reduce a picture or a clip so that its shorter side is at most ``side`` pixels; ``None``: leave it."""
    if side is None:
        return sample

    def small(pixels: Tensor) -> Tensor:
        return torch.stack([reduced(frame, side) for frame in pixels]) if pixels.ndim == 4 else reduced(pixels, side)

    target = None if sample.target is None else small(sample.target)
    return dataclasses.replace(sample, pixels=small(sample.pixels), target=target)


def load(folders: Sequence[Path], channels: Channels, *, validation: int = 10) -> Split[Tensor]:
    """Read every picture of some folders and set a few apart for validation.

    Raises:
        DataError: No pictures, or fewer than two.
        image.PictureError: A picture is broken.
    """
    found = {_sha256(path): path for folder in folders for path in files(folder)}
    return _split(found, lambda path: read_tensor(path, channels), validation)


def load_samples(
    batch: type[Batch], folders: Sequence[Sequence[Path]], channels: Channels, *, frames: int = 1, validation: int = 10
) -> Split[Sample]:
    """Read the examples that a kind of batch is made of; the split is that of ``load``.

    Args:
        batch: The kind.
        folders: For each role that the batch takes, its folders. Aligned pairs take two roles, all others one.
        channels: What the network sees.
        frames: Clips that are shorter are left out.
        validation: How many examples validate, at most.

    Raises:
        DataError: Fewer than two examples, or what goes with a picture is missing.
        image.PictureError: A picture is broken.
    """
    if batch is ClipBatch:
        clips = {_sha256(*shown): shown for folder in folders[0] for shown in _clips(folder, frames)}
        return _split(clips, lambda shown: Sample(torch.stack([read_tensor(x, channels) for x in shown])), validation)
    if batch is PairBatch:
        pairs = {_sha256(*pair): pair for first, second in zip(*folders, strict=True) for pair in _pairs(first, second)}
        return _split(pairs, lambda pair: _aligned(*pair, channels), validation)
    found = {_sha256(path): (folder, path) for folder in folders[0] for path in files(folder)}
    names = classes(folders[0]) if batch is LabelledBatch else ()

    def read(place: tuple[Path, Path]) -> Sample:
        folder, path = place
        label = names.index(path.relative_to(folder).parts[0]) if names else 0
        return Sample(read_tensor(path, channels), label=label, captions=_captions(path) if captioned else ())

    captioned = batch is CaptionBatch
    split = _split(found, read, validation)
    known = json.dumps([(x.label, x.captions) for x in (*split.train, *split.validation)])
    return dataclasses.replace(split, sha256=hashlib.sha256((split.sha256 + known).encode()).hexdigest())


def classes(folders: Sequence[Path]) -> tuple[str, ...]:
    """List the classes of labelled pictures: the sorted names of the sub-folders that they lie in.

    Raises:
        DataError: A picture lies in no sub-folder.
    """
    found = {path.relative_to(folder).parts[:-1][:1] for folder in folders for path in files(folder)}
    if () in found:
        raise DataError(f"expected a sub-folder for each class in {folders[0]}, got pictures beside them; sort them in")
    return tuple(sorted(name for (name,) in found))


def _captions(path: Path) -> tuple[str, ...]:
    """Read the captions of a picture: lines of the text beside it, or its entry in captions.json beside it."""
    text, together = path.with_suffix(".txt"), path.parent / "captions.json"
    if text.is_file():
        lines = text.read_text(encoding="utf-8").splitlines()
    elif together.is_file():
        entry: str | list[str] = json.loads(together.read_text(encoding="utf-8")).get(path.name, [])
        lines = [entry] if isinstance(entry, str) else entry
    else:
        lines = []
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise DataError(f"{path}: expected a caption in {text.name} or captions.json beside it, got none; write one")
    return found


def _clips(folder: Path, frames: int) -> list[tuple[Path, ...]]:
    """List the clips under a folder: its folders of pictures, in the order of their names."""
    shown: dict[Path, list[Path]] = {}
    for path in files(folder):
        shown.setdefault(path.parent, []).append(path)
    return [tuple(paths) for paths in shown.values() if len(paths) >= max(1, frames)]


def _pairs(first: Path, second: Path) -> list[tuple[Path, Path]]:
    """List the pictures of two folders that have the same path in them, but for the suffix."""
    answers = {path.relative_to(second).with_suffix(""): path for path in files(second)}
    inputs = {path.relative_to(first).with_suffix(""): path for path in files(first)}
    return [(path, answers[name]) for name, path in inputs.items() if name in answers]


def _aligned(first: Path, second: Path, channels: Channels) -> Sample:
    pixels, target = read_tensor(first, channels), read_tensor(second, channels)
    if pixels.shape != target.shape:
        sizes = " and ".join(f"{x.shape[-1]}x{x.shape[-2]}" for x in (pixels, target))
        raise DataError(f"{first} and {second}: expected pictures of one size, got {sizes}; align them")
    return Sample(pixels, target=target)


def _sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _split(found: Mapping[str, Place], read: Callable[[Place], Item], validation: int) -> Split[Item]:
    """Read what was found, by its SHA-256, and set some of it apart.

    The split depends on the files' bytes alone, not on their names or order: those with the smallest SHA-256 validate,
    ``validation`` of them but at most every tenth.
    """
    ordered = sorted(found.items(), key=lambda entry: entry[0])
    if len(ordered) < 2:
        raise DataError(f"expected at least 2 different pictures or clips, got {len(ordered)}; name another folder")
    held = min(validation, max(1, len(ordered) // 10))
    items = [read(place) for _, place in ordered]
    fingerprint = hashlib.sha256("".join(digest for digest, _ in ordered).encode()).hexdigest()
    return Split(tuple(items[held:]), tuple(items[:held]), fingerprint)


class Source(Protocol):
    """What batches are drawn from. A batch is a function of the files and the generator's state alone."""

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch. ``generator`` is on the CPU, so that every device draws the same crops."""
        ...


class Cutter:
    """Random crops of pictures, turned and mirrored, made on the device that the pictures lie on.

    Args:
        pictures: (..., H, W) uint8, all on one device.
        side: Of a crop, in pixels.
        batch: Crops that are cut at once.
        symmetries: 8: quarter turns and mirroring; 2: mirroring left and right; 1: neither.

    Raises:
        DataError: A picture is too small.
    """

    def __init__(self, pictures: Sequence[Tensor], side: int, batch: int, symmetries: int = 8) -> None:
        if not pictures:
            raise DataError(f"every picture is smaller than a crop of {side}x{side}; lower the patch")
        self.pictures, self.side, self.batch, self.symmetries = pictures, side, batch, symmetries
        area = torch.tensor([float(picture.shape[-1] * picture.shape[-2]) for picture in pictures])
        self.chance = area / area.sum()

    def cut(self, generator: torch.Generator) -> tuple[list[int], list[Tensor]]:
        """Cut crops, and say which picture each is of: a large one is drawn more often."""
        drawn = torch.multinomial(self.chance, self.batch, replacement=True, generator=generator)
        which = cast("list[int]", drawn.tolist())
        place = cast("list[list[float]]", torch.rand(self.batch, 2, generator=generator).tolist())
        turn = cast("list[int]", torch.randint(self.symmetries, (self.batch,), generator=generator).tolist())
        crops: list[Tensor] = []
        for i, (down, across), k in zip(which, place, turn, strict=True):
            height, width = self.pictures[i].shape[-2:]
            top, left = int(down * (height - self.side + 1)), int(across * (width - self.side + 1))
            crop = self.pictures[i][..., top : top + self.side, left : left + self.side]
            crops.append(ops.dihedral(crop, k if self.symmetries == 8 else 4 * k))
        return which, crops


class Crops:
    """Random crops with their degraded versions.

    Args:
        pictures: (C, H, W) uint8, all on one device. Those too small for a crop are left out.
        degradation: Makes the inputs.
        patch: Side of a crop, as the degradation counts it.
        batch: Crops in a batch.
        symmetries: As in ``Cutter``.

    Raises:
        DataError: Every picture is too small.
    """

    def __init__(
        self, pictures: Sequence[Tensor], degradation: Degradation, *, patch: int, batch: int, symmetries: int = 8
    ) -> None:
        side = degradation.side(patch)
        fitting = [picture for picture in pictures if min(picture.shape[-2:]) >= side]
        self.cutter = Cutter(fitting, side, batch, symmetries)
        self.degradation, self.patch = degradation, patch

    def draw(self, generator: torch.Generator) -> PairBatch:
        """Draw a batch."""
        _, crops = self.cutter.cut(generator)
        degraded, target = self.degradation.pair(torch.stack(crops).float() / 255, self.patch, generator)
        return PairBatch(input=degraded, target=target)


class Samples:
    """Random crops of pictures or clips, with what is known of them.

    Args:
        kind: The kind of batch: of pictures, aligned pairs, labelled or captioned pictures, or clips.
        samples: On one device. Those too small for a crop are left out.
        side: Of a crop.
        batch: Crops in a batch.
        symmetries: As in ``Cutter``.
        frames: Of a clip.

    Raises:
        DataError: Every picture is too small.
    """

    def __init__(
        self,
        kind: type[Batch],
        samples: Sequence[Sample],
        *,
        side: int,
        batch: int,
        symmetries: int = 8,
        frames: int = 1,
    ) -> None:
        self.samples = [sample for sample in samples if min(sample.pixels.shape[-2:]) >= side]
        whole = [x.pixels if x.target is None else torch.cat([x.pixels, x.target]) for x in self.samples]
        self.cutter, self.kind, self.frames = Cutter(whole, side, batch, symmetries), kind, frames

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch."""
        which, crops = self.cutter.cut(generator)
        if self.kind is ClipBatch:
            begin = [int(torch.randint(len(x) - self.frames + 1, (), generator=generator)) for x in crops]
            crops = [x[t : t + self.frames] for x, t in zip(crops, begin, strict=True)]
        pictures = torch.stack(crops).float() / 255
        known = [self.samples[i] for i in which]
        if self.kind is ClipBatch:
            return ClipBatch(frames=pictures)
        if self.kind is PairBatch:
            return PairBatch(input=pictures.chunk(2, dim=1)[0], target=pictures.chunk(2, dim=1)[1])
        if self.kind is LabelledBatch:
            return LabelledBatch(pictures=pictures, labels=torch.tensor([x.label for x in known]).to(pictures.device))
        if self.kind is CaptionBatch:
            one = [int(torch.randint(len(x.captions), (), generator=generator)) for x in known]
            return CaptionBatch(
                pictures=pictures, captions=tuple(x.captions[i] for x, i in zip(known, one, strict=True))
            )
        return PictureBatch(pictures=pictures)


class Domains:
    """Pictures of two domains that have nothing to do with each other."""

    def __init__(self, a: Source, b: Source) -> None:
        self.a, self.b = a, b

    def draw(self, generator: torch.Generator) -> UnpairedBatch:
        """Draw from the first, then from the second."""
        a, b = self.a.draw(generator), self.b.draw(generator)
        assert isinstance(a, PictureBatch)
        assert isinstance(b, PictureBatch)
        return UnpairedBatch(a=a.pictures, b=b.pictures)


class Mixture:
    """Several sources; each batch is of one of them, drawn at random."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a source, then a batch of it."""
        which = int(torch.randint(len(self.sources), (), generator=generator))
        return self.sources[which].draw(generator)
