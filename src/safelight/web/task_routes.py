"""The HTTP API, version 1: a picture in, a picture out; or a job that is followed, fetched later, or stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from safelight import batch
from safelight.media import image
from safelight.media.image.formats import SNIFF_BYTES, sniff
from safelight.web import openapi, uploads
from safelight.web.errors import GONE, RequestError, raise_told
from safelight.web.job import HeldRoom, JobResult, ServerJob
from safelight.web.job_queue import JobQueue
from safelight.web.openapi import ROOT
from safelight.web.parse_request import TYPES, TaskRequest, acceptable, read_fields, task_request
from safelight.web.request_fields import task_of, verbs

_SIGHT = 3.0  # seconds to wait for an iteration's next step
_PULSE = 10.0  # seconds between two signs of life in a stream of events


def routes(queue: JobQueue) -> APIRouter:
    """Make the API of a queue."""
    router = APIRouter(prefix=ROOT)
    for verb in verbs():
        router.add_api_route(
            f"/{verb}", _endpoint(verb, queue), methods=["POST"], operation_id=verb, summary=openapi.summary(verb),
            responses=openapi.answers_of_work(verb), openapi_extra=openapi.request(verb), response_class=Response,
            status_code=200, tags=["pictures"],
        )  # fmt: skip

    @router.get(
        "/jobs/{number}", tags=["jobs"], operation_id="job", responses=openapi.refusals(401, 404),
        response_model=openapi.JobFacts,
    )  # fmt: skip
    async def job(number: str) -> JSONResponse:
        """Tell where a job stands."""
        return JSONResponse(facts_of(queue.find(number)))

    @router.get(
        "/jobs/{number}/result", tags=["jobs"], operation_id="result", response_class=Response,
        responses=openapi.answers_of_work(later=True),
    )  # fmt: skip
    async def result(number: str) -> Response:
        """Give a job's picture, as often as it is asked for while it is kept."""
        found = queue.find(number)
        if not found.over:
            raise RequestError(409, f"the job is {found.state}; ask again when it is done")
        return _answer(found)

    @router.get(
        "/jobs/{number}/events", tags=["jobs"], operation_id="events", response_class=StreamingResponse,
        responses=openapi.events(),
    )  # fmt: skip
    async def events(number: str) -> StreamingResponse:
        """Follow a job: server-sent events of its facts, until it is over."""
        found = queue.find(number)
        return StreamingResponse(_events(found), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @router.get(
        "/jobs/{number}/preview", tags=["jobs"], operation_id="preview", response_class=Response,
        responses=openapi.preview(),
    )  # fmt: skip
    async def preview(number: str) -> Response:
        """Show what an iteration has by now, as PNG with 8 bits."""
        seen = await to_thread.run_sync(queue.find(number).current_picture, _SIGHT)
        if seen is None:
            raise RequestError(409, "there is nothing to look at, or not yet: the job waits, is over, or iterates not")
        file = await to_thread.run_sync(image.encode, image.Picture(pixels=seen), "png")
        return Response(file, media_type=TYPES["png"], headers={"Cache-Control": "no-store"})

    @router.delete(
        "/jobs/{number}", tags=["jobs"], operation_id="stop", status_code=202, response_model=openapi.JobFacts,
        responses={204: {"description": "It was over, and is forgotten."}, **openapi.refusals(401, 404)},
    )  # fmt: skip
    async def stop(number: str) -> Response:
        """Stop a job; an iteration's best so far is kept. Of a job that is over, forget the result."""
        found = queue.find(number)
        if found.over:
            queue.drop(found)
            return Response(status_code=204)
        queue.stop(found)
        return JSONResponse(facts_of(found), 202)

    return router


def facts_of(job: ServerJob) -> dict[str, Any]:
    """Tell where a job stands, as plain values."""
    here = f"{ROOT}/jobs/{job.id}"
    left = job.seconds_left
    return {
        "id": job.id,
        "state": job.state,
        "verb": job.ask.verb,
        "method": None if job.ask.card is None else job.ask.card.id,
        "progress": round(job.fraction, 4),
        "seconds_left": None if left is None else round(left, 1),
        "remark": job.remark,
        "error": None if job.refusal is None else job.refusal.detail,
        "result": f"{here}/result" if job.made is not None else None,
        "events": f"{here}/events",
        "preview": f"{here}/preview" if job.shows else None,
    }


def _endpoint(verb: str, queue: JobQueue) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _Work(verb, queue).answer(request)

    endpoint.__doc__ = openapi.description(verb)
    return endpoint


class _Work:
    """One task's requests."""

    def __init__(self, verb: str, queue: JobQueue) -> None:
        self._verb, self._queue = verb, queue

    async def answer(self, request: Request) -> Response:
        """Do the work, or begin it."""
        queue, client = self._queue, request.client.host if request.client else ""
        values = read_fields(self._verb, request.query_params.multi_items())
        held = queue.enter(client)
        try:
            ask = await self._read(request, values, held)
            job = await to_thread.run_sync(queue.put, ask, held)
        except ClientDisconnect:
            held.close()
            return GONE
        except Exception as error:
            held.close()
            raise_told(error)
        except BaseException:  # the server is ending
            held.close()
            raise
        if "respond-async" in request.headers.get("prefer", "").replace(" ", "").split(","):
            queue.keep(job)
            headers = {"Location": f"{ROOT}/jobs/{job.id}", "Preference-Applied": "respond-async"}
            return JSONResponse(facts_of(job), 202, headers=headers)
        try:
            if not await _finished(request, job):
                return GONE
            return _answer(job)
        finally:
            queue.stop(job)  # of use where its client hung up
            job.forget()

    async def _read(self, request: Request, values: Mapping[str, Any], held: HeldRoom) -> TaskRequest:
        """Read what is asked for, and hold the bytes of it."""
        accept = request.headers.get("accept")
        task = task_of(self._verb)
        makes_picture = task is None or task.output.kind == "image"
        if makes_picture:
            acceptable(accept, "png")  # refused before the body is read
        files, texts = await uploads.read(request, held)
        said = read_fields(self._verb, texts)
        if twice := said.keys() & values.keys():
            raise RequestError(422, f"{min(twice)}: expected it in the query or in the form, got both")
        said |= values
        if task is not None and task.main is None:
            if b"" in (pictures := files.pop("picture", [])):
                pictures.remove(b"")
            if pictures:
                raise RequestError(422, f"{self._verb} works on no picture, got one; leave it out")
            pictures = [b""]
        elif len(pictures := files.pop("picture", [])) != 1 or not pictures[0]:
            raise RequestError(
                422, f"expected one picture, got {len(pictures) if pictures != [b''] else 'an empty body'}"
            )
        ask = task_request(self._verb, said, pictures[0], files, device=self._queue.device, memory=self._queue.memory)
        return ask if ask.format is not None or not makes_picture else _accepted(ask, accept)


def _accepted(ask: TaskRequest, accept: str | None) -> TaskRequest:
    """Take the format of the answer from the Accept header, where the picture's own won't do."""
    own = batch.result_format(None if not ask.picture else sniff(ask.picture[:SNIFF_BYTES]))
    chosen = acceptable(accept, own)
    return ask if chosen == own else replace(ask, format=chosen)


async def _finished(request: Request, job: ServerJob) -> bool:
    """Wait until a job is over; ``False``: its client hung up before."""
    over, gone = asyncio.create_task(_over(job)), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
        return job.over
    finally:
        over.cancel()
        gone.cancel()


async def _over(job: ServerJob) -> None:
    seen = 0
    while not job.over:
        seen = await job.change(seen, _PULSE)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":  # its body has come: nothing else is to be told
        pass


def _answer(job: ServerJob) -> Response:
    if job.refusal is not None:
        raise job.refusal
    if job.made is None:
        raise RequestError(409, "the job was stopped before there was a result")
    return _picture(job.made)


def _picture(made: JobResult) -> Response:
    headers = {
        "Safelight-Method": made.method,
        "Safelight-Seconds": f"{made.seconds:.3f}",
        "Safelight-Warnings": json.dumps(made.warnings),
        "Cache-Control": "no-store",
    }
    if made.size is not None:
        headers["Safelight-Size"] = f"{made.size[0]}x{made.size[1]}"
    return Response(made.content, media_type=made.media_type, headers=headers)


async def _events(job: ServerJob) -> AsyncIterator[bytes]:
    """Write a job's facts whenever they change, and a sign of life in between."""
    seen, quiet = -1, False
    with suppress(asyncio.CancelledError):  # its reader went away; the job goes on
        while True:
            over = job.over
            yield b":\n\n" if quiet else f"event: {job.state}\ndata: {json.dumps(facts_of(job))}\n\n".encode()
            if over:
                return
            new = await job.change(max(seen, 0) if seen < 0 else seen, _PULSE)
            quiet, seen = new == seen, new
