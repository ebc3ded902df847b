"""Nothing is lost and no status stays wrong: the broker is killed or hangs, the network is cut for hours, central is
away, a death comes late, and somebody else speaks under our name.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pysqlite3 import dbapi2 as sqlite

from gateway.domain.issue import Severity
from gateway.domain.parts import Part
from gateway.domain.telemetry import State
from gateway.net.mqtt import Version
from gateway.roles import reporting as role
from gateway.spool import Connection, heartbeats, outbox
from tests.journeys.reporting import Reported, reporting, until
from tests.peers.central import Broker, Central, Heard, broker, leave
from tests.peers.processes import HOST
from tests.peers.scripted_broker import scripted_broker

pytestmark = pytest.mark.slow

BOX = "ct1-room"
HOURS = int(os.environ.get("GATEWAY_OUTAGE_HOURS", "2"))
"""Of the simulated outage; `make safety` takes 72."""


@pytest.fixture
def to(tmp_path: Path) -> Broker:
    return broker(tmp_path / "broker")


def told_everything(box: Reported, heard: Heard) -> None:
    """Central has every event of the box's log, and each once."""
    stands = box.outbox
    assert set(heard.events) == {stands.log}
    assert sorted(heard.events[stands.log]) == list(range(1, stands.last_seq + 1))
    identifiers = [one["eid"] for one in heard.events[stands.log].values()]
    assert len(set(identifiers)) == len(identifiers)


def there(box: Reported, heard: Heard) -> None:
    """It is connected, and central has everything so far."""
    box.until(lambda: heard.presence and heard.health and box.outbox.waiting == 0, what="it is there")


@contextmanager
def known(tmp_path: Path, to: Broker, *, rate: float) -> Iterator[tuple[Reported, Central, Heard]]:
    """A box of which central has everything so far."""
    central = Central(to)
    heard = central.box(BOX)
    with (
        to.running(),
        central.listening(),
        reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=rate) as box,
    ):
        there(box, heard)
        yield box, central, heard


def enter(box: Reported, count: int, *, sev: Severity = Severity.INFO) -> None:
    """Events of the box, made where all are made."""

    def job(c: Connection) -> None:
        for _ in range(count):
            box.happened(c, sev=sev)

    box.write(job)


def test_a_broker_that_is_killed_loses_nothing(tmp_path: Path, to: Broker) -> None:
    """It keeps nothing over its end, central begins anew with it; what it had taken and not passed on comes again."""
    central = Central(to)
    heard = central.box(BOX)
    with reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=20, retry_cap=timedelta(seconds=10)) as box:
        for number in range(3):
            with to.running() as running, central.listening():
                box.until(lambda: heard.presence and heard.presence.state is State.READY, what="it is there")
                box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
                central.mute = True
                for study in range(10):
                    box.study(number * 10 + study)
                logged = 30 * (number + 1)
                box.until(lambda logged=logged: box.outbox.last_seq > logged, what="it is in the log")  # type: ignore[misc]
                running.kill()
                central.mute = False
            heard.presence = None
        with to.running(), central.listening():
            box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
            assert len(box.connections) >= 4
            told_everything(box, heard)
            assert heard.kinds().count("study-confirmed") == 30


def test_a_broker_that_hangs_is_left_and_found_again(tmp_path: Path, to: Broker) -> None:
    central = Central(to)
    heard = central.box(BOX)
    with (
        to.running() as running,
        central.listening(),
        reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=20, timeout=2.0, keepalive=60) as box,
    ):
        there(box, heard)
        running.hang()
        box.study(1)
        box.until(box.connections[0].ended.done, what="the silent connection is given up")
        running.wake()
        box.until(lambda: box.outbox.waiting == 0 and box.outbox.last_seq >= 4, what="all is acknowledged")
        told_everything(box, heard)


