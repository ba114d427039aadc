"""The command line in this process, and what it told."""

import json

from typer.testing import CliRunner

from safelight.cli import app


def run(*arguments, stdin=None):
    """Run a command line; its words may be anything that has a text."""
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def lines(result):
    """The objects that ``--json`` printed, one a line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def one_line(text):
    """The one line that an error is, and no traceback."""
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text
