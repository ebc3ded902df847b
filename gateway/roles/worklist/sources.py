"""The RISs: their worklists are fetched into the copy, behind the scanners' backs and on their behalf.

The copy is refreshed in the background as a whole validated set per RIS. A scanner's own question is passed on
with a deadline, and what is said enters the copy. A RIS that is down, hung or slow costs the scanner at most
the deadline, a few times, and then nothing: its circuit opens, and one question at a time tries it again.

What is told apart: a failure, which is written down at once, so that the copy is not called fresh; an answer that
broke off or was longer than we read, whose rows are good and which proves nothing absent; and success without a
row, which removes nothing and counts as an answer only if the RIS, asked without any key, knows of a row at all.

While nobody asks, each RIS is asked for one known patient every few seconds (the probe), for health is proven by
traffic alone: that it fails is in the books within `Upstream.probe` and `SILENCE`, that it is back brings the next
refresh forward. A probe has a thread, a deadline and no row of its own: it holds up no question, enters nothing in
the copy, and is left out where a question was answered just now or is on its way.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import structlog

from gateway.domain import upstream
from gateway.domain.model import SourceName
from gateway.domain.retry import Circuit
from gateway.domain.worklist import DataSet, Freshness, freshness
from gateway.net.dicom_client import Peer
from gateway.net.upkeep import repeat
from gateway.net.worklist_query import Answer, ask
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.rows import da, validated
from gateway.spool import Connection, Spool
from gateway.spool import worklist as copy
from gateway.spool.rows import as_elements
from gateway.spool.standing import known_patient
from gateway.spool.worklist import WorklistRow

SILENCE = 2.5
"""Seconds without a row after which a RIS is said not to answer, while it is still waited for."""
LISTEN = 0.1
"""Seconds between two looks whether a row came."""
PROBE_LOOK = 0.2
"""Seconds between two looks whether a probe is due."""
PROBE_PATIENCE = 5.0
"""Seconds after which a probe is given up."""
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
    probe: timedelta
    """How long a RIS goes without having answered anything before it is probed; zero: it is never."""


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
                work, every = functools.partial(self._refresh, source), source.upstream.refresh.total_seconds()
                group.create_task(repeat(work, of="worklist", seconds=every, stop=stop, sooner=source.refresh_now))
                if source.upstream.probe:
                    probing = functools.partial(self._probe, source)
                    group.create_task(repeat(probing, of="worklist", seconds=PROBE_LOOK, stop=stop))
        for source in self._sources.values():
            source.end()

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

    async def _hear(
        self, source: _Source, identifier: DataSet, calling: str, *, limit: int | None = None, probing: bool = False
    ) -> _Heard:
        """Ask, and write down a failure; a RIS that is silent is said to be before it is given up."""
        heard = _Heard(source.upstream.name)
        asking = source.ask(identifier, calling, heard, limit or source.upstream.most_rows, probing=probing)
        await self._listen(source, asking, heard)
        try:
            answer = asking.result()
            heard.complete, heard.limited, heard.failure = answer.complete, answer.limited, answer.failure
            heard.responded = answer.responded
        except Exception as error:  # noqa: BLE001 -- whatever a RIS can send; unknown means temporary
            heard.failure = type(error).__name__
        if not heard.failure:
            source.answered_at = self._now()
        elif not probing or (heard.failure != source.failing and not heard.responded):
            await self._write_failure(source, heard.failure)
        return heard

    async def _listen(self, source: _Source, asking: asyncio.Future[Answer], heard: _Heard) -> None:
        """Until the answer is over."""
        count, quiet = 0, 0.0
        while not (await asyncio.wait({asking}, timeout=LISTEN))[0]:
            before, quiet = quiet, quiet + LISTEN if heard.count == count else 0.0
            count = heard.count
            if before < SILENCE <= quiet:
                heard.late = True
                await self._write_failure(source, "silence")

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
        source.failing = ""
        log.info("worklist refreshed", ris=name, rows=len(rows), refused=heard.refused, removed=removed)

    async def _has_forgotten(self, source: _Source) -> bool:
        """Whether a RIS that answered no row at all had some before and knows of none even without any key."""
        if not copy.has_rows(self._spool.db.read(), source.upstream.name):
            return False
        control = await self._hear(source, upstream.any_identifier(), "", limit=1)
        return not control.count

    # -- probing --

    async def _probe(self, source: _Source) -> None:
        """Ask for one row as a scanner would, unless it was just seen that the RIS answers.

        What the probe alone can't judge, because it is an answer (a status, or no row of a patient that the RIS
        should know), and that a RIS is back, is for the refresh to find out, which comes at once, and once.
        """
        name, now = source.upstream.name, self._now()
        if source.is_asked or now - max(source.answered_at, source.probed_at) < source.upstream.probe:
            return
        source.probed_at = now
        c, today = self._spool.db.read(), self._today()
        first, last = today, today + source.upstream.ahead
        patient = known_patient(c, name, first=da(first), last=da(last))
        one = upstream.patient_identifier(patient) if patient else upstream.refresh_identifier(first, last)
        heard = await self._hear(source, one, "", limit=1, probing=True)
        lacking = not heard.count and copy.has_rows(c, name)
        found = heard.failure or ("silence" if heard.late else "empty" if lacking else "")
        if found != source.probed and (heard.responded or found == "empty" or (not found and source.failing)):
            source.refresh_now.set()
        source.probed = found

    async def _write_failure(self, source: _Source, code: str) -> None:
        if code != source.failing:
            log.warning("RIS not answering", ris=source.upstream.name, code=code)
        source.failing = code
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
    responded: bool = False
    """The failure is a status of the RIS's own."""
    late: bool = False
    """It was said to be silent before it went on."""

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
        self.failing = ""
        """The failure that is in the books; empty after a whole answer."""
        self.answered_at = self.probed_at = datetime.min.replace(tzinfo=UTC)
        self.probed = ""
        """What the last probe came to; empty: all is well."""
        self.refresh_now = asyncio.Event()
        self._threads = ThreadPoolExecutor(THREADS_PER_RIS, thread_name_prefix=f"ris-{upstream.name}")
        self._probe = ThreadPoolExecutor(1, thread_name_prefix=f"probe-{upstream.name}")
        self._asking = 0

    @property
    def has_room(self) -> bool:
        """Not all threads hang on questions already asked."""
        return self._asking < THREADS_PER_RIS

    @property
    def is_asked(self) -> bool:
        """A question is on its way, and will tell."""
        return self._asking > 0

    def failed(self, now: datetime, random: float) -> None:
        """Count a question that failed or came too late."""
        self.failures += 1
        self.circuit = self.circuit.after_failure(now, random)

    def ask(
        self, identifier: DataSet, calling: str, heard: _Heard, limit: int, *, probing: bool
    ) -> asyncio.Future[Answer]:
        """A caller that gives up leaves the question to end by its own timeouts."""
        peer = self.upstream.peer(calling)
        if probing:
            patience = min(peer.timeout, PROBE_PATIENCE)
            peer = replace(peer, connect_timeout=min(peer.connect_timeout, patience), timeout=patience)
        question = functools.partial(ask, peer, as_elements(identifier), limit=limit, take=heard.take)
        future = asyncio.get_running_loop().run_in_executor(self._probe if probing else self._threads, question)
        self._asking += not probing
        future.add_done_callback(functools.partial(self._asked, probing))
        return future

    def _asked(self, probing: bool, future: asyncio.Future[Answer]) -> None:
        self._asking -= not probing
        if not future.cancelled():
            future.exception()  # seen, also when nobody waits any more

    def end(self) -> None:
        """No further question; those on their way end by their own timeouts."""
        for threads in (self._threads, self._probe):
            threads.shutdown(wait=False, cancel_futures=True)
