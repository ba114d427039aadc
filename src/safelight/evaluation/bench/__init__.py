"""The benchmark: every method of a task on the test sets, published beside measured, and quality against time.

``run`` writes ``<task>.json``; its tables (``<task>.md``) and its plot (``<task>.svg``) are made from that file alone.
What differs between the tasks stands in their records (``TaskSpec.benchmark``). Before any number is believed, the
anchors must hold: what the field has agreed on for years.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from safelight import __version__, catalog
from safelight.checkpoints import provenance
from safelight.checkpoints.weights_file import write_atomic
from safelight.core.benchmark import Benchmark, Level
from safelight.core.card import Card
from safelight.core.options import make_options
from safelight.core.task import Task
from safelight.evaluation.bench import checks, matlab, quality, speed
from safelight.evaluation.bench.benchmarks import benchmarks, find
from safelight.evaluation.bench.markdown import tables
from safelight.evaluation.bench.measures import Numbers, differences, kept
from safelight.evaluation.bench.plot import draw
from safelight.evaluation.bench.quality import Entry, PictureSet
from safelight.evaluation.bench.records import (
    EarlierResults,
    MetricFacts,
    ResizeCheck,
    Results,
    Row,
    Run,
    SpeedComparison,
    label,
    read,
)
from safelight.evaluation.bench.speed import CLOCK, Clock, Timing
from safelight.training.datasets import DataError

__all__ = ["AnchorError", "Clock", "benchmarks", "find", "run", "tables"]


class AnchorError(DataError):
    """An anchor's scores are not those that are known: the test sets are others, or the arithmetic is wrong."""


def run(
    task: Task,
    data: Path,
    out: Path,
    *,
    methods: Sequence[str] | None,
    report: Callable[[str], None],
    clock: Clock = CLOCK,
) -> Path:
    """Benchmark a task's methods and write ``<task>.json``, ``<task>.md`` and ``<task>.svg``.

    Args:
        task: A task whose record has a benchmark.
        data: The folder that holds the test sets.
        out: The folder to write to; it is made if need be.
        methods: Names of the methods to measure, and the anchor's; the rows of the others are kept as the JSON in
            ``out`` has them. ``None``: all but those that the benchmark leaves out, and nothing is kept.
        report: Told in a line how far it is.
        clock: How time is taken.

    Returns:
        The JSON file.

    Raises:
        AnchorError: The anchors fail. The files are written nevertheless, and say so.
        CardError: No method is called so.
        DataError: A test set is missing, or ``out`` holds results of other pictures, or the task has no benchmark.
        image.PictureError: A picture is broken.

    Example:
        ``run("upscale", Path("data/test"), Path("results"), methods=None, report=print)``
    """
    benchmark = find(task)
    path = out / f"{task}.json"
    chosen = {card.id for card in catalog.of_task(task)} - set(benchmark.left_out)
    if methods is not None:
        chosen = {catalog.find(name, task).id for name in methods}
        chosen |= set() if benchmark.anchor is None else {benchmark.anchor.method}
    cards = tuple(card for card in catalog.of_task(task) if card.id in chosen)
    report(f"reading {', '.join(spec.name for spec in benchmark.sets)}")
    sets = quality.read_sets(benchmark, data)

    def earlier() -> EarlierResults | None:
        """Read what is there, at the end once more: another benchmark may have measured other methods meanwhile."""
        found = read(path) if methods is not None and path.is_file() else None
        if found is not None and found.data != tuple(item.facts for item in sets):
            raise DataError(
                f"{path}: expected results of the pictures in {data}, got those of others; "
                "benchmark all methods, or write to another folder"
            )
        return found

    earlier()
    out.mkdir(parents=True, exist_ok=True)
    resize = matlab.check_resize(data, benchmark.matlab_files) if benchmark.matlab_files else ()
    results = measure(benchmark, cards, sets, resize, earlier, clock, report)
    text = results.to_json()
    write_atomic(path, text.encode())
    write_atomic(path.with_suffix(".md"), tables(json.loads(text)).encode())
    try:
        if any(row.set in benchmark.plotted for row in results.rows):
            write_atomic(path.with_suffix(".svg"), draw(json.loads(text)))
    except ModuleNotFoundError:
        report("no plot was drawn: it needs matplotlib; pip install 'safelight[plot]'")
    for shortfall in results.shortfalls:
        report(f"shortfall: {shortfall.text}")
    unlike = [check for check in resize if check.different]
    if unlike:
        raise AnchorError(
            f"{unlike[0].different} samples of {unlike[0].set} x{unlike[0].scale} differ from MATLAB's imresize; "
            f"believe no number in {path}"
        )
    failed = [shortfall for shortfall in results.shortfalls if shortfall.kind == "anchor"]
    if failed:
        raise AnchorError(
            f"{len(failed)} of {len(results.anchors)} anchor rows fail, the first: {failed[0].text}; "
            f"believe no number in {path} and check the test sets"
        )
    return path


