"""`/metrics` and `/healthz`: what programs watch a box by, the same whoever serves them (the console, health).

What is promised
- `/healthz` is 200 only if, just now, the index was read, the spool's disk answered, and every part that the
  configuration needs is a process that proved its work of late; else it is 503 with the reason. It claims no more than
  that: whether images move is told by the ages of `/metrics`.
- Labels and reasons are configured names, states and codes; never an AE title of a stranger, a UID or anything of a
  patient (invariant 9). Series of the configuration and of every alarm code are there from the start, at zero, so that
  a rule on them is not blind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.domain.health import Seen
from gateway.domain.model import TemporaryFailure
from gateway.domain.overview import lifeless
from gateway.domain.telemetry_fields import to_rfc3339
from gateway.net.exposition import exposition
from gateway.net.problems import unavailable

Look = Callable[[], Awaitable[Seen]]
"""What is seen of the box now. Raises TemporaryFailure."""

log = structlog.get_logger()


def application(look: Look, anew: Look) -> ASGIApp:
    """A site of these two pages and nothing else; no answer is to be stored. `look` may be a second old."""

    async def metrics_page(request: Request) -> Response:
        return _not_stored(await metrics(look, accept=request.headers.get("accept", "")))

    async def health_page(_: Request) -> Response:
        return _not_stored(await healthz(anew))

    site = Starlette(routes=[Route("/metrics", metrics_page), Route("/healthz", health_page)])
    site.router.redirect_slashes = False
    return site


async def metrics(look: Look, *, accept: str) -> Response:
    """What a scraper reads, in a format that it accepts."""
    try:
        seen = await look()
    except TemporaryFailure as error:
        return _unread(error)
    text, media_type = exposition(seen, accept=accept)
    return Response(text, media_type=media_type)


async def healthz(look: Look) -> Response:
    """Whether the box is fit to be sent to."""
    try:
        seen = await look()
    except TemporaryFailure as error:
        return _unread(error)
    dead = lifeless(seen.overview)
    if dead:
        return unavailable(" ".join(dead))
    at = to_rfc3339(seen.overview.now)
    return JSONResponse({"at": at, "index_read": True, "disk_free_bytes": seen.free_bytes})


def _unread(error: TemporaryFailure) -> Response:
    log.warning("can't tell how the box is", code=error.code)
    return unavailable(f"{str(error).capitalize()}.")


def _not_stored(answer: Response) -> Response:
    answer.headers["cache-control"] = "no-store"
    return answer
