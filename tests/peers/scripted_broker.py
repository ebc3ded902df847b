"""A broker that does as a test says: MQTT 3.1.1 and 5 as far as a box needs them, on any port of loopback.

Promise: it accepts everybody, acknowledges every message, and answers each SUBSCRIBE with what `answer` says of it: a
code for each topic, or nothing at all. It hands no message on. What it was asked is in `asked`, in order.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.peers.processes import HOST

Answer = Callable[[Sequence[str]], Sequence[int] | None]
_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 1, 3, 8, 12, 14
_V5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One SUBSCRIBE."""

    connection: int
    topics: tuple[str, ...]
    qos: tuple[int, ...]


@dataclass(slots=True)
class ScriptedBroker:
    answer: Answer
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    _listening: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                self.connections += 1
                self._open.append(peer)
                threading.Thread(target=self._talk, args=(peer, self.connections), daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            one.close()

    def _talk(self, peer: socket.socket, number: int) -> None:
        version = 0
        with suppress(OSError), peer, peer.makefile("rb") as said:
            while first := said.read(1):
                body = said.read(_length(said))
                kind = first[0] >> 4
                if kind == _CONNECT:
                    version = body[6]
                    peer.sendall(b"\x20\x03\0\0\0" if version == _V5 else b"\x20\x02\0\0")
                elif kind == _PUBLISH and first[0] & 6:
                    (size,) = struct.unpack_from(">H", body)
                    peer.sendall(b"\x40\x02" + body[2 + size : 4 + size])
                elif kind == _SUBSCRIBE:
                    self._subscribed(peer, number, body, version)
                elif kind == _PINGREQ:
                    peer.sendall(b"\xd0\0")
                elif kind == _DISCONNECT:
                    return

    def _subscribed(self, peer: socket.socket, number: int, body: bytes, version: int) -> None:
        """The topics lie behind the packet identifier and, in MQTT 5, properties, of which a box has none."""
        topics, qos, at = [], [], 3 if version == _V5 else 2
        while at < len(body):
            (size,) = struct.unpack_from(">H", body, at)
            topics.append(body[at + 2 : at + 2 + size].decode())
            qos.append(body[at + 2 + size] & 3)
            at += 3 + size
        self.asked.append(Asked(connection=number, topics=tuple(topics), qos=tuple(qos)))
        codes = self.answer(topics)
        if codes is not None:
            told = body[:2] + (b"\0" if version == _V5 else b"") + bytes(codes)
            peer.sendall(bytes([0x90, len(told)]) + told)


def _length(said: object) -> int:
    """The variable byte integer (MQTT 1.5.5)."""
    value = shift = 0
    while True:
        (byte,) = said.read(1)  # type: ignore[attr-defined]
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value


@contextmanager
def scripted_broker(answer: Answer) -> Iterator[ScriptedBroker]:
    """It serves until left."""
    broker = ScriptedBroker(answer)
    serving = threading.Thread(target=broker.serve, daemon=True)
    serving.start()
    try:
        yield broker
    finally:
        broker.close()
        serving.join(10)