@pytest.mark.safety
@pytest.mark.timeout(120 + 10 * HOURS)
def test_an_outage_of_days(tmp_path: Path, to: Broker) -> None:
    """Events and numbers of the whole time are at central afterwards: every event, the numbers as averages."""
    with known(tmp_path, to, rate=20) as (box, central, heard):
        box.cut()
        until_time = box.clock() + timedelta(hours=HOURS)
        box.clock.run_at(500)  # in the first hour every look counts, also on a busy machine
        box.until(lambda: box.clock() > until_time - timedelta(hours=HOURS - 1), what="an hour passes")
        box.clock.run_at(1500)
        studies = 0
        while box.clock() < until_time:
            enter(box, 100)
            box.study(studies)
            studies += 1
            moment = box.clock() + timedelta(minutes=HOURS)
            box.until(lambda moment=moment: box.clock() > moment, what="time passes")  # type: ignore[misc]
        assert box.read(outbox.oldest) is not None
        assert "central-unreachable" in box.alarms()
        live = len(heard.health)
        box.clock.run_at(20)
        box.mend()
        box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
        told_everything(box, heard)
        assert heard.kinds().count("study-confirmed") == studies
        samples = [one for one in heard.events[box.outbox.log].values() if one["schema"].startswith("health/")]
        assert 60 <= len(samples) <= 180 + 12 * HOURS, "each of the first hour, then an average every five minutes"
        assert any(one["samples"] > 1 for one in samples)
        assert len(heard.health) >= live
        sizes = [len(payload) for topic, payload in central.raw if topic.endswith("/backfill")]
        assert max(sizes) <= 64 * 1024
        first = next(number for number, (topic, _) in enumerate(central.raw) if topic.endswith("/backfill"))
        assert any(topic.endswith("/status") for topic, _ in central.raw[:first]), "how it is comes first"
        box.until(lambda: "central-unreachable" not in box.alarms(), what="the alarm ends")


def test_central_is_away_while_the_broker_is_not(tmp_path: Path, to: Broker) -> None:
    """The broker takes everything and central nothing: it is sent again until it is acknowledged."""
    central = Central(to)
    heard = central.box(BOX)
    with (
        to.running(),
        reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=60) as box,
    ):
        box.until(lambda: box.connections, what="it is connected")
        for number in range(20):
            box.study(number)
        box.until(lambda: box.outbox.last_seq > 60, what="it is in the log")
        assert box.outbox.acked == 0
        with central.listening():
            box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
            told_everything(box, heard)
        assert len(box.connections) == 1
        with central.listening():
            pass


def test_more_than_there_is_room_for(tmp_path: Path, to: Broker) -> None:
    """What is let go is the least severe, and central knows how much."""
    central = Central(to)
    heard = central.box(BOX)
    with reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=20, most=1000) as box:
        enter(box, 600, sev=Severity.ERROR)
        enter(box, 900)
        box.until(lambda: len(box.read(partial(outbox.after, seq=0, upto=10**9, limit=10**9))) <= 1000, what="room")
        with to.running(), central.listening():
            box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
        log = box.outbox.log
        kept = heard.events[log]
        gaps = [one for one in kept.values() if one.get("kind") == "gap"]
        lost = set(range(1, box.outbox.last_seq + 1)) - set(kept)
        assert sum(one["count"] for one in gaps) == len(lost)
        assert max(one["upto"] for one in gaps) == max(lost)
        assert sum(one["sev"] == "error" for one in kept.values() if "sev" in one) == 600


def test_books_that_are_full_for_a_while(tmp_path: Path, to: Broker) -> None:
    """The role goes on, and tells what happened meanwhile when there is room again."""
    with known(tmp_path, to, rate=20) as (box, _, heard):
        (pages,) = box.write(lambda c: c.execute("PRAGMA page_count").fetchone())
        box.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())
        other = sqlite.connect(tmp_path / "state" / "gateway.db", timeout=30)
        values = [(f"1.2.3.{number}", box.clock().isoformat(timespec="microseconds")) for number in range(600)]
        with other:
            other.executemany("INSERT INTO study_event VALUES (NULL, ?, 'complete', ?, 1)", values)
        other.close()
        moment = box.clock() + timedelta(seconds=20)
        box.until(lambda: box.clock() > moment, what="it looked ten times")
        assert heard.kinds().count("study-complete") < 600
        box.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchall())
        box.until(lambda: heard.kinds().count("study-complete") == 600, what="all is told")
        box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
        told_everything(box, heard)


# -- who is there --


@contextmanager
def someone(to: Broker, client_id: str, *, will: dict[str, Any] | None = None) -> Iterator[Client]:
    """Another client with the certificate of the box."""
    identity = to.authority.identity(BOX)
    context = ssl.create_default_context(cafile=str(to.authority.ca))
    context.load_cert_chain(identity.certificate, identity.key)
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set_context(context)
    client.reconnect_delay_set(1, 1)
    if will is not None:
        client.will_set(f"dgw/1/north/{BOX}/status", json.dumps(will), qos=1, retain=True)
    client.connect(HOST, to.port, 20)
    client.loop_start()
    try:
        yield client
    finally:
        leave(client)


