"""Tables of what the programs of ``tools/`` measured: their rows, or what ``tool_tables`` sums them up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from parts.common import NONE, missing, stored, table
from parts.tool_tables import SUMMED_UP

TOOLS = ("inverse", "multiframe", "consistent", "noise", "dip", "metrics")
"""``tools/measure_NAME.py`` writes ``results/NAME.json``: what it is, and rows of named values.

Where these are too many to be read, ``tool_tables`` sums them up."""


def measured(name: str) -> str:
    """The table of a tool's JSON, or the sentence that says which command makes it."""
    results = stored(f"{name}.json")
    if results is None:
        return missing(f"{name}.json", f"python tools/measure_{name}.py --data DIR")
    return SUMMED_UP.get(name, rows_table)(results).strip()


def rows_table(results: Mapping[str, Any]) -> str:
    """Write ``rows`` as a table; what is the same in all of them stands below it, with ``what`` they are.

    Lists, such as a curve, are left out.

    Example:
        >>> print(rows_table({"what": "Seconds.", "rows": [{"on": "a", "s": 1.5}, {"on": "a", "s": 2}]}))
        | s |
        | ---: |
        | 1.5 |
        | 2 |
        <BLANKLINE>
        Seconds. In all rows: on a.
    """
    rows: list[dict[str, Any]] = results["rows"]
    names = list(dict.fromkeys(key for row in rows for key in row))
    names = [name for name in names if not any(isinstance(row.get(name), list | dict) for row in rows)]
    same = [name for name in names if len(rows) > 1 and len({str(row.get(name)) for row in rows}) == 1]
    shown = [name for name in names if name not in same]
    figures = [i for i, name in enumerate(shown) if all(_is_number(row.get(name)) for row in rows)]
    lines = [[_cell(row.get(name)) for name in shown] for row in rows]
    written = table([name.replace("_", " ") for name in shown], lines, right=figures)
    common = ", ".join(f"{name.replace('_', ' ')} {_cell(rows[0][name])}" for name in same)
    return f"{written}\n\n{results['what']}{f' In all rows: {common}.' if common else ''}"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


MEASURED: dict[str, Callable[[], str]] = {name: partial(measured, name) for name in TOOLS}
