"""The quality half of the benchmark: test sets, the methods made ready, and their scores under the papers' protocol."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from safelight import degrade, inference, metrics
from safelight.checkpoints import weights_manifest
from safelight.core.card import Card, Channels, Trained, channels_of
from safelight.core.options import CardError, make_options, option_facts
from safelight.core.task import Task
from safelight.engine.cost import measure
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench.records import DataSet, Missing, Values
from safelight.evaluation.bench.tracks import INPUT, Kind, Sample, SetSpec, Track, fingerprint
from safelight.inference import model
from safelight.media import image
from safelight.training import datasets
from safelight.training.datasets import DataError

_LEAST_SIDE = 32  # pixels: cut, shaved and with SSIM's window, a smaller one leaves nothing at x4
_REPORT_EVERY = 10  # pictures


# --- the test sets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A picture of a test set: its luma, (1, H, W) uint8, and (3, H, W) uint8, ``None`` where the picture is gray."""

    path: Path
    y: Tensor
    rgb: Tensor | None

    def pixels(self, kind: Kind, channels: Channels) -> Tensor:
        """What is degraded for a network of some channels on a set of some kind."""
        colour = kind == "rgb" or (kind == "luma" and channels == "rgb")
        return self.rgb if colour and self.rgb is not None else self.y


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """A test set in memory, with what the JSON says of it."""

    spec: SetSpec
    facts: DataSet
    originals: tuple[Original, ...]


def read_sets(track: Track, folder: Path, names: Iterable[str] | None = None) -> tuple[PictureSet, ...]:
    """Read the test sets of a task.

    Args:
        track: The task's.
        folder: Holds the folders of the sets.
        names: Only these sets. ``None``: all.

    Raises:
        DataError: One is missing or empty, or a picture is too small or gray in a set of colours.
        image.PictureError: A picture is broken.
    """
    wanted = track.sets if names is None else tuple(spec for spec in track.sets if spec.name in set(names))
    folders = list(dict.fromkeys(spec.folder for spec in wanted))
    absent = [name for name in folders if not (folder / name).is_dir()]
    if absent:
        raise DataError(
            f"expected the folders {', '.join(folders)} in {folder}, got none called {', '.join(absent)}; "
            "put the test sets there"
        )
    return tuple(_read_set(spec, folder / spec.folder) for spec in wanted)


def _read_set(spec: SetSpec, folder: Path) -> PictureSet:
    originals: list[Original] = []
    digests: list[str] = []
    for path in datasets.files(folder)[:: spec.every]:
        gray = image.probe(path).channels == 1
        if gray and spec.kind == "rgb":
            raise DataError(f"{path}: expected a picture in colour for {spec.name}, got a gray one; take it out")
        pixels = datasets.read_tensor(path, "y" if gray or spec.kind == "gray" else "rgb")
        height, width = pixels.shape[-2:]
        if min(height, width) < _LEAST_SIDE:
            raise DataError(
                f"{path}: expected at least {_LEAST_SIDE} pixels a side, got {width}x{height}; take the picture out"
            )
        digests.append(fingerprint(pixels))
        colour = pixels.shape[0] == 3
        originals.append(
            Original(path=path, y=datasets.luma(pixels) if colour else pixels, rgb=pixels if colour else None)
        )
    together = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    facts = DataSet(name=spec.name, pictures=len(originals), sha256=together)
    return PictureSet(spec=spec, facts=facts, originals=tuple(originals))


# --- the methods ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A method that is ready to be measured at a level. ``options`` are those that differ from its defaults.

    ``fast`` runs it with ``--precision fast``, ``None`` where that is the same here.
    """

    card: Card
    options: Values
    level: int
    runner: inference.Runner
    channels: Channels
    fast: inference.Runner | None = None
    parameters: int = 0
    multiply_adds: float | None = None
    weights: Path | None = None
    weights_sha256: str | None = None

    def suits(self, kind: Kind) -> bool:
        """Whether it is measured on a set of some kind.

        A method that has networks of one channel and of RGB has each for its own pictures; luma is taken of both.
        """
        method = self.card.method
        if kind == "luma" or not isinstance(method, Trained) or not callable(method.network.channels):
            return True
        return (self.channels == "rgb") == (kind == "rgb")


def differing(card: Card, options: Any) -> Values:  # noqa: ANN401 - each method has its own Options class
    """List what differs from a method's defaults, in the order of its fields."""
    defaults = card.options()
    names = [fact.name for fact in option_facts(card.options)]
    return {name: getattr(options, name) for name in names if getattr(options, name) != getattr(defaults, name)}


def variants(card: Card, task: Task) -> tuple[Values, ...]:
    """List the options to measure a method with at a task.

    They are its defaults, or what it settles them to for gray and for colour pictures, and all others that weights
    are shipped for or that its recipe promises a number of; those of a network for another task are left out.
    """
    method = card.method
    if not isinstance(method, Trained):
        return ({},)
    default = card.options()
    settled = [default]
    if method.network.resolve_options is not None:
        settled = [method.network.resolve_options(default, task, gray, None) for gray in (True, False)]
    shipped = [make_options(card, weights.options) for weights in weights_manifest.shipped_weights(card.id)]
    promises = [promise for promise in method.training.recipe.promises if promise.task == task]
    promised = [make_options(card, promise.options) for promise in promises]
    found: list[Values] = []
    for options in (*settled, *shipped, *promised):
        values = differing(card, options)
        serves = any((scale > 1) == (task == "upscale") for scale in trained_scales(method, options))
        if serves and values not in found and (options != default or default in settled):
            found.append(values)
    return tuple(found)


def trained_scales(method: Trained, options: Any) -> tuple[int, ...]:  # noqa: ANN401 - each method has its own
    """List the zooms that a network with these options is trained for; 1 stands for the tasks that keep the size."""
    if method.training.degradations is None:
        return method.network.scales
    return tuple(sorted({degradation.scale for degradation in degrade.single(method.training.degradations(options))}))


def levels(track: Track, card: Card, options: Values) -> tuple[int, ...]:
    """List the levels to measure at: all, or only those that the recipe promises numbers of for just these options."""
    if not options or not isinstance(card.method, Trained):
        return track.levels
    made = make_options(card, options)
    promised = {
        promise.level
        for promise in card.method.training.recipe.promises
        if promise.task == track.task and make_options(card, promise.options) == made
    }
    return tuple(level for level in track.levels if not promised or level in promised)


def locate(track: Track, card: Card, options: Values, level: int) -> Path | Missing | None:
    """Find the shipped weights of a method for a level; ``None`` for one that needs none.

    Raises:
        CheckpointError: They are shipped and damaged: not a thing to go on from silently.
    """

    def missing(reason: str) -> Missing:
        return Missing(method=card.id, options=options, level=level, reason=reason)

    if card.extra is not None and find_spec(card.extra.module) is None:
        return missing(f"it needs a package that is not installed; pip install 'safelight[{card.extra.name}]'")
    if "frames" in card.accepts:
        return missing("it needs several pictures of one scene, and the sets have one each")
    scale = track.scale(level)
    if not isinstance(card.method, Trained):
        scales = getattr(card.method, "scales", ())
        return missing(f"it is for x{'/x'.join(map(str, scales))} only") if scales and scale not in scales else None
    made = make_options(card, options)
    if scale not in (served := trained_scales(card.method, made)):
        return missing(f"it is for x{'/x'.join(map(str, served))} only")
    try:
        return model.find_weights(card, made, scale)
    except CardError:
        return missing(f"no weights are shipped; safelight train {card.id} makes them")


def enter(track: Track, card: Card, options: Values, level: int) -> Entry | Missing:
    """Make a method ready for a level, or say why it can't be measured there.

    Raises:
        CheckpointError: As ``locate``.
    """
    path = locate(track, card, options, level)
    if isinstance(path, Missing):
        return path
    return ready(track, card, options, level, path)


