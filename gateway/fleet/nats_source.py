"""A NATS cluster as a source: what its MQTT 3.1.1 takes lands in JetStream, and collectors share a durable consumer.

What is promised: NATS has no shared subscriptions for MQTT, and needs none: streams keep what boxes say (`DGW_SAID`,
and `DGW_HEALTH` for 180 s), a durable consumer of each hands every message to one of all collectors, and again if that
one did not settle it. What is said to a box goes out as a plain message that the cluster hands to its MQTT connection.
A node that is killed loses nothing of `replicas` 3. NATS syncs its files every two minutes, so the power loss of a
majority of nodes may lose what they acknowledged: what a box sends again until central acknowledged it (events) is
whole all the same; NATS maps `.` in a name, so sites and boxes must have none (MQTT of NATS 2.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from itertools import islice
from typing import Any, Final, Self

import nats
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError

from gateway.domain.topics import HEALTH_EXPIRY, Leaf, every
from gateway.fleet.arrivals import Arrived, Broker, BrokerAway
from gateway.fleet.reading import LISTENED

SAID: Final = "DGW_SAID"
HEALTH: Final = "DGW_HEALTH"
KEPT_SECONDS: Final = 7 * 86400.0
KEPT_BYTES: Final = 512 << 20
"""Of each stream, at every node that keeps it: it is a buffer; events that it had to give up are said again."""
SETTLED_WITHIN: Final = 30.0
"""Seconds until a message that was not settled goes to another collector."""
ANSWER_SECONDS: Final = 5.0
UNSETTLED_MOST: Final = 20_000
_Place = tuple[str, int]
"""Of a message: its stream and its number there."""


class NatsSource:
    """One connection to the cluster; nats-py connects anew, to another node if need be."""

    def __init__(self, connection: Any, share: str) -> None:
        self._connection = connection
        self._share = share
        self._waiting: dict[_Place, Arrived] = {}
        self._woken = asyncio.Event()

    @classmethod
    async def open(cls, broker: Broker, *, replicas: int) -> Self:
        """Connect and see that the streams and the consumers are there. Raises BrokerAway."""
        scheme = "tls" if broker.tls else "nats"
        try:
            connection = await nats.connect(
                servers=[
                    f"{scheme}://{host}:{broker.port}" if ":" not in host else f"{scheme}://{host}"
                    for host in broker.hosts
                ],
                name=broker.client_id,
                user=broker.username or None,
                password=broker.password,
                tls=broker.tls,
                max_reconnect_attempts=-1,
                error_cb=_told,
            )
        except (OSError, NatsError) as error:
            raise BrokerAway(f"NATS can't be reached ({type(error).__name__}); check [broker] of fleet.toml") from error
        source = cls(connection, broker.share)
        try:
            await source._prepare(replicas)
        except BrokerAway:
            await connection.close()
            raise
        return source

    @property
    def listening(self) -> bool:
        return bool(self._connection.is_connected)

    async def next(self, most: int) -> Sequence[Arrived]:
        while not self._waiting:
            self._woken.clear()
            await self._woken.wait()
        return [self._waiting.pop(place) for place in list(islice(self._waiting, most))]

    async def settle(self, arrived: Sequence[Arrived]) -> None:
        try:
            for one in arrived:
                message: Any = one.receipt
                if not message.is_acked:
                    await message.ack()
        except (NatsError, OSError) as error:
            raise BrokerAway(f"NATS is away ({type(error).__name__})") from error

    async def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        del retained  # the cluster keeps what MQTT itself retains
        try:
            await self._connection.publish(_subject(topic), payload)
        except (NatsError, OSError) as error:
            raise BrokerAway(f"NATS is away ({type(error).__name__})") from error

    async def close(self) -> None:
        await self._connection.close()

    async def _prepare(self, replicas: int) -> None:
        said = [_subject(every(leaf)) for leaf in LISTENED if leaf is not Leaf.HEALTH]
        kept = {
            SAID: (said, KEPT_SECONDS),
            HEALTH: ([_subject(every(Leaf.HEALTH))], HEALTH_EXPIRY.total_seconds()),
        }
        context = self._connection.jetstream(timeout=ANSWER_SECONDS)
        try:
            for stream, (subjects, seconds) in kept.items():
                wanted = StreamConfig(
                    name=stream, subjects=subjects, max_age=seconds, max_bytes=KEPT_BYTES, num_replicas=replicas
                )
                await self._consume(context, wanted)
        except (NatsError, OSError) as error:
            reason = getattr(error, "description", None) or type(error).__name__
            raise BrokerAway(f"JetStream is not ready ({reason}); see that the nodes run and have room") from error

    async def _consume(self, context: Any, wanted: StreamConfig) -> None:
        """See that the stream and the one consumer of all collectors are there, and be one of those it hands to."""
        assert wanted.name is not None
        consumer = ConsumerConfig(
            durable_name=self._share,
            deliver_subject=f"dgw-collect.{self._share}.{wanted.name}",
            deliver_group=self._share,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=SETTLED_WITHIN,
            max_ack_pending=UNSETTLED_MOST,
        )
        try:
            known = await context.stream_info(wanted.name)
            if {*known.config.subjects} != {*(wanted.subjects or ())}:  # made by another version of ours
                await context.update_stream(wanted)
        except NotFoundError:
            await context.add_stream(wanted)
        try:
            await context.consumer_info(wanted.name, self._share)
        except NotFoundError:
            await context.add_consumer(wanted.name, consumer)
        await context.subscribe_bind(wanted.name, consumer, self._share, cb=self._take, manual_ack=True)

    async def _take(self, message: Any) -> None:
        """One that comes again, being unsettled for long, is what waits already."""
        told = message.metadata
        self._waiting[told.stream, told.sequence.stream] = _arrived(message)
        self._woken.set()


def _arrived(message: Any) -> Arrived:
    at = message.metadata.timestamp
    return Arrived(
        topic=message.subject.replace(".", "/"),
        payload=message.data,
        at=at if at.tzinfo else at.replace(tzinfo=UTC),
        retained=False,
        receipt=message,
    )


def _subject(topic: str) -> str:
    return topic.replace("/", ".").replace("+", "*")


async def _told(error: Exception) -> None:
    """A connection that broke; nats-py mends it, and what fails meanwhile is BrokerAway where it fails."""
    del error
