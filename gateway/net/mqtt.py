"""One connection to an MQTT broker: paho's protocol behind futures, in MQTT 5 or 3.1.1.

Promises
- `connect` returns after the broker accepted us (CONNACK), or raises TemporaryFailure within its limits. The will is
  the broker's to publish from then on, unless `close` said that we go.
- `publish` answers when the broker has (PUBACK), with what it said: MQTT 5 tells a refusal by its access rules, 3.1.1
  does not. That is neither delivery nor durability: who needs these waits for a word of the receiver.
- `subscribe` answers when the broker has (SUBACK), with what it refuses: a broker may grant some topics and not others,
  for good (its access rules) or for a while (NATS without a quorum).
- A connection is used once. Nothing is queued behind it and nothing is sent again by it: whatever was not answered when
  it ended fails with the reason, and `ended` says it.
- Callbacks come on a thread of the connection and must not block.
- A message to us of more than `LARGEST` bytes is dropped; in MQTT 5 the broker is told not to send it.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.domain.model import TemporaryFailure

LARGEST: Final = 128 * 1024
SESSION_SECONDS: Final = 300
"""MQTT 5: how long the broker keeps for us what it could not deliver. A command of days ago is none."""
TAKEN_OVER: Final = "session-taken-over"
"""Somebody connected under our name. Not every broker says so: mosquitto 2.0 just closes."""
UNSUPPORTED: Final = "unsupported-protocol-version"
CLOSED: Final = "closed"
"""The connection broke, or the broker closed it without a word."""
_NOT_A_WORD: Final = re.compile(r"[^a-z0-9]+")


class Version(StrEnum):
    FIVE = "5"
    THREE = "3.1.1"


_PROTOCOL: Final = {Version.FIVE: MQTTProtocolVersion.MQTTv5, Version.THREE: MQTTProtocolVersion.MQTTv311}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where, and as whom, to connect."""

    host: str
    port: int
    client_id: str
    keepalive: int
    """Seconds. The broker publishes the will after 1.5 times as much without a word, and a few seconds more."""
    connect_timeout: float
    timeout: float
    """Seconds until CONNACK."""
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message of ours, QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry: int | None = None
    """Seconds; MQTT 5 alone."""
    properties: tuple[tuple[str, str], ...] = ()
    """User properties; MQTT 5 alone."""
    correlation: bytes = b""
    """Of what it answers; MQTT 5 alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message to us."""

    topic: str
    payload: bytes
    retained: bool
    correlation: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What the broker has not answered: a message, or topics."""

    answered: Future[Any]
    topics: tuple[str, ...] = ()

    def settle(self, codes: Sequence[str]) -> None:
        """The broker's answer: a code for each, empty where it grants. A topic that it does not answer is refused."""
        if not self.topics and codes[0]:
            self.fail(codes[0])
            return
        said = zip_longest(self.topics, codes[: len(self.topics)], fillvalue="silence")
        refused = {topic: code for topic, code in said if code}
        with suppress(InvalidStateError):  # nobody waits for it any more
            self.answered.set_result(refused if self.topics else None)

    def fail(self, code: str) -> None:
        with suppress(InvalidStateError):
            self.answered.set_exception(_failure(code))


