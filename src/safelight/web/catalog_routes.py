"""What there is: tasks with all that can be said of them, methods, and how long these take on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from anyio import to_thread
from fastapi import APIRouter

from safelight import catalog, tasks
from safelight.core.card import Card
from safelight.core.options import CardError
from safelight.core.task import TaskSpec
from safelight.inference import describe
from safelight.media import image
from safelight.web import openapi
from safelight.web.errors import RequestError
from safelight.web.job import ServerJob
from safelight.web.job_queue import JobQueue
from safelight.web.parse_request import task_request
from safelight.web.request_fields import fields_of, fields_of_method, task_of, verbs

_FIX_TITLE: Final = "Fix"
_WORK: Final = 4e10  # multiply-adds of a network that are enough to tell its pace by
_SIDES: Final = (64, 384)  # pixels of the picture that a pace is told by, at least and at most
_PATIENCE: Final = 8.0  # seconds after which an iteration's pace is told by what it has done


def routes(queue: JobQueue) -> APIRouter:
    """Make the routes that list."""
    router = APIRouter(prefix=openapi.ROOT, tags=["methods"])
    paces = _Paces(queue)

    @router.get("/methods", operation_id="methods", responses=openapi.refusals(401))
    async def methods() -> list[dict[str, Any]]:
        """List the methods: what they are, what they cost, how good they are."""
        return [_told(describe.facts(card)) for card in catalog.CARDS]

    @router.get("/methods/{task}/{name}", operation_id="method", responses=openapi.refusals(401, 404))
    async def method(task: str, name: str) -> dict[str, Any]:
        """Tell all about one method: paper, options, cost, weights, published numbers."""
        return _told(describe.facts(_card(task, name)[1], whole=True))

    @router.get("/methods/{task}/{name}/time", operation_id="time", responses=openapi.refusals(401, 404, 422, 503))
    async def time(task: str, name: str) -> dict[str, Any]:
        """Tell how long a method takes here, by a small picture that it is run on when this is first asked for."""
        return dict(await paces.of(*_card(task, name)))

    @router.get("/tasks", operation_id="tasks", responses=openapi.refusals(401))
    async def tasks() -> list[dict[str, Any]]:
        """List what can be done, by which methods, and what can be said of each: made for a page's controls."""
        return [_task(verb) for verb in verbs()]

    return router


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(facts))


def _card(task: str, name: str) -> tuple[TaskSpec, Card]:
    """Find a method by what a path says.

    Raises:
        RequestError: 404.
    """
    known = task_of(task)
    if known is None:
        raise RequestError(404, f"there is no task {ascii(task)[:40]}; there are: {', '.join(tasks.names())}")
    try:
        return known, catalog.find(name, known.name)
    except CardError as error:
        raise RequestError(404, str(error)) from None


def _task(verb: str) -> dict[str, Any]:
    task = task_of(verb)
    methods: list[dict[str, Any]] = []
    for card in () if task is None else catalog.of_task(task.name):
        assert task is not None
        fields = [asdict(field) for field in fields_of_method(task, card).values()]
        methods.append(
            {
                "name": card.name, "id": card.id, "title": card.title, "summary": card.summary,
                "iterates": card.method.iterates, "learned": card.method.learned, "fields": fields,
            }
        )  # fmt: skip
    default = None if task is None else catalog.default(task.name)
    return _told(
        {
            "task": verb, "title": _FIX_TITLE if task is None else task.title, "summary": openapi.summary(verb),
            "default": None if default is None else default.name, "methods": methods,
            "fields": [asdict(field) for field in fields_of(verb).values()] if task is None else [],
            "takes_picture": task is None or (task.main is not None and task.main.kind == "picture"),
            "takes_file": task is None or task.main is not None,
            "suffix": "" if task is None else task.output.suffix,
            "output": "image" if task is None else task.output.kind,
            "required": [] if task is None else [spec.field_name for spec in task.conditions if spec.required],
        }
    )  # fmt: skip


class _Paces:
    """How long methods take on this machine; each is measured once, when somebody wants to know."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._known, self._one = queue, dict[tuple[str, str], Mapping[str, Any]](), asyncio.Lock()

    async def of(self, task: TaskSpec, card: Card) -> Mapping[str, Any]:
        """Tell it, in seconds for a megapixel that comes in.

        Raises:
            RequestError: 503: there is no room at the queue; 422: the method can't run here.
        """
        key = task.name, card.id
        async with self._one:
            if key not in self._known:
                side = _side(task, card)
                if not card.method.iterates:
                    await self._run(task, card, _SIDES[0])  # weights are read, and what is compiled is compiled
                seconds = await self._run(task, card, side)
                self._known[key] = {
                    "seconds_per_megapixel": round(seconds * 1e6 / side**2, 3), "picture": f"{side}x{side}",
                }  # fmt: skip
        return self._known[key]

    async def _run(self, task: TaskSpec, card: Card, side: int) -> float:
        queue = self._queue
        held = queue.enter("the server itself")
        try:
            file, mask = _sample(side)
            pictures = {
                spec.field_name: [mask if spec.name == "mask" else file]
                for spec in task.conditions
                if spec.is_picture and spec.name in card.accepts and (spec.required or spec.name == "frames")
            }
            ask = task_request(
                task.name, {"method": card.name}, file, pictures, device=queue.device, memory=queue.memory
            )
            job = await to_thread.run_sync(lambda: queue.put(ask, held, lane="slow"))
        except BaseException:
            held.close()
            raise
        try:
            return await _seconds(job, queue)
        finally:
            queue.stop(job)
            job.forget()


async def _seconds(job: ServerJob, queue: JobQueue) -> float:
    seen = 0
    while not job.over:
        seen = await job.change(seen, 0.5)
        left = job.seconds_left
        if left is not None and job.iterates and job.lasted > _PATIENCE:
            return job.lasted + left
        if job.began is not None and not job.over and queue.waiting:
            raise RequestError(503, "the server has other work at present; ask again")
    if job.made is None:
        raise job.refusal or RequestError(503, "the server is ending; try again later")
    return job.made.seconds


def _side(task: TaskSpec, card: Card) -> int:
    """Choose a picture's side that is enough work to tell a pace by, and no more."""
    least, most = _SIDES
    if not card.method.learned:
        return 128 if card.method.iterates else most
    cost: float = describe.facts(card)["cost"]["multiply_adds"] * (16 if task.output.size == "scaled" else 1)
    return int(min(most, max(least, (_WORK / cost) ** 0.5))) // 4 * 4


def _sample(side: int) -> tuple[bytes, bytes]:
    """Draw a picture with edges and texture, and a mask of a few spots: their files."""
    y, x = np.mgrid[0:side, 0:side]
    drawn = np.random.default_rng(0)
    waves = np.stack([np.sin(x / (5 + c)) * np.cos(y / (7 - c)) for c in range(3)], axis=-1)
    pixels = 0.5 + 0.3 * waves + 0.1 * np.sign(x[..., None] - y[..., None]) + 0.02 * drawn.standard_normal(waves.shape)
    mask = (drawn.random((side, side)) < 0.02).astype(np.uint8) * 255
    samples = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return image.encode(image.Picture(pixels=samples), "png"), image.encode(
        image.Picture(pixels=mask[..., None]), "png"
    )
