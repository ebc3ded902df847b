"""Deliveries that are taken out of their queues, because their images are held or go nowhere.

What is promised: only what nobody is sending and was not sent is taken out, each with a journal row. What goes on
later is queued anew, behind what was queued meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

from gateway.domain.model import InstanceId
from gateway.spool import audit
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import to_text


def withdraw(c: Connection, ids: Collection[InstanceId], *, now: datetime, by: str, why: str) -> None:
    """Takes what was not begun, and what was refused, of these instances out of the queues."""
    audit.refuse_foreign_text("by", by)
    audit.refuse_foreign_text("why", why)
    values = {"ids": json.dumps(sorted(ids)), "at": to_text(now), "by": by, "why": why}
    c.execute(sql("delivery_withdrawn_journal"), values)
    c.execute(sql("delivery_withdraw"), values)
