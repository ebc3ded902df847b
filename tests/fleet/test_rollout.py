"""Rollouts with mosquitto, PostgreSQL, a collector and simulated boxes: through the rings, and halted for each reason.

The clock of central and boxes is moved on by hand; soaking for two days takes no time.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.domain.model import PermanentFailure
from gateway.domain.rollout_model import Cause, Mark, Stage
from gateway.fleet import carrying
from gateway.fleet.database import Books
from gateway.simulate.fleet_twin import FAULT, Temper
from tests.domain.test_command import ANN, BOB
from tests.fleet.conftest import Central, beside, until
from tests.fleet.rolling import Desk, box, desk, ring
from tests.peers.central import leave
from tests.peers.processes import HOST

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_a_configuration_goes_ring_by_ring_and_survives_its_carriers(central: Central) -> None:
    async with desk(central, 6) as at:
        carrier = await at.begin([ring(1), ring(2, 3), ring(4, 5, 6)])
        assert (await at.soaked(carrier)).rollout.ring == 1
        assert at.asked() == [box(1)]
        other = await Books.open(central.server.dsn(central.database))
        await asyncio.gather(carrier.look(), at.carrier(1, other).look())
        assert sorted(at.asked()) == [box(1), box(2), box(3)], "two who carry it ask once"
        await other.close()
        at.clock.ahead += timedelta(minutes=2)
        assert not (await carrying.seen(at.books, 1, now=at.clock())).carried, "nobody has looked at it since"
        follower = at.carrier(1)
        assert (await at.soaked(follower)).rollout.ring == 2
        assert (await at.soaked(follower)).rollout.stage is Stage.DONE
        assert sorted(at.asked()) == [*map(box, range(1, 7))]
        told = central.sql("SELECT box, reported->>'ring', reported->>'phase' FROM fleet.box ORDER BY box").splitlines()
        rings = ["r0", "r1", "r1", "r2", "r2", "r2"]
        assert told == [f"sim-{number:05}|{ring}|confirmed" for number, ring in enumerate(rings, 1)]
        await at.carry(await at.begin([ring(1)], version=9), lambda look: look.rollout.whole_at is not None)


async def test_it_halts_for_a_box_that_rejects_one_that_is_lost_and_one_that_turns_red(central: Central) -> None:
    """Each named with its reason; a person resumes, and no box of a later ring was asked before."""
    tempers = ((2, Temper.REJECTS), (3, Temper.VANISHES), (4, Temper.REDDENS), (5, Temper.FALLS_BACK))
    async with desk(central, 6, tempers) as at:
        carrier = await at.begin([ring(1, 2), ring(3), ring(4, 6), ring(5)])
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
    leave(client)
    return next((one for one in found if one != b"end"), None)


async def test_a_wish_that_nobody_took_is_taken_back_and_the_box_is_free(central: Central) -> None:
    async with desk(central, 2, [(2, Temper.KEEPS_SILENT)]) as at:
        carrier = await at.begin([ring(1, 2)])
        await at.carry(carrier, lambda look: look.marks[("sim-01", "sim-00001")] is Mark.PROVEN)
        wishes = [f"dgw/1/sim-01/sim-0000{number}/desired" for number in (1, 2)]
        assert all([await asyncio.to_thread(retained, at, one) for one in wishes])
        with pytest.raises(PermanentFailure, match="2 boxes are in another rollout"):
            await at.begin([ring(1, 2)], version=9)
        halted = await carrier.stop(Stage.HALTED)
        assert halted.rollout.halt is not None
        assert halted.rollout.halt.cause is Cause.PERSON
        assert await asyncio.to_thread(retained, at, wishes[1]) is None
        assert await asyncio.to_thread(retained, at, wishes[0]) is not None, "it was taken"
        await carrier.resume()
        await at.carry(carrier, lambda look: len(at.asked()) == 3)
        await carrier.stop(Stage.ABORTED)
        assert await asyncio.to_thread(retained, at, wishes[1]) is None
        await at.begin([ring(1, 2)], version=9)
        assert not (await carrier.look()).moved, "what is of another now is left alone"


async def test_a_release_goes_to_who_can_take_it(central: Central) -> None:
    async with desk(central, 3, [(2, Temper.REJECTS)]) as at:
        carrier = await at.begin([ring(1), ring(2, 3)], version=7, release=True)
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


async def test_the_command_shows_the_plan_carries_it_and_ends_with_what_became_of_it(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.5)
    async with desk(central, 3, [(3, Temper.REJECTS)]) as at:
        config = central.configuration("operator")
        keys = [key_file(central.folder / f"{name}.key", key) for name, key in (("ann", ANN), ("bob", BOB))]

        async def typed(*words: object) -> tuple[int, str]:
            command = ["fleet", "rollout", *map(str, words), "--config", str(config)]
            done = await beside(partial(CliRunner().invoke, app, command), at.listen)
            return done.exit_code, done.output

        plan = at.plan([ring(1, 2)])
        plan.write_text(plan.read_text().replace('"2d"', '"0s"'), "utf-8")
        signed = [word for key in keys for word in ("--key", key)]
        status, shown = await typed("start", "--plan", plan, "--dry-run", "--json")
        assert (status, json.loads(shown)["rings"]) == (0, [{"ring": "r0", "boxes": [box(1), box(2)]}])
        assert json.loads(shown)["left_out"] == {box(3): "no-ring"}
        assert (await typed("start", "--plan", plan, *signed[:2]))[0] == 2, "one alone"
        assert central.sql("SELECT count(*) FROM fleet.rollout") == "0"
        status, shown = await typed("start", "--plan", plan, *signed)
        assert (status, "2 proven" in shown) == (0, True), shown
        carrier = await at.begin([ring(3)], version=9)
        await at.halted(carrier)
        status, shown = await typed("carry", 2, *signed)
        assert status == 1, shown
        assert all(word in shown for word in ("rejected", "sim-00003", FAULT))
        status, shown = await typed("status", 2, "--json")
        found = {one["box"]: one["how"] for one in json.loads(shown)["boxes"]}
        assert (status, found["sim-00003"]) == (1, "rejected")
        assert found.keys() == {"sim-00001", "sim-00002", "sim-00003"}, "two report that they are in r0"
