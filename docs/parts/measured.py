"""Tables that the measuring tools make of their own JSON: the tool that writes a file knows how to read it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

from parts.common import ROOT, missing, stored

TOOLS = ("inverse", "multiframe", "consistent", "noise", "dip")
"""``tools/measure_NAME.py`` writes ``results/NAME.json``, and its ``table(results)`` makes Markdown of it."""


def measured(name: str) -> str:
    """The table of a tool, or the sentence that says which command makes it."""
    results = stored(f"{name}.json")
    if results is None:
        return missing(f"{name}.json", f"python tools/measure_{name}.py --data DIR")
    spec = importlib.util.spec_from_file_location(f"measure_{name}", ROOT / "tools" / f"measure_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.table(results)


MEASURED: dict[str, Callable[[], str]] = {name: partial(measured, name) for name in TOOLS}
