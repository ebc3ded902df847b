"""The RISs: their worklists are fetched into the copy, behind the scanners' backs and on their behalf.

The copy is refreshed in the background as a whole validated set per RIS. A scanner's own question is passed on
with a deadline, and what is said enters the copy. A RIS that is down, hung or slow costs the scanner at most
the deadline, a few times, and then nothing: its circuit opens, and one question at a time tries it again.

What is told apart: a failure, which is written down at once, so that the copy is not called fresh; an answer that
broke off or was longer than we read, whose rows are good and which proves nothing absent; and success without a
row, which removes nothing and counts as an answer only if the RIS, asked without any key, knows of a row at all.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

import structlog

from gateway.domain import upstream
from gateway.domain.model import SourceName
from gateway.domain.retry import Circuit
from gateway.domain.worklist import DataSet, Freshness, freshness
from gateway.net.dicom_client import Peer
from gateway.net.worklist_query import Answer, ask
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.rows import as_elements, da, validated
from gateway.roles.worklist.upkeep import repeat
from gateway.spool import Connection, Spool
from gateway.spool import worklist as copy
from gateway.spool.worklist import WorklistRow

SILENCE = 3.0
"""Seconds without a row after which a RIS is said not to answer, while it is still waited for."""
THREADS_PER_RIS = 3
"""Questions one RIS may leave hanging before it is not asked more."""

T = TypeVar("T")

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
    most_rows: int
    """Read of one answer."""


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

    @property
    def names(self) -> tuple[SourceName, ...]:
        """The sources in the site's order."""
        return tuple(self._sources)

    def resting(self) -> dict[SourceName, datetime | None]:
        """Until when each source is left alone after failures; None: it is asked."""
        return {name: source.circuit.open_until for name, source in self._sources.items()}

    async def _ask(self, sources: Iterable[_Source], question: Question) -> None:
        """Ask these sources at once; whatever comes before the deadline is in the copy on return."""
        now = self._now()
        asked: dict[asyncio.Task[None], _Source] = {}
        outcome = question.trail.sources
        for source in sources:
            may = source.circuit.may_try(now) and source.has_room
            outcome[source.upstream.name] = "deadline" if may else "resting"
            if may:
                source.circuit = source.circuit.after_trial(now)
                asked[asyncio.create_task(self._ask_one(source, question))] = source
        if asked:
            _, late = await asyncio.wait(asked, timeout=question.policy.deadline.total_seconds())
            for task in late:
                asked[task].failed(self._now(), self._random())

    async def _ask_one(self, source: _Source, question: Question) -> None:
        name, outcome = source.upstream.name, question.trail.sources
        began = source.failures
        heard = await self._hear(source, upstream.widen(question.meant), question.calling)
        if heard.rows:
            rows = list(heard.rows.values())
            await self._write(lambda c: copy.merge_answer(c, name, rows=rows, now=self._now()))
            question.heard.update((name, row.key) for row in rows)
        if heard.failure:
            outcome[name] = heard.failure
            if source.failures == began:  # else the deadline has counted this question
                source.failed(self._now(), self._random())
        else:
            outcome[name] = "answered"
            source.circuit = source.circuit.after_success()

    async def _hear(self, source: _Source, identifier: DataSet, calling: str, *, limit: int | None = None) -> _Heard:
        """Ask, and write down a failure; a RIS that is silent is said to be before it is given up."""
        heard = _Heard(source.upstream.name)
        asking = source.ask(identifier, calling, heard, limit or source.upstream.most_rows)
        count = 0
        while not (await asyncio.wait({asking}, timeout=SILENCE))[0]:
            if heard.count == count:
                await self._write_failure(source, "silence")
            count = heard.count
        try:
            answer = asking.result()
            heard.complete, heard.limited, heard.failure = answer.complete, answer.limited, answer.failure
        except Exception as error:  # noqa: BLE001 -- whatever a RIS can send; unknown means temporary
            heard.failure = type(error).__name__
        if heard.failure:
            log.warning("RIS not answering", ris=source.upstream.name, code=heard.failure)
            await self._write_failure(source, heard.failure)
        return heard

    # -- refreshing --

    async def _refresh(self, source: _Source) -> None:
        name, today = source.upstream.name, self._today()
        first, last = today - source.upstream.past, today + source.upstream.ahead
        heard = await self._hear(source, upstream.refresh_identifier(first, last), "")
        rows = list(heard.rows.values())
        if heard.failure:
            source.failed(self._now(), self._random())
            if rows:
                await self._write(lambda c: copy.merge_answer(c, name, rows=rows, now=self._now()))
            return
        source.circuit = source.circuit.after_success()
        if not heard.count and await self._has_forgotten(source):
            await self._write_failure(source, "empty")
            return
        if heard.limited:
            await self._write(lambda c: copy.merge_answer(c, name, rows=rows, now=self._now()))
            await self._write_failure(source, "limit")
            return
        window = (da(first), da(last)) if heard.complete and not heard.refused else None
        removed = await self._write(lambda c: copy.replace_source(c, name, rows=rows, now=self._now(), window=window))
        log.info("worklist refreshed", ris=name, rows=len(rows), refused=heard.refused, removed=removed)

    async def _has_forgotten(self, source: _Source) -> bool:
        """Whether a RIS that answered no row at all had some before and knows of none even without any key."""
        if not copy.has_rows(self._spool.db.read(), source.upstream.name):
            return False
        control = await self._hear(source, upstream.any_identifier(), "", limit=1)
        return not control.count

    async def _write_failure(self, source: _Source, code: str) -> None:
        await self._write(lambda c: copy.record_failure(c, source.upstream.name, error=code, now=self._now()))

    def _write(self, job: Callable[[Connection], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self._spool.db.write(job))


@dataclass(slots=True)
class _Heard:
    """What a RIS has said so far to one question; filled by the thread that asks."""

    source: SourceName
    rows: dict[str, WorklistRow] = field(default_factory=dict)
    """By merge key: those that can be kept."""
    count: int = 0
    """Responses with a row."""
    refused: int = 0
    """Steps that can't be kept."""
    complete: bool = False
    limited: bool = False
    failure: str = ""

    def take(self, row: DataSet) -> None:
        """Keep one response."""
        rows, refused = validated(self.source, row)
        self.rows |= rows
        self.refused += refused
        self.count += 1


class _Source:
    """A RIS and how it has been doing."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.circuit = Circuit(threshold=2, cap=timedelta(seconds=60))
        self.failures = 0
        self.threads = ThreadPoolExecutor(THREADS_PER_RIS, thread_name_prefix=f"ris-{upstream.name}")
        self._asking = 0

    @property
    def has_room(self) -> bool:
        """Not all threads hang on questions already asked."""
        return self._asking < THREADS_PER_RIS

    def failed(self, now: datetime, random: float) -> None:
        """Count a question that failed or came too late."""
        self.failures += 1
        self.circuit = self.circuit.after_failure(now, random)

    def ask(self, identifier: DataSet, calling: str, heard: _Heard, limit: int) -> asyncio.Future[Answer]:
        """A caller that gives up leaves the question to end by its own timeouts."""
        self._asking += 1
        peer, elements = self.upstream.peer(calling), as_elements(identifier)
        future = asyncio.get_running_loop().run_in_executor(
            self.threads, functools.partial(ask, peer, elements, limit=limit, take=heard.take)
        )
        future.add_done_callback(self._asked)
        return future

    def _asked(self, future: asyncio.Future[Answer]) -> None:
        self._asking -= 1
        if not future.cancelled():
            future.exception()  # seen, also when nobody waits any more
