"""What is written down of the queries: what each scanner asked and what became of it, and what it was shown.

What is promised: no answer waits for it. A console that polls costs one entry a minute for the same question with
the same answer, of which the copies are counted in memory and written every few seconds. What is shown is evidence
for the check of the images that follow; what is asked lets a person be told why a row is missing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.dicom import elements
from gateway.domain.model import AETitle
from gateway.domain.worklist import DataSet
from gateway.roles.worklist.question import Question
from gateway.spool import Connection, Spool, query_log, removals, served
from gateway.spool.query_log import LoggedQuery, QueryOutcome
from gateway.spool.rows import as_elements
from gateway.spool.served import Shown

AGAIN: Final = timedelta(minutes=1)
"""The same question with the same answer within this time is counted and not written anew."""
OPEN: Final = 4096
"""Questions that are counted in memory; beyond it the oldest is begun anew."""
TRIM_EVERY: Final = 500
"""Entries of one scanner between two looks at how many it has."""
FLUSH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the record is kept."""

    queries: timedelta
    served: timedelta


@dataclass(slots=True)
class _Open:
    """An entry that the same question with the same answer still counts in."""

    entry: LoggedQuery
    written: bool = True


class Record:
    """The record of one box."""

    def __init__(self, spool: Spool, *, now: Callable[[], datetime], retention: Retention) -> None:
        self._spool = spool
        self._now = now
        self._retention = retention
        self._open: OrderedDict[tuple[object, ...], _Open] = OrderedDict()
        self._tally: Counter[QueryOutcome] = Counter()
        self._entries: Counter[str] = Counter()

    def answered(self, question: Question, shown: Sequence[Shown], *, status: int | None, asked: datetime) -> None:
        """Write down one question that was answered; `status` is None if the scanner was gone before the end."""
        trail, now = question.trail, self._now()
        entry = LoggedQuery(
            calling_ae=question.calling.strip(),
            first_asked=asked,
            last_asked=asked,
            count=1,
            identifier=b"",
            meant=b"",
            status=status,
            looked_at=trail.looked_at,
            dropped={stage: count for stage, count in trail.dropped.items() if count},
            quirks={str(quirk): count for quirk, count in trail.quirks.items() if count},
            answered=len(shown),
            sources={str(name): outcome for name, outcome in trail.sources.items()},
            age=trail.age,
            slowest=max(now - asked, timedelta()),
        )
        self._add(entry, shown, question)

    def unreadable(self, calling: str, *, status: int, asked: datetime) -> None:
        """Write down a question that could not be read."""
        entry = LoggedQuery(
            calling_ae=calling.strip(),
            first_asked=asked,
            last_asked=asked,
            count=1,
            identifier=b"",
            meant=b"",
            status=status,
            looked_at=0,
            dropped={},
            quirks={},
            answered=0,
            sources={},
            age=None,
            slowest=max(self._now() - asked, timedelta()),
        )
        self._add(entry, (), None)

    def _add(self, entry: LoggedQuery, shown: Sequence[Shown], question: Question | None) -> None:
        self._tally[entry.outcome] += 1
        answer = hash(tuple((one.source, one.key, one.response, one.conflict) for one in shown))
        sources = tuple(sorted(entry.sources.items()))
        same = (entry.calling_ae, question and question.received, entry.status, answer, sources)
        known = self._open.get(same)
        if known is not None and abs(entry.last_asked - known.entry.first_asked) < AGAIN:
            known.entry = replace(
                entry,
                first_asked=known.entry.first_asked,
                count=known.entry.count + 1,
                identifier=known.entry.identifier,
                meant=known.entry.meant,
                slowest=max(known.entry.slowest, entry.slowest),
            )
            known.written = False
            return
        if question is not None:
            entry = replace(entry, identifier=_encoded(question.identifier), meant=_meant(question))
        over = [] if known is None else [known]
        self._open[same] = _Open(entry)
        self._open.move_to_end(same)
        if len(self._open) > OPEN:
            over.append(self._open.popitem(last=False)[1])
        self._write(entry, shown, counted=[one.entry for one in over if not one.written])

    def flush(self) -> None:
        """Write what was counted since; entries that are over are let go of."""
        now = self._now()
        over = [same for same, one in self._open.items() if abs(now - one.entry.first_asked) >= AGAIN]
        counted = [one for one in self._open.values() if not one.written]
        for one in counted:
            one.written = True
        for same in over:
            del self._open[same]
        if counted or self._tally:
            self._write(None, (), counted=[one.entry for one in counted])

    def _write(self, entry: LoggedQuery | None, shown: Sequence[Shown], *, counted: Sequence[LoggedQuery]) -> None:
        tally, self._tally = self._tally, Counter()
        trim = False
        if entry is not None:
            self._entries[entry.calling_ae] += 1
            trim = self._entries[entry.calling_ae] % TRIM_EVERY == 0

        def job(c: Connection) -> None:
            query_log.record(c, [] if entry is None else [entry], tally=tally)
            query_log.recount(c, counted)
            if entry is not None and shown:
                served.record_served(c, AETitle(entry.calling_ae), shown=shown, now=entry.first_asked)
            if entry is not None and trim:
                query_log.trim(c, entry.calling_ae)

        self._spool.db.write(job, rebuildable=True)

    def forget(self, c: Connection) -> None:
        """Let go of what was asked and shown too long ago."""
        now = self._now()
        query_log.forget(c, before=now - self._retention.queries)
        removals.forget(c, before=now - self._retention.queries)
        served.forget_served(c, before=now - self._retention.served)


def _meant(question: Question) -> bytes:
    return b"" if question.meant is question.identifier else _encoded(question.meant)


def _encoded(dataset: DataSet) -> bytes:
    return elements.encode(as_elements(dataset), elements.EXPLICIT_LITTLE)
