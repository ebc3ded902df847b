"""Whether each RIS still speaks: an alarm for a copy that grows too old, and the rests of the circuits, for people.

What is promised: the alarm is raised once and ended by the next whole answer, or by the RIS leaving the
configuration. Nothing is written while nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.model import SourceName
from gateway.domain.overview import is_stale
from gateway.spool import Connection, Spool, audit
from gateway.spool import worklist as copy

ALARM_STALE: Final = "worklist-stale"
"""The copy of a RIS is too old to be trusted as the schedule. Subject: the RIS."""


class Watch:
    """Over the RISs of one box."""

    def __init__(
        self,
        spool: Spool,
        *,
        refresh: Mapping[SourceName, timedelta],
        resting: Callable[[], Mapping[SourceName, datetime | None]],
        now: Callable[[], datetime],
    ) -> None:
        """`refresh`: how often each RIS is asked; `resting`: until when each is left alone."""
        self._spool = spool
        self._refresh = refresh
        self._resting = resting
        self._now = now
        self._began = now()

    def look(self) -> None:
        """Write down what changed."""
        c, now = self._spool.db.read(), self._now()
        sources = {source.name: source for source in copy.sources(c)}
        answered = {name: source.last_success or self._began for name, source in sources.items()}
        stale = {
            name
            for name, refresh in self._refresh.items()
            if is_stale(answered.get(name, self._began), refresh=refresh, now=now)
        }
        raised = {alarm.subject for alarm in audit.active_alarms(c, code=ALARM_STALE)}
        rests = {
            name: until
            for name, until in self._resting().items()
            if name in sources and sources[name].resting_until != until
        }
        if stale == raised and not rests:
            return

        def job(c: Connection) -> None:
            for name in stale - raised:
                audit.raise_alarm(c, code=ALARM_STALE, subject=name, now=now)
            for subject in raised - stale:
                audit.clear_alarm(c, code=ALARM_STALE, subject=subject, now=now)
            for name, until in rests.items():
                copy.record_rest(c, name, until=until)

        self._spool.db.write(job)
