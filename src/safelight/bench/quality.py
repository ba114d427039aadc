"""The quality half of the benchmark: test sets, the methods made ready, and their scores under the papers' protocol."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import torch
from torch import Tensor

from safelight import data, image, infer, metrics, model, ops
from safelight.bench.records import DataSet, Missing, Values
from safelight.card import Card, CardError, ClosedForm, Trained, make_options
from safelight.data import DataError
from safelight.degrade import Downsample
from safelight.engine.cost import measure
from safelight.engine.samples import to_tensor
from safelight.image import Picture

SETS = ("Set5", "Set14", "BSD100")
SCALES = (2, 3, 4)

PROTOCOL = (
    "The older protocol of the super-resolution papers. Cut the original to a multiple of the scale. Take its Y "
    "(BT.601 studio range, rounded to 8 bits; a gray original is used as Y as it is), shrink it by MATLAB's "
    "antialiased bicubic kernel in floating point, not rounded, and enlarge that by the method. An RGB network gets "
    "the RGB original, shrunk alike, and Y is taken from its result, rounded to 8 bits before and after. Round to 8 "
    "bits, leave out as many pixels as the scale on each side, and take PSNR (peak 255) and SSIM (11x11 Gaussian "
    "window of sigma 1.5, K 0.01 and 0.03, valid region) of every picture; a number is the mean over the pictures of a "
    "set. Every method runs through the path that a user's picture takes."
)

_LEAST_SIDE = 32  # pixels: cut, shaved and with SSIM's window, a smaller one leaves nothing at x4
_REPORT_EVERY = 10  # pictures


# --- the test sets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A picture of a test set: its luma, (1, H, W) uint8, and (3, H, W) uint8, ``None`` where the picture is gray."""

    path: Path
    y: Tensor
    rgb: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """A test set in memory, with what the JSON says of it."""

    facts: DataSet
    originals: tuple[Original, ...]


def read_sets(folder: Path) -> tuple[PictureSet, ...]:
    """Read the three test sets.

    Raises:
        DataError: One is missing or empty, or a picture is too small.
        image.PictureError: A picture is broken.
    """
    absent = [name for name in SETS if not (folder / name).is_dir()]
    if absent:
        raise DataError(
            f"expected the folders {', '.join(SETS)} in {folder}, got none called {', '.join(absent)}; "
            "put the test sets there"
        )
    return tuple(_read_set(folder / name) for name in SETS)


def _read_set(folder: Path) -> PictureSet:
    originals: list[Original] = []
    digests: list[str] = []
    for path in data.files(folder):
        gray = image.probe(path).channels == 1
        pixels = data.read_tensor(path, "y" if gray else "rgb")
        height, width = pixels.shape[-2:]
        if min(height, width) < _LEAST_SIDE:
            raise DataError(
                f"{path}: expected at least {_LEAST_SIDE} pixels a side, got {width}x{height}; take the picture out"
            )
        digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
        digest.update(pixels.numpy().tobytes())
        digests.append(digest.hexdigest())
        originals.append(
            Original(path=path, y=pixels, rgb=None) if gray else Original(path=path, y=data.luma(pixels), rgb=pixels)
        )
    fingerprint = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    facts = DataSet(name=folder.name, pictures=len(originals), sha256=fingerprint)
    return PictureSet(facts=facts, originals=tuple(originals))


# --- the methods ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A method that is ready to be measured at a scale. ``options`` are those that differ from its defaults."""

    card: Card
    options: Values
    scale: int
    runner: infer.Runner
    channels: Literal["y", "rgb"]
    parameters: int = 0
    multiply_adds: float | None = None
    weights: Path | None = None
    weights_sha256: str | None = None


def variants(card: Card) -> tuple[Values, ...]:
    """List the options to measure a method with: its defaults, and every other that weights are shipped for."""
    found: list[Values] = [{}]
    if isinstance(card.method, Trained):
        made = [make_options(card, {})]
        for weights in card.method.weights:
            options = make_options(card, weights.options)
            if options not in made:
                made.append(options)
                found.append(weights.options)
    return tuple(found)


