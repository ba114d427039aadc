"""What a client can say of each task: derived from the cards, as the command line's flags are.

Requests are read by these declarations, the OpenAPI is made of them, and so are the page's controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

from safelight import catalog, features
from safelight.core.card import Card, Trained
from safelight.core.options import OptionFact, option_facts
from safelight.core.solver_input import Condition
from safelight.inference.model import PrecisionChoice
from safelight.media import image
from safelight.tasks import TASKS, Task

FIX: Final = "fix"
VERBS: Final[tuple[str, ...]] = (*TASKS, FIX)

Kind = Literal["text", "number", "integer", "flag", "picture", "pictures"]


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


_SIZE = r"^([1-9][0-9]{0,5}x([1-9][0-9]{0,5})?|x[1-9][0-9]{0,5})$"
_WEIGHTS = r"^[0-9.]{1,12}(,[0-9.]{1,12}){0,15}$"

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
    RequestField(name="seed", kind="integer", help="Of methods that draw at random.", low=0, high=2**31 - 1, default=0),
)  # fmt: skip

# What a task has, whatever the method is.
_OF_TASK: Mapping[str, tuple[RequestField, ...]] = {
    "upscale": (
        RequestField(name="scale", kind="number", help="The zoom, whole or not; 4 without it and size.", low=1, high=32),
        RequestField(name="size", kind="text", help="The size instead: 3840x2160, 3840x or x2160.", pattern=_SIZE),
        RequestField(
            name="consistent", kind="flag", default=False,
            help="Change a network's result so that shrinking it gives the input back.",
        ),
    ),
    "denoise": (
        RequestField(name="strength", kind="number", help="From 0, the picture, to 1, the result.", low=0, high=1, default=1),
    ),
    "deblock": (
        RequestField(name="strength", kind="number", help="From 0, the picture, to 1, the result.", low=0, high=1, default=1),
    ),
    "inpaint": (),
    "stylize": (),
    FIX: (),
}  # fmt: skip


def _of_condition(condition: Condition) -> tuple[RequestField, ...]:
    """List what is said of a condition that some methods take."""
    match condition:
        case "sigma":
            text = "Standard deviation of the noise, in units of 0 to 255, where it is known."
            return (RequestField(name="sigma", kind="number", help=text, low=0, high=255),)
        case "blur":
            text = "What blurred the picture: gaussian:SIGMA or none."
            return (RequestField(name="blur", kind="text", help=text, pattern=r"^(none|gaussian:[0-9.]{1,12})$"),)
        case "mask":
            text = "A picture of the same size, white (or opaque) where to fill."
            return (RequestField(name="mask", kind="picture", help=text),)
        case "frames":
            return (RequestField(name="frames", kind="pictures", help="More pictures of the same scene, of one size."),)
        case "style":
            text = "A picture of the content's size, white where a style is seen; one for each style."
            return (
                RequestField(name="style", kind="pictures", help="A picture whose style is taken; several are mixed."),
                RequestField(name="style_weights", kind="text", help="Of several styles: 0.7,0.3.", pattern=_WEIGHTS),
                RequestField(name="style_mask", kind="pictures", help=text),
            )
        case "size":
            text = "The size of the result: 1024x512, 1024x or x512."
            return (RequestField(name="size", kind="text", help=text, pattern=_SIZE),)
        case "backbone":
            text = "The network that pictures are compared by: one that the server has."
            names = tuple(each.name for each in features.BACKBONES)
            return (RequestField(name="backbone", kind="text", help=text, choices=names),)
        case "begin":
            return (RequestField(name="begin", kind="picture", help="A picture of the content's size to begin with."),)


def task_of(name: str) -> Task | None:
    """Find the task that is called so."""
    known: Task | None = next((task for task in TASKS if task == name), None)
    return known


@cache
def fields_of(verb: str) -> Mapping[str, RequestField]:
    """List what can be said of a task, or of ``fix``, by name."""
    task = task_of(verb)
    if task is None:
        return {field.name: field for field in _ANSWER}
    cards, default = catalog.of_task(task), catalog.DEFAULTS.get(task)
    method = RequestField(
        name="method", kind="text", help="Which one of /methods; the server's choice without.",
        choices=tuple(card.name for card in cards), default=default.name if default else None,
    )  # fmt: skip
    return {method.name: method, **_fields(verb, cards)}


def fields_of_method(verb: str, card: Card) -> Mapping[str, RequestField]:
    """List what can be said of a task where this method does it, within the method's own bounds."""
    found = _fields(verb, (card,))
    useless = () if isinstance(card.method, Trained) else ("precision", "ensemble", "consistent")
    return {name: field for name, field in found.items() if name not in useless}


def _fields(verb: str, cards: tuple[Card, ...]) -> dict[str, RequestField]:
    taken = [condition for condition in get_args(Condition) if any(condition in card.accepts for card in cards)]
    said = (*_OF_TASK[verb], *(field for condition in taken for field in _of_condition(condition)), *_HOW)
    found = {field.name: field for field in reversed(said)}  # of two, the task's own
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
