"""The copy of the upstream worklists, and how fresh it is.

Promises (invariant 7)
- `replace_source` takes the whole validated answer of one source and enters it in one transaction.
  A row that is absent from it is kept once and removed when it is absent a second time in a row.
  An empty answer removes nothing, and a failed one (`record_failure`) touches no row.
- Rows expire by schedule and by status (`expire`), never because the source is silent: a row past
  its schedule goes only when the source has not confirmed it for a while either.
- `candidates` is a prefilter and a superset: it may return rows that don't match and never leaves
  one out that does. The matching of PS3.4 C.2.2.2 and K.6.1.2 is applied by the domain to what it
  returns. A row whose column is empty is always a candidate, and a key with a wildcard, a list or
  no value does not filter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, NamedTuple

from gateway.domain.model import SourceName
from gateway.domain.overview import WorklistSource
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

ABSENT_LIMIT: Final = 2
"""Answers in a row that a row may be absent from before it is removed."""

_DA: Final = re.compile(r"(\d{8})?")
_NOT_EXACT: Final = re.compile(r"[*?\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One scheduled procedure step as its source sent it, with the columns we look it up by."""

    source: SourceName
    key: str
    """What makes two answers the same step: the merge key of the domain, as text. Not empty."""
    PatientID: str
    PatientName: str
    AccessionNumber: str
    StudyInstanceUID: str
    RequestedProcedureID: str
    ScheduledProcedureStepID: str
    start_date: str
    """ScheduledProcedureStepStartDate, YYYYMMDD, or empty if there is none or it is no date."""
    start_time: str
    Modality: str
    ScheduledStationAETitle: str
    """All values, parted by backslashes."""
    status: str
    """ScheduledProcedureStepStatus; empty if unknown."""
    dataset: bytes
    """Explicit VR little endian, as received from upstream."""

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("WorklistRow.key is empty: pass the merge key of the step")
        if _DA.fullmatch(self.start_date) is None:
            raise ValueError(
                f"WorklistRow.start_date has {len(self.start_date)} characters that are no YYYYMMDD: pass it empty"
            )


class Candidate(NamedTuple):
    """What matching needs of a row, as thousands of them may be looked at for one query."""

    source: SourceName
    key: str
    dataset: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row of the copy and how well it is attested."""

    row: WorklistRow
    first_seen: datetime
    last_confirmed: datetime
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistKeys:
    """The keys of a query that can be looked up; a key that is None or empty does not filter."""

    AccessionNumber: str | None = None
    PatientID: str | None = None
    StudyInstanceUID: str | None = None
    Modality: str | None = None
    ScheduledStationAETitle: str | None = None
    start_from: str | None = None
    """First day, YYYYMMDD, inclusive."""
    start_to: str | None = None
    """Last day, YYYYMMDD, inclusive."""
    source: SourceName | None = None


def replace_source(
    c: Connection,
    source: SourceName,
    *,
    rows: Sequence[WorklistRow],
    now: datetime,
    window: tuple[str, str] | None = None,
) -> int:
    """Enters a whole successful answer of `source`; the number of rows removed as absent.

    `window` (first and last day asked for, YYYYMMDD) says which rows the answer should have held: only
    those count as absent. Without it the answer was not whole, and nothing is absent.
    """
    removed = 0
    if rows and window is not None:
        values = {"source": source, "first": window[0], "last": window[1]}
        c.execute(sql("worklist_miss"), values)
    merge_answer(c, source, rows=rows, now=now)
    if rows and window is not None:
        removed = c.execute(sql("worklist_remove_absent"), {"source": source, "limit": ABSENT_LIMIT}).rowcount
    c.execute(sql("worklist_source_success"), {"name": source, "now": to_text(now), "rows": len(rows)})
    return removed


def merge_answer(c: Connection, source: SourceName, *, rows: Sequence[WorklistRow], now: datetime) -> None:
    """Enters the rows of an answer to a narrower question: nothing is absent from it, nothing is fresher."""
    foreign = next((row for row in rows if row.source != source), None)
    if foreign is not None:
        raise ValueError(f"a row of source {foreign.source} in the answer of {source}: one source at a time")
    at = to_text(now)
    c.executemany(sql("worklist_upsert"), ({**asdict(row), "now": at} for row in rows))


def record_failure(c: Connection, source: SourceName, *, error: str, now: datetime) -> None:
    """The source did not answer, or not validly. `error` is ours: no value of a data set."""
    c.execute(sql("worklist_source_failure"), {"name": source, "now": to_text(now), "error": error})


def sources(c: Connection) -> tuple[WorklistSource, ...]:
    """Every source that was ever asked, by name."""
    return tuple(
        WorklistSource(
            name=SourceName(row["name"]),
            last_attempt=from_text(row["last_attempt"]),
            last_success=from_text(row["last_success"]),
            last_error=row["last_error"],
            rows=row["rows"],
        )
        for row in c.execute(sql("worklist_sources"))
    )


def candidates(c: Connection, keys: WorklistKeys, *, limit: int) -> list[Candidate]:
    """A superset of the copy's rows that match, by schedule; more than `limit` are cut off."""
    return [Candidate(*row) for row in _select(c, sql("worklist_candidates"), keys, limit)]


def rows(c: Connection, keys: WorklistKeys, *, limit: int) -> tuple[StoredRow, ...]:
    """The same rows with all that is known of them, for people."""
    return tuple(_stored(row) for row in _select(c, sql("worklist_rows"), keys, limit))


def _select(c: Connection, statement: str, keys: WorklistKeys, limit: int) -> Iterable[Row]:
    values = {name: _exact(value) for name, value in asdict(keys).items()}
    clauses = [sql(f"worklist_where_{name}") for name, value in values.items() if value is not None]
    whole = " AND ".join([statement, *clauses]) + " " + sql("worklist_order")
    return c.execute(whole, {**values, "limit": limit})


def expire(
    c: Connection,
    *,
    started_before: str,
    confirmed_before: datetime,
    statuses: Iterable[str] = (),
) -> int:
    """Removes rows past their schedule that no source confirmed lately, and rows of these statuses.

    A row goes if its start date is before `started_before` (YYYYMMDD; a row without a date counts as
    past) and it was last confirmed before `confirmed_before`, or if its status is in `statuses`.
    Returns the number removed.
    """
    values = {"started_before": started_before, "confirmed_before": to_text(confirmed_before)}
    removed = c.execute(sql("worklist_expire"), values).rowcount
    for status in statuses:
        removed += c.execute(sql("worklist_expire_status"), {"status": status}).rowcount
    return removed


def _exact(value: str | None) -> str | None:
    """The value if a column can be compared with it; else None."""
    stripped = (value or "").strip(" \0")
    return stripped if stripped and _NOT_EXACT.search(stripped) is None else None


def _stored(row: Row) -> StoredRow:
    return StoredRow(
        row=WorklistRow(**{name: row[name] for name in WorklistRow.__dataclass_fields__}),
        first_seen=from_text(row["first_seen"]),
        last_confirmed=from_text(row["last_confirmed"]),
        missed=row["missed"],
    )
