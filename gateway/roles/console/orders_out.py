"""`/api/v1/orders/out`: what the RISs are told of their orders, and what a person decides; stable as models.py.

What is promised: as `gateway orders out`. No patient, and of an order our own number. A decision that is answered
200 is durable; 404 for an unknown message, 409 for one that is over, or whose answer is awaited just now.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import Field

from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Event, reason_of
from gateway.roles.console.api import ERRORS, LISTED, relay_peer
from gateway.roles.console.books import Books
from gateway.roles.console.desk import BY
from gateway.roles.console.models import Answer, RelayPeer
from gateway.spool import Connection, orders_out, relays
from gateway.spool.audit import Subject

Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="The message's id.")]
_SHOWN: Final = ("id", "order", "event", "receiver", "state", "attempts", "last_status", "queued_at", "settled_at")


class OrderMessage(Answer):
    """One message on its way to one RIS."""

    id: int
    order: int | None = Field(description="As in `gateway orders list`; null once the order is forgotten.")
    event: Event
    receiver: str
    state: RelayState
    attempts: int
    last_status: str
    reason: str = Field(description="The cause and the remedy behind last_status; empty if there is none.")
    queued_at: datetime
    settled_at: datetime | None


class OrdersOut(Answer):
    at: datetime
    receivers: list[RelayPeer]
    messages: list[OrderMessage]


def routes(books: Books, *, now: Callable[[], datetime]) -> APIRouter:
    """The operations on these books."""
    router = APIRouter(prefix="/api/v1/orders/out", responses=ERRORS)

    @router.get("")
    async def orders_told(refused: bool = False, limit: Annotated[int, Query(ge=1, le=LISTED)] = LISTED) -> OrdersOut:
        """What waits for each RIS, then the messages, those that are not over first; `refused`: only these."""
        state = RelayState.REFUSED if refused else None
        overview = (await books.standing()).overview
        found = await books.read(lambda c: orders_out.latest(c, state=state, limit=limit))
        receivers = [relay_peer(one, overview, reason_of) for one in overview.orders_out]
        return OrdersOut(at=overview.now, receivers=receivers, messages=[_shown(one) for one in found])

    @router.post("/{message}/retry")
    async def orders_told_retry(message: Number) -> OrderMessage:
        """Send a refused message again as it is; later ones of its order follow."""
        return await books.write(lambda c: _decide(c, message, RelayState.QUEUED, now=now()))

    @router.post("/{message}/dismiss")
    async def orders_told_dismiss(message: Number) -> OrderMessage:
        """Let the RIS go without a message that it refused, or that waits for it."""
        return await books.write(lambda c: _decide(c, message, RelayState.DISMISSED, now=now()))

    return router


def _decide(c: Connection, number: int, state: RelayState, *, now: datetime) -> OrderMessage:
    if orders_out.get(c, number) is None:
        raise HTTPException(404, "There is no such message; /api/v1/orders/out lists them.")
    if not relays.decide(c, Subject.ORDER_MESSAGE, number, state, now=now, by=BY):
        raise HTTPException(409, "The message is over or being sent, so that can't be decided; look at its state.")
    decided = orders_out.get(c, number)
    assert decided is not None  # the same transaction
    return _shown(decided)


def _shown(one: orders_out.OrderMessage) -> OrderMessage:
    reason = reason_of(one.last_status) if one.last_status else ""
    return OrderMessage(**{name: getattr(one, name) for name in _SHOWN}, reason=reason)
