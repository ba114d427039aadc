"""Measure a result against its original: what ``safelight score`` does, over HTTP."""

from __future__ import annotations

import math
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from safelight import metrics
from safelight.evaluation.scoring import Scorer
from safelight.metrics import Protocol
from safelight.web import openapi, uploads
from safelight.web.errors import GONE, RequestError, raise_told
from safelight.web.job_queue import JobQueue


def routes(queue: JobQueue) -> APIRouter:
    """Make the route that measures."""
    router = APIRouter(prefix=openapi.ROOT, tags=["pictures"])

    @router.post(
        "/score", operation_id="score", response_model=None, summary="Measure a picture against its original",
        responses=openapi.answers_of_score(), openapi_extra=openapi.request_of_score(),
    )  # fmt: skip
    async def score(request: Request) -> Response:
        """Measure a result against its original: a form with the parts `reference` and `picture`.

        PSNR and SSIM of the luma, rounded to 8 bits; the answer has this in words. The PSNR of equal pictures, which
        is infinite, is null.
        """
        held = queue.enter(request.client.host if request.client else "")
        try:
            files, texts = await uploads.read(request, held)
            if texts or {name: len(same) for name, same in files.items()} != {"reference": 1, "picture": 1}:
                raise RequestError(422, "expected a form with the parts reference and picture, once each, and no other")
            found = await to_thread.run_sync(_measure, queue, files["reference"][0], files["picture"][0])
            return JSONResponse(found)
        except ClientDisconnect:
            return GONE
        except Exception as error:
            raise_told(error)
        finally:
            held.close()

    return router


def _measure(queue: JobQueue, reference: bytes, picture: bytes) -> dict[str, Any]:
    scorer = Scorer([metrics.PSNR, metrics.SSIM], Protocol(channel="y"))
    try:
        figures = scorer.pair(queue.maker.picture(reference), queue.maker.picture(picture))
    except ValueError as error:
        raise RequestError(422, str(error)) from None
    return {
        "scores": [
            {
                "name": column.name, "title": column.title, "unit": column.unit, "protocol": column.protocol,
                "value": figures[column.name] if math.isfinite(figures[column.name]) else None,
            }
            for column in scorer.of_pairs
        ]
    }  # fmt: skip