def locate(card: Card, options: Values, scale: int) -> Path | Missing | None:
    """Find the shipped weights of a method for a scale; ``None`` for a formula, which needs none.

    Raises:
        CheckpointError: They are shipped and damaged: not a thing to go on from silently.
    """
    if isinstance(card.method, ClosedForm):
        return None
    if scale not in card.method.scales:
        known = "/x".join(map(str, card.method.scales))
        return Missing(method=card.id, options=options, scale=scale, reason=f"it is for x{known} only")
    try:
        return model.find_weights(card, make_options(card, options), scale)
    except CardError:
        reason = f"no weights are shipped; safelight train {card.id} makes them"
        return Missing(method=card.id, options=options, scale=scale, reason=reason)


def enter(card: Card, options: Values, scale: int) -> Entry | Missing:
    """Make a method ready for a scale, or say why it can't be measured there.

    Raises:
        CheckpointError: As ``locate``.
    """
    path = locate(card, options, scale)
    if isinstance(path, Missing):
        return path
    match card.method:
        case ClosedForm():
            runner = infer.prepare(card, infer.Settings(scale=scale, options=options))
            return Entry(card=card, options=options, scale=scale, runner=runner, channels="y")
        case Trained() as method:
            assert path is not None
            # The file is named, so that a method that ships this scale and not the others can be measured.
            runner = infer.prepare(card, infer.Settings(scale=scale, options=options, weights=path))
            network = model.load(card, scale=scale, weights=path, device="cpu").network
            cost = measure(network, 1 if method.channels == "y" else 3)
            return Entry(
                card=card,
                options=options,
                scale=scale,
                runner=runner,
                channels=method.channels,
                parameters=cost.parameters,
                multiply_adds=cost.multiply_adds,
                weights=path,
                weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            )
        case _ as unknown:
            assert_never(unknown)


# --- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the pictures of a set: PSNR in dB and SSIM."""

    psnr: float
    ssim: float


def score(
    entries: Sequence[Entry], test_set: PictureSet, scale: int, report: Callable[[str], None]
) -> tuple[Quality, ...]:
    """Measure methods on a test set: each picture is shrunk once and enlarged by all of them.

    Args:
        entries: Methods of this scale.
        test_set: The originals.
        scale: The zoom factor.
        report: Told in a line how far it is.

    Returns:
        One ``Quality`` an entry, in their order.

    Raises:
        DataError: A picture is so plain that a method restores it exactly, and its PSNR is infinite.
    """
    protocol = metrics.SR_OLDER.with_shave(scale)
    psnr, ssim = metrics.find("psnr"), metrics.find("ssim")
    sums = [[0.0, 0.0] for _ in entries]
    count = len(test_set.originals)
    for done, original in enumerate(test_set.originals, start=1):
        luma = _degraded(original.y, scale)
        colour = luma
        if original.rgb is not None and any(entry.channels == "rgb" for entry in entries):
            colour = _degraded(original.rgb, scale)
        for entry, total in zip(entries, sums, strict=True):
            small, reference = luma if entry.channels == "y" else colour
            result = to_tensor(entry.runner(small).pixels)
            decibels = psnr.score(result, reference, protocol).item()
            if not math.isfinite(decibels):
                raise DataError(
                    f"{original.path}: expected a picture with detail, got one that {entry.card.id} restores exactly; "
                    "take it out, its PSNR is infinite"
                )
            total[0] += decibels
            total[1] += ssim.score(result, reference, protocol).item()
        if done % _REPORT_EVERY == 0 or done == count:
            report(f"quality x{scale} {test_set.facts.name}: {done} of {count} pictures, {len(entries)} methods")
    return tuple(Quality(a / count, b / count) for a, b in sums)


def _degraded(pixels: Tensor, scale: int) -> tuple[Picture, Tensor]:
    """Make the low-resolution float picture and the reference, (1, C, H, W), of an original, (C, H, W) uint8."""
    reference = ops.crop_to_multiple(pixels, scale).unsqueeze(0).double() / 255
    small = Downsample(scale)(reference)[0].permute(1, 2, 0).to(torch.float32)
    return Picture(pixels=small.contiguous().numpy()), reference
