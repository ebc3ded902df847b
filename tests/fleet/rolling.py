"""Where rollouts are carried in tests: central with a fleet that is there, and a clock that is moved on by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.app.rollout import drafted, enter
from gateway.domain.rollout_model import Stage
from gateway.fleet import boxes
from gateway.fleet.arrivals import Broker
from gateway.fleet.asking import Saying, say
from gateway.fleet.carrying import Carrier, Look
from gateway.fleet.database import Books
from gateway.fleet.mqtt_source import MqttSource
from gateway.simulate.fleet import Fleet
from gateway.simulate.fleet_twin import Temper
from tests.domain.test_command import ANN, BOB
from tests.fleet.conftest import LIMIT_SECONDS, Central, until
from tests.peers.processes import HOST

SIGNERS = (ANN, BOB)
TEXT = '[site]\nname = "{site}"\n[box]\nid = "{box}"\n'


def box(number: int) -> str:
    """A simulated box."""
    return f"sim-01/sim-{number:05}"


def ring(*numbers: int) -> list[str]:
    """Simulated boxes."""
    return [box(number) for number in numbers]


@dataclass
class Clock:
    """The time of day, and what was added to it."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Desk:
    """Where rollouts are carried."""

    central: Central
    books: Books
    clock: Clock
    vanished: int = 0
    """Boxes that are never heard again."""
    said: list[Saying] = field(default_factory=list)

    @property
    def broker(self) -> Broker:
        return Broker(hosts=(HOST,), port=self.central.broker.port, client_id="operator")

    def plan(self, rings: Sequence[Sequence[str]], *, version: int = 8, release: bool = False) -> Path:
        """A plan of no failures and two days of soaking."""
        folder = self.central.folder
        (folder / "box.toml").write_text(TEXT, "utf-8")
        (folder / "manifest.json").write_text(json.dumps({"version": "1.2.3", "sequence": version}), "utf-8")
        what = (
            '[release]\nmanifest = "manifest.json"\n'
            if release
            else f'[configuration]\nversion = {version}\nfile = "box.toml"\n'
        )
        lines = [f'[[ring]]\nname = "r{at}"\nboxes = {json.dumps(ring)}\n' for at, ring in enumerate(rings)]
        path = folder / "rollout.toml"
        path.write_text(what + '[limits]\nfailures = "0%"\nsoak = "2d"\n' + "".join(lines), "utf-8")
        return path

    async def begin(self, rings: Sequence[Sequence[str]], *, version: int = 8, release: bool = False) -> Carrier:
        plan = self.plan(rings, version=version, release=release)
        number = await enter(self.books, await drafted(plan, self.books), SIGNERS)
        return self.carrier(number)

    def carrier(self, number: int, books: Books | None = None) -> Carrier:
        return Carrier(books or self.books, number, keys=SIGNERS, say=self.speak, now=self.clock)

    def speak(self, sayings: Sequence[Saying]) -> None:
        say(self.broker, sayings, wait=LIMIT_SECONDS)
        self.said += sayings

    def asked(self) -> list[str]:
        """Which boxes were asked, in their order."""
        return [f"{one.topic.site}/{one.topic.box}" for one in self.said if one.payload]

    async def listen(self) -> None:
        """Somebody listens, and does so for an hour."""
        await boxes.listen(self.books, now=self.clock())
        async with self.books.transaction() as c:
            await c.execute("UPDATE listening SET since = at - interval '1 hour'")

    async def pass_(self, **time: float) -> None:
        """Let time pass, and hear every box again that can be heard."""
        self.clock.ahead += timedelta(**time)
        moment = self.clock()
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self._silent(moment) > self.vanished:  # noqa: ASYNC110  another program tells nobody
                await asyncio.sleep(0.05)

    async def _silent(self, moment: datetime) -> int:
        return len([one for one in await self.books.fetch("boxes", "") if one["heard"] < moment])

    async def carry(self, carrier: Carrier, holds: Callable[[Look], bool]) -> Look:
        """Look until that holds."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                await self.listen()
                found = await carrier.look()
                if holds(found):
                    return found
                if not found.moved:
                    await asyncio.sleep(0.05)

    async def halted(self, carrier: Carrier) -> Look:
        found = await self.carry(carrier, lambda look: look.rollout.stage is not Stage.RUNNING)
        assert found.rollout.halt is not None
        return found

    async def soaked(self, carrier: Carrier) -> Look:
        """The ring is whole, and two days pass."""
        await self.carry(carrier, lambda look: look.rollout.whole_at is not None)
        await self.pass_(days=2)
        await self.listen()
        return await carrier.look()


@asynccontextmanager
async def desk(central: Central, count: int, tempers: Sequence[tuple[int, Temper]] = ()) -> AsyncIterator[Desk]:
    """Central with a fleet that is there."""
    clock = Clock()
    keys = tuple(key.public_key().public_bytes_raw() for key in SIGNERS)
    plan = central.plan(
        boxes=count,
        sites=1,
        health_every=0.15,
        events_every=0,
        connect_within=0.1,
        trusted=keys,
        tempers=tuple(tempers),
    )
    with central.broker.running():
        source = MqttSource(Broker(hosts=(HOST,), port=central.broker.port, client_id="c1"), now=clock)
        await source.start()
        async with central.collector(source=source) as running:
            playing = asyncio.create_task(Fleet(plan, now=clock).run())
            known = "SELECT count(*) FROM fleet.box WHERE info IS NOT NULL AND sid IS NOT NULL"
            await until(lambda: central.sql(known) == str(count))
            try:
                yield Desk(central=central, books=running.books, clock=clock)
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
