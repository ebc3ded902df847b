"""Up to which event each RIS was told that a study is available, and what there is to tell of one.

What is promised: a RIS that is told for the first time is told of what happens from then on; each event once, but for
a crash between its answer and the books, after which it is told again under the same UID.
"""

from __future__ import annotations

from gateway.dicom.availability import Available
from gateway.domain.model import UID, DestinationName
from gateway.spool import study_events
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.study_events import StudyEvent, StudyState


def begin(c: Connection, target: str) -> None:
    """That RIS is told from now on."""
    c.execute(sql("availability_begin"), {"target": target})


def following(c: Connection, target: str) -> StudyEvent | None:
    """The next that it is to be told of: a study that every destination confirmed."""
    row = c.execute(sql("availability_cursor"), {"target": target}).fetchone()
    found = () if row is None else study_events.after(c, row["seq"], event=StudyState.CONFIRMED, limit=1)
    return found[0] if found else None


def told(c: Connection, target: str, event: StudyEvent) -> None:
    """It was told, or refused to hear of it."""
    c.execute(sql("availability_move"), {"target": target, "seq": event.seq})


def images(c: Connection, StudyInstanceUID: UID) -> tuple[tuple[Available, ...], frozenset[DestinationName]]:
    """The images of a study that are confirmed, and the destinations that confirmed any."""
    rows = c.execute(sql("availability_images"), {"study": StudyInstanceUID}).fetchall()
    found = {Available(row["SeriesInstanceUID"], row["SOPClassUID"], row["SOPInstanceUID"]): None for row in rows}
    return tuple(found), frozenset(DestinationName(row["destination"]) for row in rows)
