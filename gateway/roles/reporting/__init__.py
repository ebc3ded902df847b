"""Reporting: central IT is told how this box is and what happened in it, over MQTT, and loses no event.

Promises
- What happened is in the outbox before it is told (`entering`), and stays until central acknowledged it (`link`).
- A connection that ends is made anew after a wait of full jitter, so that ten thousand boxes don't come at once; who is
  pushed out by another of the same name waits minutes, so that the two don't push each other all day.
- While nobody takes them, the numbers of the box are kept: each of the first hour, then an average every five minutes.
- Nothing of it can stop an image: no other role waits for this one, and books that take nothing (a full disk) are tried
  again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from gateway.domain.health import RAISE_AFTER
from gateway.domain.issue import Issue, Severity
from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import Part
from gateway.domain.retry import backoff
from gateway.domain.telemetry import Kind, State
from gateway.domain.topics import Leaf
from gateway.net.mqtt import CLOSED, TAKEN_OVER, UNSUPPORTED, Connection, Incoming, Outgoing, Version
from gateway.roles.reporting.entering import Entering
from gateway.roles.reporting.link import OWN_STATUSES, STOPPED, Known, Link, Means, Said
from gateway.roles.reporting.measuring import Measuring, average, clock
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection as Books
from gateway.spool import Spool, audit, outbox
from gateway.spool.outbox import Outbox

__all__ = ["Dial", "Host", "Policy", "Reporting", "Said"]

LOOK_SECONDS: Final = 2.0
FIRST_MEASURED: Final = 5.0
"""Seconds after the start, unless there is a connection before."""
STEADY: Final = 60.0
"""Seconds after which a connection counts as one that works."""
EACH_FOR: Final = timedelta(hours=1)
AVERAGED: Final = timedelta(minutes=5)
UNREACHABLE_AFTER: Final = timedelta(minutes=10)
LATE_AFTER: Final = timedelta(hours=1)
RIVAL_WAIT: Final = (60.0, 300.0)
RIVAL_REMEMBERED: Final = timedelta(minutes=30)
ALARM_UNREACHABLE: Final = "central-unreachable"
ALARM_LATE: Final = "central-late"
ALARM_SAME_ID: Final = "central-same-id"
ALARM_NOT_HEARD: Final = "central-not-heard"
SUBJECT: Final = "central"
_LOUD: Final = frozenset({Severity.ERROR, Severity.CRITICAL})

T = TypeVar("T")
Dial = Callable[[Version, Outgoing, Callable[[Incoming], None]], Connection]
"""Connects, with that will; blocks. Raises TemporaryFailure."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much, how often, how patiently."""

    versions: tuple[Version, ...]
    """To try, the best first."""
    health: timedelta
    rate: float
    """Batches a second of what was kept."""
    most: int
    """Events kept."""
    retry_base: timedelta
    retry_cap: timedelta
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The clocks and the chance that the role lives by."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Callable[[], float]
    entropy: Callable[[int], bytes]
    wait: Callable[[asyncio.Event | None, float], Awaitable[None]]
    """Until an event, or so many seconds."""


