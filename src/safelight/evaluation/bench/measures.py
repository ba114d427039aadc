"""The metrics of a benchmark at work: those of ``safelight.metrics`` by name, and the task's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from safelight import metrics
from safelight.core.benchmark import Benchmark, BenchmarkSample, Kind, Level, Measure, to_picture
from safelight.core.outputs import Clip, Image, Images, Output
from safelight.engine.samples import to_tensor
from safelight.evaluation.bench.records import MetricFacts
from safelight.evaluation.scoring import Scorer
from safelight.media.image import Picture
from safelight.training.datasets import DataError

Numbers = Mapping[str, float]
"""The value of each metric, by its name."""


class MetricSuite:
    """Measures results on sets of one kind at one level.

    Args:
        benchmark: The task's; its metrics are looked up by name.
        kind: Of the sets.
        level: The level.
        rounded: Whether results are rounded as the benchmark says; else pictures are compared as they are.

    Attributes:
        facts: What there is to say of each metric, in the order of the benchmark.

    Raises:
        ValueError: No metric is called so.
        BackboneError: A metric needs a network that is not here.
    """

    def __init__(self, benchmark: Benchmark, kind: Kind, level: Level, *, rounded: bool = True) -> None:
        protocol = benchmark.compare(kind, level)
        if not rounded:
            protocol = metrics.Protocol(channel=protocol.channel, rounding="none")
        named = [metrics.find(metric) for metric in benchmark.metrics if isinstance(metric, str)]
        self._own = [metric for metric in benchmark.metrics if isinstance(metric, Measure)]
        self._scorer = Scorer(named, protocol) if named else None
        found: dict[str, MetricFacts] = {}
        if self._scorer is not None:
            for column in (*self._scorer.of_pairs, *self._scorer.of_sets):
                found[column.name.split("[")[0] if column.name not in benchmark.metrics else column.name] = MetricFacts(
                    name=column.name, title=column.title, unit=column.unit, higher_is_better=column.higher_is_better,
                    digits=2 if column.unit == "dB" else 4,
                )  # fmt: skip
        for own in self._own:
            found[own.name] = MetricFacts(
                name=own.name, title=own.title, unit=own.unit, higher_is_better=own.higher_is_better, digits=own.digits
            )
        order = [metric if isinstance(metric, str) else metric.name for metric in benchmark.metrics]
        self.facts = tuple(found[name] for name in order)

    def compare(self, result: Tensor, reference: Tensor, path: Path, who: str) -> Numbers:
        """Measure a picture against its original, both (1, C, H, W) in [0, 1], by the metrics of two pictures.

        Raises:
            DataError: The two are so alike that a metric is infinite; ``who`` begins the words that say why.
        """
        values = {} if self._scorer is None else self._scorer.tensors(result, reference)
        return self._finite(values, path, who)

    def measure(self, output: Output, sample: BenchmarkSample, path: Path, who: str) -> Numbers:
        """Measure one result of a method by all metrics but those of whole sets.

        Raises:
            DataError: As ``compare``.
        """
        values: dict[str, float] = {}
        if self._scorer is not None and self._scorer.of_pairs and sample.reference is not None:
            assert isinstance(output, Image)
            values |= self._scorer.tensors(to_tensor(output.picture.pixels), sample.reference)
        values |= {own.name: own.value(output, sample, path) for own in self._own}
        return self._finite(values, path, who)

    def measure_sets(self, outputs: Sequence[Output], samples: Sequence[BenchmarkSample]) -> Numbers:
        """Measure all results of a method together, by the metrics of two sets of pictures.

        Raises:
            ValueError: A set has fewer than two pictures.
            BackboneError: A picture is too small for the network.
        """
        if self._scorer is None or not self._scorer.of_sets:
            return {}
        references = [to_picture(sample.reference) for sample in samples if sample.reference is not None]
        return self._scorer.sets(references, [picture for output in outputs for picture in _pictures(output)])[0]

    @property
    def keeps_outputs(self) -> bool:
        """Whether results are needed until all are there."""
        return self._scorer is not None and bool(self._scorer.of_sets)

    def _finite(self, values: Numbers, path: Path, who: str) -> Numbers:
        for facts in self.facts:
            if not math.isfinite(values.get(facts.name, 0.0)):
                raise DataError(
                    f"{path}: expected a picture with detail, got one that {who} exactly as it is; "
                    f"take it out, its {facts.title} is infinite"
                )
        return values


def _pictures(output: Output) -> tuple[Picture, ...]:
    match output:
        case Image():
            return (output.picture,)
        case Images():
            return output.pictures
        case Clip():
            return output.frames
        case _:
            return ()


def mean(found: Sequence[Numbers]) -> dict[str, float]:
    """Average numbers over pictures, metric by metric."""
    names = tuple(found[0]) if found else ()
    return {name: sum(numbers[name] for numbers in found) / len(found) for name in names}


def kept(facts: MetricFacts, value: float) -> float:
    """Round a number to what the JSON keeps: one or two digits more than tables show."""
    return round(value, max(facts.digits + 1, 4))


def differences(facts: Sequence[MetricFacts], measured: Numbers, published: Numbers) -> dict[str, Any]:
    """Subtract what is published from what was measured, for the metrics that have both."""
    by_name = {metric.name: metric for metric in facts}
    return {name: kept(by_name[name], measured[name] - value) for name, value in published.items() if name in measured}
