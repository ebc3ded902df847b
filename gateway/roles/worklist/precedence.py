"""Which rows of the copy stand: none too old for this scanner, and of each step the row that comes first.

A row of a RIS is served for as long as its RIS confirmed it lately enough; what came by message or from the desk
is nobody's to confirm, and is served until it changes or expires. Precedence is `gateway.domain.merge`. Two
sources that have one step for two patients raise an alarm, which ends when it has not been seen for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

from gateway.domain.explain import Stage
from gateway.domain.merge import Kind, merge
from gateway.domain.model import SourceName
from gateway.roles.worklist.question import Question
from gateway.spool import Connection, Spool, audit
from gateway.spool import worklist as copy
from gateway.spool.standing import claims, confirmed, too_old
from gateway.spool.times import from_text, to_text
from gateway.spool.worklist import Attested, Candidate, Contender

ALARM_CONFLICT: Final = "worklist-conflict"
"""Two sources have the same step for two patients. Subject: the names of the sources."""
CONFLICT_OVER: Final = timedelta(minutes=30)
"""A conflict that was not met in an answer for so long is over."""


class Precedence:
    """Decides for every question anew, as it depends on the time and on the scanner."""

    def __init__(
        self, spool: Spool, *, places: Sequence[SourceName], now: Callable[[], datetime], zone: tzinfo
    ) -> None:
        """`places` are the sources in the site's order."""
        self._spool = spool
        self._places = places
        self._now = now
        self._zone = zone
        self._conflicts: dict[str, datetime] = {}

    def at_once(self, question: Question) -> Callable[[Sequence[Candidate]], list[Candidate]]:
        """What tells the rows that stand, of some and of their rivals: a rival may match the question no more."""
        c, now = self._spool.db.read(), self._now()
        attested, several = copy.attested(c), copy.has_several_sources(c)

        def standing(found: Sequence[Candidate]) -> list[Candidate]:
            if not several:
                return self._recent(question, found, attested, now)
            pool = copy.contenders(c, (row.key for row in found))
            recent = {_name(row): row for row in self._recent(question, [one.row for one in pool], attested, now)}
            known = [one._replace(row=recent[_name(one.row)]) for one in pool if _name(one.row) in recent]
            return self._foremost(question, known, attested, now)

        return standing

    # -- age --

    def _recent(
        self, question: Question, rows: Sequence[Candidate], attested: Mapping[SourceName, Attested], now: datetime
    ) -> list[Candidate]:
        """The rows that are not too old; for a scanner that is answered live, those that were answered just now,
        and those of the desk, which nobody else can answer."""
        if question.policy.live:
            return [row for row in rows if row.kind == Kind.DESK or (row.source, row.key) in question.heard]
        oldest, aged = to_text(now - question.policy.max_stale), to_text(now - question.policy.fresh_for)
        recent = []
        for row in rows:
            if row.last_confirmed >= max(aged, oldest):
                recent.append(row)
                continue
            known = attested.get(row.source)
            if too_old(row, known, oldest=oldest):
                question.trail.dropped[Stage.STALE] += 1
                continue
            marked = question.policy.mark and row.kind == Kind.LIVE and confirmed(row, known) < aged
            recent.append(row._replace(as_of=self._as_of(from_text(confirmed(row, known)), now)) if marked else row)
        return recent

    def _as_of(self, confirmed: datetime, now: datetime) -> str:
        seen, today = confirmed.astimezone(self._zone), now.astimezone(self._zone).date()
        return f"AS OF {seen:%H:%M}" if seen.date() == today else f"AS OF {seen:%Y-%m-%d %H:%M}"

    # -- precedence --

    def _foremost(
        self, question: Question, pool: Sequence[Contender], attested: Mapping[SourceName, Attested], now: datetime
    ) -> list[Candidate]:
        foremost = []
        for one, standing in zip(pool, merge(claims(pool, attested, places=self._places), now), strict=True):
            if standing.conflict is not None:
                self._tell(one.row.source, standing.conflict, now)
            if standing.shown:
                foremost.append(one.row._replace(conflict=standing.conflict or ""))
            else:
                question.trail.dropped[Stage.CONFLICT] += 1
        return foremost

    # -- conflicts --

    def _tell(self, one: SourceName, other: SourceName, now: datetime) -> None:
        subject = "/".join(sorted((one, other)))
        known = self._conflicts.get(subject)
        self._conflicts[subject] = now
        if known is None:
            self._spool.db.write(lambda c: audit.raise_alarm(c, code=ALARM_CONFLICT, subject=subject, now=now))

    def forget(self, c: Connection) -> None:
        """Clear the alarms of conflicts that are over; those of an earlier run have as long to show again."""
        now = self._now()
        for alarm in audit.active_alarms(c, code=ALARM_CONFLICT):
            seen = self._conflicts.setdefault(alarm.subject, now)
            if now - seen > CONFLICT_OVER:
                audit.clear_alarm(c, code=ALARM_CONFLICT, subject=alarm.subject, now=now)
                del self._conflicts[alarm.subject]


def _name(row: Candidate) -> tuple[SourceName, str]:
    return row.source, row.key
