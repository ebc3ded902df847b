"""What a destination must show after images that it had were sent to it again with other values.

Promises
- It is written down with the decision to send again, so that no crash forgets to look.
- A study and destination have one that is open: what is expected last counts.
- It is due when nothing of the study is on its way to that destination any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.model import UID, DestinationName
from gateway.spool.checks import StudyKey
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """Values to look for."""

    id: int
    StudyInstanceUID: UID
    destination: DestinationName
    expected: Mapping[str, str]
    """By keyword."""
    asked_at: datetime
    settled_at: datetime | None
    outcome: str
    """ "shown", "differs", "unknown" (no such study there), "no-answer"; empty while it is open."""


def expect(c: Connection, study: StudyKey, destination: str, expected: Mapping[str, str], *, now: datetime) -> None:
    """The destination is to show these values of the study."""
    values = {"study": study, "destination": destination, "expected": json.dumps(dict(expected)), "now": to_text(now)}
    c.execute(sql("read_back_set"), values)


def due(c: Connection, destination: DestinationName, *, limit: int) -> list[ReadBack]:
    """What can be looked for now at that destination."""
    rows = c.execute(sql("read_back_due"), {"destination": destination, "limit": limit})
    return [_read_back(row) for row in rows]


def settle(c: Connection, one: ReadBack, *, outcome: str, now: datetime) -> bool:
    """It was looked for; whether it was still open."""
    values = {"id": one.id, "outcome": outcome, "now": to_text(now)}
    return c.execute(sql("read_back_settle"), values).fetchone() is not None


def of_study(c: Connection, study: StudyKey) -> list[ReadBack]:
    """Every one there was of a study, oldest first."""
    return [_read_back(row) for row in c.execute(sql("read_backs_of_study"), {"study": study})]


def _read_back(row: Row) -> ReadBack:
    return ReadBack(
        id=row["id"],
        StudyInstanceUID=UID(row["study"]),
        destination=DestinationName(row["destination"]),
        expected=json.loads(row["expected"]),
        asked_at=from_text(row["asked_at"]),
        settled_at=from_text(row["settled_at"]),
        outcome=row["outcome"],
    )
