"""The web application put together: door, pages, API, metrics and health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gateway.domain.model import TemporaryFailure
from gateway.net import watch_pages
from gateway.net.problems import MEDIA_TYPE, RETRY_SECONDS, problem
from gateway.roles.console import api, desk, models, mpps, orders, orders_out, pages, studies, tasks, worklist
from gateway.roles.console.api import ConfiguredScanner, ServedBy
from gateway.roles.console.books import Books
from gateway.roles.console.desk import DeskRules
from gateway.roles.console.guard import Guard
from gateway.roles.console.orders import OrderRules
from gateway.roles.console.pages import Pages, Place
from gateway.roles.console.tasks import TaskRules

API_VERSION = "1.0"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the console shows that the spool does not hold."""

    place: Place
    scanners: Sequence[ConfiguredScanner]
    added: Callable[[str], ServedBy]
    """How a scanner of this profile is served that a command added."""
    desk: DeskRules
    orders: OrderRules
    tasks: TaskRules
    now: Callable[[], datetime]


def application(site: Site, books: Books) -> ASGIApp:
    """The whole site behind its door."""
    app = FastAPI(
        title="Modality Gateway",
        version=API_VERSION,
        description="What stands in one gateway. Loopback only. It reads, but for the desk, the orders and the"
        " tasks; no answer but the desk's and that of one task has a patient's name or id.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    shown = Pages(site.place, now=site.now)
    app.include_router(api.routes(books, site.scanners))
    app.include_router(studies.routes(books, site.place, now=site.now))
    app.include_router(worklist.routes(books, site.scanners, added=site.added, errors=api.ERRORS))
    app.include_router(desk.routes(books, site.desk, api.ERRORS))
    app.include_router(orders.routes(books, site.orders, api.ERRORS))
    app.include_router(tasks.routes(books, site.tasks, api.ERRORS))
    app.include_router(mpps.routes(books))
    app.include_router(orders_out.routes(books, now=site.now))
    app.include_router(pages.routes(books, shown))

    unfit = {"model": models.Problem, "description": "The spool does not answer, or a part of the box does not live"}

    @app.get("/healthz", response_model=models.Health, responses={"503": unfit})
    async def healthz() -> Response:
        """Whether the index can be read, the spool's disk answers and the parts of the box live, now. It claims no
        more: health is traffic."""
        return await watch_pages.healthz(books.standing.anew)

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        return await watch_pages.metrics(books.standing, accept=request.headers.get("accept", ""))

    _tell_errors(app, shown)
    _describe_errors(app)
    return Guard(app)


def _tell_errors(app: FastAPI, shown: Pages) -> None:
    """Programs get problem details, people a page."""

    def told(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        if request.url.path.startswith(("/api/", "/metrics", "/healthz")):
            return problem(status, detail, headers=headers)
        return shown.fault(status, HTTPStatus(status).phrase, detail)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        detail = "There is nothing at this address." if error.detail == "Not Found" else error.detail
        return told(request, error.status_code, detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def asked_wrongly(request: Request, error: RequestValidationError) -> Response:
        faults = (f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())  # never the value
        return told(request, 422, "; ".join(faults))

    @app.exception_handler(TemporaryFailure)
    async def later(request: Request, error: TemporaryFailure) -> Response:
        log.warning("console can't answer", code=error.code)
        return told(request, 503, f"{str(error).capitalize()}.", {"Retry-After": str(RETRY_SECONDS)})

    @app.exception_handler(Exception)
    async def fault_of_ours(request: Request, _error: Exception) -> Response:
        # The server logs the error, by type and place
        return told(request, 500, "A fault of the console's own; its log names the place.")


def _describe_errors(app: FastAPI) -> None:
    """The API's document as FastAPI writes it, but errors are problem details."""
    described = app.openapi

    def with_problems() -> dict[str, Any]:
        if app.openapi_schema is None:
            _as_problems(described())
        return described()

    app.openapi = with_problems  # type: ignore[method-assign]


def _as_problems(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/Problem"}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # among 4XX, and no list of FastAPI's own
            for answer in operation["responses"].values():
                if answer.get("content", {}).get("application/json", {}).get("schema") == reference:
                    answer["content"] = {MEDIA_TYPE: {"schema": reference}}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
