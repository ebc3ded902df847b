"""What a destination refused, and that it is to be sent again.

What is promised: only what was refused is queued again, each with its row of the journal; the alarm about a destination
ends with the last refused delivery to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.domain.model import DeliveryState, DestinationName
from gateway.spool import audit, deliveries
from gateway.spool.db import Connection

AT_ONCE: Final = 200
"""Deliveries in one transaction: the running roles wait for it."""
ALL: Final = 10_000_000


def numbers(c: Connection, destination: str = "", *, limit: int = ALL) -> list[int]:
    """The ids of what was refused, by one destination or by any."""
    names = sorted({one.destination for one in deliveries.backlog(c) if one.state is DeliveryState.REFUSED})
    return [
        one.id
        for name in names
        if destination in {"", name}
        for one in deliveries.in_state(c, destination=name, state=DeliveryState.REFUSED, limit=limit)
    ]


def ask_again(c: Connection, ids: Sequence[int], *, now: datetime, by: str) -> int:
    """Queue those of the deliveries that are refused; how many."""
    touched: set[DestinationName] = set()
    asked = 0
    for number in ids:
        found = deliveries.get(c, number)
        if found is not None and found.state is DeliveryState.REFUSED:
            deliveries.requeue(c, number, now=now, by=by, why="asked again")
            touched.add(found.destination)
            asked += 1
    for name in touched:
        if not deliveries.in_state(c, destination=name, state=DeliveryState.REFUSED, limit=1):
            audit.clear_alarm(c, code="delivery-refused", subject=name, now=now)
    return asked
