"""The options of a method, declared as the fields of a dataclass, and the check of the values that users give.

Flags of the command line, keywords of Python functions, fields of forms and headers of weights files are all derived
from the declaration and pass the same check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints


class CardError(ValueError):
    """A method, an option, an input or a scale does not exist, or a value is out of range. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionFact:
    """One field of an ``Options`` class.

    ``kind`` is ``int``, ``float`` or ``str``; ``choices`` is empty unless the field is a ``Literal``; ``low`` and
    ``high`` are inclusive bounds of a number. A default of ``None`` means that the method chooses; users write
    ``auto`` for it. ``of_use`` says that the weights of a network do not depend on the option, only their use does.
    """

    name: str
    kind: type[int] | type[float] | type[str]
    default: int | float | str | None
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    of_use: bool = False

    @property
    def extent(self) -> str:
        """The allowed values, in words; empty if all are allowed.

        Example:
            >>> OptionFact(name="strength", kind=float, default=1.0, help="", low=0).extent
            'at least 0'
        """
        if self.choices:
            return ", ".join(self.choices)
        match self.low, self.high:
            case None, None:
                return ""
            case low, None:
                return f"at least {low}"
            case None, high:
                return f"at most {high}"
            case low, high:
                return f"{low} to {high}"


def option(
    default: Any,  # noqa: ANN401
    help: str,  # noqa: A002
    *,
    low: float | None = None,
    high: float | None = None,
    of_use: bool = False,
) -> Any:  # noqa: ANN401
    """Declare one option of a method: a dataclass field with its help text and inclusive bounds.

    The parameter is called ``help`` as in argparse and click, and the value is ``Any`` as in ``dataclasses.field``,
    so that ``radius: float = option(1.0, "...")`` type-checks as a float.
    """
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "of_use": of_use})


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a method that has none."""


def option_facts(options: type[Any]) -> tuple[OptionFact, ...]:
    """List the fields of an ``Options`` class, in their order."""
    hints = get_type_hints(options)
    facts: list[OptionFact] = []
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        if NoneType in get_args(hint):  # "float | None": a number, or the method's own choice
            hint = next(kind for kind in get_args(hint) if kind is not NoneType)
        literal = get_origin(hint) is Literal
        facts.append(
            OptionFact(
                name=field.name,
                kind=str if literal else hint,
                default=field.default,  # pyright: ignore[reportArgumentType]  # option() always gives one
                help=field.metadata["help"],
                choices=get_args(hint) if literal else (),
                low=field.metadata["low"],
                high=field.metadata["high"],
                of_use=field.metadata["of_use"],
            )
        )
    return tuple(facts)


class HasOptions(Protocol):
    """A record, such as a ``Card``, that names something with options of its own."""

    @property
    def id(self) -> str:
        """The name, as ``task/name``."""
        ...

    @property
    def options(self) -> type[Any]:
        """The class of the options."""
        ...


def make_options(card: HasOptions, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - each method has its own Options class
    """Build the method's ``Options`` from loose values (flags, a form, a header), checking names, types and bounds.

    Raises:
        CardError: An unknown name, or a value of the wrong type, not among the choices, or out of bounds.
    """
    facts = {fact.name: fact for fact in option_facts(card.options)}
    checked: dict[str, int | float | str | None] = {}
    for name, value in values.items():
        if name not in facts:
            known = ", ".join(facts) or "none"
            raise CardError(f"{card.id} has no option {name!r}; it has: {known}")
        fact = facts[name]
        if fact.default is None and value in (None, "auto"):
            checked[name] = None
            continue
        try:
            checked[name] = number = fact.kind(value)
        except (TypeError, ValueError):
            default = "auto" if fact.default is None else fact.default
            raise CardError(
                f"{card.id}: option {name} expects {fact.kind.__name__}, got {value!r}; its default is {default}"
            ) from None
        if fact.choices and number not in fact.choices:
            raise CardError(f"{card.id}: option {name} is one of {', '.join(fact.choices)}; got {value!r}")
        if not isinstance(number, str) and not (
            (fact.low is None or number >= fact.low) and (fact.high is None or number <= fact.high)
        ):
            raise CardError(f"{card.id}: option {name} goes from {fact.low} to {fact.high}; got {value!r}")
    return card.options(**checked)


def fits_weights(options: Any, values: Mapping[str, Any]) -> bool:  # noqa: ANN401 - per method
    """Return whether weights that were trained with some options suit a network with others.

    Args:
        options: The options of the network.
        values: The options of the weights that are not the defaults, by name. Options that affect only the use of a
            network are not compared.
    """
    facts = option_facts(type(options))  # pyright: ignore[reportUnknownArgumentType]
    return all(fact.of_use or getattr(options, fact.name) == values.get(fact.name, fact.default) for fact in facts)
