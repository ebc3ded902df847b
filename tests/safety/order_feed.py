"""Senders of orders that give up on nothing: each message again until it is answered, as an interface engine does."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from tests.hl7_messages import message
from tests.net.mllp_wire import Caller
from tests.safety.site import KILLS

SENDERS = 4
PER_KILL = 200 if KILLS > 3 else 80
"""Messages answered between two kills."""
TODAY = f"{datetime.now(UTC):%Y%m%d}"
_HAPPENINGS = ("01", "06", "04")
"""Placed, rescheduled, cancelled; each later than the one before."""


def messages(sender: int) -> list[bytes]:
    """What one sender has to say: each order placed, then rescheduled, and every other one cancelled."""
    told = []
    numbers = count(1)
    for order in range(sender, sender + SENDERS * (PER_KILL * KILLS * 2 // (SENDERS * 5)), SENDERS):
        for turn, number in enumerate(_HAPPENINGS[: 3 if order % (2 * SENDERS) < SENDERS else 2]):
            raw = message(number)
            for old, new in (
                (raw.split(b"|")[9], b"S%d-%07d" % (sender, next(numbers))),
                (b"20260304081455", b"20260304%02d1455" % (8 + turn)),
                (b"2026030410", f"{TODAY}{10 + turn}".encode()),
                *((name, name + b"%06d" % order) for name in (b"|A2603040077", b"P88101", b"F55201", b"70012345")),
                (b".9.77^", b".9.77.%d^" % order),
            ):
                raw = raw.replace(old, new)
            told.append(raw)
    return told


@dataclass(slots=True)
class Feed:
    """What is sent, one message after the other, each until it is answered; `answered` counts."""

    port: int
    answered: int = 0
    repeated: int = 0
    wrong: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def send(self, sender: int) -> None:
        caller: Caller | None = None
        for number, raw in enumerate(messages(sender)):
            if number % 7 == 0:
                self._hang_up(raw)
            answer = None
            while answer is None:
                try:
                    caller = caller or Caller(self.port)
                    answer = caller.ask(raw)
                except OSError:
                    answer = None
                if answer is None:
                    self.repeated += 1
                    if caller is not None:
                        caller.socket.close()
                    caller = None
                    time.sleep(0.02)  # a sender's own patience: not a synchronisation
            if b"MSA|AA|" + raw.split(b"|")[9] not in answer:
                self.wrong.append(answer)
            with self.changed:
                self.answered += 1
                self.changed.notify_all()
        if caller is not None:
            caller.socket.close()

    def _hang_up(self, raw: bytes) -> None:
        """What a sender does whose patience ends: it never learns what became of it, and will send it again."""
        with suppress(OSError), Caller(self.port) as caller:
            caller.send(raw)
            caller.socket.shutdown(socket.SHUT_WR)
            caller.socket.recv(1)

    def until(self, answered: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.answered >= answered, 100), f"only {self.answered} were answered"
