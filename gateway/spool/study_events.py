"""What happened to whole studies: complete, delivered, confirmed. A row for each, for those who tell others of it.

Promises
- The row that a study is complete is written with what it was found by (progress.py), in one transaction; `delivered`
  and `confirmed` follow it, in this order, each once.
- Images that come after the end begin anew: `complete` again once they have been quiet, with the images there are then,
  and the others after it. So the last row of a study holds for as many images as it says, and no more.
- Rows are numbered as they come and never change: a reader keeps the number it read last.
- A copy in quarantine is not waited for: it may never go on. A study of which a person rejected anything is never told
  to be delivered or confirmed, for that was neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.model import UID
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


class StudyState(StrEnum):
    COMPLETE = "complete"
    """All of it is here, as far as can be told (domain/completeness.py)."""
    DELIVERED = "delivered"
    """Every image was taken by every destination it was routed to."""
    CONFIRMED = "confirmed"
    """Every destination is known to keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvent:
    seq: int
    StudyInstanceUID: UID
    event: StudyState
    at: datetime
    images: int


def complete(c: Connection, StudyInstanceUID: UID, *, now: datetime) -> None:
    """All of the study is here."""
    _record(c, StudyInstanceUID, StudyState.COMPLETE, now)
    c.execute(sql("study_settling_begin"), {"study": StudyInstanceUID})


def due(c: Connection, *, quiet: timedelta, now: datetime) -> list[tuple[UID, StudyState]]:
    """What has happened and is not written down; reads alone, so that nothing is written where nothing happened."""
    late = {"quiet_since": to_text(now - quiet)}
    found = [(UID(row["study"]), StudyState.COMPLETE) for row in c.execute(sql("study_events_late"), late)]
    found += [(UID(row["study"]), StudyState.DELIVERED) for row in c.execute(sql("study_events_delivered"))]
    found += [(UID(row["study"]), StudyState.CONFIRMED) for row in c.execute(sql("study_events_confirmed"))]
    return found


def advance(c: Connection, *, quiet: timedelta, now: datetime) -> int:
    """Writes down what has happened; how many rows."""
    found = due(c, quiet=quiet, now=now)
    for study, event in found:
        if event is StudyState.COMPLETE:
            complete(c, study, now=now)
            continue
        _record(c, study, event, now)
        if event is StudyState.DELIVERED:
            c.execute(sql("study_settling_delivered"), {"study": study})
        else:
            c.execute(sql("study_settling_end"), {"study": study})
    return len(found)


def of_study(c: Connection, StudyInstanceUID: UID) -> tuple[StudyEvent, ...]:
    """The events of a study, oldest first."""
    return tuple(_event(row) for row in c.execute(sql("study_events_of"), {"study": StudyInstanceUID}))


def after(c: Connection, seq: int, *, event: StudyState | None, limit: int) -> tuple[StudyEvent, ...]:
    """The events of that kind, or of any (None), behind a number, oldest first."""
    values = {"seq": seq, "event": event, "limit": limit}
    return tuple(_event(row) for row in c.execute(sql("study_events_after"), values))


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets up to `limit` events from before then; how many. And studies that can't come to an end any more."""
    c.execute(sql("study_settling_forget"))
    return c.execute(sql("study_events_trim"), {"before": to_text(before), "limit": limit}).rowcount


def _record(c: Connection, study: UID, event: StudyState, now: datetime) -> None:
    c.execute(sql("study_event_insert"), {"study": study, "event": event, "now": to_text(now)})


def _event(row: Row) -> StudyEvent:
    return StudyEvent(
        seq=row["seq"],
        StudyInstanceUID=UID(row["StudyInstanceUID"]),
        event=StudyState(row["event"]),
        at=from_text(row["at"]),
        images=row["images"],
    )
