"""The verb that asks the network for something: ``fetch`` gets the weights of backbones that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.method_flags import completion_index
from safelight.cli.shell import Bar, Debug, Json, Quiet, UsageError, Verb, note, say, say_json, table

if TYPE_CHECKING:
    from safelight.checkpoints.backbones import InstalledBackbone
    from safelight.features import Facts


def add(app: typer.Typer) -> None:
    """Add this file's verb."""
    app.command(cls=Verb)(fetch)


def complete_backbone(incomplete: str) -> list[str]:
    """Complete the name of a backbone from the index: no network is imported.

    Example:
        >>> complete_backbone("vgg")
        ['vgg16', 'vgg19']
    """
    names = [backbone["name"] for backbone in completion_index()["backbones"]]
    return sorted(name for name in names if name.startswith(incomplete))


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The name of a backbone, such as vgg19; all are listed if not given.", autocompletion=complete_backbone
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Use this file, and download nothing.", show_default=False),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the backbones and their files, and download nothing.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - read where errors are told
) -> int:
    """Download the weights of a backbone, a network that pictures are compared by, and keep them.

    No other verb downloads anything. JSON: an object for each backbone that is listed or was fetched.
    """
    from safelight import features

    if name is None or listed:
        if source is not None:
            raise UsageError(f"--from: expected the name of a backbone for {source}, got none; see: safelight fetch")
        return _list(features.BACKBONES if name is None else (features.facts(name),), json=json)
    from safelight.checkpoints import backbones

    facts = features.facts(name)
    before = backbones.installed_backbone(name)
    size = 0 if facts.published is None else facts.published.size
    with Bar(size, f"fetching {name}", quiet=quiet) as bar:

        def show(done: int, total: int) -> None:
            bar.show(done, f"fetching {name}  {done / 1e6:.0f} of {total / 1e6:.0f} MB", total=total)

        after = backbones.install(name, source, progress=show)
    if not (after.published or quiet):
        note(
            f"safelight: {after.source} is not the file that is published as {name}: "
            "what is made with it is not comparable to others' numbers"
        )
    if json:
        say_json(_facts(facts, after))
    elif not quiet:
        what = (
            "was there already" if source is None and before == after else f"{after.path.stat().st_size / 1e6:.0f} MB"
        )
        say(f"{name}: {after.path}  {what}")
    return 0


def _list(known: tuple[Facts, ...], *, json: bool) -> int:
    from safelight.checkpoints import backbones

    rows: list[tuple[str, str, str]] = []
    for facts in known:
        here = backbones.installed_backbone(facts.name)
        if json:
            say_json(_facts(facts, here))
        rows.append((facts.name, facts.summary, _place(facts, here)))
    if not json:
        table(["backbone", "what it is", "weights"], rows, left=(0, 1, 2), wrap=(1, 2))
    return 0


def _place(facts: Facts, here: InstalledBackbone | None) -> str:
    if here is not None:
        return "come with the program" if facts.published is None else f"{here.description}: {here.path}"
    if facts.published is None:
        return "missing; install safelight again"
    return f"not here; {facts.published.size / 1e6:.0f} MB by: safelight fetch {facts.name}"


def _facts(facts: Facts, here: InstalledBackbone | None) -> dict[str, Any]:
    published = facts.published
    return {
        "backbone": facts.name, "title": facts.title, "paper": facts.paper, "parameters": facts.parameters,
        "here": here is not None, "path": None if here is None else str(here.path),
        "source": None if here is None else here.source, "sha256": None if here is None else here.sha256,
        "published": None if here is None else here.published,
        "url": None if published is None else published.url, "bytes": None if published is None else published.size,
        "licence": here.licence if here is not None else None if published is None else published.licence,
    }  # fmt: skip
