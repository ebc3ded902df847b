"""The RISs: their worklists are fetched into the copy, behind the scanners' backs and on their behalf.

The copy is refreshed in the background as a whole validated set per RIS. A scanner's own question is passed on
with a deadline, and what is said enters the copy. A RIS that is down, hung or empty costs the scanner at most
the deadline, a few times, and then nothing: its circuit opens.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from gateway.domain import upstream
from gateway.domain.model import SourceName, TemporaryFailure
from gateway.domain.retry import Circuit
from gateway.domain.worklist import DataSet, Freshness, freshness
from gateway.net.dicom_client import Peer
from gateway.net.worklist_query import Answer, ask
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.rows import as_elements, da, validated
from gateway.roles.worklist.upkeep import repeat
from gateway.spool import Spool
from gateway.spool import worklist as copy

MAX_ROWS = 20_000
"""Rows taken from one answer of a RIS."""
THREADS_PER_RIS = 3
"""Questions one RIS may leave hanging before it is not asked more."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One RIS, as this role needs to know it."""

    name: SourceName
    peer: Callable[[str], Peer]
    """How to call it, for a scanner's AE title ("" for the background refresh)."""
    refresh: timedelta
    past: timedelta
    ahead: timedelta


class Sources:
    """Every RIS, and what it says in the copy."""

    def __init__(
        self,
        spool: Spool,
        upstreams: Sequence[Upstream],
        *,
        today: Callable[[], date],
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._sources = {upstream.name: _Source(upstream) for upstream in upstreams}
        self._today = today
        self._now = now
        self._random = random

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh every source at its interval until `stop`."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources.values():
                # Whatever the circuit says: the interval bounds this, and it is how a RIS that is back is noticed
                work = functools.partial(self._refresh, source)
                group.create_task(repeat(work, seconds=source.upstream.refresh.total_seconds(), stop=stop))
        for source in self._sources.values():
            source.threads.shutdown(wait=False, cancel_futures=True)

    # -- asking --

    async def ask_stale(self, question: Question) -> None:
        """Ask the sources whose copy can't answer this question now."""
        confirmed = {source.name: source.last_success for source in copy.sources(self._spool.db.read())}
        now, today, query, policy = self._now(), self._today(), question.query, question.policy
        question.trail.age = max((now - at for at in confirmed.values() if at is not None), default=None)
        due = []
        for name, source in self._sources.items():
            fresh = freshness(confirmed.get(name), now, fresh_for=policy.fresh_for, max_stale=policy.max_stale)
            covered = query.covers(today - source.upstream.past, today + source.upstream.ahead)
            dated = query.prefilter.date_from is not None or query.prefilter.date_to is not None
            if fresh is not Freshness.FRESH or (dated and not covered):
                due.append(source)
        await self._ask(due, question)

    async def ask_all(self, question: Question) -> None:
        """Ask every source."""
        await self._ask(self._sources.values(), question)

    async def _ask(self, sources: Iterable[_Source], question: Question) -> None:
        """Ask these sources at once; whatever comes before the deadline is in the copy on return."""
        now = self._now()
        asked, outcome = [], question.trail.sources
        for source in sources:
            may = source.circuit.may_try(now) and source.has_room
            outcome[source.upstream.name] = "deadline" if may else "resting"
            if may:
                asked.append(asyncio.create_task(self._ask_one(source, question)))
        if asked:
            await asyncio.wait(asked, timeout=question.policy.deadline.total_seconds())

    async def _ask_one(self, source: _Source, question: Question) -> None:
        name, outcome = source.upstream.name, question.trail.sources
        try:
            answer = await source.ask(upstream.widen(question.identifier), question.calling)
        except TemporaryFailure as error:
            outcome[name] = error.code
            source.circuit = source.circuit.after_failure(self._now(), self._random())
            log.warning("RIS not answering", ris=source.upstream.name, code=error.code)
            return
        source.circuit = source.circuit.after_success()
        rows, _ = validated(name, answer)
        if rows:
            await asyncio.wrap_future(
                self._spool.db.write(lambda c: copy.merge_answer(c, name, rows=rows, now=self._now()))
            )
        outcome[name] = "answered"

    # -- refreshing --

    async def _refresh(self, source: _Source) -> None:
        name, today = source.upstream.name, self._today()
        first, last = today - source.upstream.past, today + source.upstream.ahead
        try:
            answer = await source.ask(upstream.refresh_identifier(first, last), "")
        except TemporaryFailure as error:
            code = error.code
            source.circuit = source.circuit.after_failure(self._now(), self._random())
            log.warning("worklist not refreshed", ris=name, code=code)
            await asyncio.wrap_future(
                self._spool.db.write(lambda c: copy.record_failure(c, name, error=code, now=self._now()))
            )
            return
        source.circuit = source.circuit.after_success()
        rows, refused = validated(name, answer)
        window = (da(first), da(last)) if answer.complete and not refused else None
        removed = await asyncio.wrap_future(
            self._spool.db.write(lambda c: copy.replace_source(c, name, rows=rows, now=self._now(), window=window))
        )
        log.info("worklist refreshed", ris=name, rows=len(rows), refused=refused, removed=removed)


class _Source:
    """A RIS and how it has been doing."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.circuit = Circuit(threshold=2, cap=timedelta(seconds=60))
        self.threads = ThreadPoolExecutor(THREADS_PER_RIS, thread_name_prefix=f"ris-{upstream.name}")
        self._asking = 0

    @property
    def has_room(self) -> bool:
        """Not all threads hang on questions already asked."""
        return self._asking < THREADS_PER_RIS

    async def ask(self, identifier: DataSet, calling: str) -> Answer:
        """Raises `TemporaryFailure`. A caller that gives up leaves the question to end by its own timeouts."""
        self._asking += 1
        future = asyncio.get_running_loop().run_in_executor(
            self.threads,
            functools.partial(ask, self.upstream.peer(calling), as_elements(identifier), limit=MAX_ROWS),
        )
        future.add_done_callback(self._asked)
        return await asyncio.shield(future)

    def _asked(self, future: asyncio.Future[Answer]) -> None:
        self._asking -= 1
        if not future.cancelled():
            future.exception()  # seen, also when nobody waits any more
