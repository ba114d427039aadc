"""The benchmark: every method of a task on the test sets, published beside measured, and quality against time.

``run`` writes ``<task>.json``; its tables (``<task>.md``) and its plot (``<task>.svg``) are made from that file alone.
What differs between the tasks stands in ``tracks``. Before any number is believed, the anchors must hold: what the
field has agreed on for years.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from safelight import __version__, catalog
from safelight.checkpoints import provenance
from safelight.checkpoints.weights_file import write_atomic
from safelight.core.card import Card, Score
from safelight.core.options import make_options
from safelight.core.task import Task
from safelight.evaluation.bench import matlab, quality, speed, verdict
from safelight.evaluation.bench.markdown import tables
from safelight.evaluation.bench.plot import draw
from safelight.evaluation.bench.quality import Entry, PictureSet, Quality
from safelight.evaluation.bench.records import (
    Comparison,
    Earlier,
    ResizeProof,
    Results,
    Row,
    Run,
    Shortfall,
    label,
    read,
)
from safelight.evaluation.bench.speed import CLOCK, Clock, Timing
from safelight.evaluation.bench.tracks import TRACKS, Track
from safelight.training.datasets import DataError

__all__ = ["AnchorError", "Clock", "run", "tables"]

# The headline of FSRCNN's paper (table 1): 41.3 times faster than SRCNN 9-5-5 at x3.
FAST, SLOW, RACE_SCALE, RACE_RATIO = "upscale/fsrcnn", "upscale/srcnn", 3, 41.3


class AnchorError(DataError):
    """An anchor's scores are not those that are known: the test sets are others, or the arithmetic is wrong."""


