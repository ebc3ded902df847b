"""`/api/v1/studies/...`: what is told of one study beyond its hops. Read only; stable as models.py says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from gateway.domain.custody import StudyCustody
from gateway.roles.console.api import ERRORS
from gateway.roles.console.books import Books
from gateway.roles.console.pages import Place
from gateway.spool import custody

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

    return router
