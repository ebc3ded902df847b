"""The sign that the books can be written to: one row for each part, changed again and again.

A write that changes nothing would sync nothing, so it takes a row of its own to see that a commit comes to the disk.
"""

from __future__ import annotations

from datetime import datetime

from gateway.spool.claims import Part
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import to_text


def beat(c: Connection, part: Part, *, now: datetime) -> None:
    """Note that `part` could write."""
    c.execute(sql("heartbeat"), {"part": part, "now": to_text(now)})
