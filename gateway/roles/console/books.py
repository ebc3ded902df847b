"""The spool as the console reads it: one thread, one reading connection, one view per question.

What is promised: only `write` writes. However many screens and scrapers ask, what stands is read at most once in
FRESH_SECONDS. A question that is not answered in DEADLINE_SECONDS, or that the database refuses, is a
TemporaryFailure; the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from gateway.domain.health import Probe
from gateway.domain.model import TemporaryFailure
from gateway.domain.overview import Overview
from gateway.domain.study import Study
from gateway.spool import Connection, Spool, health, query_log, studies
from gateway.spool.db import DatabaseError
from gateway.spool.overview import look
from gateway.spool.peers import Scanner, scanners
from gateway.spool.query_log import LoggedQuery, QueryOutcome

T = TypeVar("T")

FRESH_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 5.0
LATEST_STUDIES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands at one moment."""

    overview: Overview
    studies: tuple[Study, ...]
    added: tuple[Scanner, ...]
    """Scanners admitted by a command."""
    free_bytes: int
    askers: tuple[LoggedQuery, ...]
    """The last worklist question of every scanner that asked."""
    tally: Mapping[QueryOutcome, int]
    """Worklist questions by outcome since the first start."""
    probes: tuple[Probe, ...]
    """How each peer was the last time health asked it, and each hop of the synthetic patient."""


class Books:
    """Asks the spool. Use it on one event loop; `close` it when no question is open."""

    def __init__(
        self,
        spool: Spool,
        *,
        destinations: Sequence[str],
        refresh: Mapping[str, timedelta],
        mpps_peers: Sequence[str],
        order_receivers: Sequence[str],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        """The names and `refresh` as gateway.spool.overview.look; `deadline` in seconds."""
        self._spool = spool
        self._destinations = destinations
        self._refresh = refresh
        self._mpps_peers = mpps_peers
        self._order_receivers = order_receivers
        self._now = now
        self._monotonic = monotonic
        self._deadline = deadline
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="console-reader")
        self._one_at_a_time = asyncio.Lock()
        self._standing: Standing | None = None
        self._read_at = float("-inf")

    async def standing(self) -> Standing:
        """What stands, at most FRESH_SECONDS old. Raises TemporaryFailure."""
        async with self._in_time(), self._one_at_a_time:
            if self._standing is None or self._monotonic() - self._read_at >= FRESH_SECONDS:
                self._standing = await self._run(self._look)
                self._read_at = self._monotonic()
            return self._standing

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Put a question to the spool, in a transaction of its own. Raises TemporaryFailure."""
        async with self._in_time():
            return await self._run(question)

    async def write(self, decision: Callable[[Connection], T]) -> T:
        """Carry out a person's decision; it is durable on return. Raises TemporaryFailure: a decision that had
        begun by then may stand."""
        async with self._in_time():
            return await asyncio.wrap_future(self._spool.db.write(decision))

    def close(self) -> None:
        """Wait for the question that is being answered, drop the others."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline):
                yield
        except TimeoutError:
            raise TemporaryFailure("the spool does not answer in time; check the disk", code="timeout") from None
        except (DatabaseError, OSError) as error:
            raise TemporaryFailure("the spool can't be read; check the disk", code=type(error).__name__) from None

    async def _run(self, question: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        c = self._spool.db.read()
        c.execute("BEGIN")  # one view for all statements of the question, while the gateway writes on
        try:
            return question(c)
        finally:
            if c.in_transaction:  # some errors end it
                c.execute("ROLLBACK")

    def _look(self, c: Connection) -> Standing:
        return Standing(
            overview=look(
                c,
                destinations=self._destinations,
                refresh=self._refresh,
                mpps_peers=self._mpps_peers,
                order_receivers=self._order_receivers,
                now=self._now(),
            ),
            studies=studies.latest(c, limit=LATEST_STUDIES),
            added=scanners(c),
            free_bytes=self._spool.files.free_bytes(),
            askers=query_log.askers(c),
            tally=query_log.tally(c),
            probes=health.probes(c),
        )
