"""From what a request says to what is asked for: texts become settings, by the declarations of ``fields``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from safelight import catalog, tasks
from safelight.core.card import Card
from safelight.core.inputs import InputSpec, read_numbers
from safelight.core.options import CardError, make_options
from safelight.core.task import TaskSpec
from safelight.engine.device import Device
from safelight.inference.runner import InferenceRequest
from safelight.media import image
from safelight.web.errors import RequestError
from safelight.web.request_fields import RequestField, fields_of, task_of

Value = str | float | int | bool

TYPES: Final[Mapping[str, str]] = {
    "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "tiff": "image/tiff", "avif": "image/avif",
    "gif": "image/gif",
}  # fmt: skip
"""The media type of each format that is read and written."""

_FLAGS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
_LONGEST = 200  # characters of a value
_MOST_PICTURES = 16  # of one field


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """What one request wants.

    Attributes:
        verb: A task, or ``fix``.
        card: The method; ``None`` of ``fix``.
        settings: All that is said of the work but for pictures.
        picture: The file that it is about.
        pictures: More files, by the names of their fields.
        format: Of the result; ``None``: that of the picture.
        quality: Of a lossy format.
        keep_metadata: Whether EXIF and XMP stay.
    """

    verb: str
    card: Card | None
    settings: InferenceRequest
    picture: bytes
    pictures: Mapping[str, tuple[bytes, ...]]
    format: str | None = None
    quality: int | None = None
    keep_metadata: bool = False

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        return len(self.picture) + sum(len(file) for files in self.pictures.values() for file in files)


def read_fields(verb: str, said: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """Check what a query or a form says, and turn it into numbers and flags.

    Raises:
        RequestError: 422: an unknown name, one that is said twice, or a value that it may not have.
    """
    known = fields_of(verb)
    values: dict[str, Value] = {}
    for name, text in said:
        field = known.get(name)
        if field is None:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
            raise RequestError(422, f"{verb} has no field {ascii(name)[:60]}; did you mean {', '.join(close)}?")
        if field.kind in ("picture", "pictures"):
            raise RequestError(422, f"{name}: expected a picture in a part of a multipart/form-data body, got text")
        if name in values:
            raise RequestError(422, f"{name}: expected one value, got several; leave all but one out")
        values[name] = _value(field, text)
    return values


def _value(field: RequestField, text: str) -> Value:
    shown = ascii(text)[:60]
    if len(text) > _LONGEST:
        raise RequestError(422, f"{field.name}: expected at most {_LONGEST} characters, got {len(text)}")
    if field.choices and text not in field.choices:
        raise RequestError(422, f"{field.name}: expected one of {', '.join(field.choices)}; got {shown}")
    if field.kind == "flag":
        if text not in _FLAGS:
            raise RequestError(422, f"{field.name}: expected true or false, got {shown}")
        return _FLAGS[text]
    if field.kind == "text":
        if field.pattern and re.search(field.pattern, text) is None:
            raise RequestError(422, f"{field.name}: expected {field.help.rstrip('.')}; got {shown}")
        return text
    try:
        number = int(text) if field.kind == "integer" else float(text)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        kind = "a whole number" if field.kind == "integer" else "a number"
        raise RequestError(422, f"{field.name}: expected {kind}, got {shown}") from None
    low, high = field.low, field.high
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"at least {low:g}" if high is None else f"{low:g} to {high:g}" if low is not None else f"{high:g}"
        raise RequestError(422, f"{field.name}: expected {bounds}, got {shown}")
    return number


def task_request(
    verb: str,
    values: Mapping[str, Value],
    picture: bytes,
    pictures: Mapping[str, Sequence[bytes]],
    *,
    device: Device,
    memory: int,
) -> TaskRequest:
    """Make what is asked for of a request's values and files.

    Args:
        verb: A task, or ``fix``.
        values: Of ``read_fields``.
        picture: The file that it is about.
        pictures: Further files, by the names of their fields.
        device: Where the server computes.
        memory: Bytes that a tile's computation may hold.

    Raises:
        RequestError: 422: the arguments are invalid.
        CardError: A method or an option that does not exist.
    """
    rest = dict(values)
    answer = {name: rest.pop(name) for name in ("format", "quality", "keep_metadata") if name in rest}
    _check_files(verb, pictures)
    task = task_of(verb)
    if task is None:  # it is a fix
        settings = InferenceRequest(device=device, memory=memory)
        return TaskRequest(verb=verb, card=None, settings=settings, picture=picture, pictures={}, **_answer(answer))
    method = rest.pop("method", None)
    card = catalog.default(task.name) if method is None else catalog.find(str(method), task.name)
    if card is None:
        raise RequestError(422, f"{verb}: expected a method, got none, and none is the default; name one")
    fields = fields_of(verb)
    own = {name: value for name, value in rest.items() if fields[name].methods}
    make_options(card, own)  # an unknown one is told now
    how: dict[str, Any] = {name: rest.pop(name) for name in ("precision", "ensemble") if name in rest}
    inputs = _inputs(task, card, rest, pictures)
    settings = InferenceRequest(task=task.name, inputs=inputs, options=own, device=device, memory=memory, **how)
    return TaskRequest(
        verb=verb, card=card, settings=settings, picture=picture,
        pictures={name: tuple(files) for name, files in pictures.items() if files}, **_answer(answer),
    )  # fmt: skip


def _inputs(
    task: TaskSpec, card: Card, values: Mapping[str, Value], pictures: Mapping[str, Sequence[bytes]]
) -> dict[str, Any]:
    """Read the inputs that a request says in text; of those that are pictures, see that the method takes them.

    Raises:
        RequestError: 422: the method does not take one, two exclude each other, or one can't be read.
    """
    inputs: dict[str, Any] = {}
    for spec in task.conditions:
        name = spec.field_name
        given = bool(pictures.get(name)) if spec.is_picture else values.get(name) is not None
        if not given:
            continue
        if spec.optional and spec.name not in card.accepts:
            raise RequestError(422, f"{card.id} takes no {name}; leave it out, or choose a method that does")
        for other in spec.excludes:
            if values.get(other) is not None:
                raise RequestError(422, f"expected {name} or {other}, got both; leave one out")
        if not spec.is_picture:
            inputs[spec.name] = _read(spec, values[name])
    return inputs


def _read(spec: InputSpec, value: Value) -> Any:  # noqa: ANN401 - of any kind
    try:
        read = read_numbers(str(value), spec.field_name) if spec.kind == "numbers" else value
        if spec.file and spec.prepare is not None:  # a text that names something: told now
            spec.prepare(read, torch.device("cpu"))
    except CardError as error:
        raise RequestError(422, str(error)) from None
    return read


def _answer(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": None, "quality": None, "keep_metadata": False, **values}


def _check_files(verb: str, pictures: Mapping[str, Sequence[bytes]]) -> None:
    fields = fields_of(verb)
    for name, files in pictures.items():
        field = fields.get(name)
        if field is None or field.kind not in ("picture", "pictures"):
            known = ", ".join(["picture", *(f.name for f in fields.values() if f.kind in ("picture", "pictures"))])
            raise RequestError(422, f"{verb} takes no file {ascii(name)[:60]}; it takes: {known}")
        most = 1 if field.kind == "picture" else _MOST_PICTURES
        if len(files) > most:
            raise RequestError(422, f"{name}: expected at most {most} files, got {len(files)}")


def with_pictures(ask: TaskRequest, pictures: Mapping[str, tuple[image.Picture, ...]]) -> InferenceRequest:
    """Put the further pictures, which are decoded now, into the request.

    Args:
        ask: The request.
        pictures: By the names of their fields.
    """
    if ask.card is None:
        return ask.settings
    found: dict[str, Any] = {}
    for spec in tasks.find(ask.verb).conditions:
        files = pictures.get(spec.field_name, ())
        if spec.is_picture and files:
            found[spec.name] = files if spec.kind == "pictures" else files[0]
    return replace(ask.settings, inputs={**ask.settings.inputs, **found})


def acceptable(accept: str | None, format: str) -> str:  # noqa: A002
    """Choose the format of an answer by an ``Accept`` header: the picture's own, if that will do.

    Raises:
        RequestError: 406: none of those that can be written.

    Example:
        >>> acceptable("text/html, image/*;q=0.8", "jpeg"), acceptable("image/webp,image/png;q=0.5", "jpeg")
        ('jpeg', 'webp')
    """
    if accept is None or not accept.strip():
        return format
    wanted: list[tuple[float, str]] = []
    for part in accept.split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
        try:
            wanted.append((float(weight), kind))
        except ValueError:
            continue
    for weight, kind in sorted(wanted, key=lambda pair: -pair[0]):
        if weight <= 0:
            continue
        if kind in ("*/*", "image/*", TYPES[format]):
            return format
        for name, known in TYPES.items():
            if kind == known and name != "gif":
                return name
    raise RequestError(
        406, f"expected to be asked for a picture ({', '.join(TYPES.values())}), got another Accept header"
    )