class Reporting:
    """The role. `receivers` take what central sends under other leaves; `said` is what other parts tell it."""

    def __init__(
        self,
        spool: Spool,
        *,
        dial: Dial,
        pen: Callable[[Outbox], Pen],
        measuring: Measuring,
        names: Collection[str],
        info: Callable[[], dict[str, Any]],
        parts: Collection[Part],
        stopped: Callable[[], Collection[Part]],
        policy: Policy,
        host: Host,
        receivers: Mapping[Leaf, Callable[[bytes], None]],
        said: Sequence[Said],
    ) -> None:
        """`names` are the aliases of what is configured; `info` is what the box is (the fields of `Info`), asked for
        again and again; `parts` are those that have to live, `stopped` those without which no image moves and that no
        process is."""
        self._spool = spool
        self._dial = dial
        self._new_pen = pen
        self._measuring = measuring
        self._names = frozenset(names)
        self._info = info
        self._parts = parts
        self._stopped = stopped
        self._policy = policy
        self._host = host
        self._receivers = receivers
        self._said = said
        self._issues: Sequence[Issue] = ()
        self._link: Link | None = None
        self._connected = asyncio.Event()
        self._own: deque[str] = deque(maxlen=OWN_STATUSES)
        self._version = 0
        self._kept = Kept()
        self._away_since = host.monotonic()
        self._rival_at: float | None = None
        self._alarms: dict[str, bool] = {}
        self.looked = host.now()
        """When it was last seen what there is to tell."""

    async def run(self, stop: asyncio.Event) -> None:
        """Report until `stop`. Raises what is no fault of the way to central."""
        with ThreadPoolExecutor(1, "reporting") as self._reader:
            while not await self._began():
                self.looked = self._host.now()
                await self._host.wait(stop, LOOK_SECONDS)
                if stop.is_set():
                    return
            leave = asyncio.Event()
            tasks = [asyncio.create_task(one) for one in (self._watch(), self._measure(), self._keep_connected(leave))]
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in (stopping, *tasks[:2]):
                task.cancel()
            with suppress(TemporaryFailure):
                await self._enter(partial(self._entering.happened, kind=Kind.STOPPED))
            leave.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _began(self) -> bool:
        """Whether the books took the beginning."""
        try:
            await self._begin()
        except TemporaryFailure as error:
            log.warning("not begun", code=error.code)
            return False
        return True

    async def _begin(self) -> None:
        stands = await self._writing(outbox.begin)
        pen = self._new_pen(stands)
        self._entering = Entering(
            pen=pen,
            key=stands.key,
            names=self._names,
            parts=self._parts,
            most=self._policy.most,
            now=self._host.now,
        )
        self._known = Known(state=State.READY, info=self._info, last_seq=stands.last_seq, acked=stands.acked)
        self._changed = asyncio.Event()
        self._means = Means(
            pen=pen,
            known=self._known,
            changed=self._changed,
            reading=self._reading,
            writing=self._writing,
            acknowledge=self._acknowledge,
            receivers=self._receivers,
            said=self._said,
            wait=self._host.wait,
            now=self._host.now,
            monotonic=self._host.monotonic,
            random=self._host.random,
            rest=self._rest,
            timeout=self._policy.timeout,
            rate=self._policy.rate,
        )
        await self._enter(partial(self._entering.happened, kind=Kind.STARTED))

    # -- the books --

    async def _reading(self, question: Callable[[Books], T]) -> T:
        """On a thread of its own: other roles may share the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, lambda: question(self._spool.db.read()))

    async def _writing(self, job: Callable[[Books], T]) -> T:
        return await asyncio.wrap_future(self._spool.db.write(job))

    async def _acknowledge(self, upto: int) -> bool:
        """A power cut may take this back: then it is sent, and acknowledged, once more."""
        job = partial(outbox.acknowledge, log=self._entering.pen.log, upto=upto)
        return await asyncio.wrap_future(self._spool.db.write(job, rebuildable=True))

    async def _enter(self, job: Callable[[Books], object]) -> None:
        """Something is in the log, and told if there is a connection."""
        await self._writing(job)
        self._known.last_seq = (await self._reading(outbox.state)).last_seq
        self._changed.set()

    async def _watch(self) -> None:
        """What happened goes into the log, and how the box is, is known."""
        while True:
            try:
                await self._look()
            except TemporaryFailure as error:  # a full disk, say: what happened waits in its own books
                log.warning("not entered", code=error.code)
            self.looked = self._host.now()
            self._changed.set()
            await self._host.wait(None, LOOK_SECONDS)

    async def _look(self) -> None:
        found = await self._reading(self._entering.look)
        self._issues = found.issues
        self._known.state = state_of(found.issues, self._stopped())
        if found.anything:
            await self._enter(partial(self._entering.enter, found=found))
        await self._own_alarms()

    async def _own_alarms(self) -> None:
        now = self._host.monotonic()
        oldest = await self._reading(outbox.oldest)
        stands = {
            ALARM_UNREACHABLE: self._link is None and now - self._away_since > UNREACHABLE_AFTER.total_seconds(),
            ALARM_LATE: self._link is not None and oldest is not None and self._host.now() - oldest > LATE_AFTER,
            ALARM_SAME_ID: self._rival_at is not None and now - self._rival_at < RIVAL_REMEMBERED.total_seconds(),
            ALARM_NOT_HEARD: self._known.unheard >= RAISE_AFTER,
        }
        for code, raised in stands.items():
            if self._alarms.get(code) is not raised:
                change = audit.raise_alarm if raised else audit.clear_alarm
                await self._writing(partial(change, code=code, subject=SUBJECT, now=self._host.now()))
                self._alarms[code] = raised

    # -- the numbers --

    async def _measure(self) -> None:
        """Again and again, and at once when there is a connection: what a broker shows is as new as that."""
        await self._host.wait(self._connected, FIRST_MEASURED)
        while True:
            self._connected.clear()
            values = await self._reading(partial(self._measuring.take, issues=self._issues))
            self._entering.pen.clock = clock(values, self._issues)
            try:
                await self._number(values)
            except ValueError as error:
                log.error("numbers not told", reason=str(error))
            except TemporaryFailure as error:
                log.warning("numbers not kept", code=error.code)
            spread = 0.8 + 0.4 * self._host.random()
            await self._host.wait(self._connected, self._policy.health.total_seconds() * spread)

    async def _number(self, values: dict[str, Any]) -> None:
        """Told now, or kept."""
        if self._link is not None:
            try:
                await self._link.tell_health(values)
                self._kept = Kept()
                return
            except TemporaryFailure as error:
                log.info("numbers kept", code=error.code)
        due = self._kept.add(values, self._host.monotonic())
        if due:
            await self._enter(partial(self._entering.sampled, values=average(due), samples=len(due)))

    # -- the connection --

    async def _keep_connected(self, leave: asyncio.Event) -> None:
        failures = 0
        while not leave.is_set():
            began = self._host.monotonic()
            reason = await self._connect(leave)
            if reason == STOPPED:
                return
            failures = 1 if self._host.monotonic() - began > STEADY else failures + 1
            log.warning("central not connected", code=reason, failures=failures)
            await self._host.wait(leave, self._rival() if reason == TAKEN_OVER else self._rest(failures))

    def _rest(self, failures: int) -> float:
        """Seconds until the next attempt."""
        base, cap = self._policy.retry_base, self._policy.retry_cap
        return backoff(failures, base=base, cap=cap, random=self._host.random()).total_seconds()

    def _rival(self) -> float:
        """Seconds until the next connection, of two boxes that push each other out."""
        self._rival_at = self._host.monotonic()
        low, high = RIVAL_WAIT
        return low + (high - low) * self._host.random()

    async def _connect(self, leave: asyncio.Event) -> str:
        """One connection, from its beginning to its end; why it ended, or did not begin."""
        self._entering.pen.next_connection()
        link = Link(self._means, self._own)
        versions = self._policy.versions
        version = versions[self._version % len(versions)]
        try:
            connection = await asyncio.to_thread(self._dial, version, link.will(), link.received)
        except TemporaryFailure as error:
            # Some brokers refuse a version that they don't speak, others just close
            self._version += error.code in (UNSUPPORTED, CLOSED)
            return error.code
        log.info("central connected", version=str(version))
        self._link = link
        self._connected.set()
        try:
            return await link.run(connection, leave)
        except ValueError as error:
            log.error("not told", reason=str(error))
            return "not-listed"
        finally:
            self._link = None
            self._away_since = self._host.monotonic()


class Kept:
    """The numbers since nobody took them: which are entered, and when."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._last = 0.0
        self._samples = list[dict[str, Any]]()

    def add(self, values: dict[str, Any], now: float) -> list[dict[str, Any]]:
        """What is to be entered now, as one: empty, these numbers, or those of the last minutes."""
        if self._since is None:
            self._since = self._last = now
        self._samples.append(values)
        each = now - self._since <= EACH_FOR.total_seconds()
        if not each and now - self._last < AVERAGED.total_seconds():
            return []
        due, self._samples, self._last = self._samples, [], now
        return due


def state_of(issues: Sequence[Issue], stopped: Collection[Part]) -> State:
    """How the box is, in one word."""
    if Part.EDGE in stopped and Part.FORWARD not in stopped:
        return State.DRAINING
    return State.ALERT if any(one.severity in _LOUD for one in issues) else State.READY
