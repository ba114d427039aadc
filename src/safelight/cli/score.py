"""The verb that measures pictures against their originals: ``score``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from safelight.cli.shell import (
    FAILED,
    Bar,
    Debug,
    Device,
    DeviceFlag,
    Json,
    Quiet,
    UsageError,
    Verb,
    finite,
    note,
    say,
    say_json,
    table,
)

if TYPE_CHECKING:
    from safelight.evaluation.scoring import Column, Scorer
    from safelight.media.image import Picture

Channel = Literal["y", "rgb"]
Rounding = Literal["none", "8-bit", "8-bit-y"]

_WORST = 5

ChannelFlag = Annotated[
    Channel, typer.Option("--channel", help="y: the luma (BT.601, studio range). rgb: all three channels.")
]
RoundingFlag = Annotated[
    Rounding, typer.Option("--rounding", help="8-bit: as in a file. 8-bit-y: the luma too, as in papers up to 2017.")
]
BackboneFlag = Annotated[
    str,
    typer.Option(
        "--backbone", help="The network that lpips, fid and kid use; scores of two networks cannot be compared."
    ),
]
LayersFlag = Annotated[
    str | None,
    typer.Option("--layers", help="Layers of that network, separated by commas; its default layers if not given."),
]
HeadsFlag = Annotated[
    Path | None, typer.Option("--heads", help="A file of the published weights of LPIPS for that network.")
]


def add(app: typer.Typer) -> None:
    """Add this file's verbs."""
    app.command(cls=Verb)(score)


@dataclass(frozen=True, slots=True)
class _Pair:
    reference: Path
    result: Path
    name: str


