"""How the disk is, as one process sees it and all tell it (domain/disk.py says what it means).

What is promised: measuring costs the same however many images are kept: an index holds what is confirmed, and of what
was received at most NEWEST images are looked at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.domain.disk import Disk
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

NEWEST: Final = 200_000


def confirmed_bytes(c: Connection, *, before: datetime) -> int:
    """Bytes of the images that every destination confirmed before then, and that nobody has to decide about."""
    return int(c.execute(sql("disk_confirmed"), {"before": to_text(before)}).fetchone()["size"])


def received_bytes(c: Connection, *, now: datetime, spans: tuple[timedelta, ...]) -> dict[timedelta, int]:
    """Bytes received in each of these times up to now."""

    def since(span: timedelta) -> int:
        values = {"since": to_text(now - span), "newest": NEWEST}
        return int(c.execute(sql("disk_received"), values).fetchone()["size"])

    return {span: since(span) for span in spans}


def keep(c: Connection, disk: Disk) -> None:
    """This is how it is now."""
    values = {"at": to_text(disk.at), "free": disk.free, "total": disk.total, "reserve": disk.reserve}
    c.execute(sql("disk_keep"), {**values, "confirmed": disk.confirmed, "ingest": disk.ingest})


def last(c: Connection) -> Disk | None:
    """How it was when forward looked last; None: it never did."""
    row = c.execute(sql("disk_last")).fetchone()
    if row is None:
        return None
    return Disk(
        at=from_text(row["at"]),
        free=row["free"],
        total=row["total"],
        reserve=row["reserve"],
        confirmed=row["confirmed"],
        ingest=row["ingest"],
    )
