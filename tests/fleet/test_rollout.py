"""Rollouts with mosquitto, PostgreSQL, a collector and simulated boxes: through the rings, and halted for each reason.

The clock of central and boxes is moved on by hand; soaking for two days takes no time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from gateway.app.rollout import drafted, enter
from gateway.cli.commands import app
from gateway.domain.model import PermanentFailure
from gateway.domain.rollout_model import Cause, Mark, Stage
from gateway.fleet import boxes
from gateway.fleet.arrivals import Broker
from gateway.fleet.asking import Saying, say
from gateway.fleet.carrying import Carrier, Look
from gateway.fleet.database import Books
from gateway.fleet.mqtt_source import MqttSource
from gateway.simulate.fleet import Fleet
from gateway.simulate.fleet_twin import FAULT, Temper
from tests.domain.test_command import ANN, BOB
from tests.fleet.conftest import LIMIT_SECONDS, Central, until
from tests.peers.processes import HOST

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

T = TypeVar("T")

SIGNERS = (ANN, BOB)
TEXT = '[site]\nname = "{site}"\n[box]\nid = "{box}"\n'


def box(number: int) -> str:
    return f"sim-01/sim-{number:05}"


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

    def plan(self, rings: Sequence[Sequence[int]], *, version: int = 8, release: bool = False) -> Path:
        """A plan of no failures and two days of soaking."""
        folder = self.central.folder
        (folder / "box.toml").write_text(TEXT, "utf-8")
        (folder / "manifest.json").write_text(json.dumps({"version": "1.2.3", "sequence": version}), "utf-8")
        what = (
            '[release]\nmanifest = "manifest.json"\n'
            if release
            else f'[configuration]\nversion = {version}\nfile = "box.toml"\n'
        )
        lines = [
            f'[[ring]]\nname = "r{at}"\nboxes = {json.dumps([*map(box, ring)])}\n' for at, ring in enumerate(rings)
        ]
        path = folder / "rollout.toml"
        path.write_text(what + '[limits]\nfailures = "0%"\nsoak = "2d"\n' + "".join(lines), "utf-8")
        return path

    async def begin(self, rings: Sequence[Sequence[int]], *, version: int = 8, release: bool = False) -> Carrier:
        plan = self.plan(rings, version=version, release=release)
        number = await enter(self.books, await drafted(plan, self.books), SIGNERS)
        return self.carrier(number)

    def carrier(self, number: int, books: Books | None = None) -> Carrier:
        return Carrier(books or self.books, number, keys=SIGNERS, say=self.speak, now=self.clock)

    def speak(self, sayings: Sequence[Saying]) -> None:
        say(self.broker, sayings, wait=10)
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
        lasts=10 * LIMIT_SECONDS,
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


async def test_a_configuration_goes_ring_by_ring_and_survives_its_carriers(central: Central) -> None:
    async with desk(central, 6) as at:
        carrier = await at.begin([[1], [2, 3], [4, 5, 6]])
        assert (await at.soaked(carrier)).rollout.ring == 1
        assert at.asked() == [box(1)]
        other = await Books.open(central.server.dsn(central.database))
        await asyncio.gather(carrier.look(), at.carrier(1, other).look())
        assert sorted(at.asked()) == [box(1), box(2), box(3)], "two who carry it ask once"
        await other.close()
        follower = at.carrier(1)
        assert (await at.soaked(follower)).rollout.ring == 2
        assert (await at.soaked(follower)).rollout.stage is Stage.DONE
        assert sorted(at.asked()) == [*map(box, range(1, 7))]
        told = central.sql("SELECT box, reported->>'ring', reported->>'phase' FROM fleet.box ORDER BY box").splitlines()
        rings = ["r0", "r1", "r1", "r2", "r2", "r2"]
        assert told == [f"sim-{number:05}|{ring}|confirmed" for number, ring in enumerate(rings, 1)]
        await at.carry(await at.begin([[1]], version=9), lambda look: look.rollout.whole_at is not None)


async def test_it_halts_for_a_box_that_rejects_one_that_is_lost_and_one_that_turns_red(central: Central) -> None:
    """Each named with its reason; a person resumes, and no box of a later ring was asked before."""
    tempers = ((2, Temper.REJECTS), (3, Temper.VANISHES), (4, Temper.REDDENS), (5, Temper.FALLS_BACK))
    async with desk(central, 6, tempers) as at:
        carrier = await at.begin([[1, 2], [3], [4, 6], [5]])
        found = (await at.halted(carrier)).rollout.halt
        assert found is not None
        assert (found.cause, [(one.box, one.words) for one in found.found]) == (
            Mark.REJECTED,
            [("sim-00002", (FAULT,))],
        )
        assert sorted(at.asked()) == [box(1), box(2)]

        await carrier.resume()
        assert (await at.soaked(carrier)).rollout.ring == 1
        await at.carry(carrier, lambda look: len(at.asked()) == 3)
        at.vanished = 1
        await at.pass_(minutes=1)
        gone = "SELECT state FROM fleet.box WHERE box = 'sim-00003'"
        await until(lambda: central.sql(gone) == "lost")
        await at.pass_(minutes=11)
        found = (await at.halted(carrier)).rollout.halt
        assert found is not None
        assert (found.cause, [one.box for one in found.found]) == (Mark.LOST, ["sim-00003"])
        assert len(at.asked()) == 3

        await carrier.resume()
        assert (await at.soaked(carrier)).rollout.ring == 2
        found = (await at.halted(carrier)).rollout.halt
        assert found is not None
        assert found.cause is Mark.WORSE
        assert [(one.box, one.words) for one in found.found] == [("sim-00004", ("destination-unreachable pacs",))]

        await carrier.resume()
        assert (await at.soaked(carrier)).rollout.ring == 3
        found = (await at.halted(carrier)).rollout.halt
        assert found is not None
        assert found.cause is Mark.ROLLED_BACK
        assert sorted(at.asked()) == [*map(box, range(1, 7))]


def retained(at: Desk, topic: str) -> bytes | None:
    """What the broker keeps under a topic."""
    found: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="looker")
    client.on_message = lambda _c, _d, message: found.append(bytes(message.payload))
    client.on_subscribe = lambda _c, _d, _m, _r, _p: client.publish("looker/end", b"end", qos=1)
    client.on_connect = lambda _c, _d, _f, _r, _p: client.subscribe([(topic, 1), ("looker/end", 1)])
    client.connect(HOST, at.broker.port)
    while b"end" not in found:
        client.loop(0.05)
    client.disconnect()
    return next((one for one in found if one != b"end"), None)


async def test_a_wish_that_nobody_took_is_taken_back_and_the_box_is_free(central: Central) -> None:
    async with desk(central, 2, [(2, Temper.KEEPS_SILENT)]) as at:
        carrier = await at.begin([[1, 2]])
        await at.carry(carrier, lambda look: look.marks[("sim-01", "sim-00001")] is Mark.PROVEN)
        wishes = [f"dgw/1/sim-01/sim-0000{number}/desired" for number in (1, 2)]
        assert all([await asyncio.to_thread(retained, at, one) for one in wishes])
        with pytest.raises(PermanentFailure, match="2 boxes are in another rollout"):
            await at.begin([[1, 2]], version=9)
        halted = await carrier.stop(Stage.HALTED)
        assert halted.rollout.halt is not None
        assert halted.rollout.halt.cause is Cause.PERSON
        assert await asyncio.to_thread(retained, at, wishes[1]) is None
        assert await asyncio.to_thread(retained, at, wishes[0]) is not None, "it was taken"
        await carrier.resume()
        await at.carry(carrier, lambda look: len(at.asked()) == 3)
        await carrier.stop(Stage.ABORTED)
        assert await asyncio.to_thread(retained, at, wishes[1]) is None
        await at.begin([[1, 2]], version=9)
        assert not (await carrier.look()).moved, "what is of another now is left alone"


async def test_a_release_goes_to_who_can_take_it(central: Central) -> None:
    async with desk(central, 3, [(2, Temper.REJECTS)]) as at:
        carrier = await at.begin([[1], [2, 3]], version=7, release=True)
        assert (await at.soaked(carrier)).rollout.ring == 1
        found = (await at.halted(carrier)).rollout.halt
        assert found is not None
        assert (found.cause, [one.words for one in found.found]) == (Mark.REFUSED, [("other-release",)])
        await carrier.resume()
        assert (await at.soaked(carrier)).rollout.stage is Stage.DONE
        runs = "SELECT info->>'sw_seq', info->>'release_phase' FROM fleet.box ORDER BY box"
        assert central.sql(runs).splitlines() == ["7|confirmed", "1|", "7|confirmed"]


def key_file(path: Path, key: Ed25519PrivateKey) -> Path:
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return path


async def test_the_command_shows_the_plan_carries_it_and_ends_with_what_became_of_it(central: Central) -> None:
    async with desk(central, 3, [(3, Temper.REJECTS)]) as at:
        config = central.configuration("operator")
        keys = [key_file(central.folder / f"{name}.key", key) for name, key in (("ann", ANN), ("bob", BOB))]

        async def typed(*words: object) -> tuple[int, str]:
            command = ["fleet", "rollout", *map(str, words), "--config", str(config)]
            done = await beside(partial(CliRunner().invoke, app, command), at.listen)
            return done.exit_code, done.output

        plan = at.plan([[1, 2]])
        plan.write_text(plan.read_text().replace('"2d"', '"0s"'), "utf-8")
        signed = [word for key in keys for word in ("--key", key)]
        status, shown = await typed("start", "--plan", plan, "--dry-run", "--json")
        assert (status, json.loads(shown)["rings"]) == (0, [{"ring": "r0", "boxes": [box(1), box(2)]}])
        assert json.loads(shown)["left_out"] == {box(3): "no-ring"}
        assert (await typed("start", "--plan", plan, *signed[:2]))[0] == 2, "one alone"
        assert central.sql("SELECT count(*) FROM fleet.rollout") == "0"
        status, shown = await typed("start", "--plan", plan, *signed)
        assert (status, "2 proven" in shown) == (0, True), shown
        carrier = await at.begin([[3]], version=9)
        await at.halted(carrier)
        status, shown = await typed("carry", 2, *signed)
        assert status == 1, shown
        assert all(word in shown for word in ("rejected", "sim-00003", FAULT))
        status, shown = await typed("status", 2, "--json")
        found = {one["box"]: one["how"] for one in json.loads(shown)["boxes"]}
        assert (status, found["sim-00003"]) == (1, "rejected")
        assert found.keys() == {"sim-00001", "sim-00002", "sim-00003"}, "two report that they are in r0"


async def beside(work: Callable[[], T], again: Callable[[], Awaitable[None]]) -> T:
    """The result of what runs on a thread, while something else is done again and again."""
    working = asyncio.create_task(asyncio.to_thread(work))
    while not working.done():
        await again()
        await asyncio.wait({working}, timeout=1.0)
    return working.result()
