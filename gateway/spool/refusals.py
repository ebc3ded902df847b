"""How many objects were refused for want of resources: counted at once, written down behind the answer.

What is promised: counting never waits and never fails; one write is under way at a time, however fast they are refused.
What can't be written, as on a full disk, is written with the next. A power cut may take the last of it.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

from gateway.spool.db import Connection, Database
from gateway.spool.queries import sql


class Refusals:
    """Of one process; may be used from any thread."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._waiting = 0
        self._writing = 0

    def count(self) -> None:
        """One more."""
        with self._lock:
            self._waiting += 1
            if self._writing:
                return
            self._writing, self._waiting = self._waiting, 0
        self._write()

    def _write(self) -> None:
        written = self._db.write(partial(add, count=self._writing), rebuildable=True)
        written.add_done_callback(self._written)

    def _written(self, written: Future[None]) -> None:
        with self._lock:
            if written.cancelled() or written.exception() is not None:
                self._waiting, self._writing = self._waiting + self._writing, 0
                return
            self._writing, self._waiting = self._waiting, 0
            if not self._writing:
                return
        self._write()


def add(c: Connection, *, count: int) -> None:
    """So many more."""
    c.execute(sql("refusal_add"), {"count": count})
