"""What a benchmark's JSON holds, as records: the fields, in the order in which the file has them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safelight.core.benchmark import Kind, Level
from safelight.training.datasets import DataError

_NAME = "safelight-bench/"
FORMAT = f"{_NAME}3"

Values = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a run took place. ``load`` is the system's load average just before it: other work makes times longer."""

    processor: str
    device: str
    threads: int
    load: float | None
    system: str
    python: str
    torch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call of the benchmark. ``id`` is its start in UTC; ``commit`` the code's version, with ``+`` if changed."""

    id: str
    commit: str
    safelight: str
    machine: Machine
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A test set. ``sha256`` covers the decoded pixels of all pictures, whatever their names, order and file format."""

    name: str
    kind: Kind
    pictures: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """What there is to know of a metric in order to read its numbers.

    ``name`` is the key in the rows, ``title`` that of tables; ``unit`` is empty for a pure number; ``digits`` are those
    after the point in tables.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    digits: int

    @property
    def suffix(self) -> str:
        """The unit as it stands after a number, such as `` dB``."""
        return f" {self.unit}" if self.unit else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one test set at one level: means over the pictures.

    ``options`` are those that differ from the method's defaults; ``level`` is as in ``Score``. ``metrics`` holds what
    was measured, by the name of the metric, ``published`` what the paper has, and ``difference`` is measured minus
    published, for the metrics that have both. ``multiply_adds`` are the network's per output pixel and, of a network of
    one channel, per channel; ``None`` for a method without one. The time is that of the method on the clock's picture,
    the same in the rows of all sets, or on a smaller one that ``timed_on`` tells of. ``run`` names the run that
    measured it. ``fast_seconds_per_megapixel`` is the time with ``--precision fast``, where that differs.
    """

    method: str
    options: Values
    level: Level
    set: str
    metrics: Mapping[str, float]
    published: Mapping[str, float]
    difference: Mapping[str, float]
    parameters: int
    multiply_adds: float | None
    seconds_per_megapixel: float
    weights_sha256: str | None
    run: str
    timed_on: str = ""
    fast_seconds_per_megapixel: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A method that was not measured at a level, and why."""

    method: str
    options: Values
    level: Level
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorResult:
    """A number that is known and must come out before any other is believed, of a method or of the ``input`` itself."""

    method: str
    set: str
    level: Level
    metric: str
    published: float
    measured: float
    tolerance: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseOutcome:
    """What a method's recipe promises of a metric, beside what was measured; ``short`` is what lacks, or 0."""

    method: str
    options: Values
    set: str
    level: Level
    metric: str
    promised: float
    floor: float
    measured: float | None
    short: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Something that is less than it should be, in a sentence."""

    kind: Literal["anchor", "missing", "stale", "floor", "promise", "speed"]
    method: str
    levels: tuple[Level, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRatio:
    """Two methods against the clock in one way: seconds per output megapixel, and how many times faster ``fast`` is."""

    fast: float
    slow: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedComparison:
    """A paper's claim that one method is so many times faster than another, beside the measured ratios.

    ``network`` times the networks alone, on a luma in memory (an interpolated one where the network takes that);
    ``gray`` and ``rgb`` the whole path from picture to picture. ``multiply_adds`` holds counts per output pixel in
    place of times, ``throughput`` the 1e9 multiply-adds per second that each network alone reaches.
    """

    fast: str
    slow: str
    level: Level
    published_ratio: float
    multiply_adds: SpeedRatio
    network: SpeedRatio
    gray: SpeedRatio
    rgb: SpeedRatio
    throughput: Mapping[str, float]
    why: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeCheck:
    """How many of a set's low-resolution samples, written by MATLAB, differ from ours."""

    set: str
    scale: int
    pictures: int
    samples: int
    different: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a benchmark found, and what it takes to write its tables and its plot.

    ``level`` is how a level is written; ``metrics`` says what the rows hold, the first being the one that is plotted;
    ``timed_by_level`` tells whether a method's time depends on the level.
    """

    task: str
    level: str
    metrics: tuple[MetricFacts, ...]
    plotted: tuple[str, ...]
    timed_by_level: bool
    protocol: Mapping[str, str]
    runs: tuple[Run, ...]
    data: tuple[DataSet, ...]
    resize: tuple[ResizeCheck, ...]
    anchors: tuple[AnchorResult, ...]
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    comparisons: tuple[SpeedComparison, ...]
    promises: tuple[PromiseOutcome, ...]
    shortfalls: tuple[Shortfall, ...]

    def to_json(self) -> str:
        """Write the JSON text: the fields in their order, one space of indent."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResults:
    """What a new run keeps from an earlier one's JSON: the rest is worked out again."""

    data: tuple[DataSet, ...]
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[SpeedComparison, ...]


def read(path: Path) -> EarlierResults:
    """Read the JSON of an earlier run.

    Raises:
        DataError: The file is not one, or of another version.
    """
    version = ""
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = str(fields["format"])
        if version != FORMAT:
            raise ValueError(version)
        runs = [
            run | {"machine": Machine(**run["machine"]), "methods": tuple(run["methods"])} for run in fields["runs"]
        ]
        ratios = ("multiply_adds", "network", "gray", "rgb")
        return EarlierResults(
            data=tuple(DataSet(**item) for item in fields["data"]),
            runs=tuple(Run(**run) for run in runs),
            rows=tuple(Row(**row) for row in fields["rows"]),
            comparisons=tuple(
                SpeedComparison(**(item | {name: SpeedRatio(**item[name]) for name in ratios}))
                for item in fields["comparisons"]
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        if version != FORMAT and version.startswith(_NAME):
            raise DataError(
                f"{path}: expected the format {FORMAT}, got {version[:40]!r} of another version of safelight; "
                "run the benchmark again without --methods, or write to another folder"
            ) from None
        raise DataError(
            f"{path}: expected the results of an earlier benchmark of this version to add to, got something else; "
            "benchmark all methods, or write to another folder"
        ) from None


def label(method: str, options: Values) -> str:
    """Name a method in a table: its own name, and the options that are not its defaults.

    Example:
        >>> label("upscale/srcnn", {"kernels": "9-1-5"})
        'srcnn 9-1-5'
    """
    return " ".join([method.split("/")[-1], *map(str, options.values())])
