"""The worklist: a scanner's query is answered from our copy, which is refreshed behind and beside it.

IHE RAD-5 (PS3.4 K). When the copy is not fresh, or holds nothing for a query that names a patient, the RISs are
asked the scanner's own question with a deadline, and what they say enters the copy (`sources`). Every key is
applied again here: many a RIS ignores the optional ones. What is left is answered as the scanner can take it
(`answering`), and what was answered to whom is remembered (`record`).

A row leaves the answer in a stage of its own, so that it can be said which one it was: not in the copy
(`_look_up`), too old or behind another row of its step (`precedence`), not asked for (`_matching`), performed
(`performed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import partial

import structlog

from gateway.dicom import elements
from gateway.dicom.dimse import Status
from gateway.domain.explain import Stage
from gateway.domain.matching import Query
from gateway.domain.worklist import DONE
from gateway.net.dicom_service import Exchange
from gateway.net.upkeep import repeat
from gateway.roles.worklist import desk
from gateway.roles.worklist.answering import Answer, Answering, Kept
from gateway.roles.worklist.performed import still_shown
from gateway.roles.worklist.precedence import Precedence
from gateway.roles.worklist.question import Policy, Question, read
from gateway.roles.worklist.recall import Recall, Remembered, fingerprint
from gateway.roles.worklist.record import FLUSH_SECONDS, Record, Retention
from gateway.roles.worklist.rows import da, decoder, look_up_keys, parsed
from gateway.roles.worklist.sources import Sources, Upstream
from gateway.roles.worklist.watch import Watch
from gateway.spool import Connection, Spool
from gateway.spool import desk as desk_entries
from gateway.spool import worklist as copy
from gateway.spool.worklist import Candidate

__all__ = ["Policy", "Retention", "Upstream", "Worklist"]

BATCH = 64
"""Rows of a long answer that are looked at without letting others in."""
MAINTENANCE_SECONDS = 600.0
CONFIRMED_WITHIN = timedelta(days=1)
SETTLED_FOR = timedelta(hours=72)
"""How long a cancellation by message is remembered: the order it cancels may come later."""

log = structlog.get_logger()


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
        retention: Retention,
        entries_for: timedelta,
        zone: tzinfo,
    ) -> None:
        self._spool = spool
        self._sources = Sources(spool, upstreams, today=today, now=now, random=random)
        self._precedence = Precedence(spool, places=self._sources.names, now=now, zone=zone)
        self._watch = Watch(
            spool,
            refresh={upstream.name: upstream.refresh for upstream in upstreams},
            resting=self._sources.resting,
            now=now,
        )
        self._record = Record(spool, now=now, retention=retention)
        self._recall = Recall()
        self._answering = Answering(spool, now=now, zone=zone)
        self._policy_of = policy_of
        self._entries_for = entries_for
        self._today = today
        self._now = now

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the copy until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sources.run(stop))
            group.create_task(repeat(self._maintain, of="worklist", seconds=MAINTENANCE_SECONDS, stop=stop))
            group.create_task(repeat(self._write_down, of="worklist", seconds=FLUSH_SECONDS, stop=stop))
            group.create_task(repeat(self._settle_desk, of="desk", seconds=desk.SECONDS, stop=stop))
        self._record.flush()

    async def find(self, exchange: Exchange) -> None:
        """Answer one C-FIND (PS3.4 K.4.1)."""
        calling = exchange.caller.calling_ae
        policy, asked = self._policy_of(calling), self._now()
        kept = self._answering.kept(exchange, policy.profile)
        try:
            question, (shown, status) = await (self._again(exchange, kept) if kept else self._anew(exchange, policy))
        except elements.ElementError as error:
            exchange.respond(Status.UNABLE_TO_PROCESS, comment=str(error))
            self._record.unreadable(calling, status=Status.UNABLE_TO_PROCESS, asked=asked)
            return
        quirks = ",".join(f"{quirk}={count}" for quirk, count in sorted(question.trail.quirks.items()))
        log.info(
            "worklist answered",
            association=exchange.caller.association,
            rows=len(shown),
            profile=policy.profile.name,
            quirks=quirks,
        )
        self._record.answered(question, shown, status=status, asked=asked)

    async def _again(self, exchange: Exchange, kept: Kept) -> tuple[Question, Answer]:
        return kept.question, await self._answering.again(exchange, kept)

    async def _anew(self, exchange: Exchange, policy: Policy) -> tuple[Question, Answer]:
        syntax, calling, today = exchange.context.transfer_syntax, exchange.caller.calling_ae, self._today()
        mark = fingerprint(exchange.data_set, syntax, calling, policy.profile.name, da(today))
        remembered = self._recall.of(
            mark, lambda: read(exchange.data_set, syntax, calling=calling, policy=policy, today=today)
        )
        remembered.question.trail.newest_entry = desk_entries.newest(self._spool.db.read())
        answer = await self._answering.answer(exchange, remembered, await self._rows(remembered))
        self._recall.keep(mark, remembered)
        return remembered.question, answer

    # -- the rows of an answer --

    async def _rows(self, remembered: Remembered) -> list[Candidate]:
        """What this scanner is shown now, the RISs asked where the copy can't tell."""
        question = remembered.question
        if question.policy.live:
            await self._sources.ask_all(question)
            return await self._shown(remembered)
        if question.policy.ask:
            await self._sources.ask_stale(question)
        rows = await self._shown(remembered)
        if not rows and question.policy.ask and question.query.is_patient_based:
            await self._sources.ask_all(question)
            rows = await self._shown(remembered)
        return rows

    async def _shown(self, remembered: Remembered) -> list[Candidate]:
        """The rows of the copy that are left after every stage, by schedule."""
        question = remembered.question
        question.trail.looked_at = 0
        question.trail.dropped.clear()
        rows: dict[tuple[str, str], Candidate] = {}
        standing = self._precedence.at_once(question)
        for found in self._look_up(question.query):
            question.trail.looked_at += len(found)
            for row in self._matching(remembered, standing(found)):
                rows[row.source, row.key] = row
            await asyncio.sleep(0)  # a long list must not hold up the other associations
        left = still_shown(self._spool.db.read(), question, rows.values(), self._now())
        return sorted(left, key=_by_schedule)

    def _look_up(self, query: Query) -> Iterator[list[Candidate]]:
        """What the index finds, a batch at a time: all that matches, and more."""
        return copy.candidates(self._spool.db.read(), look_up_keys(query.prefilter), batch=BATCH)

    @staticmethod
    def _matching(remembered: Remembered, standing: Sequence[Candidate]) -> Iterator[Candidate]:
        """What the query asks for (`domain.matching`), and whose state it may see."""
        query, dropped = remembered.question.query, remembered.question.trail.dropped
        for row in standing:
            stage = remembered.verdict(row.digest, partial(_verdict, query, row.dataset))
            if stage is None:
                yield row
            else:
                dropped[stage] += 1

    # -- upkeep --

    async def _write_down(self) -> None:
        self._record.flush()
        self._watch.look()

    async def _maintain(self) -> None:
        await asyncio.wrap_future(self._spool.db.write(self._expire))

    async def _settle_desk(self) -> None:
        await desk.settle(self._spool, now=self._now)

    def _expire(self, c: Connection) -> None:
        started_before = da(self._today() - timedelta(days=1))
        now = self._now()
        copy.expire(
            c,
            started_before=started_before,
            confirmed_before=now - CONFIRMED_WITHIN,
            settled_before=now - SETTLED_FOR,
            now=now,
            statuses=DONE,
        )
        self._precedence.forget(c)
        self._record.forget(c)
        desk_entries.erase(c, before=now - self._entries_for, now=now)


def _verdict(query: Query, row: bytes) -> Stage | None:
    """The stage that drops a row; None if it is asked for."""
    dataset = parsed(row)
    if not query.keys.matches(dataset, decoder(dataset)):
        return Stage.KEY
    return Stage.STATUS if query.hides(dataset) else None


def _by_schedule(row: Candidate) -> tuple[str, str, str, str]:
    return row.start_date, row.start_time, row.source, row.key
