"""Write the generated parts of the documents: ``python docs/generate.py``; ``--check`` tells whether they are fresh.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Each is made from the code, from the
headers of the shipped weights or from a JSON of ``results/``, so that no fact is written down twice. The index that
shell completion reads is generated as well.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from parts import blind, engine, guides, index, lens, methods, queue, results, scale, server, stylize, training
from parts.measured import MEASURED

from safelight.api import stubs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/internals/*.md",
    "docs/gallery/*.md",
)

PARTS: dict[str, Callable[[], str]] = {
    **methods.METHODS,
    **methods.OPTIONS,
    "overview": guides.overview,
    **guides.CHOICES,
    **guides.EXAMPLES,
    "fix-estimates": guides.fix_estimates,
    "costs": methods.costs,
    "formats": methods.formats,
    "method-file": methods.method_file,
    **results.SHORT,
    **results.ALL,
    "recipes": training.recipes,
    "throughput": training.throughput,
    "training-speed": training.training_speed,
    "training-curves": training.training_curves,
    "recipes-compared": training.compared,
    "queue": queue.queue,
    "queue-assumptions": queue.assumptions,
    "scale-sizing": scale.sizing,
    "engine-speed": engine.engine_speed,
    "engine-race": engine.engine_race,
    "engine-memory": engine.engine_memory,
    "engine-start": engine.engine_start,
    "precision": engine.precision,
    "precision-summary": engine.precision_summary,
    "lens-ranks": lens.ranks,
    "blind": blind.blind,
    "server": server.server,
    "style-networks": stylize.networks,
    "style-race": stylize.race,
    "style-runs": stylize.runs,
    **MEASURED,
}

FILES: dict[str, Callable[[], str]] = {
    "src/safelight/methods/index.json": index.index,
    "src/safelight/api/task_functions.pyi": stubs.functions_stub,
    "src/safelight/api/remote_tasks.pyi": stubs.client_stub,
    "src/safelight/__init__.pyi": stubs.package_stub,
}
"""Files that are generated as a whole."""

_PART = re.compile(r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """List the Markdown files that may hold generated parts."""
    return sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))


def fresh(text: str) -> str:
    """Return a document with its generated parts made anew.

    Raises:
        KeyError: A part has a name that nothing makes.
    """
    return _PART.sub(lambda m: f"{m['start']}\n{PARTS[m['name']]()}\n\n{m['end']}", text)


def main() -> int:
    """Write or check all documents; the exit code is 1 if one was stale under ``--check``."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a part is stale")
    check: bool = parser.parse_args().check
    stale: list[Path] = []
    for path in documents():
        old = path.read_text(encoding="utf-8")
        try:
            new = fresh(old)
        except KeyError as error:
            known = ", ".join(PARTS)
            sys.exit(f"{path}: expected a generated part out of {known}, got {error}; correct its name")
        if new != old:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for name, make in FILES.items():
        path, new = ROOT / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != new:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'stale; run: make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
