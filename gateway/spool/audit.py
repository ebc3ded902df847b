"""The journal and the alarms: what happened to whom of ours, and what a person should look at.

Promises
- Every move of state has one journal row, written in the same transaction as the move.
- An alarm has a code of the closed vocabulary (gateway.domain.issues). It is raised once per (code, subject) and counts
  further raisings until it is cleared; a cleared alarm stays as history.
- Subjects, reasons and codes are ours: ids, AE titles, configured names. `raise_alarm` and
  `journal` refuse a subject that could be a person's name (a caret, or characters outside printable
  ASCII), so that a slip shows in a test and not in a log (invariant 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.domain.issues import KINDS
from gateway.domain.overview import Alarm
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

_SUBJECT: Final = re.compile(r"[ -\]_-~]{0,128}")
"""Printable ASCII without the caret that parts the components of a PN."""


class AlarmCode(StrEnum):
    """The alarms the spool raises itself, among those of gateway.domain.issues."""

    DUPLICATE_DIFFERS = "duplicate-differs"
    """Same SOP Instance UID, other bytes: this copy waits in quarantine. Subject: instance id."""
    FILE_MISSING = "file-missing"
    """A row without its file: an acknowledged object is gone from the disk. Subject: instance id."""
    OBJECT_UNREADABLE = "object-unreadable"
    """A file that is no object of ours was moved to quarantine/, or can't be read. Subject: file id."""

    SPOOL_DAMAGED = "spool-damaged"
    """A file is not what was received, found when it was to be sent. Subject: instance id."""


class Subject(StrEnum):
    """What a journal row is about."""

    INSTANCE = "instance"
    DELIVERY = "delivery"
    SCANNER = "scanner"
    WORKLIST = "worklist"
    DESK = "desk"
    MPPS = "mpps"
    """A performed procedure step, by our own id of it."""
    TASK = "task"
    """What a person is asked, by our own number of it."""
    DECISION = "decision"
    """What a person said, by our own number of it."""
    ORDER_MESSAGE = "order-message"
    """What is told of an order, by our own number of the message."""
    COMMAND = "command"
    """What central IT asked, by its nonce."""
    CONFIGURATION = "configuration"
    """What central IT wished the configuration to be, by its version."""
    RELEASE = "release"
    """The release that central IT wished for, by its sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    seq: int
    at: datetime
    who: str
    kind: str
    subject: str
    from_state: str
    to_state: str
    why: str


def journal(
    c: Connection, kind: Subject, subject: str | int, *, before: str, after: str, now: datetime, by: str, why: str
) -> None:
    """Writes one row of the journal. `why` is a code or a short sentence of ours."""
    values = {"who": by, "subject": str(subject), "why": why}
    for field, value in values.items():
        refuse_foreign_text(field, value)
    c.execute(
        sql("journal_insert"), {**values, "at": to_text(now), "kind": kind, "from_state": before, "to_state": after}
    )


def journal_of(c: Connection, *, kind: Subject, subject: str) -> tuple[JournalRow, ...]:
    """The life of one subject, oldest first."""
    rows = c.execute(sql("journal_of"), {"kind": kind, "subject": subject})
    return tuple(JournalRow(**{**dict(row), "at": from_text(row["at"])}) for row in rows)


def raise_alarm(c: Connection, *, code: str, subject: str, now: datetime) -> None:
    """Raises the alarm, or counts one more raising of an active one."""
    if code not in KINDS:
        raise ValueError(f"alarm code of {len(code)} characters: it is not in gateway.domain.issues, add it there")
    refuse_foreign_text("subject", subject)
    c.execute(sql("alarm_raise"), {"code": code, "subject": subject, "now": to_text(now)})


def clear_alarm(c: Connection, *, code: str, subject: str, now: datetime) -> bool:
    """Whether an active alarm was cleared."""
    return c.execute(sql("alarm_clear"), {"code": code, "subject": subject, "now": to_text(now)}).rowcount > 0


def active_alarms(c: Connection, *, code: str | None = None) -> tuple[Alarm, ...]:
    """The alarms that stand (of one code, or all), oldest first."""
    return tuple(_alarm(row) for row in c.execute(sql("alarms_active"), {"code": code}))


def _alarm(row: Row) -> Alarm:
    return Alarm(
        code=row["code"],
        subject=row["subject"],
        since=from_text(row["since"]),
        last=from_text(row["last"]),
        count=row["count"],
        cleared_at=from_text(row["cleared_at"]),
    )


def refuse_foreign_text(field: str, value: str) -> None:
    """Raises ValueError for what no name or code of ours can be: a person's name, a text of a peer."""
    if _SUBJECT.fullmatch(value) is None:
        raise ValueError(
            f"{field} of {len(value)} characters is no name of ours: pass an id, an AE title or a code,"
            " printable ASCII without a caret, at most 128 characters"
        )
