"""Turn trained weights into shipped ones: half precision, header complete, scores measured.

    python tools/ship_weights.py RUN.safetensors ... --data TEST_SETS [--sets Set12,BSD68] [--int8]

Each file goes to ``src/safelight/weights`` and into the list of them, ``manifest.json``, and its log to
``results/training``. A file of a backbone, such as the lens, is taken as it is: its tool has written its header. The
scores in the header are those of the shipped, rounded weights, for each task that the
network serves, at the levels that the benchmark measures it at: on Set5, Set12, classic5, or the first set of colours
for a network of RGB that keeps the size; ``--sets`` names others. With ``--int8`` a file is stored as int8, half as
large, if every score on these pictures is then less than 0.01 dB below that in half precision.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import harness
import torch
from torch import nn

from safelight import catalog
from safelight.checkpoints import weights_file, weights_manifest
from safelight.checkpoints.weights_file import WeightsHeader
from safelight.checkpoints.weights_manifest import Weights
from safelight.core.benchmark import Benchmark
from safelight.core.card import Card, Channels, Trained, channels_of
from safelight.core.options import make_options
from safelight.evaluation import bench
from safelight.evaluation.bench import quality
from safelight.training import datasets

LICENCE = "Apache-2.0; trained on pictures of which some are for research use only (see trained_on)"
MOST_LOST = 0.01
"""Decibels that a file stored as int8 may lose at most, at each measured set and level."""
LOGS = harness.RESULTS / "training"


def log(line: str) -> None:
    """Say how far it is, apart from the records."""
    sys.stderr.write(line + "\n")


def sets_of(benchmark: Benchmark, channels: Channels, named: Sequence[str]) -> list[str]:
    """Choose the sets of a task: those that are named, or the first that the network is for."""
    chosen = [spec.name for spec in benchmark.sets if spec.name in named]
    if chosen:
        return chosen
    wanted = "rgb" if channels == "rgb" else "gray"
    return [next(spec.name for spec in benchmark.sets if spec.kind in ("luma", wanted))]


def scores_of(card: Card, header: WeightsHeader, weights: Path, folder: Path, named: Sequence[str]) -> dict[str, float]:
    """Measure a file for each task that it serves: what was measured, and PSNR in dB."""
    assert isinstance(card.method, Trained)
    made = make_options(card, header.options)
    options = quality.differing(card, made)
    channels = channels_of(card.method.network, made)
    found: dict[str, float] = {}
    benchmarks = bench.benchmarks()
    for task in card.tasks:
        if task not in benchmarks:  # nothing to compare with: its validation loss stands in the header already
            continue
        benchmark = benchmarks[task]
        served = set(header.scales) & set(quality.trained_scales(card, made))
        levels = [level for level in quality.levels(benchmark, card, options) if benchmark.scale(level) in served]
        for test_set in quality.read_sets(benchmark, folder, sets_of(benchmark, channels, named)) if levels else ():
            kind = test_set.spec.kind
            what = {"luma": "Y-PSNR", "gray": "PSNR", "rgb": "RGB-PSNR"}[kind]
            for level in levels:
                entry = quality.prepare_with(benchmark, card, options, level, weights)
                [score] = quality.score(benchmark, [entry], test_set, level, log).methods
                found[f"{test_set.facts.name} {benchmark.label(level)} {what}"] = round(score["psnr"], 4)
    return found


def output_axes(network: nn.Module) -> dict[str, int]:
    """Say of a network's weights which dimension counts the output channels, where it is not the first."""
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    modules = cast("list[tuple[str, nn.Module]]", [*network.named_modules()])
    return {f"{name}.weight": 1 for name, module in modules if isinstance(module, transposed)}


def lost(exact: Mapping[str, float], rounded: Mapping[str, float]) -> float:
    """Say how many decibels the worst of some scores lost; infinite where nothing was measured."""
    return max((exact[name] - rounded[name] for name in exact), default=math.inf)


def record(target: Path, options: Mapping[str, int | float | str]) -> Weights:
    """Put a shipped file into the list, in the place of an older one of its name, and return its record."""
    content, header = target.read_bytes(), weights_file.read_header(target)
    found = Weights(
        file=target.name, method=header.method, options=options, scales=header.scales,
        sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), licence=header.licence.split(";")[0], url=None,
    )  # fmt: skip
    others = weights_manifest.read(target.parent)
    kept = [found if other.file == found.file else other for other in others]
    weights_manifest.write(target.parent, kept if found in kept else [*kept, found])
    return found


def ship(source: Path, folder: Path, named: Sequence[str], commit: str, *, int8: bool = False) -> Weights:
    """Ship one file and return its record; ``commit`` is for a run outside a git checkout.

    With ``int8`` it is stored so, if that costs less than ``MOST_LOST``.
    """
    tensors, header = weights_file.load(source)
    if header.method.startswith("features/"):
        target = weights_manifest.SHIPPED / f"{header.method.split('/')[1]}.safetensors"
        shutil.copyfile(source, target)
        return record(target, {})
    card = catalog.find(header.method)
    method = card.method
    assert isinstance(method, Trained)
    options = quality.differing(card, make_options(card, header.options))
    suffix = "" if method.network.scale_agnostic else f"-x{header.scales[0]}"
    variant = "".join(f"-{value}" for value in options.values())
    target = weights_manifest.SHIPPED / f"{card.name}{variant}{suffix}.safetensors"
    header = dataclasses.replace(
        header,
        licence=LICENCE,
        commit=header.commit or commit,
        trained_on=tuple(datasets.described(name.split(" (")[0]) for name in header.trained_on),
    )
    weights_file.save(target, tensors, header, dtype=torch.float16)
    measured, dtype, axes = scores_of(card, header, target, folder, named), torch.float16, dict[str, int]()
    if int8:
        axes = output_axes(method.network.build(make_options(card, header.options), header.scales[0]))
        weights_file.save(target, tensors, header, dtype=torch.int8, output_axes=axes)
        rounded = scores_of(card, header, target, folder, named)
        log(f"{target.name}: int8 loses {lost(measured, rounded):.4f} dB at most")
        if lost(measured, rounded) < MOST_LOST:
            measured, dtype = rounded, torch.int8
    scores = {**header.scores, **measured}
    weights_file.save(target, tensors, dataclasses.replace(header, scores=scores), dtype=dtype, output_axes=axes)
    LOGS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.with_suffix(".csv"), LOGS / f"{target.stem}.csv")
    log(f"{target.name}: {scores}")
    return record(target, options)


def main() -> None:
    """Ship every file that is named."""
    parser = harness.parser(__doc__, data="the test sets")
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--sets", type=harness.words, default="", help="measure on these, such as Set12,BSD68")
    parser.add_argument("--int8", action="store_true", help="store as int8 where that costs less than 0.01 dB")
    parser.add_argument("--commit", default="", help="the code's version, for runs outside a git checkout")
    arguments = parser.parse_args()
    known = {spec.name for benchmark in bench.benchmarks().values() for spec in benchmark.sets}
    if not set(arguments.sets) <= known:
        parser.error(f"expected sets out of {', '.join(sorted(known))}, got {', '.join(arguments.sets)}")
    for source in arguments.weights:
        print(ship(source, arguments.data, arguments.sets, arguments.commit, int8=arguments.int8))


if __name__ == "__main__":
    main()