class Connection:
    """See the module's promises. Made by `connect`."""

    def __init__(
        self, broker: Broker, *, version: Version, will: Outgoing, on_message: Callable[[Incoming], None]
    ) -> None:
        self.version = version
        self.ended: Future[str] = Future()
        """Why it ended, as a code: `CLOSED`, `TAKEN_OVER` or another reason of the broker."""
        self._accepted: Future[str] = Future()
        self._lock = threading.Lock()
        self._waiting: dict[int, _Question] = {}
        self._early: dict[int, Sequence[str]] = {}
        self._on_message = on_message
        self._client = self._make(broker, will)

    def _make(self, broker: Broker, will: Outgoing) -> Client:
        five = self.version is Version.FIVE
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=None if five else True,
            protocol=_PROTOCOL[self.version],
            reconnect_on_failure=False,
        )
        client.connect_timeout = broker.connect_timeout
        client.suppress_exceptions = False
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        if broker.user:
            client.username_pw_set(broker.user, broker.password or None)
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=self._will_properties())
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        return client

    # -- use --

    def publish(self, message: Outgoing) -> Future[None]:
        """Resolves at PUBACK; TemporaryFailure with the broker's reason, or that of the end of the connection."""
        question = _Question(Future[None]())
        if self.ended.done():
            question.fail(self.ended.result())
            return question.answered
        sent = self._client.publish(
            message.topic, message.payload, qos=1, retain=message.retain, properties=self._properties(message)
        )
        self._asked(sent.mid, question)
        return question.answered

    def subscribe(self, topics: Sequence[str]) -> Future[dict[str, str]]:
        """Ask for messages of these topics; what is retained comes at once. Resolves at SUBACK: the topics that the
        broker refuses, and why. TemporaryFailure with the reason of the end of the connection.

        With QoS 1 in MQTT 5; with QoS 0 in 3.1.1, where the session ends with the connection, so that QoS 1 keeps
        nothing more, and where NATS needs a consumer in its whole cluster for each topic with QoS 1.
        """
        question = _Question(Future[dict[str, str]](), tuple(topics))
        qos: Any = SubscribeOptions(qos=1) if self._is_five else 0
        _, mid = self._client.subscribe([(topic, qos) for topic in topics])
        if mid is None:  # the connection has gone
            question.fail(CLOSED)
        else:
            self._asked(mid, question)
        return question.answered

    def _asked(self, mid: int, question: _Question) -> None:
        """The answer may be here already, or never come."""
        with self._lock:
            early = self._early.pop(mid, None)
            if early is None and not self.ended.done():
                self._waiting[mid] = question
                return
        if early is None:
            question.fail(self.ended.result())
        else:
            question.settle(early)

    def close(self) -> None:
        """Say that we go, so that no will is published, and end."""
        self._client.disconnect()
        self._release()

    def abandon(self) -> None:
        """End without a word: the broker publishes the will."""
        with suppress(OSError, AttributeError):
            self._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        self._release()

    def _release(self) -> None:
        """The client goes with the last who knows this connection; the sockets by which its thread was woken go now,
        for paho leaves them to whoever collects it."""
        self._client.loop_stop()
        self._client._reset_sockets()
        self._end(CLOSED)
        self._client.on_connect = self._client.on_disconnect = None
        self._client.on_publish = self._client.on_subscribe = self._client.on_message = None

    # -- the start --

    def _open(self, broker: Broker) -> None:
        try:
            self._dial(broker)
        except TemporaryFailure:
            self._release()
            raise
        self._client.loop_start()
        try:
            reason = self._accepted.result(broker.timeout)
        except TimeoutError:
            self.abandon()
            raise TemporaryFailure("mqtt: the broker does not answer", code="silence") from None
        if reason:
            self.abandon()
            raise _failure(reason)

    def _dial(self, broker: Broker) -> None:
        try:
            if self._is_five:
                self._client.connect(
                    broker.host, broker.port, broker.keepalive, clean_start=False, properties=_connect_properties()
                )
            else:
                self._client.connect(broker.host, broker.port, broker.keepalive)
        except socket.gaierror as error:
            raise TemporaryFailure("mqtt: the broker's name is not known", code="resolve") from error
        except ssl.SSLError as error:
            raise TemporaryFailure(f"mqtt: no encryption ({error.reason})", code="TLS") from error
        except (OSError, ValueError) as error:
            raise TemporaryFailure(f"mqtt: no connection ({type(error).__name__})", code="connect") from error

    # -- on paho's thread --

    def _connected(self, _client: Any, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _more: Any) -> None:
        self._accepted.set_result(_code(reason) if reason.is_failure else "")

    def _disconnected(self, _client: Any, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _more: Any) -> None:
        self._end(_code(reason) if flags.is_disconnect_packet_from_server else CLOSED)

    def _published(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _more: Any) -> None:
        self._answered(mid, [reason])

    def _subscribed(self, _client: Any, _data: Any, mid: int, reasons: Sequence[ReasonCode], _more: Any) -> None:
        self._answered(mid, reasons)

    def _answered(self, mid: int, reasons: Sequence[ReasonCode]) -> None:
        codes = [_code(reason) if reason.is_failure else "" for reason in reasons]
        with self._lock:
            question = self._waiting.pop(mid, None)
            if question is None:
                self._early[mid] = codes
        if question is not None:
            question.settle(codes)

    def _received(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        if len(message.payload) > LARGEST:
            return
        correlation = getattr(message.properties, "CorrelationData", b"") if message.properties else b""
        self._on_message(
            Incoming(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                correlation=correlation,
            )
        )

    def _end(self, reason: str) -> None:
        with self._lock:
            if self.ended.done():
                return
            self.ended.set_result(reason)
            left = list(self._waiting.values())
            self._waiting.clear()
        if not self._accepted.done():
            self._accepted.set_result(reason)
        for question in left:
            question.fail(reason)

    # -- properties of MQTT 5 --

    @property
    def _is_five(self) -> bool:
        return self.version is Version.FIVE

    def _will_properties(self) -> Properties | None:
        if not self._is_five:
            return None
        properties = _properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = 0
        return properties

    def _properties(self, message: Outgoing) -> Properties | None:
        if not self._is_five:
            return None
        properties = _properties(PacketTypes.PUBLISH)
        if message.expiry is not None:
            properties.MessageExpiryInterval = message.expiry
        if message.properties:
            properties.UserProperty = list(message.properties)
        if message.correlation:
            properties.CorrelationData = message.correlation
        return properties


def connect(broker: Broker, *, version: Version, will: Outgoing, on_message: Callable[[Incoming], None]) -> Connection:
    """Connect and be accepted; blocks. Raises TemporaryFailure: "resolve", "connect", "TLS", "silence", `CLOSED` or the
    broker's reason, `UNSUPPORTED` among them."""
    connection = Connection(broker, version=version, will=will, on_message=on_message)
    connection._open(broker)
    return connection


def _connect_properties() -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS
    properties.MaximumPacketSize = LARGEST + 1024
    return properties


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _code(reason: ReasonCode) -> str:
    """A reason code in the words of the standard (MQTT 5, 2.4), as a code of ours."""
    return _NOT_A_WORD.sub("-", reason.getName().lower()).strip("-")


def _failure(code: str) -> TemporaryFailure:
    return TemporaryFailure(f"mqtt: {code}", code=code)
