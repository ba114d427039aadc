"""The application that parses a command line: the program's own options, and the verbs of the table."""

from __future__ import annotations

from typing import Annotated

import typer

from safelight.cli.shell import Verbs
from safelight.cli.verbs import ABOUT, EXIT_CODES, version_line

app = typer.Typer(
    cls=Verbs,
    name="safelight",
    help=ABOUT,
    epilog=EXIT_CODES,
    # Plain help: drawing boxes costs as much time as all the rest.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> int:
    """Show the version, or the help where no verb is given."""
    if version:
        typer.echo(version_line())
        raise typer.Exit(0)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
    return 0
