"""A feed of orders, `PORT SENDERS COUNT RATE KEPT`: each sender waits for one acknowledgement before its next message.

Every message is a new order of another patient, for today. RATE is of all senders together, in messages a second;
0: as fast as they are answered. KEPT 0 makes a connection for each message. Prints "sending", then as JSON the
seconds that all took and the percentiles from when a message was due to its AA. Any other answer ends it with 1.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from datetime import UTC, datetime

from bench.latency import percentiles
from gateway.domain.mllp import frame
from tests.hl7_messages import message
from tests.peers.processes import HOST

_END = b"\x1c\r"
_PIECE = 1 << 16
_SILENCE = 120.0


def accession(number: int) -> str:
    """The Accession Number of an order of the feed."""
    return f"F{number:010}"


def _order(number: int, day: str) -> bytes:
    """One of the tests' messages, of all that an order may hold, with numbers of its own."""
    return message(
        "01",
        ("RADIS000001", _control(number)),
        ("A2603040077", accession(number)),
        ("70012345", f"7{number:07}"),
        ("P88101", f"P{number:05}"),
        ("F55201", f"F{number:05}"),
        ("1.3.6.1.4.1.32473.7.9.77", f"2.25.{10**20 + number}"),
        ("202603041030", f"{day}1030"),
    )


def _control(number: int) -> str:
    return f"FEED{number:07}"


class Sender:
    """One connection; busy from a message to its acknowledgement."""

    def __init__(self, port: int, selector: selectors.BaseSelector, *, kept: bool) -> None:
        self._port = port
        self._selector = selector
        self._kept = kept
        self._line: socket.socket | None = None
        self._expected = b""
        self._answer = b""
        self._due = 0.0

    def send(self, framed: bytes, number: int, due: float) -> None:
        """Send a message that was due then."""
        if self._line is None:
            self._line = socket.create_connection((HOST, self._port), _SILENCE)
            self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._line, selectors.EVENT_READ, self)
        self._expected, self._answer, self._due = f"MSA|AA|{_control(number)}".encode(), b"", due
        self._line.sendall(framed)

    def receive(self) -> float | None:
        """Take what came; the seconds since the message was due if its acknowledgement is whole."""
        assert self._line is not None
        piece = self._line.recv(_PIECE)
        self._answer += piece
        if not self._answer.endswith(_END):
            if not piece:
                sys.exit("the server closed a connection before it answered")
            return None
        taken = time.perf_counter() - self._due
        if self._expected not in self._answer:
            sys.exit(f"a message was answered {self._answer[:200]!r}")
        if not self._kept:
            self._selector.unregister(self._line)
            self._line.close()
            self._line = None
        return taken


def feed(idle: list[Sender], selector: selectors.BaseSelector, messages: list[bytes], rate: int) -> list[float]:
    """Send all; the seconds that each took."""
    taken: list[float] = []
    began = time.perf_counter()
    number = 0
    while len(taken) < len(messages):
        wait: float | None = None
        while idle and number < len(messages):
            now = time.perf_counter()
            due = began + number / rate if rate else now
            if due > now:
                wait = due - now
                break
            idle.pop().send(messages[number], number, due)
            number += 1
        for key, _ in selector.select(wait):
            seconds = key.data.receive()
            if seconds is not None:
                taken.append(seconds)
                idle.append(key.data)
    return taken


def main() -> None:
    port, senders, count, rate, kept = map(int, sys.argv[1:])
    day = f"{datetime.now(UTC):%Y%m%d}"
    messages = [frame(_order(number, day)) for number in range(count)]
    with selectors.DefaultSelector() as selector:
        idle = [Sender(port, selector, kept=bool(kept)) for _ in range(senders)]
        print("sending", flush=True)
        began = time.perf_counter()
        taken = feed(idle, selector, messages, rate)
        print(json.dumps({"seconds": time.perf_counter() - began, **percentiles(taken)}))


if __name__ == "__main__":
    main()
