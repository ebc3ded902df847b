"""What is told of orders, on its way to each RIS: a queue for each receiver, in order.

Promises
- A message is queued at most once for an order, a receiver and an event, as the bytes that are sent: sent again, it
  is the same message under the same control id, and the receiver can tell.
- `head` is the first that is not over, never one behind it: what waits for its next attempt holds up those behind it.
  A refused message waits for a person and holds up only the later ones of its order.
- An attempt is in the books before its first byte leaves.
- Every move has a journal row under the message's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.model import PermanentFailure
from gateway.domain.mpps import RELAY_MOVES, Relaying, RelayState
from gateway.domain.order_notice import Event
from gateway.spool import audit
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

REFUSED: Final = "orders-out-refused"
LATE: Final = "orders-out-late"
"""Alarms. Subject: the receiver's configured name."""
INVALID: Final = "invalid"
"""The status of a message that its own structure does not allow: a person decides whether it is sent."""
LONGEST_DEFERRAL: Final = timedelta(hours=1)
"""A `not_before` further away than this was written by a clock that was wrong, and counts as over."""
_OVER: Final = frozenset({RelayState.SENT, RelayState.DISMISSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMessage:
    """One message on its way to one receiver."""

    id: int
    receiver: str
    order: int | None
    """Our number of the order; None once it is forgotten."""
    event: Event
    control_id: str
    body: bytes = field(repr=False)
    """As it is sent; it names the patient."""
    state: RelayState
    attempts: int
    not_before: datetime | None
    last_status: str
    queued_at: datetime
    settled_at: datetime | None


def told(c: Connection, order: int, receiver: str) -> frozenset[Event]:
    """What was queued for an order and a receiver before, whatever became of it."""
    rows = c.execute(sql("order_messages_of"), {"procedure": order, "receiver": receiver})
    return frozenset(Event(row["event"]) for row in rows)


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
    _journal(c, row["id"], before="", after=state, now=now, by="spool", why=f"{receiver}: {event}")
    if not valid:
        audit.raise_alarm(c, code=REFUSED, subject=receiver, now=now)
    return True


def head(c: Connection, *, receiver: str, now: datetime) -> OrderMessage | None:
    """What may be sent to `receiver` now."""
    row = c.execute(sql("order_message_head"), {"receiver": receiver}).fetchone()
    if row is None:
        return None
    message = _message(row)
    waits = message.not_before is not None and now < message.not_before <= now + LONGEST_DEFERRAL
    return None if waits else message


def begin(c: Connection, message: OrderMessage, *, now: datetime) -> OrderMessage:
    """An attempt begins; what comes back counts it. To be committed before the message leaves."""
    _move(c, message, RelayState.SENDING, now=now, by=message.receiver, why=message.event)
    c.execute(sql("order_message_count"), {"id": message.id})
    return replace(message, state=RelayState.SENDING, attempts=message.attempts + 1)


def settle(
    c: Connection,
    message: OrderMessage,
    state: RelayState,
    *,
    status: str,
    now: datetime,
    not_before: datetime | None = None,
) -> None:
    """What the attempt came to: sent, refused, or queued until `not_before` (at most LONGEST_DEFERRAL away)."""
    _move(c, message, state, now=now, by=message.receiver, why=f"{message.event} {status}")
    due_at = None if not_before is None else min(not_before, now + LONGEST_DEFERRAL)
    c.execute(sql("order_message_settle"), {"id": message.id, "status": status, "not_before": to_text(due_at)})
    if state is RelayState.REFUSED:
        audit.raise_alarm(c, code=REFUSED, subject=message.receiver, now=now)


def put_off(c: Connection, message: OrderMessage, *, status: str, not_before: datetime) -> None:
    """The receiver could not be asked: the message is tried again at `not_before`, and says why."""
    values = {"id": message.id, "status": status, "not_before": to_text(not_before)}
    c.execute(sql("order_message_put_off"), values)


def release(c: Connection, *, receiver: str, now: datetime) -> int:
    """Puts back what an ended process was sending to `receiver`: it is sent again; how many."""
    left = [_message(row) for row in c.execute(sql("order_message_left"), {"receiver": receiver}).fetchall()]
    for message in left:
        _move(c, message, RelayState.QUEUED, now=now, by="spool", why="process ended")
    return len(left)


def decide(c: Connection, number: int, state: RelayState, *, now: datetime, by: str) -> bool:
    """A person's decision: a refused message is queued again, or what waits is dismissed. False if it is neither."""
    row = c.execute(sql("order_message_get"), {"id": number}).fetchone()
    if row is None:
        return False
    message = _message(row)
    if message.state not in {RelayState.REFUSED, RelayState.QUEUED} or (message.state, state) not in RELAY_MOVES:
        return False
    _move(c, message, state, now=now, by=by, why="decision")
    c.execute(sql("order_message_at_once"), {"id": number})
    if not any(one.refused for one in standing(c, (message.receiver,)) if one.name == message.receiver):
        audit.clear_alarm(c, code=REFUSED, subject=message.receiver, now=now)
    return True


def standing(c: Connection, receivers: Sequence[str]) -> tuple[Relaying, ...]:
    """How it stands with each of `receivers`, and with every other for which something is not over."""
    found = {name: Relaying(name=name, configured=True) for name in receivers}
    for row in c.execute(sql("order_message_backlog")):
        before = found.get(row["receiver"], Relaying(name=row["receiver"], configured=False))
        found[row["receiver"]] = replace(
            before,
            waiting=row["waiting"],
            refused=row["refused"],
            oldest=from_text(row["oldest"]),
            last_status=row["last_status"],
        )
    return tuple(found.values())


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
    for number in old:
        c.execute(sql("order_message_trim_journal"), {"subject": str(number)})
        c.execute(sql("order_message_forget"), {"id": number})
    return len(old)


def _move(c: Connection, message: OrderMessage, state: RelayState, *, now: datetime, by: str, why: str) -> None:
    if (message.state, state) not in RELAY_MOVES:
        raise PermanentFailure(f"a message can't go from {message.state} to {state}: this is a fault of the gateway")
    settled_at = to_text(now) if state in _OVER else None
    values = {"id": message.id, "from": message.state, "to": state, "settled_at": settled_at}
    if c.execute(sql("order_message_move"), values).rowcount != 1:
        raise PermanentFailure(f"message {message.id} is no longer {message.state}: a person decided", code="moved")
    _journal(c, message.id, before=message.state, after=state, now=now, by=by, why=f"{message.receiver}: {why}")


def _journal(c: Connection, number: int, *, before: str, after: str, now: datetime, by: str, why: str) -> None:
    kind = audit.Subject.ORDER_MESSAGE
    audit.journal(c, at=now, who=by, kind=kind, subject=str(number), from_state=before, to_state=after, why=why)


def _message(row: Row) -> OrderMessage:
    return OrderMessage(
        id=row["id"],
        receiver=row["receiver"],
        order=row["procedure"],
        event=Event(row["event"]),
        control_id=row["control_id"],
        body=row["body"],
        state=RelayState(row["state"]),
        attempts=row["attempts"],
        not_before=from_text(row["not_before"]),
        last_status=row["last_status"],
        queued_at=from_text(row["queued_at"]),
        settled_at=from_text(row["settled_at"]),
    )
