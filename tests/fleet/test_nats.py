"""A NATS cluster of three nodes, whose MQTT is 3.1.1 without shared subscriptions: one node killed, nothing lost.

The kill is that of a process. A power cut is another thing and not tested here: NATS acknowledges before it syncs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.fleet import nats_source
from gateway.fleet.arrivals import Broker, BrokerAway
from gateway.fleet.nats_source import SAID, NatsSource
from gateway.simulate.mqtt_wire import V311
from tests.fleet.conftest import LIMIT_SECONDS, Central, playing, until
from tests.peers.nats_cluster import Cluster, nats_cluster

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def opened(cluster: Cluster, name: str, *, replicas: int = 3) -> NatsSource:
    """A source, once the nodes have found each other."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                broker = Broker(hosts=cluster.clients, port=0, client_id=name)
                return await NatsSource.open(broker, replicas=replicas)
            except BrokerAway:
                await asyncio.sleep(0.2)


async def consumed(streams: Any, fact: Callable[[Any], bool]) -> None:
    """Return once the server says so of what collectors were handed."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not fact(await streams.consumer_info(SAID, "fleet")):  # noqa: ASYNC110 -- the server tells only who asks
            await asyncio.sleep(0.05)


async def test_a_node_that_is_killed_loses_nothing(central: Central, tmp_path: Path) -> None:
    with nats_cluster(tmp_path / "nats") as cluster:
        first, second = await opened(cluster, "c1"), await opened(cluster, "c2")
        streams = first._connection.jetstream()
        made = (await streams.stream_info(SAID)).config
        await streams.update_stream(made.evolve(subjects=made.subjects[:3]))
        await (await opened(cluster, "c3")).close()
        again = (await streams.stream_info(SAID)).config
        assert again.subjects == made.subjects, "a stream of an earlier version hears what that did not"
        async with central.collector(source=first), central.collector(source=second):
            plan = central.plan(brokers=cluster.mqtt, version=V311, boxes=12, reconnect_within=1.0)
            async with playing(plan) as play:
                await until(lambda: central.told()[0] > 30)
                cluster.programs[0].kill()
                tally = play.fleet.tally
                await until(lambda: tally.connections > 12)  # boxes of the dead node went to another
                outcome = await play.end()
    assert outcome.owed == 0, outcome.figures()
    assert central.told() == (outcome.tally.events, outcome.tally.events)


async def test_what_is_not_settled_comes_again_and_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for hours stops the flow: the broker says every half minute again what it has not heard
    of, and that must not pile up here."""
    monkeypatch.setattr(nats_source, "SETTLED_WITHIN", 0.2)
    topics = [f"dgw.1.north.ct{number}.event" for number in range(5)]
    with nats_cluster(tmp_path / "nats", size=1) as cluster:
        source = await opened(cluster, "c1", replicas=1)
        streams = source._connection.jetstream()
        for topic in topics:
            await streams.publish(topic, b"{}")
        await consumed(streams, lambda found: found.delivered.consumer_seq >= 4 * len(topics))
        arrived = await source.next(100)
        assert sorted(one.topic.replace("/", ".") for one in arrived) == topics
        await source.settle(arrived)
        await consumed(streams, lambda found: not found.num_ack_pending)
        await source.close()
