"""The worklist: a scanner's query is answered from our copy, which is refreshed behind and beside it.

IHE RAD-5 (PS3.4 K). The copy is refreshed in the background as a whole validated set per RIS. When
it is not fresh, or holds nothing for a query that names a patient, the RISs are asked the scanner's
own question with a deadline, and what they say enters the copy. Every key is applied again here:
many a RIS ignores the optional ones. A RIS that is down, hung or empty costs the scanner at most the
deadline, a few times, and then nothing: its circuit opens. What was answered to whom is remembered.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from gateway.dicom import elements
from gateway.dicom.dimse import Status
from gateway.domain import upstream
from gateway.domain.matching import Query, compile_query
from gateway.domain.model import AETitle, SourceName, TemporaryFailure
from gateway.domain.retry import Circuit
from gateway.domain.worklist import DONE, DataSet, Freshness, freshness
from gateway.net.dicom_client import Peer
from gateway.net.dicom_service import Exchange
from gateway.net.worklist_query import Answer, ask
from gateway.roles.worklist.rows import as_elements, da, decoder, look_up_keys, parsed, response, shape_of, validated
from gateway.spool import Connection, Spool
from gateway.spool import worklist as copy
from gateway.spool.worklist import Candidate

RESPONSES_PER_WRITE = 8
"""Fewer than the ten responses within which a C-CANCEL must take effect."""
MAX_ROWS = 20_000
"""Rows taken from one answer of a RIS, and looked at for one answer of ours."""
THREADS_PER_RIS = 3
"""Questions one RIS may leave hanging before it is not asked more."""
MAINTENANCE_SECONDS = 600.0
SERVED_AGAIN = timedelta(minutes=1)
CONFIRMED_WITHIN = timedelta(days=1)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one scanner's queries are answered."""

    ask: bool
    """Ask the RISs when the copy is not fresh; else answer from the copy alone."""
    deadline: timedelta
    fresh_for: timedelta
    max_stale: timedelta