def measure(
    benchmark: Benchmark,
    cards: Sequence[Card],
    sets: Sequence[PictureSet],
    resize: tuple[ResizeCheck, ...],
    earlier: Callable[[], EarlierResults | None],
    clock: Clock,
    report: Callable[[str], None],
) -> Results:
    """Measure methods, the anchor among them, and put the rows together with those of an earlier run.

    Args:
        benchmark: The task's.
        cards: The methods.
        sets: The test sets.
        resize: The comparison of our resize with MATLAB's.
        earlier: Gives the rows to keep where they are not of ``cards``; of the same test sets.
        clock: How time is taken.
        report: Told in a line how far it is.
    """
    now = Run(
        id=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        commit=provenance.code_version(),
        safelight=__version__,
        machine=speed.machine(),
        methods=tuple(card.id for card in cards),
    )
    facts = quality.metric_facts(benchmark)
    entries = {level: _entries(benchmark, cards, level) for level in benchmark.levels}
    times, comparisons = _time(benchmark, entries, clock, now.id, report)
    rows: list[Row] = []
    anchored: dict[tuple[str, Level], Numbers] = {}
    for level in benchmark.levels:
        for item in sets:
            fitting = [entry for entry in entries[level] if entry.suits(item.spec.kind)]
            scores = quality.score(benchmark, fitting, item, level, report)
            if scores.input is not None:
                anchored[item.spec.name, level] = scores.input
            for entry, numbers in zip(fitting, scores.methods, strict=True):
                row = _row(benchmark, facts, entry, item.spec.name, numbers, times[_key(entry), level], now.id)
                report(_line(benchmark, facts, row))
                if benchmark.anchor is not None and row.method == benchmark.anchor.method:
                    anchored[item.spec.name, level] = numbers
                rows.append(row)
            here = {key: numbers for key, numbers in anchored.items() if key == (item.spec.name, level)}
            for anchor in checks.check_anchors(benchmark, facts, here):
                if not anchor.passed:  # said at once: the rest may take an hour
                    where = f"{benchmark.label(level)} {anchor.set}".strip()
                    report(f"an anchor fails, {where}: {anchor.measured:g}, expected {anchor.published:g}")
    before = earlier()
    kept_rows = () if before is None else tuple(row for row in before.rows if row.method not in now.methods)
    timed = {(comparison.fast, comparison.slow, comparison.level) for comparison in comparisons}
    comparisons += (
        ()
        if before is None
        else tuple(item for item in before.comparisons if (item.fast, item.slow, item.level) not in timed)
    )
    ordered = _ordered(benchmark, [*rows, *kept_rows])
    used = {row.run for row in ordered} | {comparison.run for comparison in comparisons}
    runs = () if before is None else tuple(run for run in before.runs if run.id in used and run.id != now.id)
    everything = catalog.of_task(benchmark.task)
    anchors = checks.check_anchors(benchmark, facts, anchored)
    missing = checks.list_missing(benchmark, everything, ordered)
    promises = tuple(
        promise for card in everything for promise in checks.check_promises(benchmark, facts, card, ordered)
    )
    return Results(
        task=benchmark.task,
        level=benchmark.unit,
        metrics=facts,
        plotted=benchmark.plotted,
        timed_by_level=benchmark.timed_by_level,
        protocol={"quality": benchmark.protocol, "time": clock.describe(benchmark)},
        runs=(*runs, now),
        data=tuple(item.facts for item in sets),
        resize=resize,
        anchors=anchors,
        rows=ordered,
        missing=missing,
        comparisons=comparisons,
        promises=promises,
        shortfalls=checks.list_shortfalls(
            benchmark, facts, anchors=anchors, missing=missing, promises=promises, comparisons=comparisons,
            outdated=checks.list_outdated(benchmark, everything, ordered),
        ),
    )  # fmt: skip


_Key = tuple[str, str]


def _key(entry: Entry) -> _Key:
    return entry.card.id, label("", entry.options)


