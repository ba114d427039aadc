"""The benchmark's JSON as tables in Markdown, for people and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safelight.evaluation.bench.records import label
from safelight.evaluation.bench.tracks import TRACKS, Track

_NONE = "–"  # noqa: RUF001 - the typographer's dash for an empty cell


def tables(results: Mapping[str, Any]) -> str:
    """Write the tables: published beside measured, time, speed, and what falls short.

    Args:
        results: The JSON of a benchmark, as ``json.loads`` gives it.

    Returns:
        Markdown, its headings of the second and third level below one of the first.
    """
    track = TRACKS[results["task"]]
    parts = [f"# Benchmark of `safelight {results['task']}`", _head(results)]
    parts += ["## Quality", results["protocol"]["quality"]]
    for data in results["data"]:
        rows = [row for row in results["rows"] if row["set"] == data["name"]]
        parts += [f"### {data['name']} ({data['pictures']} pictures)", _quality(track, rows)]
    parts += ["A cell is PSNR in dB / SSIM; the difference is measured minus published, in dB."]
    parts += ["## Time", results["protocol"]["time"], _time(track, results["rows"])]
    if len({row["run"] for row in results["rows"]}) > 1:
        parts += ["**Not all rows are of one run: their times compare only roughly.**"]
    if results["comparison"] is not None:
        parts += ["## Speed", _comparison(results["comparison"])]
    parts += ["## Anchors", _anchors(track, results["anchors"])]
    if results["resize"]:
        parts += ["The resize against the low-resolution files that MATLAB wrote:", _resize(results["resize"])]
    parts += ["## Shortfalls", _shortfalls(results["shortfalls"])]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _number(value: float | None, pattern: str) -> str:
    return _NONE if value is None else format(value, pattern)


def _head(results: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for run in results["runs"]:
        machine = run["machine"]
        load = "" if machine["load"] is None else f", load {machine['load']} before the run"
        code = f"safelight {run['safelight']}" + (f" (commit {run['commit']})" if run["commit"] else "")
        lines.append(
            f"Measured {run['id']} with {code} on {machine['processor']}, {machine['threads']} threads, device "
            f"{machine['device']}, torch {machine['torch']}, Python {machine['python']}, {machine['system']}{load}."
        )
    failed = sum(not anchor["passed"] for anchor in results["anchors"])
    if failed:
        lines.insert(0, f"**{failed} of {len(results['anchors'])} anchors fail: no number below is to be believed.**")
    return "\n\n".join(lines)


def _levels(rows: Iterable[Mapping[str, Any]]) -> list[int]:
    return sorted({row["level"] for row in rows})


def _by_method(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Sort rows by method and then by level; the order of methods stays."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(label(row["method"], row["options"]), {})[row["level"]] = row
    return found


def _quality(track: Track, rows: Sequence[Mapping[str, Any]]) -> str:
    levels = _levels(rows)
    names = [track.label(level) for level in levels]
    heads = ["method", *(f"{name} {what}" for name in names for what in ("measured", "published", "difference"))]
    lines: list[list[str]] = []
    for name, by_level in _by_method(rows).items():
        cells = [name]
        for level in levels:
            row = by_level.get(level)
            if row is None:
                cells += [_NONE] * 3
                continue
            published = _number(row["published_psnr"], ".2f")
            if row["published_ssim"] is not None:
                published += f" / {row['published_ssim']:.4f}"
            cells += [f"{row['psnr']:.2f} / {row['ssim']:.4f}", published, _number(row["psnr_difference"], "+z.2f")]
        lines.append(cells)
    return _table(heads, lines)


def _time(track: Track, rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a method: at every scale of ``upscale``; elsewhere the level changes nothing."""
    levels: list[int | None] = [*_levels(rows)] if track.task == "upscale" else [None]
    names = ["" if level is None else f"{track.label(level)} " for level in levels]
    fields = (
        ("parameters", "parameters", ",d"),
        ("multiply_adds", "multiply-adds per output pixel", ",.0f"),
        ("seconds_per_megapixel", "seconds per megapixel", ".3g"),
        ("fast_seconds_per_megapixel", "seconds with --precision fast", ".3g"),
    )
    heads = ["method", *(f"{name}{title}" for _, title, _ in fields for name in names)]
    lines: list[list[str]] = []
    small: dict[str, list[str]] = {}
    for name, by_level in _by_method(rows).items():
        chosen = [next(iter(by_level.values())) if level is None else by_level.get(level) for level in levels]
        cells = [_NONE if row is None else _number(row.get(field), how) for field, _, how in fields for row in chosen]
        lines.append([name, *cells])
        for row in chosen:
            if row is not None and row["timed_on"] and name not in small.setdefault(row["timed_on"], []):
                small[row["timed_on"]].append(name)
    notes = "".join(f"\n\nTimed on {what}: {', '.join(names)}." for what, names in small.items())
    return _table(heads, lines) + notes


def _comparison(race: Mapping[str, Any]) -> str:
    fast, slow = race["fast"].split("/")[-1], race["slow"].split("/")[-1]
    ways = (
        ("multiply-adds per output pixel", "multiply_adds", ",.0f"),
        ("networks alone, seconds per megapixel", "network", ".3g"),
        ("whole path, gray picture", "gray", ".3g"),
        ("whole path, RGB picture", "rgb", ".3g"),
    )
    heads = [f"x{race['scale']}", fast, slow, "times faster"]
    lines = [
        [text, *(format(race[key][side], pattern) for side in ("fast", "slow")), f"{race[key]['ratio']:.1f}"]
        for text, key, pattern in ways
    ]
    lines.append(["published", _NONE, _NONE, f"{race['published_ratio']:.1f}"])
    return f"{_table(heads, lines)}\n\n{race['why']}"


def _anchors(track: Track, anchors: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            f"{label(anchor['method'], {})} {anchor['set']} {track.label(anchor['level'])} {anchor['metric'].upper()}",
            f"{anchor['published']:.{digits}f}",
            f"{anchor['measured']:.{digits + 2}f}",
            f"{anchor['tolerance']:g}",
            "met" if anchor["passed"] else "**failed**",
        ]
        for anchor in anchors
        for digits in (2 if anchor["metric"] == "psnr" else 4,)
    ]
    return _table(["anchor", "known", "measured", "tolerance", ""], lines)


def _resize(proofs: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [f"{p['set']} x{p['scale']}", str(p["pictures"]), f"{p['samples']:,}", f"{p['different']:,}"] for p in proofs
    ]
    return _table(["files", "pictures", "samples", "different"], lines)


def _shortfalls(shortfalls: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"- {item['text']}" for item in shortfalls) or "None."