def ready(track: Track, card: Card, options: Values, level: int, weights: Path | None) -> Entry:
    """Make a method ready for a level, with the weights of a file if it is a network.

    It is told the noise of ``denoise`` if it can be told.

    Raises:
        CheckpointError: The file is broken, or of another method.
    """
    settings = inference.InferenceRequest(
        task=track.task,
        inputs={
            "scale": level if track.task == "upscale" else None,
            "sigma": level if track.task == "denoise" and "sigma" in card.accepts else None,
        },
        options=options,
        weights=weights,
    )
    runner = inference.prepare(card, settings)
    fast = inference.prepare(card, replace(settings, precision="fast"))
    method = card.method
    if not isinstance(method, Trained):
        return Entry(card=card, options=options, level=level, runner=runner, channels="y")
    assert weights is not None
    channels = channels_of(method.network, make_options(card, options))
    network = model.load(card, scale=track.scale(level), weights=weights, device="cpu").network
    cost = measure(network, 1 if channels == "y" else 3)
    return Entry(
        card=card,
        options=options,
        level=level,
        runner=runner,
        channels=channels,
        fast=None if fast.describe() == runner.describe() else fast,
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
        weights=weights,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


# --- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the pictures of a set: PSNR in dB and SSIM."""

    psnr: float
    ssim: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured on a set at a level: one ``Quality`` a method, and that of the degraded pictures themselves.

    ``input`` is ``None`` where these have another size than the originals.
    """

    methods: tuple[Quality, ...]
    input: Quality | None


def score(
    track: Track, entries: Sequence[Entry], test_set: PictureSet, level: int, report: Callable[[str], None]
) -> Scores:
    """Measure methods on a test set: each picture is degraded once and restored by all of them.

    Args:
        track: The task's.
        entries: Methods of this level that suit the set.
        test_set: The originals.
        level: How strong the degradation is.
        report: Told in a line how far it is.

    Raises:
        DataError: A picture is so plain that a method restores it exactly, and its PSNR is infinite.
    """
    kind = test_set.spec.kind
    protocol = track.metric(kind, level)
    # The degraded pictures as they are: an anchor is about the degradation, and rounding would change it.
    as_they_are = metrics.Protocol(channel=protocol.channel, rounding="none")
    sums = [[0.0, 0.0] for _ in entries]
    given = [0.0, 0.0]
    count = len(test_set.originals)
    for done, original in enumerate(test_set.originals, start=1):
        samples: dict[Channels, Sample] = {"y": track.degrade(original.pixels(kind, "y"), level)}
        samples["rgb"] = samples["y"]
        if kind == "luma" and original.rgb is not None and any(entry.channels == "rgb" for entry in entries):
            samples["rgb"] = track.degrade(original.rgb, level)
        if track.anchor == INPUT:
            sample = samples["y"]
            _add(given, sample, to_tensor(sample.picture.pixels), as_they_are, original.path, "the degradation leaves")
        for entry, total in zip(entries, sums, strict=True):
            sample = samples[entry.channels]
            result = to_tensor(entry.runner(sample.picture).pixels)
            _add(total, sample, result, protocol, original.path, f"{entry.card.id} restores")
        if done % _REPORT_EVERY == 0 or done == count:
            where = f"{track.label(level)} {test_set.facts.name}"
            report(f"{where}: {done} of {count} pictures, {len(entries)} methods")
    return Scores(
        methods=tuple(Quality(a / count, b / count) for a, b in sums),
        input=Quality(given[0] / count, given[1] / count) if track.anchor == INPUT else None,
    )


def _add(total: list[float], sample: Sample, result: Tensor, protocol: metrics.Protocol, path: Path, who: str) -> None:
    decibels = metrics.PSNR.score(result, sample.reference, protocol).item()
    if not math.isfinite(decibels):
        raise DataError(
            f"{path}: expected a picture with detail, got one that {who} exactly as it is; "
            "take it out, its PSNR is infinite"
        )
    total[0] += decibels
    total[1] += metrics.SSIM.score(result, sample.reference, protocol).item()
