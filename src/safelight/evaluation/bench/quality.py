"""The quality half of the benchmark: test sets, the methods made ready, and their scores under the papers' protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from safelight import degrade, inference, tasks
from safelight.checkpoints import weights_manifest
from safelight.core.benchmark import INPUT, Benchmark, BenchmarkSample, BenchmarkSet, Kind, Level, Source, fingerprint
from safelight.core.card import Card, Channels, channels_of
from safelight.core.options import CardError, make_options, option_facts
from safelight.core.outputs import Output
from safelight.core.task import Task
from safelight.engine.cost import measure
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench.measures import MetricSuite, Numbers, mean
from safelight.evaluation.bench.records import DataSet, MetricFacts, Missing, Values
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

    spec: BenchmarkSet
    facts: DataSet
    originals: tuple[Original, ...]


def read_sets(benchmark: Benchmark, folder: Path, names: Iterable[str] | None = None) -> tuple[PictureSet, ...]:
    """Read the test sets of a task.

    Args:
        benchmark: The task's.
        folder: Holds the folders of the sets.
        names: Only these sets. ``None``: all.

    Raises:
        DataError: One is missing or empty, or a picture is too small or gray in a set of colours.
        image.PictureError: A picture is broken.
    """
    wanted = benchmark.sets if names is None else tuple(spec for spec in benchmark.sets if spec.name in set(names))
    folders = list(dict.fromkeys(spec.folder for spec in wanted))
    absent = [name for name in folders if not (folder / name).is_dir()]
    if absent:
        raise DataError(
            f"expected the folders {', '.join(folders)} in {folder}, got none called {', '.join(absent)}; "
            "put the test sets there"
        )
    return tuple(_read_set(spec, folder / spec.folder) for spec in wanted)


def _read_set(spec: BenchmarkSet, folder: Path) -> PictureSet:
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
    facts = DataSet(name=spec.name, kind=spec.kind, pictures=len(originals), sha256=together)
    return PictureSet(spec=spec, facts=facts, originals=tuple(originals))


# --- the methods ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A method that is ready to be measured at a level. ``options`` are those that differ from its defaults.

    ``fast`` runs it with ``--precision fast``, ``None`` where that is the same here.
    """

    card: Card
    options: Values
    level: Level
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
        network = self.card.network
        if kind == "luma" or network is None or not callable(network.channels):
            return True
        return (self.channels == "rgb") == (kind == "rgb")

    def run(self, source: Source) -> Output:
        """Run the method once."""
        return self.runner.run(source)


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
    network = card.network
    if network is None:
        return ({},)
    default = card.options()
    settled = [default]
    if network.resolve_options is not None:
        settled = [network.resolve_options(default, task, gray, None) for gray in (True, False)]
    shipped = [make_options(card, weights.options) for weights in weights_manifest.shipped_weights(card.id)]
    promises = () if card.training is None else card.training.recipe.promises
    promised = [make_options(card, promise.options) for promise in promises if promise.task == task]
    enlarges = tasks.find(task).output.size == "scaled"
    found: list[Values] = []
    for options in (*settled, *shipped, *promised):
        values = differing(card, options)
        serves = any((scale > 1) == enlarges for scale in trained_scales(card, options))
        if serves and values not in found and (options != default or default in settled):
            found.append(values)
    return tuple(found)


def trained_scales(card: Card, options: Any) -> tuple[int, ...]:  # noqa: ANN401 - each method has its own
    """List the zooms that a network with these options is trained for; 1 stands for the tasks that keep the size."""
    assert card.network is not None
    if card.training is None or card.training.degradations is None:
        return card.network.scales
    return tuple(
        sorted({degradation.scale for degradation in degrade.flatten_mixtures(card.training.degradations(options))})
    )


def levels(benchmark: Benchmark, card: Card, options: Values) -> tuple[Level, ...]:
    """List the levels to measure at: all, or only those that the recipe promises numbers of for just these options."""
    if not options or card.training is None:
        return benchmark.levels
    made = make_options(card, options)
    promised = {
        promise.level
        for promise in card.training.recipe.promises
        if promise.task == benchmark.task and make_options(card, promise.options) == made
    }
    return tuple(level for level in benchmark.levels if not promised or level in promised)


def find_weights(benchmark: Benchmark, card: Card, options: Values, level: Level) -> Path | Missing | None:
    """Find the shipped weights of a method for a level; ``None`` for one that needs none.

    Raises:
        CheckpointError: They are shipped and damaged, which is an error and no reason to leave the method out.
    """

    def missing(reason: str) -> Missing:
        return Missing(method=card.id, options=options, level=level, reason=reason)

    if card.extra is not None and find_spec(card.extra.module) is None:
        return missing(f"it needs a package that is not installed; pip install 'safelight[{card.extra.name}]'")
    if "frames" in card.accepts:
        return missing("it needs several pictures of one scene, and the sets have one each")
    scale = benchmark.scale(level)
    made = make_options(card, options)
    served = card.scales if card.network is None else trained_scales(card, made)
    if served is not None and scale not in served:
        return missing(f"it is for x{'/x'.join(map(str, served))} only")
    if card.network is None:
        return None
    try:
        return model.find_weights(card, made, scale)
    except CardError:
        return missing(f"no weights are shipped; safelight train {card.id} makes them")