def track_of(task: Task) -> Track:
    """Find the benchmark of a task.

    Raises:
        DataError: The task has none.
    """
    if task not in TRACKS:
        raise DataError(f"expected a task that can be benchmarked, {', '.join(TRACKS)}, got {task}; choose one of them")
    return TRACKS[task]


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
        task: The task: ``upscale``, ``denoise`` or ``deblock``.
        data: The folder that holds the test sets.
        out: The folder to write to; it is made if need be.
        methods: Names of the methods to measure, and the anchor's; the rows of the others are kept as the JSON in
            ``out`` has them. ``None``: all but those that the track leaves out, and nothing is kept.
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
    track = track_of(task)
    path = out / f"{task}.json"
    chosen = {card.id for card in catalog.of_task(task)} - set(track.left_out)
    if methods is not None:
        chosen = {catalog.find(name, task).id for name in methods} | {track.anchor}
    cards = tuple(card for card in catalog.of_task(task) if card.id in chosen)
    report(f"reading {', '.join(spec.name for spec in track.sets)}")
    sets = quality.read_sets(track, data)

    def earlier() -> Earlier | None:
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
    resize = matlab.prove(data) if task == "upscale" else ()
    results = measure(track, cards, sets, resize, earlier, clock, report)
    text = results.to_json()
    write_atomic(path, text.encode())
    write_atomic(path.with_suffix(".md"), tables(json.loads(text)).encode())
    try:
        if any(row.set in track.plotted for row in results.rows):
            write_atomic(path.with_suffix(".svg"), draw(json.loads(text)))
    except ModuleNotFoundError:
        report("no plot was drawn: it needs matplotlib; pip install 'safelight[plot]'")
    for shortfall in results.shortfalls:
        report(f"shortfall: {shortfall.text}")
    unlike = [proof for proof in resize if proof.different]
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
    track: Track,
    cards: Sequence[Card],
    sets: Sequence[PictureSet],
    resize: tuple[ResizeProof, ...],
    earlier: Callable[[], Earlier | None],
    clock: Clock,
    report: Callable[[str], None],
) -> Results:
    """Measure methods, the anchor among them, and put the rows together with those of an earlier run.

    Args:
        track: The task's.
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
    entries = {level: _entries(track, cards, level) for level in track.levels}
    times, comparison = _time(track, entries, clock, now.id, report)
    rows: list[Row] = []
    anchored: dict[tuple[str, int], Quality] = {}
    for level in track.levels:
        for item in sets:
            fitting = [entry for entry in entries[level] if entry.suits(item.spec.kind)]
            scores = quality.score(track, fitting, item, level, report)
            if scores.input is not None:
                anchored[item.spec.name, level] = scores.input
            for entry, score in zip(fitting, scores.methods, strict=True):
                row = _row(track, entry, item.spec.name, score, times[_key(entry), level], now.id)
                name = label(row.method, row.options)
                report(f"{track.label(level)} {row.set} {name}: {row.psnr:.2f} dB, SSIM {row.ssim:.4f}")
                if row.method == track.anchor:
                    anchored[item.spec.name, level] = score
                rows.append(row)
            for anchor in verdict.anchors(track, {k: v for k, v in anchored.items() if k == (item.spec.name, level)}):
                if not anchor.passed:  # said at once: the rest may take an hour
                    where = f"{track.label(level)} {anchor.set}"
                    report(f"an anchor fails, {where}: {anchor.measured:g}, expected {anchor.published:g}")
    before = earlier()
    kept = () if before is None else tuple(row for row in before.rows if row.method not in now.methods)
    if comparison is None and before is not None:
        comparison = before.comparison
    ordered = _ordered(track, [*rows, *kept])
    used = {row.run for row in ordered} | ({comparison.run} if comparison is not None else set[str]())
    runs = () if before is None else tuple(run for run in before.runs if run.id in used and run.id != now.id)
    everything = catalog.of_task(track.task)
    anchors = verdict.anchors(track, anchored)
    missing = verdict.missing(track, everything, ordered)
    promises = tuple(promise for card in everything for promise in verdict.promises(track, card, ordered))
    shortfalls: tuple[Shortfall, ...] = verdict.shortfalls(
        track, anchors, missing, verdict.stale(track, everything, ordered), promises, comparison
    )
    return Results(
        task=track.task,
        protocol={"quality": track.protocol, "time": clock.describe(track)},
        runs=(*runs, now),
        data=tuple(item.facts for item in sets),
        resize=resize,
        anchors=anchors,
        rows=ordered,
        missing=missing,
        comparison=comparison,
        promises=promises,
        shortfalls=shortfalls,
    )


_Key = tuple[str, str]


def _key(entry: Entry) -> _Key:
    return entry.card.id, label("", entry.options)


def _entries(track: Track, cards: Sequence[Card], level: int) -> list[Entry]:
    made = [
        quality.enter(track, card, options, level)
        for card in cards
        for options in quality.variants(card, track.task)
        if level in quality.levels(track, card, options)
    ]
    return [entry for entry in made if isinstance(entry, Entry)]


def _time(
    track: Track, entries: dict[int, list[Entry]], clock: Clock, run_id: str, report: Callable[[str], None]
) -> tuple[dict[tuple[_Key, int], Timing], Comparison | None]:
    """Time the methods by level; where the level does not change the size, each once, at its middle one."""
    found: dict[tuple[_Key, int], Timing] = {}
    comparison: Comparison | None = None
    if track.task != "upscale":
        everywhere: dict[_Key, list[Entry]] = {}
        for entry in (entry for level in track.levels for entry in entries[level]):
            everywhere.setdefault(_key(entry), []).append(entry)
        chosen = [same[len(same) // 2] for same in everywhere.values()]
        report(f"time: {len(chosen)} methods, {clock.rounds} rounds")
        for entry, timing in zip(chosen, speed.time_entries(track, chosen, clock), strict=True):
            found |= {(_key(entry), level): timing for level in track.levels}
        return found, None
    for level, present in entries.items():
        report(f"time {track.label(level)}: {len(present)} methods, {clock.rounds} rounds")
        for entry, timing in zip(present, speed.time_entries(track, present, clock), strict=True):
            found[_key(entry), level] = timing
        racers = {entry.card.id: entry for entry in present if not entry.options}
        if level == RACE_SCALE and FAST in racers and SLOW in racers:
            comparison = speed.compare(racers[FAST], racers[SLOW], RACE_RATIO, clock, run_id)
    return found, comparison


def _row(track: Track, entry: Entry, name: str, score: Quality, timing: Timing, run_id: str) -> Row:
    published = _published(track, entry, name)
    psnr, ssim = round(score.psnr, 4), round(score.ssim, 5)
    known_psnr = None if published is None else published.psnr
    known_ssim = None if published is None else published.ssim
    return Row(
        method=entry.card.id,
        options=entry.options,
        level=entry.level,
        set=name,
        psnr=psnr,
        ssim=ssim,
        published_psnr=known_psnr,
        published_ssim=known_ssim,
        psnr_difference=None if known_psnr is None else round(psnr - known_psnr, 4),
        ssim_difference=None if known_ssim is None else round(ssim - known_ssim, 5),
        parameters=entry.parameters,
        multiply_adds=None if entry.multiply_adds is None else round(entry.multiply_adds, 1),
        seconds_per_megapixel=speed.significant(timing.seconds),
        weights_sha256=entry.weights_sha256,
        run=run_id,
        timed_on=timing.on,
        fast_seconds_per_megapixel=None if timing.fast is None else speed.significant(timing.fast),
    )


def _published(track: Track, entry: Entry, name: str) -> Score | None:
    """The paper's number for the same options: others are other networks."""
    made = make_options(entry.card, entry.options)
    for score in entry.card.published:
        same = (score.task, score.data, score.level) == (track.task, name, entry.level)
        if same and make_options(entry.card, score.options) == made:
            return score
    return None


def _ordered(track: Track, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Put rows into the catalog's order, then by options, level and set; those of methods that are gone are dropped."""
    order = {card.id: i for i, card in enumerate(catalog.of_task(track.task))}
    names = [spec.name for spec in track.sets]
    known = [row for row in rows if row.method in order]

    def key(row: Row) -> tuple[int, str, int, int]:
        return order[row.method], label(row.method, row.options), row.level, names.index(row.set)

    return tuple(sorted(known, key=key))
