"""Take what boxes say from a broker into the fleet's books, and tell each box how far its events are there.

The order of steps is the promise: take, commit, acknowledge to the box, settle with the broker. Killed between any two
of them nothing is lost: the broker or the box says it again, and what is here already is not entered twice. What can't
be read is counted and settled; it would be as unreadable the next time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import structlog

from gateway.domain.model import TemporaryFailure
from gateway.domain.telemetry import Ack, Alarm, Backfill, Envelope, Event, Health, Result, State, Status, adapter_of
from gateway.domain.topics import Leaf, Topic
from gateway.fleet import alarms, boxes, events, rollouts
from gateway.fleet.arrivals import Arrived, Source
from gateway.fleet.database import Books
from gateway.fleet.events import Stream
from gateway.fleet.figures import Figures
from gateway.fleet.reading import Refused, Told, told
from gateway.fleet.remote_write import RemoteWriter, samples_of

T = TypeVar("T")

RETRY_SECONDS: Final = (0.1, 10.0)
"""The first wait after a failure, and the longest."""

log = structlog.get_logger()


class Collector:
    """One of any number that share the work."""

    def __init__(
        self,
        source: Source,
        books: Books,
        *,
        figures: Figures,
        metrics: RemoteWriter | None,
        batch: int,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._books = books
        self._figures = figures
        self._metrics = metrics
        self._batch = batch
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            arrived = await self._patiently(partial(self._source.next, self._batch))
            read = self._read(arrived)
            if read:
                upto = await self._patiently(partial(self._commit, read))
                self._count(read)
                await self._patiently(partial(self._acknowledge, upto))
            await self._patiently(partial(self._source.settle, arrived))

    def _read(self, arrived: Sequence[Arrived]) -> list[Told]:
        read = []
        for one in arrived:
            try:
                found = told(one)
            except Refused as refused:
                self._figures.refused.labels(refused.reason).inc()
                continue
            if found is not None:
                read.append(found)
        return read

    async def _commit(self, read: Sequence[Told]) -> dict[Stream, int]:
        """Everything in one transaction; on the disk at its end unless it is nothing but health."""
        of_events = [one for one in read if isinstance(one.message, Event | Backfill)]
        of_alarms = [one for one in read if isinstance(one.message, Alarm)]
        answers = [one for one in read if isinstance(one.message, Result)]
        durable = any(not isinstance(one.message, Health) for one in read)
        async with self._books.transaction(durable=durable) as c:
            await boxes.write(c, read)
            written = await events.write(c, of_events)
            await alarms.write(c, of_alarms)
            await rollouts.answered(c, answers)
        self._figures.events.inc(written.new)
        self._figures.again.inc(written.again)
        return written.upto

    def _count(self, read: Sequence[Told]) -> None:
        now = self._now()
        self._figures.batch.set(len(read))
        for kind, number in Counter(type(one.message).__name__.lower() for one in read).items():
            self._figures.messages.labels(kind).inc(number)
        for one in read:
            message = one.message
            is_will = isinstance(message, Status) and message.state is State.LOST
            if one.live and isinstance(message, Envelope) and not is_will and not isinstance(message, Backfill):
                self._figures.delay.observe(max(0.0, (now - message.ts).total_seconds()))
            if self._metrics is not None:
                if isinstance(message, Health) and one.live:
                    self._metrics.add(samples_of(one.site, one.box, message, at=one.at))
                elif isinstance(message, Backfill):
                    for item in message.items:
                        if isinstance(item, Health):
                            self._metrics.add(samples_of(one.site, one.box, item, at=item.ts))

    async def _acknowledge(self, upto: dict[Stream, int]) -> None:
        for stream, number in upto.items():
            ack = adapter_of(Ack).dump_json(Ack(log=stream.log, event_upto=number))
            topic = str(Topic(site=stream.site, box=stream.box, leaf=Leaf.ACK))
            await self._source.publish(topic, ack)
            self._figures.acks.inc()

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step of ours until the broker or the database lets us."""
        wait, most = RETRY_SECONDS
        while True:
            try:
                return await step()
            except TemporaryFailure as error:
                self._figures.waits.inc()
                log.warning("waiting", for_what=type(error).__name__, reason=type(error.__cause__).__name__)
                await self._sleep(wait)
                wait = min(2 * wait, most)
