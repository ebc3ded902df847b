"""Commands of central IT: taken in by one door, judged, carried out one after another, answered from the books.

Promises
- `receive` may be called from any thread, never waits and never raises. Beyond `WAITING` messages the next is dropped:
  who sent it gets no answer and asks again.
- Nothing is carried out that `gateway.domain.command` and `gateway.spool.commands` did not let through, nothing twice,
  and nothing but the deeds that were handed in. A deed that fails is answered with a code; its words stay here.
- Books that take nothing (a full disk) end nobody's work: what comes meanwhile is dropped as above, and a deed of which
  they could not be told how it ended is told as interrupted when they can.
- Once nothing forged came for a day, the alarm about it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain import command
from gateway.domain.command import (
    Authentic,
    Code,
    Command,
    CommandName,
    Done,
    Outcome,
    Refused,
    Standing,
    judge,
)
from gateway.domain.model import GatewayError
from gateway.domain.signature import Flaw, KeyId
from gateway.domain.telemetry import Result, Writer
from gateway.domain.topics import Leaf
from gateway.spool import Connection, Spool, audit, commands

WAITING: Final = 32
"""Messages that wait for their turn."""
ALARM_FORGED: Final = "command-forged"
"""Something came under the topic of commands that nobody we trust signed. Subject: the box."""
QUIET: Final = timedelta(days=1)
TRIM_AT_ONCE: Final = 200
RESULTS_AT_ONCE: Final = 20
LOOK_SECONDS: Final = 60.0

T = TypeVar("T")
Deed: TypeAlias = Callable[[Command], Done]
"""Carries a command out, on a thread of its own; it bounds its own time."""

log = structlog.get_logger()


class Commands:
    """The commands of one box."""

    def __init__(
        self,
        spool: Spool,
        *,
        trusted: Mapping[KeyId, Ed25519PublicKey],
        site: str,
        box: str,
        deeds: Mapping[CommandName, Deed],
        room: Callable[[Connection, datetime], Standing],
        kept: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """To be made in the loop that runs it. `deeds` has one for each command; `room` says what goes on."""
        self._spool = spool
        self._trusted = trusted
        self._site = site
        self._box = box
        self._deeds = deeds
        self._room = room
        self._kept = kept
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._unsettled = True
        """The books may hold a command as one that is carried out, and it is not."""

    def receive(self, raw: bytes) -> None:
        """Hand in a message as it came; one without content only takes back what the broker kept."""
        if raw:
            self._loop.call_soon_threadsafe(self._put, raw)

    def _put(self, raw: bytes) -> None:
        try:
            self._waiting.put_nowait(raw)
        except asyncio.QueueFull:
            log.warning("command dropped", waiting=WAITING)

    async def run(self, stop: asyncio.Event) -> None:
        """Carry out what is handed in until `stop`."""
        stopped = asyncio.create_task(stop.wait())
        await self._tried(self._end_unsettled)
        while not stop.is_set():
            coming = asyncio.create_task(self._waiting.get())
            await asyncio.wait({coming, stopped}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._unsettled:
                await self._tried(self._end_unsettled)
            if coming.done():
                await self._tried(partial(self.carry_out, coming.result()))
            else:
                coming.cancel()
                await self._tried(partial(self._write, self._tidy))

    async def _tried(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except GatewayError as error:
            log.error("commands not written down", error=type(error).__name__)

    async def _end_unsettled(self) -> None:
        """Nothing is under way: what the books say is, did not end."""
        left = await self._write(partial(commands.interrupt, now=self._now()))
        self._unsettled = False
        if left:
            log.warning("commands interrupted", commands=left)

    async def carry_out(self, raw: bytes) -> None:
        """One message to its end."""
        now = self._now()
        judged = judge(raw, trusted=self._trusted, site=self._site, box=self._box, now=now)
        taken = await self._write(partial(self._take, judged=judged, now=now))
        if isinstance(judged, Refused):
            log.warning("command refused", reason=judged.reason.value)
        if taken is not None:
            self._unsettled = True
            done = await asyncio.to_thread(self._do, taken)
            await self._write(partial(commands.settle, command=taken, done=done, now=self._now()))
            self._unsettled = False
            log.info("command carried out", command=taken.name.value, code=done.code.value)

    def _take(self, c: Connection, *, judged: Authentic | Refused, now: datetime) -> Command | None:
        if isinstance(judged, Refused) and isinstance(judged.reason, Flaw):
            audit.raise_alarm(c, code=ALARM_FORGED, subject=self._box, now=now)
        return commands.take(c, judged, standing=self._room(c, now), now=now)

    def _do(self, taken: Command) -> Done:
        try:
            return self._deeds[taken.name](taken)
        except Exception as error:
            log.error("command failed", command=taken.name.value, exc_info=error)
            return Done(outcome=Outcome.FAILED, code=Code.FAULT)

    def _tidy(self, c: Connection) -> None:
        now = self._now()
        commands.trim(c, before=now - self._kept, limit=TRIM_AT_ONCE)
        for alarm in audit.active_alarms(c, code=ALARM_FORGED):
            if now - alarm.last > QUIET:
                audit.clear_alarm(c, code=ALARM_FORGED, subject=alarm.subject, now=now)

    async def _write(self, job: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._spool.db.write(job))


class Results:
    """The answers to commands, as `gateway.roles.reporting.link` publishes them."""

    leaf = Leaf.RESULT

    def __init__(self, writer: Writer, *, box: str, now: Callable[[], datetime]) -> None:
        self._writer = writer
        self._box = box
        self._now = now

    def untold(self, c: Connection) -> Sequence[tuple[bytes, bytes, Callable[[Connection], None]]]:
        """Each with its nonce as correlation data."""
        return [
            (self._written(one), one.nonce.encode(), partial(commands.told, nonces=[one.nonce], now=self._now()))
            for one in commands.untold(c, limit=RESULTS_AT_ONCE)
        ]

    def _written(self, one: command.Result) -> bytes:
        return self._writer.encode(
            Result(
                box=self._box,
                ts=one.at,
                nonce=one.nonce,
                cmd=None if one.name is None else one.name.value,
                outcome=one.outcome,
                code=one.code.value,
                count=one.count,
            )
        )