def prepare(benchmark: Benchmark, card: Card, options: Values, level: Level) -> Entry | Missing:
    """Make a method ready for a level, or say why it can't be measured there.

    Raises:
        CheckpointError: As ``find_weights``.
    """
    path = find_weights(benchmark, card, options, level)
    if isinstance(path, Missing):
        return path
    return prepare_with(benchmark, card, options, level, path)


def prepare_with(benchmark: Benchmark, card: Card, options: Values, level: Level, weights: Path | None) -> Entry:
    """Make a method ready for a level, with the weights of a file if it is a network.

    It is told the benchmark's inputs of the level, but for optional ones that it does not accept.

    Raises:
        CheckpointError: The file is broken, or of another method.
    """
    task = tasks.find(benchmark.task)
    known = {spec.name: spec for spec in task.inputs}
    request = inference.InferenceRequest(
        task=task.name,
        inputs={
            name: value
            for name, value in benchmark.inputs(level).items()
            if not known[name].optional or name in card.accepts
        },
        options=options,
        weights=weights,
    )
    runner = inference.prepare(card, request)
    fast = inference.prepare(card, replace(request, precision="fast"))
    if card.network is None:
        return Entry(card=card, options=options, level=level, runner=runner, channels="y")
    assert weights is not None
    channels = channels_of(card.network, make_options(card, options))
    network = model.load(card, scale=benchmark.scale(level), weights=weights, device="cpu").network
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
class Scores:
    """What was measured on a set at a level: the means of one method each, and those of the degraded pictures.

    ``input`` is ``None`` where nothing is known of these.
    """

    methods: tuple[Numbers, ...]
    input: Numbers | None


def metric_facts(benchmark: Benchmark) -> tuple[MetricFacts, ...]:
    """Say what the metrics of a benchmark are."""
    return MetricSuite(benchmark, benchmark.sets[0].kind, benchmark.levels[0]).facts


def score(
    benchmark: Benchmark, entries: Sequence[Entry], test_set: PictureSet, level: Level, report: Callable[[str], None]
) -> Scores:
    """Measure methods on a test set: each picture is degraded once and restored by all of them.

    Args:
        benchmark: The task's.
        entries: Methods of this level that suit the set.
        test_set: The originals.
        level: How strong the degradation is.
        report: Told in a line how far it is.

    Raises:
        DataError: A picture is so plain that a method restores it exactly, and a metric is infinite.
    """
    kind = test_set.spec.kind
    suite = MetricSuite(benchmark, kind, level)
    # The degraded pictures as they are: an anchor is about the degradation, and rounding would change it.
    as_they_are = None
    if benchmark.anchor is not None and benchmark.anchor.method == INPUT:
        as_they_are = MetricSuite(benchmark, kind, level, rounded=False)
    found: list[list[Numbers]] = [[] for _ in entries]
    outputs: list[list[Output]] = [[] for _ in entries]
    given: list[Numbers] = []
    tests: list[BenchmarkSample] = []
    count = len(test_set.originals)
    for done, original in enumerate(test_set.originals, start=1):
        samples: dict[Channels, BenchmarkSample] = {"y": benchmark.degrade(original.pixels(kind, "y"), level)}
        samples["rgb"] = samples["y"]
        if kind == "luma" and original.rgb is not None and any(entry.channels == "rgb" for entry in entries):
            samples["rgb"] = benchmark.degrade(original.rgb, level)
        if as_they_are is not None:
            sample = samples["y"]
            assert sample.reference is not None
            degraded = to_tensor(sample.picture.pixels)
            given.append(as_they_are.compare(degraded, sample.reference, original.path, "the degradation leaves"))
        for entry, numbers, kept in zip(entries, found, outputs, strict=True):
            sample = samples[entry.channels]
            output = entry.run(sample.source)
            numbers.append(suite.measure(output, sample, original.path, f"{entry.card.id} restores"))
            if suite.keeps_outputs:
                kept.append(output)
        if suite.keeps_outputs:
            tests.append(samples["y"])
        if done % _REPORT_EVERY == 0 or done == count:
            where = f"{benchmark.label(level)} {test_set.facts.name}".strip()
            report(f"{where}: {done} of {count} pictures, {len(entries)} methods")
    return Scores(
        methods=tuple(
            {**mean(numbers), **suite.measure_sets(kept, tests)} for numbers, kept in zip(found, outputs, strict=True)
        ),
        input=mean(given) if as_they_are is not None else None,
    )
