"""A client of the server: the functions of the package, computed by another machine.

    client = safelight.Client("http://127.0.0.1:7860")
    large = client.upscale("photo.jpg", scale=2)

The result is of the same kind as the input, and has the same pixels, as with ``safelight.upscale`` and the others.
"""

from __future__ import annotations

import io
import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from safelight import tasks
from safelight.api.remote_tasks import RemoteTasks
from safelight.core.task import TaskSpec
from safelight.media import image

if TYPE_CHECKING:
    from safelight.api.task_functions import Holder

_AGAIN: Final = (429, 503)
_MOST = 1 << 30  # bytes of an answer


class ServerError(RuntimeError):
    """The server refused a request, failed, or cannot be reached.

    Attributes:
        status: The HTTP status; 0 if there was no answer.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:  # noqa: ANN401 - as JSON has it
        """Read it as JSON."""
        return json.loads(self.content)


class Client(RemoteTasks):
    """A client of one server.

    Args:
        url: The address of the server, such as ``http://127.0.0.1:7860``.
        token: The token of the server; it is sent to this server only. ``None``: the server needs none.
        patience: The seconds for which a request to a busy server is repeated, at the intervals that the server names.
        timeout: The seconds without data after which a request fails.

    Raises:
        ValueError: The address does not start with http:// or https://.

    Example:
        >>> Client("ftp://example.org")
        Traceback (most recent call last):
        ValueError: expected an address such as http://127.0.0.1:7860, got 'ftp://example.org'
    """

    def __init__(self, url: str, *, token: str | None = None, patience: float = 60.0, timeout: float = 300.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"expected an address such as http://127.0.0.1:7860, got {url!r}")
        self.url = url.rstrip("/")
        self._token, self._patience, self._timeout = token, patience, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    def do(self, task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as the kind that comes in
        """Run a task. Each task is also a method: ``client.upscale(x, scale=2)``.

        Args:
            task: One of ``safelight.tasks.TASKS``.
            x: The picture or file to work on; ``None`` for a task without one.
            values: The keyword arguments of the task's function, except weights and device.

        Returns:
            A picture of the kind of ``x``, a list of pictures, bytes or a value, depending on the task.

        Raises:
            ServerError: The server refused the request or failed; the message says why.
            PictureError: ``x`` cannot be read as a picture.
        """
        return _output(task, self._ask(task.name, x, values, {}), x)

    def fix(self, x: Holder) -> Any:  # noqa: ANN401
        """Repair a picture as it needs it, as ``safelight.fix`` does."""
        return _as_kind(self._ask("fix", x, {}, {}).content, x)

    def methods(self) -> list[dict[str, Any]]:
        """List the server's methods."""
        return self.send("GET", "/methods").json()

    def submit(self, verb: str, x: Holder, **values: Any) -> RemoteJob:  # noqa: ANN401
        """Start a job on the server, and return at once.

        Args:
            verb: The name of a task, or ``"fix"``.
            x: The picture to work on.
            **values: The keyword arguments of the task's function, except weights and device.

        Raises:
            ServerError: The server refused the request or cannot be reached.
        """
        answer = self._ask(verb, x, values, {"Prefer": "respond-async"})
        return RemoteJob(self, answer.json()["id"], x)

    # --- requests ---

    def _ask(self, verb: str, x: Holder, values: Mapping[str, Any], headers: Mapping[str, str]) -> _Answer:
        """Send a picture and the values of the inputs as a form."""
        task = None if verb not in tasks.names() else tasks.find(verb)
        parts: list[tuple[str, bytes]] = []
        texts: dict[str, str] = {"keep_metadata": "true"}
        if task is None or (task.main is not None and task.main.kind == "picture"):
            parts.append(("picture", _file(x)))
            if not isinstance(x, bytes):  # no loss on the way: only bytes come back in their own format
                texts["format"] = "tiff" if image.probe(parts[0][1]).depth == "float" else "png"
        elif task.main is not None:
            parts.append(("picture", x if isinstance(x, bytes) else Path(cast("str | Path", x)).read_bytes()))
        for name, value in values.items():
            spec = None if task is None else task.input(name)
            field = name if spec is None else spec.field_name
            if spec is not None and spec.is_picture:
                parts += [(field, _file(each)) for each in _several(value)]
            elif value is not None:
                texts[field] = _text(value)
        border = secrets.token_hex(16)
        body: list[bytes] = []
        for name, text in texts.items():
            body.append(f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode())
        for name, content in parts:
            head = f'Content-Disposition: form-data; name="{name}"; filename="{name}"'
            body += [
                f"--{border}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
                content,
                b"\r\n",
            ]
        body.append(f"--{border}--\r\n".encode())
        kind = f"multipart/form-data; boundary={border}"
        return self.send("POST", f"/{verb}", b"".join(body), {"Content-Type": kind, **headers})

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        """Send a request, again and again while the server is busy."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", body, dict(headers or {}), method=method)
        if self._token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        end = time.monotonic() + self._patience
        while True:
            answer = self._once(request)
            if answer.status < 400:
                return answer
            wait = float({k.lower(): v for k, v in answer.headers.items()}.get("retry-after", "0"))
            if answer.status not in _AGAIN or time.monotonic() + wait > end:
                raise ServerError(_error_text(answer), answer.status)
            time.sleep(wait)

    def _once(self, request: urllib.request.Request) -> _Answer:
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return _Answer(response.status, dict(response.headers.items()), response.read(_MOST))
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, dict(error.headers.items()), error.read(1 << 16))
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"expected a server at {self.url}, got none: {' '.join(str(reason).split())}") from None


class RemoteJob:
    """A job on the server.

    Attributes:
        id: The identifier of the job.
    """

    def __init__(self, client: Client, number: str, like: Holder) -> None:
        self._client, self.id, self._like = client, number, like

    def facts(self) -> dict[str, Any]:
        """Return the state of the job: ``state``, ``progress``, ``seconds_left`` and so on."""
        return self._client.send("GET", f"/jobs/{self.id}").json()

    def stop(self) -> None:
        """Stop the job. An iterative method then returns its best picture so far."""
        self._client.send("DELETE", f"/jobs/{self.id}")

    def result(self, *, pause: float = 0.5) -> Any:  # noqa: ANN401 - as the kind that came in
        """Wait for the result, and return it.

        Args:
            pause: The seconds between two requests for the state of the job.

        Raises:
            ServerError: The job failed or was stopped without a result.
        """
        while self.facts()["state"] in ("queued", "running"):
            time.sleep(pause)
        return _as_kind(self._client.send("GET", f"/jobs/{self.id}/result").content, self._like)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, so that pictures and the token reach no other server."""

    def redirect_request(
        self,
        req: object,
        fp: object,
        code: object,
        msg: object,
        headers: object,
        newurl: object,
    ) -> None:
        """Follow no redirect."""


