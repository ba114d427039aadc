"""The methods on the command line: their options as flags, and their names to be completed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from safelight import tasks
from safelight.cli.shell import Verb

if TYPE_CHECKING:
    from safelight.core.card import Card
    from safelight.core.inspector import Inspector
    from safelight.core.options import OptionFact

_META = "safelight.core.options"


class MethodVerb(Verb):
    """A verb that also takes, as flags, the options of the methods: of its own task, or of all that are trained.

    The cards are read when the verb runs or its help is shown, and not for completion: they import torch.
    """

    _from_cards: Sequence[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's types come from a private module
        """List the verb's own parameters and those of the methods."""
        own = super().get_params(ctx)
        if ctx.resilient_parsing:
            return own
        if self._from_cards is None:
            # A flag of the verb itself wins; a test sees to it that no method's option is called the same.
            taken = {param.name for param in own}
            self._from_cards = [param for param in _flags(self.name) if param.name not in taken]
        return [*own[:-1], *self._from_cards, *own[-1:]]

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the verb; it finds the methods' options by ``method_options``."""
        given: dict[str, str] = {}
        for param in self._from_cards or ():
            value = ctx.params.pop(param.name, None)
            if value is not None:
                given[param.name] = value
        ctx.meta[_META] = given
        return super().invoke(ctx)


def method_options(ctx: typer.Context) -> dict[str, str]:
    """Return the methods' options that the user gave, by name."""
    return dict(ctx.meta.get(_META, {}))


def cards_of(verb: str | None) -> Sequence[Card | Inspector]:
    """List the methods whose options a verb takes: those of its task; of ``train``, those that are trained.

    Of ``visualize`` they are the ways to look into networks.
    """
    from safelight.catalog import CARDS, INSPECTORS

    if verb == "visualize":
        return INSPECTORS
    if verb in tasks.names():
        return [card for card in CARDS if verb in card.tasks]
    return [card for card in CARDS if card.training or card.fit]


def _flags(verb: str | None) -> Sequence[Any]:
    from safelight.core.options import option_facts

    helps: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for card in cards_of(verb):
        for fact in option_facts(card.options):
            helps.setdefault(fact.name, []).append(f"{card.name}: {fact.help} ({extent(fact)})")
            kinds[fact.name] = {int: "INTEGER", float: "NUMBER", str: "NAME"}[fact.kind]
    parameters: list[inspect.Parameter] = []
    for name, lines in helps.items():
        info = typer.Option(
            f"--{name.replace('_', '-')}", help="; ".join(lines), metavar=kinds[name], show_default=False
        )
        annotation = Annotated[Optional[str], info]  # noqa: UP045 - evaluated by typer
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))

    def command(**values: str | None) -> None:
        raise NotImplementedError  # only its parameters are wanted

    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    maker = typer.Typer(add_completion=False)
    maker.command()(command)
    return [param for param in typer.main.get_command(maker).params if param.name in helps]


def extent(fact: OptionFact) -> str:
    """Say what an option may be, and what it is if it is not given.

    Example:
        >>> from safelight.core.options import OptionFact
        >>> extent(OptionFact(name="strength", kind=float, default=None, help="", low=0))
        'auto, or at least 0; default auto'
        >>> extent(OptionFact(name="layers", kind=str, default=None, help=""))
        'default auto'
    """
    values = f"auto, or {fact.extent}" if fact.default is None and fact.extent else fact.extent
    default = "auto" if fact.default is None else fact.default
    return f"{values}; default {default}" if values else f"default {default}"


# --- completion, without torch ----------------------------------------------------------------------------------------


def completion_index() -> dict[str, list[dict[str, Any]]]:
    """Read the generated list of what can be completed: ``methods``, ``inspectors`` and ``backbones``.

    ``python docs/generate.py`` writes it from the catalog. A method that is not in the catalog is not completed.
    """
    import json
    from importlib.resources import files

    return json.loads(files("safelight.methods").joinpath("index.json").read_text(encoding="utf-8"))


def method_names(task: str) -> list[str]:
    """List the methods of a task from the index: no method is imported.

    Example:
        >>> "bicubic" in method_names("upscale")
        True
    """
    return sorted(method["id"].split("/")[1] for method in completion_index()["methods"] if task in method["tasks"])


def complete_method(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a method of the verb's task, or ``task/name`` where the verb serves all."""
    verb = ctx.info_name
    if verb in tasks.names():
        return [name for name in method_names(verb) if name.startswith(incomplete)]
    names = [f"{task}/{name}" for task in tasks.names() for name in method_names(task)]
    return [name for name in names if name.startswith(incomplete)]


def complete_task(incomplete: str) -> list[str]:
    """Complete the name of a task."""
    return [task for task in tasks.names() if task.startswith(incomplete)]
