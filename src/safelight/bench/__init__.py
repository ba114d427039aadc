"""The benchmark: every method of a task on the test sets, published beside measured, and quality against time.

``run`` writes ``<task>.json``; its tables (``<task>.md``) and its plot (``<task>.svg``) are made from that file alone.
Before any number is believed, the anchors must hold: bicubic's rows, which the field has agreed on for years.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from safelight import __version__, catalog, provenance
from safelight.bench import matlab, quality, speed, verdict
from safelight.bench.markdown import tables
from safelight.bench.plot import draw
from safelight.bench.quality import Entry, PictureSet, Quality
from safelight.bench.records import Comparison, Earlier, ResizeProof, Results, Row, Run, label, read
from safelight.bench.speed import CLOCK, Clock
from safelight.card import Card, Score
from safelight.checkpoint import write_atomic
from safelight.data import DataError
from safelight.tasks import Task

__all__ = ["AnchorError", "Clock", "run", "tables"]

# The headline of FSRCNN's paper (table 1): 41.3 times faster than SRCNN 9-5-5 at x3.
FAST, SLOW, RACE_SCALE, RACE_RATIO = "upscale/fsrcnn", "upscale/srcnn", 3, 41.3


class AnchorError(DataError):
    """Bicubic's scores are not those of the literature: the test sets are others, or the arithmetic is wrong."""


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
        task: The task.
        data: The folder that holds Set5, Set14 and BSD100.
        out: The folder to write to; it is made if need be.
        methods: Names of the methods to measure, and bicubic for the anchors; the rows of the others are kept as the
            JSON in ``out`` has them. ``None``: all methods, and nothing is kept.
        report: Told in a line how far it is.
        clock: How time is taken.

    Returns:
        The JSON file.

    Raises:
        AnchorError: The anchors fail. The files are written nevertheless, and say so.
        CardError: No method is called so.
        DataError: A test set is missing, or ``out`` holds results of other pictures.
        image.PictureError: A picture is broken.

    Example:
        ``run("upscale", Path("data/test"), Path("results"), methods=None, report=print)``
    """
    path = out / f"{task}.json"
    chosen = {card.id for card in catalog.of_task(task)}
    if methods is not None:
        chosen = {catalog.find(name, task).id for name in methods} | {verdict.ANCHOR}
    cards = tuple(card for card in catalog.of_task(task) if card.id in chosen)
    report(f"reading {', '.join(quality.SETS)}")
    sets = quality.read_sets(data)
    earlier = read(path) if methods is not None and path.is_file() else None
    if earlier is not None and earlier.data != tuple(item.facts for item in sets):
        raise DataError(
            f"{path}: expected results of the pictures in {data}, got those of others; "
            "benchmark all methods, or write to another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    resize = matlab.prove(data)
    results = measure(task, cards, sets, resize, earlier, clock, report)
    text = results.to_json()
    write_atomic(path, text.encode())
    write_atomic(path.with_suffix(".md"), tables(json.loads(text)).encode())
    try:
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
    task: Task,
    cards: Sequence[Card],
    sets: Sequence[PictureSet],
    resize: tuple[ResizeProof, ...],
    earlier: Earlier | None,
    clock: Clock,
    report: Callable[[str], None],
) -> Results:
    """Measure methods, bicubic among them, and put the rows together with those of an earlier run.

    Args:
        task: The task.
        cards: The methods.
        sets: The test sets.
        resize: The comparison of our resize with MATLAB's.
        earlier: Rows to keep where they are not of ``cards``; of the same test sets.
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
    rows: list[Row] = []
    comparison: Comparison | None = None
    for scale in quality.SCALES:
        entries = _entries(cards, scale)
        report(f"time x{scale}: {len(entries)} methods, {clock.rounds} rounds")
        seconds = speed.time_entries(entries, scale, clock)
        racers = {entry.card.id: entry for entry in entries if not entry.options}
        if scale == RACE_SCALE and FAST in racers and SLOW in racers:
            comparison = speed.compare(racers[FAST], racers[SLOW], RACE_RATIO, clock, now.id)
        for item in sets:
            scores = quality.score(entries, item, scale, report)
            new = [
                _row(entry, item.facts.name, score, taken, now.id)
                for entry, score, taken in zip(entries, scores, seconds, strict=True)
            ]
            for row in new:
                name = label(row.method, row.options)
                report(f"x{scale} {row.set} {name}: {row.psnr:.2f} dB, SSIM {row.ssim:.4f}")
            for anchor in verdict.anchors(new):
                if not anchor.passed:  # said at once: the rest may take an hour
                    report(
                        f"an anchor fails, x{scale} {anchor.set}: {anchor.measured:g}, expected {anchor.published:g}"
                    )
            rows += new
    kept = () if earlier is None else tuple(row for row in earlier.rows if row.method not in now.methods)
    if comparison is None and earlier is not None:
        comparison = earlier.comparison
    ordered = _ordered(task, [*rows, *kept])
    used = {row.run for row in ordered} | ({comparison.run} if comparison is not None else set[str]())
    before = () if earlier is None else tuple(run for run in earlier.runs if run.id in used and run.id != now.id)
    everything = catalog.of_task(task)
    anchors = verdict.anchors(ordered)
    missing = verdict.missing(everything)
    promises = tuple(promise for card in everything for promise in verdict.promises(card, ordered))
    return Results(
        task=task,
        protocol={"quality": quality.PROTOCOL, "time": clock.describe()},
        runs=(*before, now),
        data=tuple(item.facts for item in sets),
        resize=resize,
        anchors=anchors,
        rows=ordered,
        missing=missing,
        comparison=comparison,
        promises=promises,
        shortfalls=verdict.shortfalls(anchors, missing, verdict.stale(everything, ordered), promises, comparison),
    )


def _entries(cards: Sequence[Card], scale: int) -> list[Entry]:
    made = [quality.enter(card, options, scale) for card in cards for options in quality.variants(card)]
    return [entry for entry in made if isinstance(entry, Entry)]


def _row(entry: Entry, name: str, score: Quality, seconds: float, run_id: str) -> Row:
    published = _published(entry, name)
    psnr, ssim = round(score.psnr, 4), round(score.ssim, 5)
    known_psnr = None if published is None else published.psnr
    known_ssim = None if published is None else published.ssim
    return Row(
        method=entry.card.id,
        options=entry.options,
        scale=entry.scale,
        set=name,
        psnr=psnr,
        ssim=ssim,
        published_psnr=known_psnr,
        published_ssim=known_ssim,
        psnr_difference=None if known_psnr is None else round(psnr - known_psnr, 4),
        ssim_difference=None if known_ssim is None else round(ssim - known_ssim, 5),
        parameters=entry.parameters,
        multiply_adds=None if entry.multiply_adds is None else round(entry.multiply_adds, 1),
        seconds_per_megapixel=speed.significant(seconds),
        weights_sha256=entry.weights_sha256,
        run=run_id,
    )


def _published(entry: Entry, name: str) -> Score | None:
    """The paper's number. It is for the defaults: other options are other networks."""
    if entry.options:
        return None
    return next((s for s in entry.card.published if (s.data, s.scale) == (name, entry.scale)), None)


def _ordered(task: Task, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Put rows into the catalog's order, then by options, scale and set; those of methods that are gone are dropped."""
    order = {card.id: i for i, card in enumerate(catalog.of_task(task))}
    known = [row for row in rows if row.method in order]

    def key(row: Row) -> tuple[int, str, int, int]:
        return order[row.method], label(row.method, row.options), row.scale, quality.SETS.index(row.set)

    return tuple(sorted(known, key=key))