def _error_text(answer: _Answer) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status}"


def _text(value: Any) -> str:  # noqa: ANN401
    """Write a value as a form has it; a tuple of whole numbers is a size, other sequences have commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple) and all(isinstance(part, int) for part in cast("tuple[Any, ...]", value)):
        return "x".join(map(str, cast("tuple[int, ...]", value)))
    if isinstance(value, list | tuple):
        return ",".join(map(str, cast("list[Any]", value)))
    return str(value)


def _output(task: TaskSpec, answer: _Answer, x: Any) -> Any:  # noqa: ANN401
    """Read an answer as the task's function gives its output."""
    match task.output.kind:
        case "image":
            if task.main is None or task.main.kind != "picture":
                return image.read(answer.content)
            return _as_kind(answer.content, x)
        case "images" | "clip":
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                return [image.read(archive.read(name)) for name in archive.namelist()]
        case "bitstream":
            return answer.content
        case "value":
            return answer.json()["value"]


def _several(value: Any) -> list[Any]:  # noqa: ANN401
    """List the pictures of a field: one, or as many as a list has."""
    return [] if value is None else list(cast("list[Any]", value)) if isinstance(value, list | tuple) else [value]


def _file(x: Any) -> bytes:  # noqa: ANN401
    """Turn any kind of picture into a file's bytes, without a loss."""
    if isinstance(x, bytes):
        return x
    if isinstance(x, str | Path):
        try:
            return Path(x).read_bytes()
        except OSError as error:
            raise image.PictureError(f"{x}: expected a file, got: {error.strerror}") from None
    picture = image.from_any(x)
    return image.encode(picture, "tiff" if picture.depth == "float" else "png")


def _as_kind(content: bytes, like: Holder) -> Any:  # noqa: ANN401
    if isinstance(like, bytes):
        return content
    picture = image.read(content)
    if isinstance(like, str | Path | image.Picture):
        original_format = like.format if isinstance(like, image.Picture) else image.probe(like).format
        return replace(picture, format=original_format)
    return image.to_kind(picture, like)
