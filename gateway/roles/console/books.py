"""The spool as the console reads it, and writes to it what a person decided (promises: gateway.spool.reader)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from gateway.domain.health import Seen
from gateway.domain.overview import Configured
from gateway.domain.study import Study
from gateway.spool import Connection, Spool, query_log, studies
from gateway.spool.overview import seen
from gateway.spool.peers import Scanner, scanners
from gateway.spool.query_log import LoggedQuery
from gateway.spool.reader import DEADLINE_SECONDS, Fresh, Reader

T = TypeVar("T")

LATEST_STUDIES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Seen):
    """What stands at one moment."""

    studies: tuple[Study, ...]
    added: tuple[Scanner, ...]
    """Scanners admitted by a command."""
    askers: tuple[LoggedQuery, ...]
    """The last worklist question of every scanner that asked."""


class Books(Reader):
    """Asks the spool, and writes to it."""

    def __init__(
        self,
        spool: Spool,
        *,
        configured: Configured,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(spool, deadline=deadline)
        self._configured = configured
        self._now = now
        self.standing = Fresh(self, self._look, monotonic=monotonic)
        """What stands."""

    async def write(self, decision: Callable[[Connection], T]) -> T:
        """Carry out a person's decision; it is durable on return. Raises TemporaryFailure: a decision that had
        begun by then may stand."""
        async with self.in_time():
            return await asyncio.wrap_future(self._spool.db.write(decision))

    def _look(self, c: Connection) -> Standing:
        found = seen(c, self._configured, free_bytes=self._spool.files.free_bytes(), now=self._now())
        return Standing(
            overview=found.overview,
            free_bytes=found.free_bytes,
            tally=found.tally,
            probes=found.probes,
            studies=studies.latest(c, limit=LATEST_STUDIES),
            added=scanners(c),
            askers=query_log.askers(c),
        )
