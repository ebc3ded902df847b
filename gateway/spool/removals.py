"""Why rows left the worklist's copy, remembered for a while for a person who misses one.

What is promised: each step is remembered once, with the identifiers that a person may ask by; what is over is
forgotten with the questions (`forget`), and a patient who is erased is erased here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from gateway.domain.explain import Gone, Removal
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


def record(c: Connection, gone: Iterable[Row], *, reason: Removal, now: datetime) -> int:
    """Remembers rows that a statement returned as removed; their number."""
    at = to_text(now)
    rows = [{**dict(row), "reason": reason, "now": at} for row in gone]
    c.executemany(sql("removal_insert"), rows)
    return len(rows)


def of_order(c: Connection, known: Mapping[str, str]) -> list[Gone]:
    """The rows of one order that left the copy. `known`: its identifiers by keyword, all of which must be equal."""
    statement = " AND ".join([sql("removals"), *same(known)])
    return [
        Gone(source=row["source"], reason=Removal(row["reason"]), at=from_text(row["removed_at"]))
        for row in c.execute(statement, known)
    ]


def same(known: Mapping[str, str]) -> list[str]:
    """The clauses that a row of this order meets."""
    clauses = {
        "AccessionNumber": "same_AccessionNumber",
        "PatientID": "same_PatientID",
        "StudyInstanceUID": "same_StudyInstanceUID",
    }
    return [sql(f"worklist_where_{clauses[keyword]}") for keyword in known]


def forget(c: Connection, *, before: datetime) -> int:
    """Removes what left the copy before then; its number."""
    return c.execute(sql("removals_forget"), {"before": to_text(before)}).rowcount
