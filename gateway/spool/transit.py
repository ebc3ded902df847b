"""How far studies are on their way, from the rows (domain/transit.py says what it means).

What is promised: what one study costs is by its images and what is queued before it, however much was ever delivered.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway.domain.completeness import Progress
from gateway.domain.model import UID, DestinationName, InstanceId
from gateway.domain.transit import LATELY, Journey, Pace, Transit
from gateway.spool import instances, progress, studies
from gateway.spool.db import Connection, Row
from gateway.spool.deliveries import SLOT_SECONDS
from gateway.spool.queries import sql

COUNTED: Final = 100_000
"""Deliveries of a queue that are added up to say what is before a study."""


def paces(c: Connection, *, now: datetime) -> dict[DestinationName, Pace]:
    """What each destination took lately; one that took nothing is absent."""
    end = now.timestamp()
    values = {"first": int(end - LATELY.total_seconds()) // SLOT_SECONDS + 1, "last": int(end) // SLOT_SECONDS}
    return {
        DestinationName(row["destination"]): Pace(
            destination=DestinationName(row["destination"]),
            size=row["size"],
            seconds=max(end - row["first"] * SLOT_SECONDS, float(SLOT_SECONDS)),
        )
        for row in c.execute(sql("transit_pace"), values)
    }


def queues(c: Connection, *, now: datetime) -> tuple[Transit, ...]:
    """All that is on its way to each destination."""
    found = paces(c, now=now)
    return tuple(_transit(row, found, ahead=0) for row in c.execute(sql("transit_queues")).fetchall())


def under_way(c: Connection, *, limit: int) -> tuple[UID, ...]:
    """Studies of which something waits to be sent, those that have waited longest first."""
    return tuple(UID(row["StudyInstanceUID"]) for row in c.execute(sql("transit_studies"), {"limit": limit}))


def journey(c: Connection, key: str, *, now: datetime) -> Journey | None:
    """The way of a study, named by its Study Instance UID or the id of any of its images; None if unknown."""
    named = instances.get(c, InstanceId(key))
    uid = UID(key) if named is None else named.StudyInstanceUID
    study = studies.study(c, uid)
    if study is None:
        return None
    found = paces(c, now=now)
    rows = c.execute(sql("transit_of_study"), {"StudyInstanceUID": uid}).fetchall()
    standing = progress.of_study(c, uid)
    return Journey(
        StudyInstanceUID=uid,
        at=now,
        received_images=study.images,
        received_size=study.size,
        last_received=study.last_received,
        is_over=standing is not None and standing.progress is not Progress.IN_PROGRESS,
        destinations=tuple(_transit(row, found, ahead=_ahead(c, uid, row)) for row in rows),
    )


def _ahead(c: Connection, uid: UID, row: Row) -> int:
    """Bytes of other studies that go before the last of this that waits."""
    if not row["waiting_images"]:
        return 0
    values = {"destination": row["destination"], "study": uid, "limit": COUNTED}
    return int(c.execute(sql("transit_ahead"), values).fetchone()["size"])


def _transit(row: Row, found: dict[DestinationName, Pace], *, ahead: int) -> Transit:
    destination = DestinationName(row["destination"])
    pace = found.get(destination)
    counts = ("images", "size", "waiting_images", "waiting_size", "sent_images", "confirmed_images", "refused_images")
    return Transit(
        destination=destination,
        ahead_size=ahead,
        rate=None if pace is None else pace.rate,
        **{name: row[name] for name in counts},
    )
