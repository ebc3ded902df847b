"""Many simulated boxes at a broker, each with a connection of its own, on one event loop per process.

What is promised: each box keeps to the times of a real one (health every 30 s, give or take a fifth; reconnect after a
random part of `reconnect_within`; backfill at most five messages a second). Nothing waits for a reader that does not
read: a connection whose broker takes nothing is closed as a real one would be. The figures count what was said and
what was acknowledged, so that whoever looks at central can compare.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from ssl import SSLContext
from typing import Final, cast

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain.signature import ring
from gateway.net.tls import client_context
from gateway.simulate import mqtt_wire
from gateway.simulate.fleet_box import KEEPALIVE, At, SimulatedBox, Tally, boxes_of
from gateway.simulate.fleet_twin import Temper

JITTER: Final = 0.2
BACKFILL_SECONDS: Final = 0.2
"""Between two pieces of one box."""
HANDSHAKE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
LEAVE_SECONDS: Final = 10.0
UNREAD_MOST: Final = 1 << 20
"""Bytes that a broker leaves unread before a box gives the connection up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a fleet is to do. Times in seconds."""

    brokers: tuple[tuple[str, int], ...]
    """Host and port of each; a box whose connection breaks goes on to the next one."""
    boxes: int
    first: int = 1
    sites: int = 10
    version: int = mqtt_wire.V5
    health_every: float = 30.0
    events_every: float = 300.0
    """Of one box, on average; 0: none."""
    lasts: float = 60.0
    connect_within: float = 10.0
    reconnect_within: float = 60.0
    storm_after: float = 0.0
    """Cut every connection at once so long after the start, with an event at each box; 0: never."""
    outage: int = 0
    """So many boxes lose their PACS a third of the time in, and have it back at two thirds."""
    say_again: float = 30.0
    """How long a box waits for central's acknowledgement before it says its events again."""
    drain: float = 120.0
    """How long the end waits for what central owes."""
    ca: Path | None = None
    certificates: Path | None = None
    """A folder with BOX.pem, certificate and key, or one such file for all; with `ca` the connection is encrypted."""
    seed: int = 0
    trusted: tuple[bytes, ...] = ()
    """The public keys (Ed25519, 32 bytes each) of who may ask the boxes for something."""
    tempers: tuple[tuple[int, Temper], ...] = ()
    """Boxes, by number, that don't do what they are asked."""

    @property
    def encrypted(self) -> bool:
        return self.ca is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    tally: Tally
    owed: int
    """Events that central did not acknowledge until the end."""
    connected: int
    """Boxes that were connected at the end."""
    reconnected: float | None = None
    """Seconds from the storm until every box was connected again; None: there was none, or it did not end."""
    drained: float | None = None
    """Seconds from the storm until central had acknowledged everything from before and during it."""

    def figures(self) -> dict[str, float | int | None]:
        """As numbers; times in seconds, those of events from what happened to central's acknowledgement."""
        delays = sorted(self.tally.delays)
        counted = {key: value for key, value in asdict(self.tally).items() if key != "delays"}
        parts = {
            f"event_p{share}_s": delays[min(len(delays) - 1, len(delays) * share // 100)] if delays else None
            for share in (50, 99, 100)
        }
        return {
            **counted,
            **parts,
            "owed": self.owed,
            "connected": self.connected,
            "reconnected_s": self.reconnected,
            "drained_s": self.drained,
        }


def simulate(plan: Plan, *, processes: int) -> Outcome:
    """Play the fleet in so many processes, and return what came of it."""
    if processes == 1:
        return _play(plan)
    share = -(-plan.boxes // processes)
    parts = [
        replace(plan, boxes=min(share, plan.boxes - begin), first=plan.first + begin, seed=plan.seed + begin)
        for begin in range(0, plan.boxes, share)
    ]
    with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn")) as pool:
        return merged(list(pool.map(_play, parts)))


def merged(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of several processes as one."""
    tally = Tally()
    for part in parts:
        for name in ("connections", "turned_away", "published", "taken", "health", "events", "acknowledged"):
            setattr(tally, name, getattr(tally, name) + getattr(part.tally, name))
        tally.delays += part.tally.delays
    return Outcome(
        tally=tally,
        owed=sum(part.owed for part in parts),
        connected=sum(part.connected for part in parts),
        reconnected=_latest([part.reconnected for part in parts]),
        drained=_latest([part.drained for part in parts]),
    )


def _latest(times: Sequence[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


def _play(plan: Plan) -> Outcome:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return uvloop.run(Fleet(plan).run())


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class Fleet:
    """The boxes of one process."""

    def __init__(self, plan: Plan, *, now: Callable[[], datetime] = utc_now) -> None:
        """`now` is the clock that the boxes tell."""
        self.plan = plan
        self.now = now
        self.tally = Tally()
        self.chance = Random(plan.seed or None)  # noqa: S311  moments and numbers of a play
        self.leaving = False
        self._over = asyncio.Event()
        log = f"g{self.chance.getrandbits(32):08x}"
        made = boxes_of(
            plan.boxes,
            sites=plan.sites,
            first=plan.first,
            version=plan.version,
            log=log,
            chance=self.chance,
            tally=self.tally,
            trusted=ring(map(Ed25519PublicKey.from_public_bytes, plan.trusted)),
            tempers=dict(plan.tempers),
        )
        self.lines = [Line(self, box, number) for number, box in enumerate(made)]
        self._one_context = self._context(plan.certificates) if plan.encrypted and self._for_all else None

    @property
    def _for_all(self) -> bool:
        return self.plan.certificates is None or self.plan.certificates.is_file()

    async def run(self) -> Outcome:
        """Connect, play, cut if asked, and leave when central has acknowledged everything or `drain` is over."""
        try:
            return await self._played()
        finally:
            await self._leave()

    def end(self) -> None:
        """Let the play be over now, however long it was to last."""
        self._over.set()

    async def _played(self) -> Outcome:
        plan, loop = self.plan, asyncio.get_running_loop()
        began = loop.time()
        for line in self.lines:
            line.start()
        for line in self.lines[: plan.outage]:
            loop.call_later(plan.lasts / 3, line.say, SimulatedBox.outage)
            loop.call_later(plan.lasts * 2 / 3, line.say, partial(SimulatedBox.outage, ends=True))
        reconnected = drained = None
        if plan.storm_after:
            await asyncio.sleep(plan.storm_after)
            reconnected, drained = await self.storm()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(began + plan.lasts):
                await self._over.wait()
        for line in self.lines:
            line.hush()
        await self._until(lambda: not any(line.box.owed for line in self.lines), plan.drain)
        connected = sum(line.box.connected for line in self.lines)
        owed = sum(line.box.owed for line in self.lines)
        return Outcome(tally=self.tally, owed=owed, connected=connected, reconnected=reconnected, drained=drained)

    async def storm(self) -> tuple[float | None, float | None]:
        """Cut every connection at once, with an event at each box. Seconds until every box was connected again, and
        until central had acknowledged everything up to then; None if it was not within `drain`."""
        began = asyncio.get_running_loop().time()
        for line in self.lines:
            line.cut()
            line.say(SimulatedBox.event)
        owed = [(line.box, line.box.last) for line in self.lines]
        back = await self._until(lambda: all(line.box.connected for line in self.lines), self.plan.drain)
        told = await self._until(lambda: all(box.acked >= last for box, last in owed), self.plan.drain)
        return (back - began if back else None), (told - began if told else None)

    async def _until(self, holds: Callable[[], bool], limit: float) -> float | None:
        """When it held, by the loop's clock; None if it did not within `limit` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while not holds():
            if loop.time() > deadline:
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return loop.time()

    async def _leave(self) -> None:
        self.leaving = True
        for line in self.lines:
            line.leave()
        await self._until(lambda: not any(line.open for line in self.lines), LEAVE_SECONDS)
        for line in self.lines:
            line.cut()

    def _context(self, certificates: Path | None) -> SSLContext:
        return client_context(ca=self.plan.ca, certificate=certificates, key=certificates)

    def context_of(self, box: str) -> SSLContext | None:
        """How a box encrypts its connection."""
        if not self.plan.encrypted or self._one_context is not None:
            return self._one_context
        assert self.plan.certificates is not None
        return self._context(self.plan.certificates / f"{box}.pem")


class Line(asyncio.Protocol):
    """The connection of one box, again and again, and the clock by which the box speaks."""

    def __init__(self, fleet: Fleet, box: SimulatedBox, number: int) -> None:
        self.box = box
        self._fleet = fleet
        self._number = number
        self._attempts = 0
        self._transport: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._quiet = False

    @property
    def open(self) -> bool:
        return self._transport is not None

    def start(self) -> None:
        """Connect, and begin to speak, each at a random moment."""
        plan, chance = self._fleet.plan, self._fleet.chance
        self._dial_after(chance.uniform(0, plan.connect_within))
        self._every(plan.health_every, SimulatedBox.health, first=chance.uniform(0, plan.health_every))
        if plan.events_every:
            self._every(plan.events_every, SimulatedBox.event, first=chance.uniform(0, plan.events_every))
        self._every(plan.say_again / 2, self._remind, first=chance.uniform(0, plan.say_again))
        self._every(KEEPALIVE / 2, lambda *_: mqtt_wire.pingreq() if self.box.connected else b"", first=0)

    def say(self, what: Callable[[SimulatedBox, At], bytes]) -> None:
        """Have the box do something now, and send what it says."""
        self._send(what(self.box, self._at()))
        if self.box.gone and self._transport is not None:
            self.cut()

    def hush(self) -> None:
        """Nothing happens at this box any more; what is owed is still said."""
        self._quiet = True

    def cut(self) -> None:
        """The network is gone."""
        self.box.closed()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Say good-bye and connect no more. The broker hangs up: what it still had to read would be lost by a reset."""
        for timer in self._timers:
            timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._transport is not None:
            if self.box.connected:
                self._transport.write(self.box.leaving(self._at()))
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:  # TLS has no half of a connection
                self._transport.close()

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self.box.opening(self._at()))

    def data_received(self, data: bytes) -> None:
        was = self.box.connected
        try:
            self._send(self.box.received(data, self._at()))
        except (mqtt_wire.MqttError, ValueError):
            self.cut()
        if self.box.connected and not was:
            self._fill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.box.closed()
        self._dial_after(self._fleet.chance.uniform(0, self._fleet.plan.reconnect_within))

    # -- its clock --

    def _at(self) -> At:
        return At(now=self._fleet.now(), steady=asyncio.get_running_loop().time())

    def _every(self, seconds: float, what: Callable[[SimulatedBox, At], bytes], *, first: float) -> None:
        place = len(self._timers)
        loop = asyncio.get_running_loop()

        def due() -> None:
            if not (self._quiet and what in {SimulatedBox.health, SimulatedBox.event}):
                self.say(what)
            after = seconds * self._fleet.chance.uniform(1 - JITTER, 1 + JITTER)
            self._timers[place] = loop.call_later(after, due)

        self._timers.append(loop.call_later(first, due))

    def _remind(self, box: SimulatedBox, at: At) -> bytes:
        if box.connected and box.waits_since(at.steady - self._fleet.plan.say_again):
            box.say_again()
            self._fill()
        return b""

    def _fill(self) -> None:
        """Say the next piece of the backfill, and come again while there is more."""
        piece = self.box.backfill(self._at())
        if piece:
            self._send(piece)
            asyncio.get_running_loop().call_later(BACKFILL_SECONDS, self._fill)

    def _send(self, data: bytes) -> None:
        if self._transport is None or self._fleet.leaving or not data:
            return
        if self._transport.get_write_buffer_size() > UNREAD_MOST:
            self._transport.abort()
            return
        self._transport.write(data)

    def _dial_after(self, seconds: float) -> None:
        if not (self._fleet.leaving or self.box.gone):
            self._dialling = asyncio.get_running_loop().create_task(self._dial(seconds))

    async def _dial(self, seconds: float) -> None:
        fleet = self._fleet
        await asyncio.sleep(seconds)
        host, port = fleet.plan.brokers[(self._number + self._attempts) % len(fleet.plan.brokers)]
        self._attempts += 1
        context = fleet.context_of(self.box.box)
        limit = HANDSHAKE_SECONDS if context else None
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await asyncio.get_running_loop().create_connection(
                    lambda: self, host, port, ssl=context, ssl_handshake_timeout=limit
                )
        except (OSError, TimeoutError):
            if self._transport is None:
                self._dial_after(fleet.chance.uniform(0, fleet.plan.reconnect_within))
