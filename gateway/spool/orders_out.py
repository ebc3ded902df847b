"""What is told of orders, on its way to each RIS: a queue for each receiver, in order.

Promises
- A message is queued at most once for an order, a receiver and an event, as the bytes that are sent: sent again, it
  is the same message under the same control id, and the receiver can tell.
- `head` is the first that is not over, never one behind it: what waits for its next attempt holds up those behind it.
  A refused message waits for a person and holds up only the later ones of its order.
- Every move (`spool.relays`) has a journal row under the message's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Event
from gateway.spool import audit, relays
from gateway.spool.audit import Subject
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.relays import LONGEST_DEFERRAL, Queued
from gateway.spool.times import to_text

INVALID: Final = "invalid"
"""The status of a message that its own structure does not allow: a person decides whether it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMessage(Queued):
    """One message on its way to one receiver."""

    order: int | None
    """Our number of the order; None once it is forgotten."""
    control_id: str
    body: bytes = field(repr=False)
    """As it is sent; it names the patient."""

    @property
    def receiver(self) -> str:
        return self.target

    @property
    def event(self) -> Event:
        return Event(self.tells)


def told(c: Connection, order: int, receiver: str) -> frozenset[Event]:
    """What was queued for an order and a receiver before, whatever became of it."""
    rows = c.execute(sql("order_messages_of"), {"procedure": order, "receiver": receiver})
    return frozenset(Event(row["tells"]) for row in rows)


def queue(
    c: Connection, *, receiver: str, order: int, event: Event, control_id: str, body: bytes, valid: bool, now: datetime
) -> bool:
    """Keeps a message for its receiver; False if there is one of this event already."""
    state = RelayState.QUEUED if valid else RelayState.REFUSED
    values = {
        "receiver": receiver,
        "procedure": order,
        "event": event,
        "control_id": control_id,
        "body": body,
        "state": state,
        "last_status": "" if valid else INVALID,
        "now": to_text(now),
    }
    row = c.execute(sql("order_message_insert"), values).fetchone()
    if row is None:
        return False
    why = f"{receiver}: {event}"
    audit.journal(c, Subject.ORDER_MESSAGE, row["id"], before="", after=state, now=now, by="spool", why=why)
    if not valid:
        audit.raise_alarm(c, code=relays.REFUSED[Subject.ORDER_MESSAGE], subject=receiver, now=now)
    return True


def head(c: Connection, *, receiver: str, now: datetime) -> OrderMessage | None:
    """What may be sent to `receiver` now."""
    row = c.execute(sql("order_message_head"), {"receiver": receiver}).fetchone()
    if row is None:
        return None
    message = _message(row)
    waits = message.not_before is not None and now < message.not_before <= now + LONGEST_DEFERRAL
    return None if waits else message


def get(c: Connection, number: int) -> OrderMessage | None:
    """The message of that number."""
    row = c.execute(sql("relay_get"), {"id": number, "kind": Subject.ORDER_MESSAGE}).fetchone()
    return None if row is None else _message(row)


def latest(
    c: Connection, *, receiver: str = "", state: RelayState | None = None, limit: int
) -> tuple[OrderMessage, ...]:
    """Messages, those that are not over first, then the latest; of one receiver and in one state, or all."""
    values = {"receiver": receiver, "state": state or "", "limit": limit}
    return tuple(_message(row) for row in c.execute(sql("order_message_latest"), values))


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Erases up to `limit` messages that were over before then; how many."""
    values = {"before": to_text(before), "limit": limit}
    old = [row["id"] for row in c.execute(sql("order_message_old"), values).fetchall()]
    _forget(c, old)
    return len(old)


def erase(c: Connection, names: Callable[[bytes], bool]) -> int:
    """Erases the messages that are over and of which `names` says so; how many. The others are their receivers' due."""
    found = [row["id"] for row in c.execute(sql("order_message_bodies")) if names(row["body"])]
    _forget(c, found)
    return len(found)


def _forget(c: Connection, numbers: Sequence[int]) -> None:
    for number in numbers:
        c.execute(sql("order_message_trim_journal"), {"subject": str(number)})
        c.execute(sql("order_message_forget"), {"id": number})


def _message(row: Row) -> OrderMessage:
    return OrderMessage(**relays.common(row), order=row["procedure"], control_id=row["control_id"], body=row["body"])
