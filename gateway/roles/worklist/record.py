"""What is written down of the queries: what was served to whom, as evidence for the check of the images that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from gateway.domain.model import AETitle
from gateway.spool import Connection, Spool
from gateway.spool import worklist as copy
from gateway.spool.worklist import Candidate

SERVED_AGAIN = timedelta(minutes=1)


class Record:
    """The record of one box."""

    def __init__(self, spool: Spool, *, now: Callable[[], datetime], served_for: timedelta) -> None:
        self._spool = spool
        self._now = now
        self._served_for = served_for
        self._served: dict[AETitle, tuple[int, datetime]] = {}

    def served(self, calling: AETitle, answered: Sequence[Candidate]) -> None:
        """Write down what was served to whom; a console that polls gets one entry a minute for the same answer."""
        now, answer = self._now(), hash(tuple(answered))
        last = self._served.get(calling)
        if not answered or (last is not None and last[0] == answer and now - last[1] < SERVED_AGAIN):
            return
        self._served[calling] = (answer, now)
        self._spool.db.write(lambda c: copy.record_served(c, calling, served=answered, now=now), rebuildable=True)

    def forget(self, c: Connection) -> None:
        """Let go of what was served too long ago."""
        copy.forget_served(c, before=self._now() - self._served_for)
