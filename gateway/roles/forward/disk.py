"""The disk: looked at again and again, room made of what is confirmed, and said in time when it gets short.

What is promised: nothing is ever let go that a destination has not confirmed, or that waits for a person; above the
high mark what was confirmed first goes first. When that is not enough an alarm says so, and edge refuses new images
(A700) before the disk is full.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from gateway.domain.disk import MEASURED, Disk, Watermarks, ingest_rate
from gateway.spool import Connection, Spool, audit, disk
from gateway.spool.files import Space

ALARM_HIGH: Final = "disk-high"
ALARM_FULL: Final = "disk-full"
ALARM_SHORT: Final = "disk-short"
SUBJECT: Final = "spool"
AT_ONCE: Final = 200
"""Images let go in one transaction; between two the disk is asked again."""
ROUNDS: Final = 50
MEASURED_EVERY: Final = timedelta(minutes=5)

log = structlog.get_logger()


class DiskWatch:
    """A look at the disk, with what follows from it."""

    def __init__(
        self,
        spool: Spool,
        marks: Watermarks,
        *,
        now: Callable[[], datetime],
        space: Callable[[], Space] | None = None,
    ) -> None:
        self._spool = spool
        self._marks = marks
        self._now = now
        self._space = space or spool.files.space
        self._measured: tuple[datetime, int, float | None] | None = None

    def look(self) -> None:
        """Make room where it is short, and write down how it is. Raises OSError for a file that can't be removed."""
        made = self._make_room()
        space, now = self._space(), self._now()
        confirmed, ingest = self._measure(now, anew=made)
        seen = Disk(
            at=now,
            free=space.free,
            total=space.total,
            reserve=space.reserve,
            confirmed=confirmed,
            ingest=ingest,
        )
        self._spool.db.write(partial(self._tell, seen=seen), rebuildable=True).result()

    def _measure(self, now: datetime, *, anew: bool) -> tuple[int, float | None]:
        """Bytes that may be let go, and bytes that come a second; measured now and then, as it reads many rows."""
        if self._measured is None or anew or not timedelta(0) <= now - self._measured[0] < MEASURED_EVERY:
            c = self._spool.db.read()
            self._measured = (
                now,
                disk.confirmed_bytes(c, before=now - self._marks.keep),
                ingest_rate(disk.received_bytes(c, now=now, spans=MEASURED)),
            )
        return self._measured[1:]

    def _make_room(self) -> bool:
        """Whether anything was let go."""
        made = False
        for _ in range(ROUNDS):
            space = self._space()
            excess = self._marks.excess(free=space.free, total=space.total)
            gone = self._spool.make_room(excess, keep=self._marks.keep, limit=AT_ONCE) if excess else 0
            if not gone:
                break
            made = True
            log.warning("let go before the retention was over", instances=gone)
        return made

    def _tell(self, c: Connection, *, seen: Disk) -> None:
        disk.keep(c, seen)
        holds_out = seen.holds_out
        stands = {
            ALARM_HIGH: self._marks.excess(free=seen.free, total=seen.total) > 0,
            ALARM_FULL: seen.is_full,
            ALARM_SHORT: holds_out is not None and holds_out < self._marks.warning,
        }
        for code, raised in stands.items():
            change = audit.raise_alarm if raised else audit.clear_alarm
            change(c, code=code, subject=SUBJECT, now=seen.at)