def _entries(benchmark: Benchmark, cards: Sequence[Card], level: Level) -> list[Entry]:
    made = [
        quality.prepare(benchmark, card, options, level)
        for card in cards
        for options in quality.variants(card, benchmark.task)
        if level in quality.levels(benchmark, card, options)
    ]
    return [entry for entry in made if isinstance(entry, Entry)]


def _time(
    benchmark: Benchmark,
    entries: dict[Level, list[Entry]],
    clock: Clock,
    run_id: str,
    report: Callable[[str], None],
) -> tuple[dict[tuple[_Key, Level], Timing], tuple[SpeedComparison, ...]]:
    """Time the methods by level; where the level does not change the size, each once, at its middle one."""
    found: dict[tuple[_Key, Level], Timing] = {}
    comparisons: list[SpeedComparison] = []
    if not benchmark.timed_by_level:
        everywhere: dict[_Key, list[Entry]] = {}
        for entry in (entry for level in benchmark.levels for entry in entries[level]):
            everywhere.setdefault(_key(entry), []).append(entry)
        chosen = [same[len(same) // 2] for same in everywhere.values()]
        report(f"time: {len(chosen)} methods, {clock.rounds} rounds")
        for entry, timing in zip(chosen, speed.time_entries(benchmark, chosen, clock), strict=True):
            found |= {(_key(entry), level): timing for level in benchmark.levels}
    for level, present in entries.items():
        if benchmark.timed_by_level:
            report(f"time {benchmark.label(level)}: {len(present)} methods, {clock.rounds} rounds")
            for entry, timing in zip(present, speed.time_entries(benchmark, present, clock), strict=True):
                found[_key(entry), level] = timing
        plain = {entry.card.id: entry for entry in present if not entry.options}
        for race in benchmark.races:
            if level == race.level and race.fast in plain and race.slow in plain:
                pair = plain[race.fast], plain[race.slow]
                comparisons.append(speed.compare(benchmark, *pair, race.published, clock, run_id))
    return found, tuple(comparisons)


def _line(benchmark: Benchmark, facts: Sequence[MetricFacts], row: Row) -> str:
    """Say what was measured in a line, such as ``x2 Set5 bicubic: 33.66 dB, SSIM 0.9299``."""
    numbers = [
        f"{row.metrics[metric.name]:.{metric.digits}f} {metric.unit}"
        if metric.unit
        else f"{metric.title} {row.metrics[metric.name]:.{metric.digits}f}"
        for metric in facts
        if metric.name in row.metrics
    ]
    where = f"{benchmark.label(row.level)} {row.set} {label(row.method, row.options)}".strip()
    return f"{where}: {', '.join(numbers)}"


def _row(
    benchmark: Benchmark,
    facts: Sequence[MetricFacts],
    entry: Entry,
    name: str,
    numbers: Numbers,
    timing: Timing,
    run_id: str,
) -> Row:
    measured = {metric.name: kept(metric, numbers[metric.name]) for metric in facts if metric.name in numbers}
    published = _published(benchmark, entry, name)
    published = {metric.name: published[metric.name] for metric in facts if metric.name in published}
    return Row(
        method=entry.card.id,
        options=entry.options,
        level=entry.level,
        set=name,
        metrics=measured,
        published=published,
        difference=differences(facts, measured, published),
        parameters=entry.parameters,
        multiply_adds=None if entry.multiply_adds is None else round(entry.multiply_adds, 1),
        seconds_per_megapixel=speed.significant(timing.seconds),
        weights_sha256=entry.weights_sha256,
        run=run_id,
        timed_on=timing.on,
        fast_seconds_per_megapixel=None if timing.fast is None else speed.significant(timing.fast),
    )


def _published(benchmark: Benchmark, entry: Entry, name: str) -> Numbers:
    """The paper's numbers for the same options: others are other networks."""
    made = make_options(entry.card, entry.options)
    for score in entry.card.published:
        same = (score.task, score.data, score.level) == (benchmark.task, name, entry.level)
        if same and make_options(entry.card, score.options) == made:
            return score.values
    return {}


def _ordered(benchmark: Benchmark, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Put rows into the catalog's order, then by options, level and set; those of methods that are gone are dropped."""
    order = {card.id: i for i, card in enumerate(catalog.of_task(benchmark.task))}
    names = [spec.name for spec in benchmark.sets]
    levels = list(benchmark.levels)
    known = [row for row in rows if row.method in order]

    def key(row: Row) -> tuple[int, str, int, int]:
        return order[row.method], label(row.method, row.options), levels.index(row.level), names.index(row.set)

    return tuple(sorted(known, key=key))
