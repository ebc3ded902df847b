"""The orders role behind a real port with a real spool, and books in which the tests see what was done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.domain.hl7 import Message
from gateway.domain.hl7_ack import Code, Outcome
from gateway.roles.orders import Apply, Orders, Sender
from gateway.spool import Connection, Spool, audit, messages
from gateway.spool.messages import NOT_UNDERSTOOD
from tests.net.mllp_wire import Caller, Post
from tests.spool.objects import Clock, open_spool

BERLIN = ZoneInfo("Europe/Berlin")
ANYONE = Sender(name="ris-hl7")

EFFECT = "order-changed-after-start"
"""An alarm that stands for the effect of a message: it counts how often it took place."""


def order(
    control: str = "M1",
    *,
    tail: str = "P|2.3.1||||||8859/1",
    name: str = "Doe",
    kind: str = "ORM^O01",
    codec: str = "latin_1",
) -> bytes:
    """A message with all that the endpoint looks at."""
    header = f"MSH|^~\\&|RIS|NORD|EDGEGW|RAD_CT|20260304081500||{kind}|{control}|{tail}"
    return f"{header}\rPID|1||4711||{name}^Jo\rORC|NW|P1\rZDS|1.2\r".encode(codec)


@dataclass(slots=True)
class Books:
    """What was done: a row in the transaction of each message."""

    outcome: Outcome = field(default_factory=lambda: Outcome(code=Code.AA, effect="one order"))
    fails: Callable[[Message], BaseException | None] = lambda _: None
    unread: Callable[[Message], BaseException | None] = lambda _: None
    """How reading a message fails."""

    def read(self, message: Message, sender: str, now: datetime) -> Apply:
        if failure := self.unread(message):
            raise failure
        return partial(self.apply, message=message, sender=sender, now=now)

    def apply(self, c: Connection, message: Message, sender: str, now: datetime) -> Outcome:
        audit.raise_alarm(c, code=EFFECT, subject=f"{sender} {message.get('MSH-10')}", now=now)
        if failure := self.fails(message):
            raise failure
        return Outcome(code=Code.AA, silent=True) if message.get("MSH-9").startswith("ORR") else self.outcome


@dataclass(slots=True)
class Desk:
    spool: Spool
    clock: Clock
    books: Books
    post: Post

    def done(self) -> dict[str, int]:
        """How often the effect of each message took place."""
        return {alarm.subject: alarm.count for alarm in audit.active_alarms(self.spool.db.read(), code=EFFECT)}

    def ask(self, message: bytes, *, source: str = "127.0.0.1") -> list[str]:
        with Caller(self.post.port, source=source) as caller:
            answer = caller.ask(message)
        return (answer or b"").decode("latin_1").split("\r")

    def kept(self) -> tuple[messages.Kept, ...]:
        return messages.latest(self.spool.db.read(), limit=100)

    def alarms(self) -> list[str]:
        return [alarm.subject for alarm in audit.active_alarms(self.spool.db.read(), code=NOT_UNDERSTOOD)]


Opener = Callable[..., Desk]


def open_desk(
    stack: ExitStack, state: Path, *senders: Sender, books: Books | None = None, unknown_kept: int = 0, **limits: Any
) -> Desk:
    """A desk that the stack closes."""
    clock, books = Clock(), books or Books()
    spool = open_spool(state, clock)
    stack.callback(spool.close)
    orders = Orders(
        spool,
        senders or [ANYONE],
        read=books.read,
        messages_for=timedelta(days=14),
        orders_for=timedelta(days=30),
        now=clock,
        here=lambda at: at.astimezone(BERLIN),
        unknown_kept=unknown_kept,
    )
    post = Post(orders, **limits)
    stack.callback(post.close)
    return Desk(spool=spool, clock=clock, books=books, post=post)
