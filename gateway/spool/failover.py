"""Deliveries that are moved to another destination while their own can't be reached.

What is promised: only what is queued is moved, each move is journalled, and whom a delivery was meant for first is
kept with it (`meant_for`), so that it can come back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from gateway.domain.model import DestinationName, Lane
from gateway.spool import audit
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import to_text


def move(
    c: Connection,
    *,
    destination: DestinationName,
    meant_for: DestinationName,
    to: DestinationName,
    lanes: Sequence[Lane],
    queued_before: datetime,
    now: datetime,
) -> int:
    """Moves what is queued at `destination`, and was first meant for `meant_for`, to another; how many.

    What was queued later than `queued_before` stays, and so does an instance that has a delivery there already. One
    whose lane the other does not have goes into the first of its `lanes`.
    """
    values = {
        "destination": destination,
        "meant_for": meant_for,
        "to": to,
        "lanes": json.dumps(lanes),
        "first": lanes[0],
        "queued_before": to_text(queued_before),
        "at": to_text(now),
        "why": f"failover to {to}",
    }
    audit.refuse_foreign_text("why", values["why"])
    c.execute(sql("failover_journal"), values)
    return len(c.execute(sql("failover_move"), values).fetchall())
