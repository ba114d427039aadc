"""Measure what bfloat16 costs each network in PSNR, which decides whether its card may list it.

    python tools/measure_precision.py --data TEST_SETS [--methods fsrcnn,espcn]

Writes ``results/precision.json``; with ``--methods`` the rows of the others stay. The pictures take the way of a
user's, ``inference.Runner``: 8-bit pictures of Set14 to be enlarged, those of Set12 with noise, JPEG files of classic5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import harness
import numpy as np
from harness import Row, mean

from safelight import catalog, inference
from safelight.core.benchmark import Benchmark, BenchmarkSample, Level
from safelight.core.card import Card, Trained, channels_of
from safelight.core.options import make_options
from safelight.evaluation import bench
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.quality import Original, PictureSet
from safelight.evaluation.bench.records import Missing, Values, label
from safelight.inference.model import Model, load
from safelight.metrics.psnr import psnr
from safelight.tasks import Task

GRAY = {"upscale": "Set14", "denoise": "Set12", "deblock": "classic5"}
COLOUR = "BSD20 RGB"  # for networks of RGB that keep the size
WHAT = (
    "PSNR in dB: of Y for Set14, older protocol but for the 8-bit input; of the samples elsewhere, as the benchmark of "
    "the task. Samples of the 8-bit result that differ between the two, and by how many steps at most."
)


class Subject(NamedTuple):
    """One network with its options, at one level of a task."""

    card: Card
    benchmark: Benchmark
    options: Values
    level: Level

    @property
    def key(self) -> tuple[str, str, Task, Level]:
        """What its row is found by."""
        return self.card.id, label("", self.options), self.benchmark.task, self.level


def sample_of(benchmark: Benchmark, kind: str, original: Original, level: Level) -> BenchmarkSample:
    """What a user would have: colours where the picture has them, in 8 bits unless it is noise."""
    if benchmark.task != "upscale":
        return benchmark.degrade(original.pixels("rgb" if kind == "rgb" else "gray", "y"), level)
    sample = benchmark.degrade(original.y if original.rgb is None else original.rgb, level)
    return BenchmarkSample(harness.as_picture(harness.as_tensor(sample.picture)), sample.reference)


def measure(subject: Subject, pictures: PictureSet) -> Row:
    """Measure one network at one level."""
    card, benchmark, options, level = subject
    scale = benchmark.scale(level)
    exact_model = load(card, scale=scale, options=options, device="cpu", task=benchmark.task)
    fast_model = Model(card, exact_model.options, scale, exact_model.network, "bfloat16", benchmark.task)
    request = inference.InferenceRequest(
        task=benchmark.task, inputs={"scale": scale if scale > 1 else None}, device="cpu"
    )
    runners = [inference.Runner(card, request, {scale: model}) for model in (exact_model, fast_model)]
    protocol = benchmark.compare(pictures.spec.kind, level)
    score = partial(psnr, channel=protocol.channel, shave=protocol.shave, rounding=protocol.rounding)
    scores: tuple[list[float], list[float]] = ([], [])
    changed = samples = largest = 0
    for original in pictures.originals:
        sample = sample_of(benchmark, pictures.spec.kind, original, level)
        assert sample.reference is not None
        made = [harness.as_tensor(runner(sample.picture)) for runner in runners]
        for values, result in zip(scores, made, strict=True):
            values.append(float(score(result, sample.reference)))
        exact, fast = (harness.as_picture(result).pixels.astype(int) for result in made)
        difference = np.abs(exact - fast)
        changed += int((difference > 0).sum())
        samples += difference.size
        largest = max(largest, int(difference.max()))
    exact_psnr, fast_psnr = (mean(values) for values in scores)
    return {
        "method": card.id,
        "options": dict(options),
        "task": benchmark.task,
        "set": pictures.spec.name,
        "level": level,
        "listed": "bfloat16" in exact_model.execution.precisions,
        "exact_psnr": round(exact_psnr, 4),
        "fast_psnr": round(fast_psnr, 4),
        "loss": round(exact_psnr - fast_psnr, 4),
        "pixels_changed": round(changed / samples, 4),
        "largest_change": largest,
    }


def subjects(card: Card) -> Iterator[Subject]:
    """List what is measured of a network: every zoom, and one level in the middle of each other task."""
    benchmarks = bench.benchmarks()
    for benchmark in (benchmarks[task] for task in card.tasks if task in benchmarks):
        for options in quality.variants(card, benchmark.task):
            levels = [
                level
                for level in quality.levels(benchmark, card, options)
                if not isinstance(quality.find_weights(benchmark, card, options, level), Missing)
            ]
            chosen = levels if benchmark.task == "upscale" or not levels else [levels[(len(levels) - 1) // 2]]
            for level in chosen:
                yield Subject(card, benchmark, options, level)


def main() -> None:
    """Measure every network that is shipped, and write the JSON."""
    parser = harness.parser(__doc__, data="Set14, Set12, BSD100 and classic5", out="precision.json")
    parser.add_argument("--methods", type=harness.words, default="", help="only these, by their names")
    arguments = parser.parse_args()
    known: list[Row] = harness.read(arguments.out).get("rows", []) if arguments.methods else []
    old = {(row["method"], label("", row["options"]), row["task"], row["level"]): row for row in known}
    folder: Path = arguments.data

    @cache
    def pictures(task: Task, name: str) -> PictureSet:
        (found,) = quality.read_sets(bench.find(task), folder, [name])
        return found

    rows: list[Row] = []
    for card in catalog.CARDS:
        method = card.method
        for subject in subjects(card) if isinstance(method, Trained) else ():
            assert isinstance(method, Trained)
            row = old.get(subject.key)
            if row is None or not arguments.methods or card.name in arguments.methods:
                task = subject.benchmark.task
                colour = channels_of(method.network, make_options(card, subject.options)) == "rgb" and task != "upscale"
                row = measure(subject, pictures(task, COLOUR if colour else GRAY[task]))
            rows.append(harness.show(row))
    harness.write(arguments.out, harness.record(WHAT, rows=rows))


if __name__ == "__main__":
    main()
