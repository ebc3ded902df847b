"""An MQTT 5 broker as a source, by paho; with shared subscriptions (mosquitto, EMQX) for any number of collectors.

What is promised: messages that flow (health, events, backfill, results) are shared among the collectors; what stands
(status, info, alarms, reported) comes to each of them, retained copies first, since a shared subscription is given no
retained message (MQTT 5.0 3.8.4). A message is acknowledged when it is settled. The session ends with the connection,
so that no share waits for a collector that is gone; what was on its way is said again by its box. A broker that refuses
any of it is asked again and again; meanwhile we don't claim to listen, so that silence there is nobody's fault.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.domain.topics import Leaf, every
from gateway.fleet.arrivals import Arrived, Broker, BrokerAway

SHARED: Final = (Leaf.HEALTH, Leaf.EVENT, Leaf.BACKFILL, Leaf.RESULT)
STANDING: Final = (Leaf.STATUS, Leaf.INFO, Leaf.ALARM, Leaf.REPORTED)
KEEPALIVE_SECONDS: Final = 20
WINDOW: Final = 2000
"""Messages that the broker sends before we acknowledge one (MQTT 5.0 3.1.2.11.3, Receive Maximum)."""
RECONNECT_SECONDS: Final = (1, 30)

log = structlog.get_logger()


class _Receipt(NamedTuple):
    """A number means something in its connection alone."""

    connection: int
    packet_id: int
    qos: int


class MqttSource:
    """One connection; paho's own thread reads it and connects anew."""

    def __init__(self, broker: Broker, *, now: Callable[[], datetime]) -> None:
        self._broker = broker
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Arrived] = deque()
        self._woken = asyncio.Event()
        self._ringing = False
        self._listening = False
        self._refusals = 0
        self._client = self._made()

    @property
    def listening(self) -> bool:
        return self._listening

    async def start(self) -> None:
        """Begin to connect; paho goes on until it is, and whenever it is not."""
        self._client.connect_async(
            self._broker.hosts[0], self._broker.port, keepalive=KEEPALIVE_SECONDS, properties=_connecting()
        )
        self._client.loop_start()

    async def next(self, most: int) -> Sequence[Arrived]:
        while not self._waiting:
            self._woken.clear()
            self._ringing = False
            if self._waiting:
                break
            await self._woken.wait()
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    async def settle(self, arrived: Sequence[Arrived]) -> None:
        for one in arrived:
            receipt = one.receipt
            assert isinstance(receipt, _Receipt)
            if receipt.connection == self._connection:
                self._client.ack(receipt.packet_id, receipt.qos)

    async def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        told = self._client.publish(topic, payload, qos=1, retain=retained)
        if told.rc not in {paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN}:
            raise BrokerAway(f"the broker did not take a message (paho {int(told.rc)}); look at its limits")

    async def close(self) -> None:
        with suppress(ValueError):
            self._client.disconnect()
        client = self._client
        await asyncio.to_thread(client.loop_stop)
        # No circle keeps it: it goes with us, and its sockets with it
        client.on_connect = client.on_message = client.on_subscribe = client.on_disconnect = None

    def _made(self) -> paho.Client:
        broker = self._broker
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        if broker.username:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(WINDOW)
        self._connection = 0
        client.on_connect = self._connected
        client.on_message = self._arrived
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._left
        return client

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        """On paho's thread."""
        self._connection += 1
        self._refusals = 0
        if reason.is_failure:
            log.warning("the broker sent us away", reason=reason.value)
            return
        self._subscribe()

    def _subscribe(self) -> None:
        options = SubscribeOptions(qos=1)
        group = f"$share/{self._broker.share}/" if self._broker.share else ""
        shared = [(f"{group}{every(leaf)}", options) for leaf in SHARED]
        self._client.subscribe([*((every(leaf), options) for leaf in STANDING), *shared])

    def _subscribed(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        """On paho's thread."""
        refused = [reason.value for reason in reasons if reason.is_failure]
        self._listening = not refused
        if refused:
            log.error("the broker lets us not subscribe; look at its access list", reason=refused[0])
            self._refusals += 1
            first, most = RECONNECT_SECONDS
            wait = min(first * 2 ** min(self._refusals - 1, 16), most)
            with suppress(RuntimeError):  # the loop is closed: we are leaving
                self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._ask_again, self._connection)

    def _ask_again(self, connection: int) -> None:
        if connection == self._connection:
            self._subscribe()

    def _left(self, *_: Any) -> None:
        """On paho's thread."""
        self._listening = False

    def _arrived(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        """On paho's thread."""
        self._waiting.append(
            Arrived(
                topic=message.topic,
                payload=bytes(message.payload),
                at=self._now(),
                retained=message.retain,
                receipt=_Receipt(self._connection, message.mid, message.qos),
            )
        )
        if not self._ringing:
            self._ringing = True
            with suppress(RuntimeError):  # the loop is closed: we are leaving
                self._loop.call_soon_threadsafe(self._woken.set)


def _connecting() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    properties.ReceiveMaximum = WINDOW
    properties.MaximumPacketSize = 256 * 1024
    return properties
