"""The table of verbs, the program's help, and the entry point. Nothing heavy is imported here.

A verb's module is imported when that verb is called. What ``safelight --help`` says comes from the table alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from safelight import tasks

ABOUT: Final = "Restore and enlarge pictures, from bicubic to deep networks, and know how good each method is."
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 some files failed, 2 usage, 3 environment (disk, device, memory), 130 interrupted."
)
OPTIONS: Final = (
    ("--version", "Print the version and exit."),
    ("--install-completion", "Install completion for the current shell."),
    ("--show-completion", "Show completion for the current shell, to copy it or customize the installation."),
    ("-h, --help", "Show this message and exit."),
)
"""The program's own options; a test compares them with those that are parsed."""

COMPLETION_VARIABLE: Final = "_SAFELIGHT_COMPLETE"
"""The shell sets this environment variable when it asks for completions."""


class VerbEntry(NamedTuple):
    """One verb of the command line.

    Attributes:
        name: What the user types.
        help: The first line of its help; a test compares it with the verb's own.
        module: The module whose ``add`` puts the verb on an application.
    """

    name: str
    help: str
    module: str


_OTHERS: Final = (
    VerbEntry(
        "fix",
        "Repair pictures as each one needs it: remove the artefacts of a strong JPEG compression, then noise.",
        "safelight.cli.task_verbs",
    ),
    VerbEntry(
        "visualize",
        "Visualize a network: its filters, activations, features and receptive field.",
        "safelight.cli.visualize",
    ),
    VerbEntry(
        "score", "Measure how close pictures are to their originals, and name the protocol.", "safelight.cli.score"
    ),
    VerbEntry(
        "compare",
        "Compare pictures or methods side by side, in one HTML file with a slider, times and scores.",
        "safelight.cli.compare",
    ),
    VerbEntry(
        "methods",
        "List the methods, with their cost and their measured quality.",
        "safelight.cli.methods",
    ),
    VerbEntry(
        "info",
        "Show the details of one method: paper, options, cost, weights, published scores.",
        "safelight.cli.methods",
    ),
    VerbEntry("doctor", "Check this installation and this machine.", "safelight.cli.methods"),
    VerbEntry(
        "fetch",
        "Download the weights of a backbone, a network that pictures are compared by, and keep them.",
        "safelight.cli.fetch",
    ),
    VerbEntry("train", "Train a method by its recipe.", "safelight.cli.train"),
    VerbEntry(
        "bench",
        "Measure methods on the test sets, as the papers do, and write the results beside the published numbers.",
        "safelight.cli.bench",
    ),
    VerbEntry("serve", "Serve the page and the HTTP API, until Ctrl-C.", "safelight.cli.serve"),
)


def verbs() -> dict[str, VerbEntry]:
    """List the verbs by name, in the order of the help: one for each task that is registered now, then the others."""
    of_tasks = (VerbEntry(task.name, task.help, "safelight.cli.task_verbs") for task in tasks.TASKS)
    return {verb.name: verb for verb in (*of_tasks, *_OTHERS)}


def program_help(width: int | None = None) -> str:
    """Write the help of the program from the table.

    Args:
        width: In columns; as the terminal allows, from 50 to 100, if it is not given.

    Example:
        >>> "upscale" in program_help()
        True
    """
    import shutil
    import textwrap

    columns = shutil.get_terminal_size().columns - 2 if width is None else width
    columns = max(50, min(columns, 100))

    def listed(rows: Sequence[tuple[str, str]]) -> list[str]:
        indent = max(len(name) for name, _ in rows) + 4
        lines: list[str] = []
        for name, text in rows:
            start = f"  {name}".ljust(indent)
            lines += textwrap.wrap(text, columns, initial_indent=start, subsequent_indent=" " * indent)
        return lines

    def paragraph(text: str) -> list[str]:
        return textwrap.wrap(text, columns, initial_indent="  ", subsequent_indent="  ")

    return "\n".join([
        "Usage: safelight [OPTIONS] COMMAND [ARGS]...", "",
        *paragraph(ABOUT), "",
        "Options:", *listed(OPTIONS), "",
        "Commands:", *listed([(verb.name, verb.help) for verb in verbs().values()]), "",
        *paragraph(EXIT_CODES),
    ])  # fmt: skip


def version_line() -> str:
    """Return the answer to ``--version``."""
    from safelight import __version__

    return f"safelight {__version__}"


def drop_output() -> None:
    """Send what is still buffered for a reader that went away to nowhere, so that Python ends without a complaint."""
    from contextlib import suppress

    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the program: the entry point of the ``safelight`` command.

    The program's help and version are answered from the table. Anything else is parsed, which takes typer and the
    verb's own module.
    """
    arguments = sys.argv[1:]
    if COMPLETION_VARIABLE not in os.environ and arguments in ([], ["-h"], ["--help"], ["--version"]):
        try:
            sys.stdout.write((version_line() if arguments == ["--version"] else program_help()) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            drop_output()
            sys.exit(1)
        sys.exit(0)

    from safelight.cli.program import app

    app()
