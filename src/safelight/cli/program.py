"""All verbs in one application."""

from __future__ import annotations

from typing import Annotated

import typer

from safelight.cli import compare, fetch, methods, restore, score, serve, train, visualize
from safelight.cli.shell import Verbs

app = typer.Typer(
    cls=Verbs,
    name="safelight",
    help="Restore and enlarge pictures, from bicubic to deep networks, and know how good each method is.",
    epilog="Exit codes: 0 done, 1 some files failed, 2 usage, 3 environment (disk, device, memory), 130 interrupted.",
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
        from safelight import __version__

        typer.echo(f"safelight {__version__}")
        raise typer.Exit(0)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
    return 0


for group in (restore, visualize, score, compare, methods, fetch, train, serve):
    group.add(app)


def main() -> None:
    """Run the program: the entry point of the ``safelight`` command."""
    app()
