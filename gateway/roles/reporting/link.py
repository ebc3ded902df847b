"""One connection to central: what is told on it, in which order, and what central answers.

Promises
- First of all how the box is (status), then what it is (info), then everything that stands: a broker may have lost what
  it kept. What happens now goes before what was kept (`domain.uplink`).
- Events stay in the outbox until central acknowledged them; this connection only says how far it has sent them.
- Alarms are published no more often than `ALARMS_PER_MINUTE` in all; one that stands is told again every hour, one that
  is over is taken away after a day.
- What the broker does not let us hear is asked for again and again, and known to the role.
- We read our own status. A death that comes late is followed by how we are; another that speaks under our name is seen,
  and the connection ends (`TAKEN_OVER`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from gateway.domain.model import TemporaryFailure
from gateway.domain.telemetry import (
    BACKFILL_BYTES,
    BACKFILL_ITEMS,
    Ack,
    Alarm,
    Backfill,
    Info,
    Standing,
    State,
    Status,
    read,
)
from gateway.domain.telemetry_fields import sid_order
from gateway.domain.topics import Leaf, parse
from gateway.domain.uplink import Sending, fitting
from gateway.net.mqtt import TAKEN_OVER, Connection, Incoming, Outgoing
from gateway.net.rate import Bucket
from gateway.roles.reporting.measuring import written
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection as Books
from gateway.spool import outbox
from gateway.spool.outbox import ToldAlarm

LIVE_AT_ONCE: Final = 20
"""Messages that wait for the broker's answer together."""
ALARMS_PER_MINUTE: Final = 20
REMINDED: Final = timedelta(hours=1)
TAKEN_AWAY: Final = timedelta(hours=24)
TURN_SECONDS: Final = 1.0
STOPPED: Final = "stopped"
OWN_STATUSES: Final = 50

T = TypeVar("T")

log = structlog.get_logger()


class Said(Protocol):
    """What a part of the box has to say to central, from its own books: published once, and told again until the broker
    took it."""

    leaf: Leaf

    def untold(self, c: Books) -> Sequence[tuple[bytes, bytes, Callable[[Books], None]]]:
        """The payload, the correlation data, and what is written once the broker took it; oldest first."""


@dataclass(slots=True)
class Known:
    """What the role knows, for whoever connects."""

    state: State
    info: Callable[[], dict[str, Any]]
    last_seq: int
    acked: int
    unheard: int = 0
    """How often in a row a broker refused that we hear what is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a connection works with."""

    pen: Pen
    known: Known
    changed: asyncio.Event
    """Set when there may be something new to tell."""
    reading: Callable[[Callable[[Books], Any]], Awaitable[Any]]
    writing: Callable[[Callable[[Books], Any]], Awaitable[Any]]
    acknowledge: Callable[[int], Awaitable[bool]]
    """Central has committed everything up to that number; whether there is such a number."""
    receivers: Mapping[Leaf, Callable[[bytes], None]]
    said: Sequence[Said]
    wait: Callable[[asyncio.Event | None, float], Awaitable[None]]
    """Until an event, or so many seconds."""
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Callable[[], float]
    rest: Callable[[int], float]
    """Seconds to wait after so many failures."""
    timeout: float
    rate: float
    """Batches a second."""


