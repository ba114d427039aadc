"""What the parts share: where results lie, tables, and how a cell is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safelight.catalog import CARDS
from safelight.core.card import Card, Trained
from safelight.tasks import Task

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"

NO_WEIGHTS = "No weights are shipped yet."
NONE = "–"  # noqa: RUF001 - the typographer's dash for an empty cell


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Write a table in Markdown; ``right`` numbers the columns of figures."""
    rule = ["---:" if i in right else "---" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def stored(name: str) -> dict[str, Any] | None:
    """Read a JSON of ``results/``, or return ``None`` where it is not there yet."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def missing(name: str, command: str) -> str:
    """The sentence that stands for a part whose JSON is not there."""
    return f"`results/{name}` is missing. `{command}` measures and writes it."


def no_results(task: Task) -> str:
    """The sentence for a task that was not benchmarked."""
    return missing(f"{task}.json", f"safelight bench {task} --data DIR")


def trained() -> list[tuple[Card, Trained]]:
    """List the networks."""
    return [(card, card.method) for card in CARDS if isinstance(card.method, Trained)]


def called(card: Card) -> str:
    """Name a method in a table of all tasks: with its task where another one has the same name."""
    return card.name if sum(other.name == card.name for other in CARDS) == 1 else card.id


def decibels(value: float | None) -> str:
    """Write a PSNR, or that there is none."""
    return NONE if value is None else f"{value:.2f}"