def score(
    reference: Annotated[Path, typer.Argument(help="The original picture, or a folder of originals.")],
    result: Annotated[
        Path, typer.Argument(help="The picture to measure, or a folder; paired by path, without suffix.")
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Metrics, separated by commas: psnr, ssim, ms_ssim, ifc, nqm, wpsnr, lpips; fid, kid for folders. "
            "If not given: all metrics of two pictures that the pictures are large enough for.",
        ),
    ] = None,
    channel: ChannelFlag = "y",
    shave: Annotated[
        int, typer.Option("--shave", min=0, help="Pixels to cut from each side; papers cut as many as the scale.")
    ] = 0,
    rounding: RoundingFlag = "8-bit",
    backbone: BackboneFlag = "lens",
    layers: LayersFlag = None,
    heads: HeadsFlag = None,
    device: DeviceFlag = "auto",
    worst: Annotated[
        Path | None,
        typer.Option(
            "--worst",
            help="A new folder for sheets of the five worst pairs by the first metric: reference, result, difference.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Measure how close pictures are to their originals, and name the protocol.

    JSON: an object a pair (reference, result, status, error, a number for each metric, null where it is infinite), then
    one summary (summary, total, done, failed, protocol, protocols, the means, medians, worst, warnings). A metric that
    a picture is too small for has no number.
    """
    scorer = scorer_of(metric, channel, shave, rounding, device, backbone, layers, heads)
    rows: list[tuple[_Pair, dict[str, float]]] = []
    lonely: list[tuple[Path, str]] = []
    pairs: list[_Pair] = []
    if scorer.of_sets and not (reference.is_dir() and result.is_dir()):
        raise UsageError(f"expected two folders for {scorer.of_sets[0].title}, got {reference} and {result}")
    if worst is not None:
        _check_worst(scorer, worst)
    if scorer.of_pairs:
        pairs, lonely = _pairs(reference, result)
    failed = len(lonely)
    if json:
        for path, error in lonely:
            say_json({"reference": str(path), "result": None, "status": "failed", "error": error})
    for _, error in lonely:
        note(f"safelight: {error}")
    with Bar(len(pairs), "score", quiet=quiet) as bar:
        for i, pair in enumerate(pairs):
            bar.show(i, pair.name)
            try:
                figures = _measure(scorer, pair, alone=not reference.is_dir())
                problem = None
            except UsageError:
                raise
            except Exception as error:
                # One pair that cannot be measured does not end the rest.
                from safelight.cli.shell import explain

                if debug:
                    raise
                figures, problem = {}, str(error) if isinstance(error, ValueError) else explain(error)[0]
                failed += 1
                note(f"safelight: {pair.result}: {problem}")
            else:
                rows.append((pair, figures))
            if json:
                facts: dict[str, Any] = {"reference": str(pair.reference), "result": str(pair.result)}
                facts |= {"status": "failed" if problem else "done", "error": problem}
                say_json(facts | {name: finite(value) for name, value in figures.items()})
    sets, warnings = _sets(scorer, reference, result, quiet=quiet) if scorer.of_sets else ({}, [])
    for warning in warnings:
        note(f"safelight: {warning}")
    shown = [] if worst is None else _show_worst(scorer, rows, worst)
    if json:
        summary: dict[str, Any] = {"summary": True, "total": len(pairs) + len(lonely), "done": len(rows)}
        summary |= {"failed": failed, "protocol": scorer.protocol.describe()}
        summary |= {"protocols": {c.name: f"{c.protocol}; {c.definition}" for c in (*scorer.of_pairs, *scorer.of_sets)}}
        summary |= {name: finite(value) for name, value in (_over(statistics.fmean, scorer, rows) | sets).items()}
        summary |= {"medians": {k: finite(v) for k, v in _over(statistics.median, scorer, rows).items()}}
        say_json(summary | {"worst": [str(path) for path in shown], "warnings": warnings})
    else:
        _tell(scorer, rows, alone=len(rows) == 1 and not lonely)
        for column in scorer.of_sets:
            say(f"{column.title} {sets[column.name]:.6g}  ({column.protocol}; {column.definition})")
        for path in shown:
            say(f"worst: {path}")
    return FAILED if failed else 0


def scorer_of(
    metric: str | None,
    channel: Channel,
    shave: int,
    rounding: Rounding,
    device: Device,
    backbone: str = "lens",
    layers: str | None = None,
    heads: Path | None = None,
) -> Scorer:
    """Build the scorer from the values of the flags.

    Raises:
        UsageError: A metric, network or layer does not exist, or flags do not go together.
        CheckpointError: The file of heads is missing, broken or unsafe.
    """
    from safelight import metrics
    from safelight.evaluation import scoring

    try:
        chosen = None if metric is None else [metrics.find(name.strip()) for name in metric.split(",")]
        protocol = metrics.Protocol(channel=channel, shave=shave, rounding=rounding)
        named = None if layers is None else [layer.strip() for layer in layers.split(",")]
        return scoring.Scorer(chosen, protocol, backbone=backbone, layers=named, heads=heads, device=device)
    except ValueError as error:
        raise UsageError(str(error)) from None


def figure(column: Column, value: float | None) -> str:
    """Format a score with its unit; a dash if there is none."""
    if value is None:
        return "–"  # noqa: RUF001 - as tables have it
    if math.isinf(value):
        return "inf (equal)" if value > 0 else "-inf"
    return f"{value:.2f} dB" if column.unit == "dB" else f"{value:.4f}"


# --- pairs ------------------------------------------------------------------------------------------------------------


def _pairs(reference: Path, result: Path) -> tuple[list[_Pair], list[tuple[Path, str]]]:
    """Pair two files, or the files of two folders by path without suffixes, and list those without a partner."""
    if reference.is_dir() != result.is_dir():
        raise UsageError(f"expected two pictures or two folders, got {reference} and {result}; name two of a kind")
    if not reference.is_dir():
        return [_Pair(reference, result, result.name)], []
    originals, results = _pictures_in(reference), _pictures_in(result)
    pairs = [_Pair(path, results[name], str(name)) for name, path in originals.items() if name in results]
    lonely = [
        (path, f"{path}: expected a picture of the same name in {result}, got none; name both alike")
        for name, path in originals.items()
        if name not in results
    ]
    if not pairs:
        raise UsageError(f"expected pictures of the same names in {reference} and {result}, got none; name them alike")
    return pairs, lonely


def _pictures_in(folder: Path) -> dict[Path, Path]:
    """List a folder's pictures by their paths within it, without suffixes."""
    from safelight import batch

    found = batch.expand([str(folder)]).sources
    return {source.tree.with_suffix(""): source.path for source in found if source.path is not None}


def _measure(scorer: Scorer, pair: _Pair, *, alone: bool) -> dict[str, float]:
    from safelight.media import image

    original, measured = image.read(pair.reference), image.read(pair.result)
    try:
        return scorer.pair(original, measured)
    except ValueError as error:
        if alone:
            raise UsageError(str(error)) from None  # two pictures that cannot be meant to be compared so
        raise


# --- sets -------------------------------------------------------------------------------------------------------------


def _sets(scorer: Scorer, reference: Path, result: Path, *, quiet: bool) -> tuple[dict[str, float], list[str]]:
    originals, results = (list(_pictures_in(folder).values()) for folder in (reference, result))
    for folder, paths in ((reference, originals), (result, results)):
        if len(paths) < 2:
            raise UsageError(f"{folder}: expected at least 2 pictures for {scorer.of_sets[0].title}, got {len(paths)}")
    with Bar(len(originals) + len(results), "look", quiet=quiet) as bar:
        # The scorer reads the results first.
        return scorer.sets(_read(originals, bar, len(results)), _read(results, bar, 0))


def _read(paths: Sequence[Path], bar: Bar, done: int) -> Iterator[Picture]:
    from safelight.media import image

    for i, path in enumerate(paths):
        bar.show(done + i, path.name)
        yield image.read(path)


# --- what is told -----------------------------------------------------------------------------------------------------


def _over(
    take: Any,  # noqa: ANN401 - statistics.fmean and statistics.median, whose types have nothing in common
    scorer: Scorer,
    rows: Sequence[tuple[_Pair, Mapping[str, float]]],
) -> dict[str, float]:
    """Compute the mean or the median of each score over the pictures that have it."""
    taken: dict[str, float] = {}
    for column in scorer.of_pairs:
        values = [figures[column.name] for _, figures in rows if column.name in figures]
        if values:
            taken[column.name] = float(take(values))
    return taken


def _tell(scorer: Scorer, rows: Sequence[tuple[_Pair, Mapping[str, float]]], *, alone: bool) -> None:
    """Print the scores: one pair as lines, several as a table with the mean and the median."""
    if not rows:
        return
    if alone:
        for column in scorer.of_pairs:
            if column.name in rows[0][1]:
                value = figure(column, rows[0][1][column.name])
                say(f"{column.title} {value}  ({column.protocol}; {column.definition})")
        return
    columns = [column for column in scorer.of_pairs if any(column.name in figures for _, figures in rows)]
    body = [[pair.name, *(figure(c, figures.get(c.name)) for c in columns)] for pair, figures in rows]
    for name, take in (("mean", statistics.fmean), ("median", statistics.median)):
        taken = _over(take, scorer, rows)
        body.append([f"{name} of {len(rows)}", *(figure(c, taken[c.name]) for c in columns)])
    table(["picture", *(c.title for c in columns)], body)
    protocol = scorer.protocol.describe()
    others = ((c, "" if c.protocol == protocol else f"{c.protocol}, ") for c in columns)
    say(f"protocol: {protocol}; " + "; ".join(f"{c.title}: {other}{c.definition}" for c, other in others))


def _check_worst(scorer: Scorer, folder: Path) -> None:
    if not scorer.of_pairs:
        raise UsageError("--worst: expected a metric of two pictures, got none; add --metric psnr")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        # Sheets of another run beside these would be taken for some of them.
        raise UsageError(f"--worst: expected a new or empty folder, got {folder}; name another")


def _show_worst(scorer: Scorer, rows: Sequence[tuple[_Pair, Mapping[str, float]]], folder: Path) -> list[Path]:
    """Write sheets of the pairs with the worst scores of the first metric; the worst comes first."""
    from safelight.evaluation import scoring
    from safelight.media import image

    column = scorer.of_pairs[0]
    measured = [(figures[column.name], pair) for pair, figures in rows if column.name in figures]
    measured.sort(key=lambda row: row[0], reverse=not column.higher_is_better)
    folder.mkdir(parents=True, exist_ok=True)
    shown: list[Path] = []
    for place, (value, pair) in enumerate(measured[:_WORST], start=1):
        heading = f"{pair.name}  {column.title} {figure(column, value)}"
        sheet = scoring.side_by_side(image.read(pair.reference), image.read(pair.result), heading)
        path = folder / f"{place}-{Path(pair.name).as_posix().replace('/', '_')}.png"
        image.write(sheet, path)
        shown.append(path)
    return shown
