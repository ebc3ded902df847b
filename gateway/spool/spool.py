"""The durable spool, opened: the one thing the running parts share.

    <state>/gateway.db         the index (see db.py)
    <state>/spool/...          the files (see files.py)

Any number of processes may have it open. One of them, the edge, sweeps it at its start and receives
objects (`accepting`). The nouns (`instances`, `deliveries`, `worklist`, `peers`, `commitments`,
`audit`) are modules of functions over a connection: call them inside a job of `spool.db.write`, or
with `spool.db.read()`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from gateway.domain.parts import Part
from gateway.spool import instances
from gateway.spool.claims import claim
from gateway.spool.commit import GroupCommitter
from gateway.spool.db import Database
from gateway.spool.files import SpoolFiles, sync_directory
from gateway.spool.recovery import ReadOrigin, Swept, sweep


def five_percent(total_bytes: int) -> int:
    """The default reserve: what must stay free of a disk of that size."""
    return total_bytes // 20


class Spool:
    """Files, index and, in the process that receives, the committer. Open it with `Spool.open`."""

    def __init__(self, *, state: Path, files: SpoolFiles, db: Database, now: Callable[[], datetime]) -> None:
        self._state = state
        self.files = files
        self.db = db
        self._now = now
        self._committer: GroupCommitter | None = None

    @classmethod
    def open(
        cls,
        state: Path,
        *,
        now: Callable[[], datetime],
        reserve: Callable[[int], int] = five_percent,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Spool:
        """Makes what is missing and brings the schema up to date. `now` returns UTC-aware times."""
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_directory(state.parent)
        files = SpoolFiles(state / "spool", reserve=reserve, now=now, monotonic=monotonic)
        return cls(state=state, files=files, db=Database(state / "gateway.db", now=now), now=now)

    def sweep(self, read_origin: ReadOrigin) -> Swept:
        """Heals what a crash left behind: once, at the start of the edge, before `accepting`."""
        return sweep(files=self.files, db=self.db, read_origin=read_origin, now=self._now)

    def accepting(self, *, trace: Callable[[str], None] = lambda _: None) -> GroupCommitter:
        """Starts the committer of this process. `trace` is told each crash point (commit.py)."""
        if self._committer is not None:
            raise ValueError("this process accepts already: use the committer it has")
        self._committer = GroupCommitter(files=self.files, db=self.db, now=self._now, trace=trace)
        return self._committer

    def claim(self, part: Part) -> AbstractContextManager[None]:
        """Be the one process that is `part` of this spool; see `gateway.spool.claims`."""
        return claim(self._state, part)

    def purge(self, *, retention: timedelta, limit: int) -> int:
        """Lets go of up to `limit` instances whose time is over (instances.py says which and how).

        Returns their number. Raises OSError if a file can't be removed; the next sweep removes it.
        """
        now = self._now()
        gone = self.db.write(partial(instances.purge_due, now=now, retention=retention, limit=limit)).result()
        gone += self.db.write(partial(instances.purge_rejected, now=now, retention=retention, limit=limit)).result()
        self.files.remove(gone)
        return len(gone)

    def make_room(self, wanted: int, *, keep: timedelta, limit: int) -> int:
        """Lets go of `wanted` bytes, at most, of what was confirmed everywhere longer ago than `keep`; see `purge`."""
        job = partial(instances.purge_early, wanted=wanted, now=self._now(), keep=keep, limit=limit)
        gone = self.db.write(job).result()
        self.files.remove(gone)
        return len(gone)

    def close(self) -> None:
        """Commits what was handed in and closes everything, in the reverse order of opening."""
        if self._committer is not None:
            self._committer.close()
        self.db.close()
