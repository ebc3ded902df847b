"""`/api/v1/studies/...`: what is told of one study beyond its hops. Read only; stable as models.py says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from gateway.domain.custody import StudyCustody
from gateway.domain.transit import Journey, Transit
from gateway.roles.console import models
from gateway.roles.console.api import ERRORS
from gateway.roles.console.books import Books
from gateway.roles.console.pages import Place
from gateway.spool import custody, transit

Uid = Annotated[str, Path(min_length=1, max_length=64)]


def routes(books: Books, place: Place, *, now: Callable[[], datetime]) -> APIRouter:
    """The operations over these books."""
    router = APIRouter(prefix="/api/v1", responses=ERRORS)

    @router.get("/studies/{uid}/custody")
    async def custody_of_study(uid: Uid) -> StudyCustody:
        """Every image of a study: where it came from, each attempt to send it, and what proved that it is kept."""
        found = await books.read(partial(custody.of_study, key=uid, site=place.site, box=place.box, now=now()))
        if found is None:
            raise HTTPException(404, "No image of that study was received; check the UID.")
        return found

    @router.get("/studies/{uid}/progress")
    async def progress_of_study(uid: Uid) -> models.StudyProgress:
        """How far a study is on its way to each destination, how fast that goes, and when it will be there."""
        found = await books.read(partial(transit.journey, key=uid, now=now()))
        if found is None:
            raise HTTPException(404, "No image of that study was received; check the UID.")
        return _progress(found)

    return router


def _progress(found: Journey) -> models.StudyProgress:
    return models.StudyProgress(
        StudyInstanceUID=found.StudyInstanceUID,
        at=found.at,
        is_over=found.is_over,
        received_images=found.received_images,
        received_bytes=found.received_size,
        last_received=found.last_received,
        destinations=[_transit(one) for one in found.destinations],
    )


def _transit(one: Transit) -> models.Transit:
    arrives_in = one.arrives_in
    return models.Transit(
        destination=one.destination,
        images=one.images,
        size_bytes=one.size,
        waiting_images=one.waiting_images,
        waiting_bytes=one.waiting_size,
        ahead_bytes=one.ahead_size,
        sent_images=one.sent_images,
        confirmed_images=one.confirmed_images,
        refused_images=one.refused_images,
        rate_bytes_per_s=one.rate,
        arrives_in_s=None if arrives_in is None else arrives_in.total_seconds(),
    )