class Worklist:
    """The role; `find` handles a C-FIND, `run` keeps the copy."""

    def __init__(
        self,
        spool: Spool,
        upstreams: Sequence[Upstream],
        *,
        policy_of: Callable[[str], Policy],
        today: Callable[[], date],
        now: Callable[[], datetime],
        random: Callable[[], float],
        served_for: timedelta,
    ) -> None:
        self._spool = spool
        self._sources = {upstream.name: _Source(upstream) for upstream in upstreams}
        self._policy_of = policy_of
        self._today = today
        self._now = now
        self._random = random
        self._served_for = served_for
        self._served: dict[AETitle, tuple[int, datetime]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh every source at its interval until `stop`."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources.values():
                group.create_task(self._refresh_for_ever(source, stop))
            group.create_task(self._maintain(stop))
        for source in self._sources.values():
            source.threads.shutdown(wait=False, cancel_futures=True)

    async def find(self, exchange: Exchange) -> None:
        """Answer one C-FIND (PS3.4 K.4.1)."""
        try:
            identifier = elements.parse(exchange.data_set, exchange.context.transfer_syntax)
        except elements.ElementError as error:
            exchange.respond(Status.UNABLE_TO_PROCESS, comment=str(error))
            return
        query = compile_query(identifier, decoder(identifier))
        policy = self._policy_of(exchange.caller.calling_ae)
        if policy.ask:
            await self._ask_stale(query, identifier, exchange.caller.calling_ae, policy)
        rows = await self._matching(query)
        if not rows and policy.ask and query.is_patient_based:
            await self._ask(self._sources.values(), identifier, exchange.caller.calling_ae, policy)
            rows = await self._matching(query)
        await self._answer(exchange, identifier, rows)

    # -- answering --

    async def _answer(self, exchange: Exchange, identifier: elements.DataSet, rows: Sequence[Candidate]) -> None:
        shape, syntax = shape_of(identifier), exchange.context.transfer_syntax
        answered: list[Candidate] = []
        for number, row in enumerate(rows):
            if number % RESPONSES_PER_WRITE == 0:
                await exchange.flush()
            if exchange.cancelled or exchange.closed:
                break
            exchange.respond(Status.PENDING, data_set=response(row.dataset, shape, syntax))
            answered.append(row)
        exchange.respond(Status.CANCEL if exchange.cancelled else Status.SUCCESS)
        log.info("worklist answered", association=exchange.caller.association, rows=len(answered))
        self._remember(AETitle(exchange.caller.calling_ae), answered)

    def _remember(self, calling: AETitle, answered: Sequence[Candidate]) -> None:
        """Write down what was served to whom; a console that polls gets one entry a minute for the same answer."""
        now, answer = self._now(), hash(tuple(answered))
        last = self._served.get(calling)
        if not answered or (last is not None and last[0] == answer and now - last[1] < SERVED_AGAIN):
            return
        self._served[calling] = (answer, now)
        self._spool.db.write(lambda c: copy.record_served(c, calling, served=answered, now=now), rebuildable=True)

    async def _matching(self, query: Query) -> list[Candidate]:
        found = copy.candidates(self._spool.db.read(), look_up_keys(query.prefilter), limit=MAX_ROWS)
        rows: dict[str, Candidate] = {}
        for number, row in enumerate(found):
            if number % 64 == 63:
                await asyncio.sleep(0)  # a long list must not hold up the other associations
            dataset = parsed(row.dataset)
            if query.matches(dataset, decoder(dataset)):
                rows.setdefault(row.key, row)
        return list(rows.values())

    # -- asking --

    async def _ask_stale(self, query: Query, identifier: elements.DataSet, calling: str, policy: Policy) -> None:
        """Ask the sources whose copy can't answer this query now."""
        confirmed = {source.name: source.last_success for source in copy.sources(self._spool.db.read())}
        now, today = self._now(), self._today()
        due = []
        for name, source in self._sources.items():
            fresh = freshness(confirmed.get(name), now, fresh_for=policy.fresh_for, max_stale=policy.max_stale)
            covered = query.covers(today - source.upstream.past, today + source.upstream.ahead)
            dated = query.prefilter.date_from is not None or query.prefilter.date_to is not None
            if fresh is not Freshness.FRESH or (dated and not covered):
                due.append(source)
        await self._ask(due, identifier, calling, policy)

    async def _ask(
        self, sources: Iterable[_Source], identifier: elements.DataSet, calling: str, policy: Policy
    ) -> None:
        """Ask these sources at once; whatever comes before the deadline is in the copy on return."""
        now = self._now()
        asked = [
            asyncio.create_task(self._ask_one(source, upstream.widen(identifier), calling))
            for source in sources
            if source.circuit.may_try(now) and source.has_room
        ]
        if asked:
            await asyncio.wait(asked, timeout=policy.deadline.total_seconds())

    async def _ask_one(self, source: _Source, identifier: DataSet, calling: str) -> None:
        try:
            answer = await source.ask(identifier, calling)
        except TemporaryFailure as error:
            source.circuit = source.circuit.after_failure(self._now(), self._random())
            log.warning("RIS not answering", ris=source.upstream.name, code=error.code)
            return
        source.circuit = source.circuit.after_success()
        rows, _ = validated(source.upstream.name, answer)
        if rows:
            await asyncio.wrap_future(
                self._spool.db.write(lambda c: copy.merge_answer(c, source.upstream.name, rows=rows, now=self._now()))
            )

    # -- refreshing --

    async def _refresh_for_ever(self, source: _Source, stop: asyncio.Event) -> None:
        while not stop.is_set():
            # Whatever the circuit says: the interval bounds this, and it is how a RIS that is back is noticed
            await _waited_out(self._refresh(source))
            await _sleep(stop, source.upstream.refresh.total_seconds())

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

    async def _maintain(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await _waited_out(asyncio.wrap_future(self._spool.db.write(self._expire)))
            await _sleep(stop, MAINTENANCE_SECONDS)

    def _expire(self, c: Connection) -> None:
        now = self._now()
        started_before = da(self._today() - timedelta(days=1))
        copy.expire(c, started_before=started_before, confirmed_before=now - CONFIRMED_WITHIN, statuses=DONE)
        copy.forget_served(c, before=now - self._served_for)


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


async def _waited_out(work: Awaitable[None]) -> None:
    """Upkeep may fail (a full disk, a busy database, a RIS that sends anything): the role goes on and tries again."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 -- the upkeep loops' edge; unknown means temporary
        log.error("worklist upkeep failed", error=type(error).__name__, code=getattr(error, "code", ""))


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, or `seconds`."""
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()
