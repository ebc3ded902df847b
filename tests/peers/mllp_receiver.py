"""A RIS that takes HL7 messages: MLLP over a plain socket and python's `hl7`, independent of the gateway's own code.

It reads framed messages, keeps each, and answers as a test tells it to.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import hl7

from tests.peers.processes import HOST

VT, FS, CR = b"\x0b", b"\x1c", b"\r"


def ack(message: hl7.Message, code: str = "AA", *, control_id: str = "", more: str = "") -> bytes:
    """An acknowledgement of `message`, or of another control id."""
    told = control_id or str(message.segment("MSH")[10])
    text = f"MSH|^~\\&|RADIS|NORD|GATEWAY|test|20260304081501||ACK|R1|P|2.3.1\rMSA|{code}|{told}\r{more}"
    return VT + text.encode() + FS + CR


Answering = Callable[[hl7.Message], bytes | None]
"""What to write back; None ends the connection without a word, b"" says nothing."""


@dataclass(slots=True)
class Ris:
    """What a receiver was told, in order."""

    port: int
    answer: Answering = ack
    told: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def messages(self) -> list[hl7.Message]:
        return [hl7.parse(raw, encoding=_encoding(raw)) for raw in self.told]

    def summary(self) -> list[str]:
        """Of each message what a person would read first: type, order status, and filler number."""
        return [
            f"{one.segment('MSH')[9]} {one.segment('ORC')[1]} {one.segment('ORC')[5]} {one.segment('ORC')[3]}"
            for one in self.messages
        ]

    def ids(self) -> list[str]:
        return [str(one.segment("MSH")[10]) for one in self.messages]

    def serve(self, connection: socket.socket) -> None:
        buffer = b""
        with connection, suppress(OSError):
            while received := connection.recv(65536):
                buffer += received
                while FS + CR in buffer:
                    raw, _, buffer = buffer.partition(FS + CR)
                    with self.changed:
                        self.told.append(raw.removeprefix(VT))
                        self.changed.notify_all()
                    answer = self.answer(hl7.parse(self.told[-1], encoding=_encoding(raw)))
                    if answer is None:
                        return
                    connection.sendall(answer)


def _encoding(raw: bytes) -> str:
    return "utf-8" if b"UNICODE UTF-8" in raw else "iso8859-1"


@contextmanager
def mllp_receiver(port: int = 0, *, tls: ssl.SSLContext | None = None) -> Iterator[Ris]:
    """A receiver on loopback; afterwards nothing of it is left."""
    listening = socket.create_server((HOST, port))
    ris = Ris(port=listening.getsockname()[1])
    connections: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with suppress(OSError):
            spoken = tls.wrap_socket(connection, server_side=True) if tls else connection
            connections.append(spoken)
            ris.serve(spoken)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield ris
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
