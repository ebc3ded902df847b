"""Studies in counts, for screens.

What is promised: the work of `latest` is bounded by WINDOW and `limit`, however many images the index holds, and
all counting is done by statements, outside Python's lock, so that looking does not slow who receives.
"""

from __future__ import annotations

import json
from typing import Final

from gateway.domain.model import UID, AETitle, DeliveryState, DestinationName, InstanceId
from gateway.domain.study import Delivered, Hops, Received, Study
from gateway.spool import instances
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text

WINDOW: Final = 20_000
"""Among how many of the newest images the latest studies are looked for."""


def latest(c: Connection, *, limit: int) -> tuple[Study, ...]:
    """The studies that images came for last, latest first."""
    uids = [UID(row["StudyInstanceUID"]) for row in c.execute(sql("study_latest"), {"window": WINDOW, "limit": limit})]
    found = (study(c, uid) for uid in uids)
    return tuple(one for one in found if one is not None)


def study(c: Connection, StudyInstanceUID: UID) -> Study | None:
    """That study in counts; None if no image of it ever came."""
    row = c.execute(sql("study_tally"), {"StudyInstanceUID": StudyInstanceUID}).fetchone()
    if row["images"] == 0:
        return None
    counts = {
        name: row[name]
        for name in ("images", "size", "settled", "purged", "quarantined", "refused", "unrouted", "held")
    }
    return Study(
        id=InstanceId(row["id"]),
        StudyInstanceUID=StudyInstanceUID,
        senders=tuple(AETitle(ae) for ae in json.loads(row["senders"])),
        first_received=from_text(row["first_received"]),
        last_received=from_text(row["last_received"]),
        **counts,
    )


def hops(c: Connection, key: str) -> Hops | None:
    """The way of a study, named by its Study Instance UID or the id of any of its images; None if unknown."""
    named = instances.get(c, InstanceId(key))
    found = study(c, UID(key) if named is None else named.StudyInstanceUID)
    if found is None:
        return None
    of_study = {"StudyInstanceUID": found.StudyInstanceUID}
    received = (
        Received(
            calling_ae=AETitle(row["calling_ae"]),
            address=row["address"],
            images=row["images"],
            size=row["size"],
            first=from_text(row["first"]),
            last=from_text(row["last"]),
        )
        for row in c.execute(sql("study_received"), of_study)
    )
    delivered = (
        Delivered(
            destination=DestinationName(row["destination"]),
            state=DeliveryState(row["state"]),
            last_status=row["last_status"],
            images=row["images"],
            attempts=row["attempts"],
            first_queued=from_text(row["first_queued"]),
            last_sent=from_text(row["last_sent"]),
            last_confirmed=from_text(row["last_confirmed"]),
        )
        for row in c.execute(sql("study_delivered"), of_study)
    )
    return Hops(study=found, received=tuple(received), delivered=tuple(delivered))
