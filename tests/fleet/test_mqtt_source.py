"""What a broker refuses a collector: it says so, asks again, and does not claim to listen meanwhile."""

from __future__ import annotations

import pytest

from gateway.fleet.arrivals import Broker
from gateway.fleet.mqtt_source import SHARED, STANDING, MqttSource
from tests.fleet.conftest import now, until
from tests.peers.processes import HOST
from tests.peers.scripted_broker import scripted_broker

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_a_collector_that_may_not_subscribe_asks_again() -> None:
    """Planted: one of the topics is refused (0x87, MQTT 5.0 3.9.3), twice."""
    with scripted_broker(lambda topics: [0x87 if len(to.asked) < 3 else 0, *[0] * (len(topics) - 1)]) as to:
        source = MqttSource(Broker(hosts=(HOST,), port=to.port, client_id="c1", share="fleet"), now=now)
        await source.start()
        try:
            await until(lambda: len(to.asked) == 2)
            assert not source.listening
            await until(lambda: source.listening)
        finally:
            await source.close()
        assert [len(one.topics) for one in to.asked] == [len(STANDING) + len(SHARED)] * 3
        assert to.connections == 1
