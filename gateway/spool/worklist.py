"""The copy of the upstream worklists, and how fresh it is.

Promises (invariant 7)
- `replace_source` takes the whole validated answer of one source and enters it in one transaction.
  A row that is absent from it is kept once and removed when it is absent a second time in a row.
  An empty answer removes nothing, and a failed one (`record_failure`) touches no row.
- What an answer only repeats is not written again: the whole answer confirms it (`Attested`), and the
  row itself says so every `TOUCH_AFTER`.
- Rows expire by schedule and by status (`expire`), never because the source is silent: a row past
  its schedule goes only when the source has not confirmed it for a while either.
- `candidates` is a prefilter and a superset: it may return rows that don't match and never leaves
  one out that does. The matching of PS3.4 C.2.2.2 and K.6.1.2 is applied by the domain to what it
  returns. A row whose column is empty is always a candidate, and a key with a wildcard, a list or
  no value does not filter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any, Final, NamedTuple

import xxhash

from gateway.domain.explain import Removal
from gateway.domain.merge import Kind
from gateway.domain.model import SourceName
from gateway.domain.overview import WorklistSource
from gateway.spool import removals
from gateway.spool.db import Connection, Cursor, Row, own_text
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

ABSENT_LIMIT: Final = 2
"""Answers in a row that a row may be absent from before it is removed."""
FEW: Final = 512
"""Rows that are read in one go."""
TOUCH_AFTER: Final = timedelta(hours=6)
"""How old the confirmation that is written at a row may become while its source goes on confirming it."""

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
    kind: Kind = Kind.LIVE
    stamp: datetime | None = None
    """When the source says it made or changed the row; None for a RIS, which doesn't say."""
    minted: bool = False
    """Its Study Instance UID or Accession Number is ours, for want of one."""
    IssuerOfAccessionNumber: str = ""
    """Universal, else local entity ID; empty if unknown."""
    IssuerOfPatientID: str = ""
    digest: str = field(init=False)
    """Of all the above."""

    def __post_init__(self) -> None:
        parts = (self.kind, str(self.stamp), str(self.minted), self.key, self.status)
        whole = "\0".join(parts).encode(errors="surrogatepass")
        digest = xxhash.xxh3_128_hexdigest(whole + b"\0" + self.dataset)
        object.__setattr__(self, "digest", digest)
        if not self.key:
            raise ValueError("WorklistRow.key is empty: pass the merge key of the step")
        if _DA.fullmatch(self.start_date) is None:
            raise ValueError(
                f"WorklistRow.start_date has {len(self.start_date)} characters that are no YYYYMMDD: pass it empty"
            )


class Candidate(NamedTuple):
    """What answering needs of a row, as thousands of them may be looked at for one query. Times are UTC text
    of fixed width, which sorts."""

    source: SourceName
    key: str
    dataset: bytes
    digest: str
    """Of all that the source said: two rows with one digest say the same."""
    kind: str
    start_date: str
    start_time: str
    last_confirmed: str
    missed: int
    conflict: str = ""
    """A source that has this step for another patient: such a row is no evidence for an automatic correction."""
    as_of: str = ""
    """What the row's comment begins with, where the site wants its age seen."""


class Contender(NamedTuple):
    """A row and what it may be known by as the same step as another."""

    row: Candidate
    AccessionNumber: str
    IssuerOfAccessionNumber: str
    ScheduledProcedureStepID: str
    PatientID: str
    IssuerOfPatientID: str
    minted: bool
    status: str
    stamp: datetime | None
    first_seen: datetime


_LEAN: Final = 9
"""Columns of a `Candidate` that are read."""
_KNOWN_BY: Final = (
    *("AccessionNumber", "IssuerOfAccessionNumber", "ScheduledProcedureStepID"),
    *("PatientID", "IssuerOfPatientID", "status"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What the last whole answer of a source proves of its rows."""

    last_complete: str
    """UTC text as in `Candidate`; empty if there never was one."""
    window: tuple[str, str]
    """The days it was asked for, YYYYMMDD."""
    answering: bool
    """It answered when it was asked last."""

    def confirmed(self, row: Candidate) -> str:
        """When the source last said that this row is scheduled."""
        if row.missed == 0 and self.window[0] <= row.start_date <= self.window[1]:
            return max(row.last_confirmed, self.last_complete)
        return row.last_confirmed


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
    merge_answer(c, source, rows=rows, now=now)
    if not rows:
        window = None  # a RIS that knows of nothing proves nothing
    removed = _miss(c, source, {row.key for row in rows}, window, now) if window is not None else 0
    first, last = window or ("", "")
    values = {"name": source, "now": to_text(now), "rows": len(rows), "first": first, "last": last}
    c.execute(sql("worklist_source_success"), values)
    return removed


def _miss(c: Connection, source: SourceName, answered: set[str], window: tuple[str, str], now: datetime) -> int:
    """Counts the absence of each row that should have been answered. A row without a date was in the window of
    no question, so its absence says nothing."""
    values = {"source": source, "first": window[0], "last": window[1]}
    absent = [row["key"] for row in c.execute(sql("worklist_window"), values) if row["key"] not in answered]
    c.executemany(sql("worklist_miss"), ({"source": source, "key": key} for key in absent))
    if not absent:
        return 0
    gone = c.execute(sql("worklist_remove_absent"), {"source": source, "limit": ABSENT_LIMIT})
    return removals.record(c, gone, reason=Removal.ABSENT, now=now)


def merge_answer(c: Connection, source: SourceName, *, rows: Sequence[WorklistRow], now: datetime) -> None:
    """Enters the rows of an answer to a narrower question, of a message or a person: nothing is absent from it,
    nothing else is fresher."""
    foreign = next((row for row in rows if row.source != source), None)
    if foreign is not None:
        raise ValueError(f"a row of source {foreign.source} in the answer of {source}: one source at a time")
    at, touched = to_text(now), to_text(now - TOUCH_AFTER)
    for row in rows:
        known = c.execute(sql("worklist_known"), {"source": source, "key": row.key}).fetchone()
        if known is None or known["digest"] != row.digest or known["missed"]:
            c.execute(sql("worklist_upsert"), {**_columns(row), "now": at})
        elif not touched < known["last_confirmed"] <= at:
            c.execute(sql("worklist_touch"), {"source": source, "key": row.key, "now": at})


def _columns(row: WorklistRow) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(row, name) for name in WorklistRow.__dataclass_fields__}
    return {**values, "stamp": to_text(row.stamp) if row.stamp is not None else None}


def record_failure(c: Connection, source: SourceName, *, error: str, now: datetime) -> None:
    """The source did not answer, or not validly. `error` is ours: no value of a data set."""
    c.execute(sql("worklist_source_failure"), {"name": source, "now": to_text(now), "error": error})


def attested(c: Connection) -> dict[SourceName, Attested]:
    """What the sources that are asked prove of their rows."""
    return {
        SourceName(row["name"]): Attested(
            last_complete=row["last_complete"] or "",
            window=(row["window_first"], row["window_last"]),
            answering=not row["last_error"],
        )
        for row in c.execute(sql("worklist_sources"))
    }


def sources(c: Connection) -> tuple[WorklistSource, ...]:
    """Every source that was ever asked, by name."""
    return tuple(
        WorklistSource(
            name=SourceName(row["name"]),
            last_attempt=from_text(row["last_attempt"]),
            last_success=from_text(row["last_success"]),
            last_error=row["last_error"],
            rows=row["rows"],
            resting_until=from_text(row["resting_until"] or None),
        )
        for row in c.execute(sql("worklist_sources"))
    )


def record_rest(c: Connection, source: SourceName, *, until: datetime | None) -> None:
    """The source is left alone until then; None: it is asked. Rebuildable: may be committed NORMAL."""
    c.execute(sql("worklist_source_rest"), {"name": source, "until": "" if until is None else to_text(until)})


def copied(c: Connection) -> dict[SourceName, int]:
    """The rows of the copy by source."""
    return {SourceName(row["source"]): row["n"] for row in c.execute(sql("worklist_copied"))}


def candidates(c: Connection, keys: WorklistKeys, *, batch: int) -> Iterator[list[Candidate]]:
    """A superset of the copy's rows that match, so many at a time, in no order.

    Between two batches no cursor is open: it would hold the connection, and all who read by it, at what the copy
    was when it began, and an answer that a RIS gave meanwhile would not be seen.
    """
    clauses, values = _clauses(keys)
    rows = _read(c, " AND ".join([sql("worklist_candidates"), *clauses]), values, most=FEW)
    if rows is not None:
        yield from ([*starmap(Candidate, rows[at : at + batch])] for at in range(0, len(rows), batch))
        return
    ids = [row["id"] for row in c.execute(" AND ".join([sql("worklist_ids"), *clauses]), values)]
    for at in range(0, len(ids), batch):
        named = {"ids": json.dumps(ids[at : at + batch])}
        yield [*starmap(Candidate, _read(c, sql("worklist_by_id"), named, most=batch) or ())]


def _read(c: Connection, statement: str, values: Mapping[str, str | None], *, most: int) -> list[Any] | None:
    """All rows as tuples; None if there are more."""
    found = c.execute(statement, values)
    found.row_factory = None
    with own_text(c):
        rows = found.fetchmany(most + 1)
    found.close()
    return rows if len(rows) <= most else None


def has_several_sources(c: Connection) -> bool:
    """Whether rows of more than one source are in the copy."""
    return c.execute(sql("worklist_second_source")).fetchone() is not None


def has_rows(c: Connection, source: SourceName) -> bool:
    """Whether the copy holds any row of this source."""
    return c.execute(sql("worklist_any"), {"source": source}).fetchone() is not None


def contenders(c: Connection, keys: Iterable[str]) -> list[Contender]:
    """Every row of the copy that may be the same step as one of these merge keys: by key and by accession."""
    return [
        Contender(
            row=Candidate(*row[:_LEAN]),
            **{name: row[name] for name in _KNOWN_BY},
            minted=bool(row["minted"]),
            stamp=from_text(row["stamp"]),
            first_seen=from_text(row["first_seen"]),
        )
        for row in c.execute(sql("worklist_contenders"), {"keys": json.dumps([*keys])})
    ]


def rows(c: Connection, keys: WorklistKeys, *, limit: int) -> tuple[StoredRow, ...]:
    """The same rows with all that is known of them, for people."""
    return tuple(_stored(row) for row in _select(c, sql("worklist_rows"), keys, limit))


def of_order(c: Connection, known: Mapping[str, str], *, limit: int) -> tuple[StoredRow, ...]:
    """The rows of one order; `known`: its identifiers by keyword, all of which must be equal."""
    statement = " AND ".join([sql("worklist_rows"), *removals.same(known)]) + " " + sql("worklist_order")
    return tuple(map(_stored, c.execute(statement, {**known, "limit": limit})))


def _select(c: Connection, statement: str, keys: WorklistKeys, limit: int) -> Cursor:
    clauses, values = _clauses(keys)
    whole = " AND ".join([statement, *clauses]) + " " + sql("worklist_order")
    return c.execute(whole, {**values, "limit": limit})


def _clauses(keys: WorklistKeys) -> tuple[list[str], dict[str, str | None]]:
    values = {name: _exact(value) for name, value in asdict(keys).items()}
    return [sql(f"worklist_where_{name}") for name, value in values.items() if value is not None], values


def expire(
    c: Connection,
    *,
    started_before: str,
    confirmed_before: datetime,
    settled_before: datetime,
    now: datetime,
    statuses: Iterable[str] = (),
) -> int:
    """Removes rows past their schedule that no source confirmed lately, and rows of these statuses.

    A row goes if its start date is before `started_before` (YYYYMMDD; a row without a date counts as
    past) and it was last confirmed before `confirmed_before`, or if its status is in `statuses`; one that came
    by message or from the desk only if that was before `settled_before`.
    Returns the number removed.
    """
    values = {"started_before": started_before, "confirmed_before": to_text(confirmed_before)}
    removed = removals.record(c, c.execute(sql("worklist_expire"), values), reason=Removal.EXPIRED, now=now)
    settled = {"settled_before": to_text(settled_before)}
    for status in statuses:
        gone = c.execute(sql("worklist_expire_status"), {"status": status, **settled})
        removed += removals.record(c, gone, reason=Removal.DONE, now=now)
    return removed


def _exact(value: str | None) -> str | None:
    """The value if a column can be compared with it; else None."""
    stripped = (value or "").strip(" \0")
    return stripped if stripped and _NOT_EXACT.search(stripped) is None else None


def _stored(row: Row) -> StoredRow:
    return StoredRow(
        row=WorklistRow(
            **{
                **{name: row[name] for name, one in WorklistRow.__dataclass_fields__.items() if one.init},
                "kind": Kind(row["kind"]),
                "stamp": from_text(row["stamp"]),
                "minted": bool(row["minted"]),
            }
        ),
        first_seen=from_text(row["first_seen"]),
        last_confirmed=from_text(row["last_confirmed"]),
        missed=row["missed"],
    )