class Link:
    """See the module's promises."""

    def __init__(self, means: Means, own: deque[str]) -> None:
        """`own` are the identifiers of the statuses that this process wrote, over all of its connections."""
        self._m = means
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._incoming: deque[Incoming] = deque(maxlen=1000)
        self._sending = Sending.begin(acked=means.known.acked, last=means.known.last_seq, now=means.monotonic())
        self._told: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._state: State | None = None
        self._info: dict[str, Any] | None = None
        self._alarms = Bucket(per_second=ALARMS_PER_MINUTE / 60, burst=ALARMS_PER_MINUTE)
        self._reconnected = bool(own)

    # -- the start and the end --

    def will(self) -> Outgoing:
        """What the broker says of us should we vanish."""
        return self._m.pen.sealed(Leaf.STATUS, self._status(State.LOST))

    def received(self, message: Incoming) -> None:
        """From the connection's thread."""
        self._incoming.append(message)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._m.changed.set)

    async def run(self, connection: Connection, leave: asyncio.Event) -> str:
        """Speak until the connection ends, or until `leave`; why it did, or `STOPPED`."""
        self._connection = connection
        ended: asyncio.Future[Any] = asyncio.wrap_future(connection.ended)
        leaving = asyncio.create_task(leave.wait())
        turns = [asyncio.create_task(one) for one in (self._listen(connection), self._turns(), self._backfill())]
        try:
            await asyncio.wait({ended, leaving, *turns}, return_when=asyncio.FIRST_COMPLETED)
            if not leave.is_set():
                return await _why(ended, turns)
            await _cancelled(turns)
            return await self._leave()
        finally:
            await _cancelled([leaving, *turns])
            await asyncio.to_thread(connection.abandon)

    async def _leave(self) -> str:
        """Tell what is new, and that we go."""
        assert self._connection is not None
        with suppress(TemporaryFailure):
            await self._tell_live()
            await self._publish(self._m.pen.sealed(Leaf.STATUS, self._status(State.DISCONNECTED)))
            await asyncio.to_thread(self._connection.close)
        return STOPPED

    # -- what is told --

    async def _turns(self) -> None:
        while True:
            self._m.changed.clear()
            await self._hear()
            await self._tell_status()
            await self._tell_live()
            await self._tell_info()
            await self._tell_alarms()
            await self._tell_said()
            self._sending = self._sending.repeated(now=self._m.monotonic(), random=self._m.random())
            await self._m.wait(self._m.changed, TURN_SECONDS)

    async def _tell_status(self) -> None:
        state = self._m.known.state
        if state is not self._state:
            await self._publish(self._m.pen.sealed(Leaf.STATUS, self._status(state)))
            self._state = state

    def _status(self, state: State) -> Status:
        status = Status(**self._m.pen.envelope(self._m.known.last_seq), state=state)
        self._own.append(status.eid)
        return status

    async def _tell_info(self) -> None:
        info = self._m.known.info()
        if info != self._info:
            await self._publish(
                self._m.pen.sealed(Leaf.INFO, Info(**self._m.pen.envelope(self._m.known.last_seq), **info))
            )
            self._info = info

    async def tell_health(self, values: Mapping[str, Any]) -> None:
        """The numbers of the box as they are now. Raises TemporaryFailure if the broker did not take them."""
        await self._publish(self._m.pen.sealed(Leaf.HEALTH, written(self._m.pen, self._m.known.last_seq, values)))

    async def _tell_live(self) -> None:
        """What was entered since the connection was made."""
        while self._sending.live < self._m.known.last_seq:
            upto = self._m.known.last_seq
            kept = await self._m.reading(partial(outbox.after, seq=self._sending.live, upto=upto, limit=LIVE_AT_ONCE))
            await self._publish(*(self._m.pen.outgoing(Leaf.EVENT, one.body, schema="event/1.0") for one in kept))
            upto = kept[-1].seq if len(kept) == LIVE_AT_ONCE else upto
            self._sending = self._sending.went_live(upto, now=self._m.monotonic())

    async def _backfill(self) -> None:
        """What was kept, in batches at a bounded rate."""
        while True:
            span = self._sending.behind
            if span is not None and self._state is not None:
                await self._batch(*span)
            await self._m.wait(None, 1 / self._m.rate)

    async def _batch(self, after: int, end: int) -> None:
        kept = await self._m.reading(partial(outbox.after, seq=after, upto=end, limit=BACKFILL_ITEMS))
        sizes = [len(one.body) for one in kept]
        taken = kept[: fitting(sizes, most=BACKFILL_ITEMS, most_bytes=BACKFILL_BYTES - 1024)]
        upto = taken[-1].seq if len(taken) < len(kept) or len(kept) == BACKFILL_ITEMS else end
        batch = Backfill(
            **self._m.pen.envelope(self._m.known.last_seq), acked=self._sending.acked, after=after, upto=upto, items=()
        )
        payload = with_items(self._m.pen.encode(batch), [one.body for one in taken])
        await self._publish(self._m.pen.outgoing(Leaf.BACKFILL, payload, schema=batch.schema))
        self._sending = self._sending.went_back(upto, now=self._m.monotonic())

    async def _tell_alarms(self) -> None:
        now = self._m.now()
        for alarm in await self._m.reading(outbox.alarms):
            key = (alarm.code, alarm.inst)
            gone = alarm.state is Standing.CLEARED and now - alarm.changed_at >= TAKEN_AWAY
            seq, at = self._told.get(key, (0, now))
            due = gone or seq != alarm.seq or (alarm.state is Standing.RAISED and now - at >= REMINDED)
            if not due or self._alarms.available(self._m.monotonic()) < 1:
                continue
            self._alarms.spend(1)
            await self._publish(self._alarm(alarm, gone=gone))
            self._told[key] = (alarm.seq, now)
            if gone:
                await self._m.writing(partial(outbox.forget_alarms, keys=[key]))

    def _alarm(self, alarm: ToldAlarm, *, gone: bool) -> Outgoing:
        if gone:
            return self._m.pen.outgoing(Leaf.ALARM, b"", code=alarm.code, inst=alarm.inst)
        message = Alarm(
            **self._m.pen.envelope(alarm.seq, eid_=alarm.eid),
            state=alarm.state,
            code=alarm.code,
            inst=alarm.inst,
            sev=alarm.sev,
            since=alarm.since,
            count=alarm.count,
        )
        return self._m.pen.sealed(Leaf.ALARM, message, code=alarm.code, inst=alarm.inst)

    async def _tell_said(self) -> None:
        for one in self._m.said:
            for payload, correlation, told in await self._m.reading(one.untold):
                await self._publish(self._m.pen.outgoing(one.leaf, payload, correlation=correlation))
                await self._m.writing(told)

    async def _publish(self, *messages: Outgoing) -> None:
        """Returns when the broker answered all of them. Raises TemporaryFailure."""
        assert self._connection is not None
        await self._answers(*map(self._connection.publish, messages))

    async def _answers(self, *asked: Future[T]) -> list[T]:
        """What the broker answers. Raises TemporaryFailure."""
        try:
            async with asyncio.timeout(self._m.timeout):
                return await asyncio.gather(*map(asyncio.wrap_future, asked))
        except TimeoutError:
            raise TemporaryFailure("mqtt: the broker does not answer", code="silence") from None

    # -- what is heard --

    async def _listen(self, connection: Connection) -> None:
        """Ask to hear what is ours until the broker lets us hear all of it. Raises TemporaryFailure."""
        asked = {self._m.pen.topic(leaf): leaf for leaf in (Leaf.STATUS, Leaf.ACK, *self._m.receivers)}
        while asked:
            (refused,) = await self._answers(connection.subscribe([*asked]))
            self._m.known.unheard = self._m.known.unheard + 1 if refused else 0
            for topic, code in refused.items():
                log.warning("central not heard", of=asked[topic].replace("/", "-"), code=code)
            asked = {topic: asked[topic] for topic in refused}
            if asked:
                await self._m.wait(None, self._m.rest(self._m.known.unheard))
        await asyncio.Event().wait()

    async def _hear(self) -> None:
        acknowledged = -1
        while self._incoming:
            message = self._incoming.popleft()
            topic = parse(message.topic)
            if topic is None:
                continue
            if topic.leaf is Leaf.ACK:
                acknowledged = max(acknowledged, self._acknowledged(message.payload))
            elif topic.leaf is Leaf.STATUS:
                self._look_for_others(message)
            elif topic.leaf in self._m.receivers:
                self._m.receivers[topic.leaf](message.payload)
        if acknowledged > self._m.known.acked and await self._m.acknowledge(acknowledged):
            self._m.known.acked = acknowledged
            self._sending = self._sending.acknowledged(acknowledged, now=self._m.monotonic())

    def _acknowledged(self, payload: bytes) -> int:
        """The number up to which it acknowledges our log; -1 if it does not."""
        try:
            ack = read(Ack, payload)
        except ValueError:
            log.warning("acknowledgement not understood", size=len(payload))
            return -1
        return ack.event_upto if ack.log == self._m.pen.log else -1

    def _look_for_others(self, message: Incoming) -> None:
        """Raises TemporaryFailure if another speaks under our name: what it says now, or said since we did last.
        A death leaves us to say how we are once more."""
        try:
            status = read(Status, message.payload)
        except ValueError:
            return
        if status.state in (State.LOST, State.DISCONNECTED):  # of a connection that was: it is what a broker shows now
            self._state = None
            return
        if status.eid in self._own:
            return
        theirs, ours = sid_order(status.sid), sid_order(self._m.pen.sid)
        before_us = theirs[0] == ours[0] and theirs < ours
        if not message.retained or (self._reconnected and not before_us):
            raise TemporaryFailure("mqtt: another box has our identity", code=TAKEN_OVER)


async def _why(ended: asyncio.Future[Any], turns: Sequence[asyncio.Task[None]]) -> str:
    """The reason that the broker gave, or that we found. Raises what no reason explains."""
    for turn in turns:
        if turn.done():
            try:
                turn.result()
            except TemporaryFailure as error:
                return error.code
    return str(await ended)


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def with_items(batch: bytes, bodies: Sequence[bytes]) -> bytes:
    """A batch without items, with these: bodies are what is sent, to the byte."""
    empty = b'"items":[]'
    assert batch.endswith(empty + b"}")
    return b"".join([batch[: -len(empty) - 1], b'"items":[', b",".join(bodies), b"]}"])
