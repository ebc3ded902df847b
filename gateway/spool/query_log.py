"""The scanners' questions and what became of them, for a person who asks why.

Promises
- A question is kept with its identifier, the counts of every stage, the RISs asked, the age of the copy and the
  final status. Rows may be committed NORMAL: a power cut may take the last few.
- The log is bounded: by age (`forget`), per scanner (`trim`) and in the size of one identifier.
- It holds what a scanner asked by, so patient data too. It never leaves the box.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import xxhash

from gateway.domain.explain import Stage
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

IDENTIFIER_KEPT: Final = 16 * 1024
"""Bytes of an identifier that is kept; a longer one is kept empty. A console's has about one thousand."""
KEPT_PER_SCANNER: Final = 5000

_MILLISECOND: Final = timedelta(milliseconds=1)


class QueryOutcome(StrEnum):
    """How a question ended, for counters."""

    ANSWERED = "answered"
    EMPTY = "empty"
    """Success without a row."""
    CANCELLED = "cancelled"
    """The scanner broke off: C-CANCEL, or it went away."""
    REFUSED = "refused"
    """We answered with a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedQuery:
    """One question, or the same with the same answer asked again within a minute; the counts are the latest."""

    calling_ae: str
    first_asked: datetime
    last_asked: datetime
    count: int
    identifier: bytes
    """As it came, in Explicit VR little endian; empty if it could not be read or was longer than IDENTIFIER_KEPT."""
    meant: bytes
    """As the scanner's profile understood it, the same way; empty if that is the same."""
    status: int | None
    """The final status; None if the scanner was gone before it."""
    looked_at: int
    """Rows of the copy that the index found."""
    dropped: Mapping[Stage, int]
    """Rows lost in each stage."""
    quirks: Mapping[str, int]
    """What the scanner's profile did: to the question, and to how many rows."""
    answered: int
    sources: Mapping[str, str]
    """The RISs that were asked, and what came of it: "answered", "deadline", or the code of a failure."""
    age: timedelta | None
    """Of the oldest copy that was looked at; None if there was none."""
    slowest: timedelta
    """From the question to our last response, the longest of these; kept in whole milliseconds, never less."""

    @property
    def outcome(self) -> QueryOutcome:
        """How it ended."""
        if self.status is None or self.status == 0xFE00:
            return QueryOutcome.CANCELLED
        if self.status != 0:
            return QueryOutcome.REFUSED
        return QueryOutcome.ANSWERED if self.answered else QueryOutcome.EMPTY


def record(c: Connection, queries: Iterable[LoggedQuery], *, tally: Mapping[QueryOutcome, int]) -> None:
    """Writes these, and adds to the counters."""
    c.executemany(sql("query_insert"), map(_values, queries))
    c.executemany(sql("tally_add"), ({"outcome": outcome, "count": count} for outcome, count in tally.items()))


def recount(c: Connection, queries: Iterable[LoggedQuery]) -> None:
    """Writes how often, when last and with what counts these were asked, over what `record` wrote. What was erased
    stays erased."""
    c.executemany(sql("query_count"), map(_values, queries))


def _values(query: LoggedQuery) -> dict[str, object]:
    kept = max(len(query.identifier), len(query.meant)) <= IDENTIFIER_KEPT
    dropped = json.dumps({stage: count for stage, count in sorted(query.dropped.items()) if count})
    sources = json.dumps(dict(sorted(query.sources.items())))
    quirks = json.dumps(dict(sorted(query.quirks.items())))
    fate = f"{query.status} {query.answered} {sources}".encode()
    return {
        "calling_ae": query.calling_ae,
        "first_asked": to_text(query.first_asked),
        "digest": xxhash.xxh3_128_hexdigest(query.identifier + fate),
        "last_asked": to_text(query.last_asked),
        "count": query.count,
        "identifier": query.identifier if kept else b"",
        "meant": query.meant if kept else b"",
        "status": query.status,
        "looked_at": query.looked_at,
        "dropped": dropped,
        "quirks": quirks,
        "answered": query.answered,
        "sources": sources,
        "age_ms": None if query.age is None else query.age // _MILLISECOND,
        "slowest_ms": -(-query.slowest // _MILLISECOND),
    }


def latest(c: Connection, calling_ae: str, *, limit: int) -> tuple[LoggedQuery, ...]:
    """The questions of this scanner (whatever the case of its title), the last one first."""
    rows = c.execute(sql("queries_latest"), {"calling_ae": calling_ae.strip(), "limit": limit})
    return tuple(map(_query, rows))


def askers(c: Connection) -> tuple[LoggedQuery, ...]:
    """The last question of every scanner that asked, by AE title."""
    return tuple(map(_query, c.execute(sql("askers"))))


def tally(c: Connection) -> dict[QueryOutcome, int]:
    """Questions by outcome since the first start; every outcome is there."""
    counted = {row["outcome"]: row["count"] for row in c.execute(sql("tally"))}
    return {outcome: counted.get(outcome, 0) for outcome in QueryOutcome}


def trim(c: Connection, calling_ae: str, *, kept: int = KEPT_PER_SCANNER) -> int:
    """Removes all but the last `kept` of this scanner; their number."""
    return c.execute(sql("queries_trim"), {"calling_ae": calling_ae, "kept": kept}).rowcount


def forget(c: Connection, *, before: datetime) -> int:
    """Removes what was last asked before then; its number."""
    return c.execute(sql("queries_forget"), {"before": to_text(before)}).rowcount


def _query(row: Row) -> LoggedQuery:
    age_ms = row["age_ms"]
    return LoggedQuery(
        calling_ae=row["calling_ae"],
        first_asked=from_text(row["first_asked"]),
        last_asked=from_text(row["last_asked"]),
        count=row["count"],
        identifier=row["identifier"],
        meant=row["meant"],
        status=row["status"],
        looked_at=row["looked_at"],
        dropped={Stage(stage): count for stage, count in json.loads(row["dropped"]).items() if stage in set(Stage)},
        quirks=json.loads(row["quirks"]),
        answered=row["answered"],
        sources=json.loads(row["sources"]),
        age=None if age_ms is None else age_ms * _MILLISECOND,
        slowest=row["slowest_ms"] * _MILLISECOND,
    )
