"""The application: the API, what supervisors ask for, and the security checks before all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

import safelight
from safelight.engine.device import Device
from safelight.web import catalog_routes, openapi, page_routes, score_routes, task_routes
from safelight.web.backend import Backend
from safelight.web.errors import RequestError
from safelight.web.job_queue import JobQueue
from safelight.web.limits import ServerLimits
from safelight.web.monitoring import Monitoring
from safelight.web.security import SecurityMiddleware

_SWEEP = 30.0  # seconds between two looks for results that nobody has fetched
_ABOUT = "Restore, enlarge and restyle pictures. A picture in, a picture out."


@dataclass(frozen=True, slots=True)
class Served:
    """What ``serve`` runs: the application, and the queue behind it."""

    app: SecurityMiddleware
    queue: JobQueue
    api: FastAPI


def build(
    limits: ServerLimits,
    *,
    hosts: frozenset[str],
    token: str | None = None,
    device: Device = "auto",
    memory: int = 1 << 30,
    maker: Backend | None = None,
) -> Served:
    """Put the application together.

    Args:
        limits: What clients may have.
        hosts: Names and addresses under which it may be called.
        token: What clients have to show; ``None``: nothing.
        device: Where it computes.
        memory: Bytes that a tile's computation may hold.
        maker: Who computes; ``None``: this process.
    """
    counts = Monitoring()
    queue = JobQueue(limits, device=device, memory=memory, finished=counts.finished, maker=maker)
    counts.watch(queue)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:  # noqa: ARG001 - as FastAPI calls it
        queue.open()
        sweeping = asyncio.create_task(_sweep(queue))
        yield
        sweeping.cancel()
        await asyncio.to_thread(queue.close)

    app = FastAPI(
        title="Safelight", summary=_ABOUT, version=safelight.__version__, lifespan=lifespan,
        redirect_slashes=False, openapi_url=f"{openapi.ROOT}/openapi.json",
        docs_url=None, redoc_url=None,  # their pages load other hosts' scripts
    )  # fmt: skip
    for part in (task_routes, catalog_routes, score_routes):
        app.include_router(part.routes(queue))
    app.include_router(page_routes.routes(token))
    _add_health(app, queue, counts)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.openapi = lambda: _described(app)
    return Served(SecurityMiddleware(app, limits, hosts, token, counts), queue, app)


async def _sweep(queue: JobQueue) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        queue.sweep()


def _add_health(app: FastAPI, queue: JobQueue, counts: Monitoring) -> None:
    @app.get("/healthz", tags=["health"], operation_id="healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Say that the process lives."""
        return "ok"

    ready: dict[int | str, dict[str, Any]] = {503: {"description": "It is ending, or has no room."}}

    @app.get("/readyz", tags=["health"], operation_id="readyz", response_class=PlainTextResponse, responses=ready)
    async def readyz() -> Response:
        """Say whether it takes work at present."""
        if queue.closing or queue.waiting >= queue.limits.queue:
            return PlainTextResponse("busy", 503, headers={"Retry-After": "5"})
        return PlainTextResponse("ok")

    @app.get("/metrics", tags=["health"], operation_id="metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Give the counts, for Prometheus."""
        return Response(counts.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# --- errors -----------------------------------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as FastAPI calls it
    assert isinstance(error, RequestError)
    return error.answer()


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the router knows of the first route with this path alone
        found = [r for r in request.app.routes if isinstance(r, Route) and r.matches(request.scope)[0] != Match.NONE]
        headers["Allow"] = ", ".join(sorted({method for route in found for method in route.methods or ()}))
    return RequestError(error.status_code, str(error.detail), headers=headers).answer()


async def _invalid(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return RequestError(422, f"expected other parameters: {str(error)[:200]}").answer()


def _described(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI document, once."""
    if app.openapi_schema is None:
        made: dict[str, Any] = FastAPI.openapi(app)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = openapi.ProblemDetails.model_json_schema()
        schemas.setdefault("JobFacts", openapi.JobFacts.model_json_schema())
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in made["paths"].values():
            for operation in path.values():
                with suppress(KeyError):
                    if "HTTPValidationError" in str(operation["responses"]["422"]):
                        del operation["responses"]["422"]
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema
