"""What the API says of itself, in OpenAPI's words, made of the same declarations that requests are read by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel

from safelight.web.parse_request import TYPES
from safelight.web.request_fields import RequestField, fields_of, task_of

ROOT: Final = "/api/v1"
"""Where the API begins."""

_FIX_SUMMARY: Final = "Look at a picture and do what it needs"
_REASONS: Final[Mapping[int, str]] = {
    400: "The request is malformed.",
    401: "The server's token is missing.",
    404: "There is no such thing.",
    406: "None of the formats that can be written is accepted.",
    408: "The body came too slowly.",
    409: "The job has no result, or not yet.",
    413: "The body or a picture is too large.",
    415: "The body is of another kind.",
    422: "A field or a picture can't be meant.",
    429: "Too many requests of one address at a time.",
    503: "The server has no room at present, or the work takes too long.",
}
_ANSWERS: Final[Mapping[str, tuple[str, str]]] = {
    "images": ("application/zip", "a ZIP archive of the pictures, `1.png` and so on"),
    "clip": ("application/zip", "a ZIP archive of the frames, `1.png` and so on"),
    "bitstream": ("application/octet-stream", "the file"),
    "value": ("application/json", "an object with `name`, `value` and `unit`"),
}
"""The media type of each output that is no picture, and what it is, in words."""
_TYPES: Final = {"text": "string", "number": "number", "integer": "integer", "flag": "boolean"}


class ProblemDetails(BaseModel):
    """Why a request was not served (RFC 9457)."""

    title: str
    status: int
    detail: str


class JobFacts(BaseModel):
    """Where a job stands."""

    id: str
    state: Literal["queued", "running", "done", "failed", "stopped"]
    verb: str
    method: str | None
    progress: float
    seconds_left: float | None
    remark: str
    error: str | None
    result: str | None
    events: str
    preview: str | None


def summary(verb: str) -> str:
    """Say what a verb does."""
    task = task_of(verb)
    return _FIX_SUMMARY if task is None else task.summary


def description(verb: str) -> str:
    """Say how a verb is asked for."""
    task = task_of(verb)
    if task is not None and (task.main is None or task.output.kind != "image"):
        source = (
            "Nothing is worked on"
            if task.main is None
            else "The body is the file, or a form whose part `picture` it is"
        )
        return (
            f"{task.summary}. {source}; what is said of the work stands in the query or in the form. The answer is "
            f"{_ANSWERS[task.output.kind][1]}. With `Prefer: respond-async` the answer is a job."
        )
    return (
        f"{summary(verb)}. The body is the picture's file, or a form whose part `picture` it is; what is said of "
        "the work stands in the query or in the form. The answer is the picture, as a file of the same format unless "
        "another is asked for by `format` or the Accept header, without EXIF and XMP unless `keep_metadata`. With "
        "`Prefer: respond-async` the answer is a job."
    )


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """List answers that say no."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in (400, 421, *statuses):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[status] = {"description": _REASONS.get(status, "The server is not called so."), "content": content}
        if status in (429, 503):
            found[status]["headers"] = {
                "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer"}}
            }
    return found


def answers_of_work(verb: str | None = None, *, later: bool = False) -> dict[int | str, dict[str, Any]]:
    """List the answers of a verb, or of asking for the result of a job."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {kind: binary for name, kind in TYPES.items() if name != "gif"}
    task = None if verb is None else task_of(verb)
    if later:
        content |= {kind: binary for kind, _ in _ANSWERS.values()}
    elif task is not None and task.output.kind in _ANSWERS:
        content = {_ANSWERS[task.output.kind][0]: binary}
    texts = {
        "Safelight-Method": "What made it, how and where.",
        "Safelight-Seconds": "That it took, without waiting.",
        "Safelight-Size": "Of the result, WxH.",
        "Safelight-Warnings": "What is to be known of it: a list in JSON.",
    }
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": "The picture.", "content": content, "headers": headers}
    }
    if later:
        return found | refusals(401, 404, 409, 413, 422, 503)
    job = {"application/json": {"schema": {"$ref": "#/components/schemas/JobFacts"}}}
    found[202] = {"description": "A job: `Prefer: respond-async`.", "content": job}
    return found | refusals(401, 403, 406, 408, 409, 413, 415, 422, 429, 503)


def events() -> dict[int | str, dict[str, Any]]:
    """List the answers of the stream of events."""
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        200: {"description": "Events, each named by the job's state, with its facts.", "content": stream}
    } | refusals(401, 404)


def preview() -> dict[int | str, dict[str, Any]]:
    """List the answers of a look at an iteration."""
    picture = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The picture so far.", "content": picture}} | refusals(401, 404, 409)


def answers_of_score() -> dict[int | str, dict[str, Any]]:
    """List the answers of a measurement."""
    return refusals(401, 403, 408, 413, 415, 422, 429, 503)


def request_of_score() -> dict[str, Any]:
    """Describe the form of a measurement."""
    file = {"type": "string", "format": "binary"}
    parts = {"reference": file, "picture": file}
    form = {"type": "object", "properties": parts, "required": [*parts], "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def request(verb: str) -> dict[str, Any]:
    """Describe what a verb takes: query, form and body."""
    fields = fields_of(verb).values()
    plain = [field for field in fields if field.kind not in ("picture", "pictures")]
    parameters = [
        {"name": field.name, "in": "query", "required": False, "description": field.help, "schema": schema(field)}
        for field in plain
    ]
    prefer = {"type": "string", "examples": ["respond-async"]}  # others are ignored, as RFC 7240 has it
    parameters.append(
        {
            "name": "Prefer",
            "in": "header",
            "required": False,
            "schema": prefer,
            "description": "respond-async: answer with a job.",
        }
    )
    file = {"type": "string", "format": "binary"}
    task = task_of(verb)
    needs_file = task is None or task.main is not None
    parts: dict[str, Any] = {"picture": file} if needs_file else {}
    for field in fields:
        if field.kind == "picture":
            parts[field.name] = {**file, "description": field.help}
        elif field.kind == "pictures":
            parts[field.name] = {"type": "array", "items": file, "description": field.help}
        else:
            parts[field.name] = schema(field)
    form = {"type": "object", "properties": parts, "required": ["picture"] * needs_file, "additionalProperties": False}
    plain_bodies = (*TYPES.values(), "application/octet-stream") if needs_file else ()
    content: dict[str, Any] = {kind: {"schema": file} for kind in plain_bodies}
    content["multipart/form-data"] = {"schema": form}
    return {"parameters": parameters, "requestBody": {"required": needs_file, "content": content}}


def schema(field: RequestField) -> dict[str, Any]:
    """Describe one field."""
    found: dict[str, Any] = {"type": _TYPES[field.kind]}
    if field.choices:
        found["enum"] = list(field.choices)
    for name, value in (("minimum", field.low), ("maximum", field.high), ("default", field.default)):
        if value is not None:
            found[name] = value
    if field.pattern:
        found["pattern"] = field.pattern
    return found
