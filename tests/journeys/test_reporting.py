"""Central knows how a box is and what happened in it, and loses nothing: over mosquitto with mutual TLS and rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.domain.telemetry import State
from tests.journeys.reporting import reporting, until
from tests.peers.central import Broker, Central, broker

pytestmark = pytest.mark.slow

BOX = "ct1-room"


@pytest.fixture
def to(tmp_path: Path) -> Broker:
    return broker(tmp_path / "broker")


@pytest.fixture
def central(to: Broker) -> Iterator[Central]:
    """Connected to a broker that runs."""
    with to.running(), (listener := Central(to)).listening():
        yield listener


def test_what_happens_is_told_and_acknowledged(tmp_path: Path, to: Broker, central: Central) -> None:
    heard = central.box(BOX)
    with reporting(tmp_path / "state", to, to.authority.identity(BOX), rate=20) as box:
        for number in range(5):
            box.study(number)
        box.alarm("destination-unreachable", "pacs")
        box.alarm("delivery-refused", "a peer of yesterday")
        box.until(lambda: len(heard.alarms) == 2, what="the alarms are told")
        box.until(lambda: box.outbox.waiting == 0, what="all is acknowledged")
        box.until(lambda: heard.health and heard.health[-1]["dest_down_n"] == 1, what="health says so")
        assert heard.kinds()[:1] == ["started"]
        assert sorted(heard.kinds()[1:]) == sorted(
            ["study-complete", "study-delivered", "study-confirmed"] * 5 + ["alarm-raised"] * 2
        )
        assert set(heard.alarms) == {"destination-unreachable/pacs", "delivery-refused/box"}
        raised = heard.alarms["destination-unreachable/pacs"]
        assert (raised["state"], raised["sev"]) == ("raised", "error")
        assert heard.health[-1]["dest_up"] == {"pacs": False}
        box.until(lambda: heard.presence and heard.presence.state is State.ALERT, what="its status says so")
        box.alarm("destination-unreachable", "pacs", raised=False)
        box.until(lambda: heard.alarms["destination-unreachable/pacs"]["state"] == "cleared", what="it is over")
    until(lambda: heard.states[-1][0] == "disconnected", what="it is told that the box was stopped")
    assert heard.kinds()[-1] == "stopped"
    (log,) = heard.events
    assert sorted(heard.events[log]) == list(range(1, len(heard.events[log]) + 1))
    studies = {one["study"] for one in heard.events[log].values() if one.get("kind") == "study-complete"}
    assert len(studies) == 5
    said = b"".join(topic.encode() + payload for topic, payload in central.raw)
    assert b"1.2.3." not in said
    assert b"yesterday" not in said
