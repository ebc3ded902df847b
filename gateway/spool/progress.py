"""How far each study is: kept from the instances and performed steps as they come, for telling its RIS.

Promises
- `advance` misses nothing and counts nothing twice, whenever a process ends: what it looked at and up to where are
  one transaction.
- What comes after a study's end opens nothing again; it is counted as late.
- A study is settled, and looked at no more, once its orders were told of, or none came for UNORDERED.
- No patient is named here: a study is its UID.
- A reason of a later release, which this one does not know, is none: the study is looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.completeness import Because, Evidence, PerformedStep, Progress, Standing
from gateway.domain.model import UID
from gateway.spool import mpps, order_books, study_events
from gateway.spool.db import Connection, Row
from gateway.spool.order_books import Order
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

AT_ONCE: Final = 2000
"""Instances that one transaction looks at."""
STUDIES_AT_ONCE: Final = 50
ORDERS_AT_ONCE: Final = 50
"""Of one study: the group case has a handful (IHE RAD TF-2, RAD-8)."""
UNORDERED: Final = timedelta(hours=72)
"""How long an order may come after its images and still be told of them."""
LONGEST_REST: Final = timedelta(days=31)
"""A time to look again that is further away was written by a clock that was wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """One study as it stands in the books."""

    StudyInstanceUID: UID
    first_at: datetime
    last_at: datetime
    progress: Progress
    because: Because
    ended_at: datetime | None
    """When it was found to be over."""
    late: int
    """Instances that came after that."""
    last_late_at: datetime | None
    settled_at: datetime | None


def behind(c: Connection) -> bool:
    """Whether there is anything that `advance` did not look at."""
    return c.execute(sql("progress_behind")).fetchone() is not None


def advance(c: Connection, *, now: datetime) -> None:
    """Looks at what came since the last time, or at a part of it."""
    # Where all was trimmed, instances are numbered from the beginning again
    c.execute(sql("progress_rewind"))
    cursor = c.execute(sql("progress_cursor")).fetchone()
    since = {"since": cursor["instance"], "limit": AT_ONCE}
    for row in c.execute(sql("progress_instances"), since).fetchall():
        _note(c, row, instances=row["instances"], now=now)
    told = {"since": cursor["message"], "limit": AT_ONCE}
    for row in c.execute(sql("progress_messages"), told).fetchall():
        _note(c, row, instances=0, now=now)
    c.execute(sql("progress_move"), {"instance": since["since"], "message": told["since"], "limit": AT_ONCE})


def _note(c: Connection, row: Row, *, instances: int, now: datetime) -> None:
    values = {"study": row["study"], "first_at": row["first_at"], "last_at": row["last_at"], "instances": instances}
    c.execute(sql("progress_note"), {**values, "now": to_text(now)})


def due(c: Connection, *, now: datetime) -> tuple[StudyProgress, ...]:
    """The studies to look at now, those that have waited longest first."""
    values = {"now": to_text(now), "implausible": to_text(now + LONGEST_REST), "limit": STUDIES_AT_ONCE}
    return tuple(_progress(row) for row in c.execute(sql("progress_due"), values))


def of_study(c: Connection, StudyInstanceUID: str) -> StudyProgress | None:
    """How far that study is; None if nothing of it was looked at."""
    row = c.execute(sql("progress_of"), {"study": StudyInstanceUID}).fetchone()
    return None if row is None else _progress(row)


def evidence(c: Connection, study: StudyProgress, ordered: Collection[Order]) -> Evidence:
    """What is known of a study."""
    uid = study.StudyInstanceUID
    counts = c.execute(sql("progress_counts"), {"study": uid}).fetchone()
    steps = [
        PerformedStep(
            status=step.status,
            instances=step.instances,
            scheduled=frozenset(
                one.ScheduledProcedureStepID
                for one in step.references
                if one.StudyInstanceUID == uid and one.ScheduledProcedureStepID
            ),
        )
        for step in mpps.steps_of_study(c, uid)
    ]
    return Evidence(
        received=counts["received"],
        last_at=study.last_at,
        steps=tuple(steps),
        scheduled=frozenset(step.ScheduledProcedureStepID for order in ordered for step in order.procedure.steps),
        connected=bool(counts["connected"]),
    )


def orders_of(c: Connection, StudyInstanceUID: str) -> list[Order]:
    """The orders of a study: those whose requested procedure its performed steps name, if they name any; else all."""
    values = {"study": StudyInstanceUID, "limit": ORDERS_AT_ONCE}
    found = [order_books.order(c, row["id"]) for row in c.execute(sql("progress_orders"), values).fetchall()]
    known = [order for order in found if order is not None]
    performed = {
        one.RequestedProcedureID
        for step in mpps.steps_of_study(c, UID(StudyInstanceUID))
        for one in step.references
        if one.StudyInstanceUID == StudyInstanceUID
    }
    named = [order for order in known if order.procedure.RequestedProcedureID in performed]
    return named or known


def stand(c: Connection, study: StudyProgress, found: Standing, *, now: datetime, look_at: datetime) -> bool:
    """Writes down how far a study is, and when it is looked at again; False, and nothing is written, if something
    came of it that `study` does not know of. An end stays where it was found first."""
    ended = found.progress is not Progress.IN_PROGRESS
    values = {
        "study": study.StudyInstanceUID,
        "seen": to_text(study.last_at),
        "standing": found.progress,
        "because": found.because,
        "look_at": to_text(look_at),
        "ended_at": to_text(now) if ended else None,
    }
    if c.execute(sql("progress_stand"), values).rowcount != 1:
        return False
    if found.progress is Progress.COMPLETE and study.ended_at is None:
        study_events.complete(c, study.StudyInstanceUID, now=now)
    return True


def settle(c: Connection, study: StudyProgress, *, now: datetime) -> None:
    """There is nothing more to tell of it."""
    c.execute(sql("progress_settle"), {"study": study.StudyInstanceUID, "now": to_text(now)})


def connected(c: Connection, calling_aes: Collection[str]) -> None:
    """These callers, and no others, have associations open now; AE titles as admission folds them."""
    c.execute(sql("association_forget"))
    c.execute(sql("association_set"), {"callers": json.dumps(sorted(calling_aes))})


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets up to `limit` settled studies of which nothing came since then; how many."""
    return c.execute(sql("progress_trim"), {"before": to_text(before), "limit": limit}).rowcount


def _progress(row: Row) -> StudyProgress:
    return StudyProgress(
        StudyInstanceUID=UID(row["StudyInstanceUID"]),
        first_at=from_text(row["first_at"]),
        last_at=from_text(row["last_at"]),
        progress=Progress(row["standing"]),
        because=Because(row["because"]) if row["because"] in set(Because) else Because.NOT_QUIET,
        ended_at=from_text(row["ended_at"]),
        late=row["late"],
        last_late_at=from_text(row["last_late_at"]),
        settled_at=from_text(row["settled_at"]),
    )