def status(box: Reported, sid: str, state: str) -> dict[str, Any]:
    """A status that the role did not write."""
    return {
        "schema": "status/1.0",
        "box": BOX,
        "log": sid.split(".", maxsplit=1)[0],
        "sid": sid,
        "seq": 0,
        "eid": "01M80R9GTJ60RK4CSM6MV3EE1S",
        "ts": "2026-01-01T00:00:00.000Z",
        "mono_ms": 1,
        "clk": {"sync": False},
        "state": state,
    }


def test_a_death_that_comes_late(tmp_path: Path, to: Broker) -> None:
    """A socket of before dies after our birth: who listens is not deceived, and who comes later reads how we are."""
    with known(tmp_path, to, rate=1) as (box, _, heard):
        before = f"{box.outbox.log}.0-9"
        with someone(to, "before", will=status(box, before, "lost")) as old:
            until(old.is_connected, what="the old socket is there")
            old.loop_stop()  # or it would connect again, and die again when we leave
            old.socket().close()  # type: ignore[union-attr]
            box.until(lambda: ("lost", before) in heard.states, what="its death is told")
            box.until(lambda: heard.states[-1][0] == "ready", what="we say how we are")
        assert heard.presence is not None
        assert heard.presence.state is State.READY
        assert heard.presence.contested is None
        late = Central(to)
        with late.listening("late"):
            box.until(lambda: late.box(BOX).presence, what="who comes later reads of it")
        assert late.box(BOX).states[0][0] == "ready"
    assert len(box.connections) == 1


def test_another_box_of_the_same_name(tmp_path: Path, to: Broker) -> None:
    """Each pushes the other out. We see it, say so, and leave it to a person instead of fighting."""
    with known(tmp_path, to, rate=20) as (box, _, heard):
        with someone(to, BOX) as other:
            other.on_connect = lambda client, *_: client.publish(
                f"dgw/1/north/{BOX}/status", json.dumps(status(box, "g99999999.7-1", "ready")), qos=1, retain=True
            )
            box.until(lambda: role.ALARM_SAME_ID in box.alarms(), what="it is an alarm")
            since, connections = datetime.now(UTC), len(box.connections)
            box.until(lambda: datetime.now(UTC) - since > timedelta(seconds=2), what="40 s of its time pass")
            assert len(box.connections) - connections <= 1, "it waits minutes"
        box.until(lambda: heard.presence and heard.presence.contested, what="central sees it too")
        box.clock.run_at(200)
        box.until(lambda: box.outbox.waiting == 0 and heard.states[-1][0] == "alert", what="it is back")
        told_everything(box, heard)


@pytest.mark.parametrize("version", list(Version))
def test_what_a_broker_does_not_let_us_hear_is_asked_for_until_it_does(tmp_path: Path, version: Version) -> None:
    """Planted: acknowledgements are refused (SUBACK 0x80; in MQTT 5 a reason from 0x80 on)."""
    mended = threading.Event()

    def answer(topics: Sequence[str]) -> list[int]:
        return [0x80 if topic.endswith("/ack") and not mended.is_set() else 0 for topic in topics]

    with (
        scripted_broker(answer) as to,
        reporting(tmp_path / "state", to, rate=20, versions=(version,)) as box,
    ):
        box.until(lambda: "central-not-heard" in box.alarms(), what="the box says that it can't hear")
        mended.set()
        box.until(lambda: "central-not-heard" not in box.alarms(), what="it is over")
        first, second, third, *_ = to.asked
        assert [topic.rpartition("/")[2] for topic in first.topics] == ["status", "ack"]
        assert second.topics == third.topics == first.topics[1:], "what is granted is not asked for again"
        assert {qos for one in to.asked for qos in one.qos} == {1 if version is Version.FIVE else 0}
        assert to.connections == 1


def test_a_broker_that_never_says_what_it_grants_is_left(tmp_path: Path) -> None:
    with (
        scripted_broker(lambda _: None) as to,
        reporting(tmp_path / "state", to, rate=20, timeout=0.5) as box,
    ):
        box.until(lambda: to.connections > 2, what="the connection is made anew")


def test_a_part_that_died_is_told_and_then_that_it_lives(tmp_path: Path, to: Broker) -> None:
    with to.running(), (central := Central(to)).listening():
        heard = central.box(BOX)
        with reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=20, parts=(Part.HEALTH,)) as box:
            box.until(lambda: "part-stopped/health" in heard.alarms, what="it is told that nobody watches")
            assert heard.alarms["part-stopped/health"]["sev"] == "error"
            with box.spool.claim(Part.HEALTH):

                def cleared() -> bool:
                    box.write(partial(heartbeats.beat, part=Part.HEALTH, now=box.clock()))
                    return heard.alarms["part-stopped/health"]["state"] == "cleared"

                box.until(cleared, what="it is told that it is over")
