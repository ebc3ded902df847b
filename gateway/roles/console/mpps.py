"""`/api/v1/mpps`: performed procedure steps, for programs; stable as models.py says.

No patient, and no UID: a step is named by our own id of it, as in `gateway mpps`.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from gateway.domain.mpps import RelayState, Request, StepStatus, reason_of
from gateway.roles.console.api import ERRORS, LISTED, relay_peer
from gateway.roles.console.books import Books
from gateway.roles.console.models import Answer, Plain, RelayPeer
from gateway.spool import mpps
from gateway.spool.mpps import Step


class MppsMessage(Answer):
    """One message on its way to one peer."""

    id: int
    request: Request
    peer: str
    state: RelayState
    attempts: int
    last_status: str
    queued_at: datetime


class MppsStep(Answer):
    """A performed procedure step as its scanner told it last; no patient, and our own id of it."""

    id: int
    calling_ae: Plain
    status: StepStatus = Field(description="Empty: not told.")
    modality: Plain
    reason: Plain = Field(description="Why it was discontinued, as code value^scheme.")
    first_at: datetime
    last_at: datetime
    ended_at: datetime | None
    series: int | None
    instances: int | None
    messages: list[MppsMessage]


class Mpps(Answer):
    at: datetime
    peers: list[RelayPeer]
    steps: list[MppsStep]


def routes(books: Books) -> APIRouter:
    """The operation over these books."""
    router = APIRouter(prefix="/api/v1", responses=ERRORS)

    @router.get("/mpps")
    async def performed_steps(limit: Annotated[int, Query(ge=1, le=LISTED)] = 20) -> Mpps:
        """What waits for each RIS, and the steps that scanners told of last, latest first."""
        overview = (await books.standing()).overview
        found = await books.read(partial(mpps.steps, limit=limit))
        return Mpps(
            at=overview.now,
            peers=[relay_peer(one, overview, reason_of) for one in overview.mpps],
            steps=[_step(one) for one in found],
        )

    return router


def _step(one: Step) -> MppsStep:
    return MppsStep(
        id=one.id,
        calling_ae=one.calling_ae,
        status=one.status,
        modality=one.Modality,
        reason=one.reason,
        first_at=one.first_at,
        last_at=one.last_at,
        ended_at=one.ended_at,
        series=one.series,
        instances=one.instances,
        messages=[
            MppsMessage(
                id=relay.id,
                request=relay.request,
                peer=relay.target,
                state=relay.state,
                attempts=relay.attempts,
                last_status=relay.last_status,
                queued_at=relay.queued_at,
            )
            for relay in one.relays
        ],
    )
