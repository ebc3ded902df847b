"""The client's side of MQTT as bytes, sans I/O: what a simulated box says and hears (OASIS MQTT 5.0 and 3.1.1).

What is promised: packets of a client that publishes with QoS 0 or 1, subscribes, and leaves a will. `Reader` never
holds more than `LONGEST` bytes of one packet, whatever the peer declares, and raises MqttError at the first byte that
is no MQTT. Only the simulator uses it, as paho has a thread for each client (ADR 13). A box speaks through paho.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.domain.model import PermanentFailure

LONGEST: Final = 128 * 1024
"""Bytes of one packet; the longest that a box may be sent."""
V311: Final = 4
V5: Final = 5
_LENGTH_BYTES: Final = 4


class MqttError(PermanentFailure):
    """The peer does not speak MQTT as we do."""


class Kind(IntEnum):
    """Control packet types (MQTT 5.0 table 2-1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet that came: `code` is the reason of an acknowledgement, 0 to 127 where all is well."""

    kind: int
    packet_id: int = 0
    code: int = 0
    topic: str = ""
    payload: bytes = b""
    qos: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says of a client that is gone without a word; retained, QoS 1."""

    topic: str
    payload: bytes


def connect(
    client_id: str, *, version: int, keepalive: int, will: Will, username: str = "", session_expiry: int = 0
) -> bytes:
    """CONNECT (3.1); keepalive and session_expiry in seconds. The session before is dropped."""
    flags = 0x02 | 0x04 | 0x08 | 0x20 | (0x80 if username else 0)  # clean start; will with QoS 1, retained
    body = _text("MQTT") + bytes([version, flags]) + struct.pack(">H", keepalive)
    if version == V5:
        body += _properties(struct.pack(">BI", 0x11, session_expiry) if session_expiry else b"")
    body += _text(client_id)
    if version == V5:
        body += _properties(b"")
    body += _text(will.topic) + struct.pack(">H", len(will.payload)) + will.payload
    return _packet(Kind.CONNECT << 4, body + (_text(username) if username else b""))


def publish(
    topic: str, payload: bytes, *, version: int, packet_id: int = 0, retain: bool = False, expiry: int = 0
) -> bytes:
    """PUBLISH (3.3): QoS 1 where there is a packet_id, else QoS 0. `expiry` in seconds is for MQTT 5 alone."""
    body = _text(topic) + (struct.pack(">H", packet_id) if packet_id else b"")
    if version == V5:
        body += _properties(struct.pack(">BI", 0x02, expiry) if expiry else b"")
    return _packet(Kind.PUBLISH << 4 | (2 if packet_id else 0) | retain, body + payload)


def subscribe(topics: list[str], *, version: int, packet_id: int, qos: int) -> bytes:
    """SUBSCRIBE (3.8)."""
    body = struct.pack(">H", packet_id) + (_properties(b"") if version == V5 else b"")
    return _packet(Kind.SUBSCRIBE << 4 | 2, body + b"".join(_text(topic) + bytes([qos]) for topic in topics))


def puback(packet_id: int) -> bytes:
    """PUBACK (3.4) of success."""
    return _packet(Kind.PUBACK << 4, struct.pack(">H", packet_id))


def pingreq() -> bytes:
    return _packet(Kind.PINGREQ << 4, b"")


def disconnect() -> bytes:
    """DISCONNECT (3.14): the will is dropped."""
    return _packet(Kind.DISCONNECT << 4, b"")


class Reader:
    """Bytes of a broker in, packets out, in any pieces."""

    def __init__(self, *, version: int) -> None:
        self._version = version
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take bytes and give every packet that is whole."""
        self._held += data
        while True:
            found = _length(self._held)
            if found is None:
                return
            length, start = found
            if length > LONGEST:
                raise MqttError(f"a packet of {length} bytes was declared, more than {LONGEST}; look at the broker")
            if len(self._held) < start + length:
                return
            first, body = self._held[0], bytes(self._held[start : start + length])
            del self._held[: start + length]
            try:
                yield self._read(first, body)
            except (IndexError, struct.error, UnicodeDecodeError):
                raise MqttError(f"a packet of type {first >> 4} ends too early; look at the broker") from None

    def _read(self, first: int, body: bytes) -> Packet:
        kind = first >> 4
        match kind:
            case Kind.CONNACK:
                return Packet(kind=kind, code=body[1])
            case Kind.PUBACK:
                return Packet(kind=kind, packet_id=_number(body, 0), code=body[2] if len(body) > 2 else 0)
            case Kind.SUBACK:
                return Packet(kind=kind, packet_id=_number(body, 0), code=max(body[3 if self._version == V5 else 2 :]))
            case Kind.PUBLISH:
                return self._published(first, body)
            case Kind.DISCONNECT:
                return Packet(kind=kind, code=body[0] if body else 0)
            case Kind.PINGRESP:
                return Packet(kind=kind)
            case _:
                raise MqttError(f"a packet of type {kind}, which no broker sends; look at the port")

    def _published(self, first: int, body: bytes) -> Packet:
        qos = first >> 1 & 3
        at = 2 + _number(body, 0)
        topic = body[2:at].decode("utf-8")
        packet_id = _number(body, at) if qos else 0
        at += 2 if qos else 0
        if self._version == V5:
            found = _length(body, at - 1)
            if found is None:
                raise IndexError
            at = found[1] + found[0]
        return Packet(kind=Kind.PUBLISH, packet_id=packet_id, topic=topic, payload=body[at:], qos=qos)


def _number(body: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", body, at)[0])


def _length(held: bytes | bytearray, before: int = 0) -> tuple[int, int] | None:
    """The variable byte integer behind `before` (1.5.5) and where it ends; None while it is not whole."""
    value = 0
    for place in range(_LENGTH_BYTES):
        at = before + 1 + place
        if at >= len(held):
            return None
        value |= (held[at] & 0x7F) << 7 * place
        if not held[at] & 0x80:
            return value, at + 1
    raise MqttError("a length of more than four bytes (MQTT 1.5.5); look at the port")


def _text(word: str) -> bytes:
    coded = word.encode("utf-8")
    return struct.pack(">H", len(coded)) + coded


def _properties(body: bytes) -> bytes:
    return bytes([len(body)]) + body


def _packet(first: int, body: bytes) -> bytes:
    head, left = bytearray([first]), len(body)
    while True:
        head.append(left & 0x7F | (0x80 if left > 0x7F else 0))
        left >>= 7
        if not left:
            return bytes(head) + body
