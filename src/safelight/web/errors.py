"""How a server says no: one line of what was expected, what came and what to do, as RFC 9457's problem details."""

from __future__ import annotations

from http import HTTPStatus
from typing import NoReturn

from starlette.responses import JSONResponse, Response

from safelight.checkpoints.weights_file import CheckpointError
from safelight.core.card import MissingPackageError
from safelight.core.options import CardError
from safelight.features.backbone import BackboneError
from safelight.inference.runner import NumericError
from safelight.media import image

GONE = Response(status_code=499)
"""To nobody: the client hung up."""

RETRY = 5  # seconds, of Retry-After where nothing better is known


class RequestError(Exception):
    """A request that is not served, and why.

    Args:
        status: Of HTTP.
        detail: One line.
        retry: Seconds after which it may be tried again; of 429 and 503.
        headers: Further ones of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, retry: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, " ".join(detail.split())
        if status in (429, 503) and retry is None:
            retry = RETRY
        self.headers = {**(headers or {}), **({} if retry is None else {"Retry-After": str(max(1, round(retry)))})}

    def answer(self) -> JSONResponse:
        """Make the response."""
        body = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        return JSONResponse(body, self.status, headers=self.headers, media_type="application/problem+json")


def request_error(error: Exception) -> RequestError | None:
    """Say what an error of the work is to a client; ``None``: it is a fault of this program."""
    match error:
        case RequestError():
            return error
        case image.PictureError() | NumericError() | CardError() | BackboneError() | MissingPackageError():
            return RequestError(422, str(error))
        case MemoryError():
            return RequestError(503, f"expected memory for the work, got too little: {error}; send a smaller picture")
        case CheckpointError():
            return RequestError(
                503, "expected weights that can be read, got broken ones; the server has to be repaired"
            )
        case _:
            return None


def raise_told(error: Exception) -> NoReturn:
    """Raise an error as what it is to a client."""
    refusal = request_error(error)
    raise (error if refusal is None else refusal) from None
