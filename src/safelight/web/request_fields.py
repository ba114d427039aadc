"""What a client can say of each task: derived from the cards, as the command line's flags are.

Requests are read by these declarations, the OpenAPI is made of them, and so are the page's controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

from safelight import catalog, tasks
from safelight.core.card import Card
from safelight.core.inputs import InputSpec
from safelight.core.options import OptionFact, option_facts
from safelight.core.task import TaskSpec
from safelight.inference.model import PrecisionChoice
from safelight.media import image

FIX: Final = "fix"

Kind = Literal["text", "number", "integer", "flag", "picture", "pictures"]


def verbs() -> tuple[str, ...]:
    """List what a server can be asked to do to a picture: the tasks that make pictures of pictures, and ``fix``."""
    return (*tasks.names(), FIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestField:
    """One thing that may be said.

    Attributes:
        name: As a query or a form has it.
        kind: What it is; pictures come in a form's parts.
        help: One line.
        choices: All that it may be; empty: not only these.
        low: The least of a number.
        high: The most.
        pattern: What a text looks like, as a regular expression.
        default: Of those that have one for all methods.
        methods: The names of those that have it as an option of their own; empty: it belongs to the task.
    """

    name: str
    kind: Kind
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    default: str | float | bool | None = None
    methods: tuple[str, ...] = ()


# Of the answer, whatever the task is.
_ANSWER = (
    RequestField(
        name="format", kind="text", help="Of the result; that of the picture without.", choices=tuple(image.FORMATS)
    ),
    RequestField(name="quality", kind="integer", help="Of JPEG (95), WebP (90) and AVIF (85).", low=1, high=100),
    RequestField(name="keep_metadata", kind="flag", help="Keep EXIF and XMP: place, time, camera.", default=False),
)

# Of every task but fix, which chooses by itself.
_HOW = (
    RequestField(
        name="precision", kind="text", choices=get_args(PrecisionChoice), default="exact",
        help="fast: with half the digits, where the server's device gains by it.",
    ),
    RequestField(
        name="ensemble", kind="flag", default=False,
        help="Average over the 8 turns and mirrorings: better, 8 times the work.",
    ),
)  # fmt: skip


def _field(spec: InputSpec) -> RequestField:
    """Make the field of an input; what is unbounded in a program is bounded here."""
    default = spec.default if isinstance(spec.default, str | float | bool) else None
    kinds: Mapping[str, Kind] = {
        "number": "number", "integer": "integer", "flag": "flag", "text": "text", "numbers": "text",
        "picture": "picture", "pictures": "pictures", "bytes": "picture",
    }  # fmt: skip
    return RequestField(
        name=spec.field_name, kind=kinds[spec.kind], help=spec.help, low=spec.low,
        high=255 if spec.kind == "number" and spec.low is not None and spec.high is None else spec.high,
        choices=() if spec.choices is None else tuple(spec.choices()), pattern=spec.pattern, default=default,
    )  # fmt: skip


def task_of(name: str) -> TaskSpec | None:
    """Find the task that is called so; ``None``: there is none."""
    return next((task for task in tasks.TASKS if task.name == name), None)


def fields_of(verb: str) -> Mapping[str, RequestField]:
    """List what can be said of a task, or of ``fix``, by name."""
    return _fields_of(verb, tasks.names(), tuple(card.id for card in catalog.CARDS))


@lru_cache(maxsize=64)
def _fields_of(verb: str, *known: tuple[str, ...]) -> Mapping[str, RequestField]:  # noqa: ARG001 - what it depends on
    task = task_of(verb)
    if task is None:
        return {field.name: field for field in _ANSWER}
    cards, default = catalog.of_task(task.name), catalog.default(task.name)
    method = RequestField(
        name="method", kind="text", help="Which one of /methods; the server's choice without.",
        choices=tuple(card.name for card in cards), default=default.name if default else None,
    )  # fmt: skip
    return {method.name: method, **_fields(task, cards)}


def fields_of_method(task: TaskSpec, card: Card) -> Mapping[str, RequestField]:
    """List what can be said of a task where this method does it, within the method's own bounds."""
    found = _fields(task, (card,))
    learned = {spec.field_name for spec in task.conditions if spec.learned}
    useless = frozenset[str]() if card.method.learned else learned | {"precision", "ensemble"}
    return {name: field for name, field in found.items() if name not in useless}


def _fields(task: TaskSpec, cards: tuple[Card, ...]) -> dict[str, RequestField]:
    accepted = frozenset[str]().union(*(card.accepts for card in cards))
    inputs = [spec for spec in task.conditions if not spec.optional or spec.name in accepted]
    found = {field.name: field for field in (*map(_field, inputs), *_HOW)}
    return {**found, **_options(cards, found), **{field.name: field for field in _ANSWER}}


def _options(cards: tuple[Card, ...], known: Mapping[str, RequestField]) -> dict[str, RequestField]:
    """Join the methods' own options by name, within the widest of their bounds: the method itself checks its own."""
    facts: dict[str, list[tuple[Card, OptionFact]]] = {}
    for card in cards:
        for fact in option_facts(card.options):
            if fact.name not in known:
                facts.setdefault(fact.name, []).append((card, fact))
    found: dict[str, RequestField] = {}
    for name, pairs in facts.items():
        every = [fact for _, fact in pairs]
        loose = any(fact.default is None for fact in every)  # auto, in words
        kinds = {fact.kind for fact in every}
        numeric = not loose and str not in kinds
        closed = all(fact.choices for fact in every)
        lows, highs = [fact.low for fact in every], [fact.high for fact in every]
        found[name] = RequestField(
            name=name,
            kind="text" if not numeric else "integer" if kinds == {int} else "number",
            help="; ".join(f"{card.name}: {fact.help}" for card, fact in pairs),
            choices=tuple(dict.fromkeys(c for fact in every for c in fact.choices)) if closed and not loose else (),
            low=min(low for low in lows if low is not None) if numeric and None not in lows else None,
            high=max(high for high in highs if high is not None) if numeric and None not in highs else None,
            default=every[0].default if len(every) == 1 else None,
            methods=tuple(card.name for card, _ in pairs),
        )
    return found
