"""HL7 messages as received, what they did and what was answered.

Promises
- A message is kept in the transaction of its effect, before it is answered (invariant 1).
- The same bytes again get the same answer and have no second effect. The bytes hold MSH-3, MSH-4 and
  MSH-10, so a control id that a restarted engine uses again is another message. A message that was not
  applied as a whole is tried anew, as settings may have been corrected since; if nothing has changed it
  gets the same answer too.
- What was not understood stays open until a person has seen it, with an alarm for its sender.
- Messages are erased after their retention, seen or not: they hold patient data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.spool.audit import active_alarms, clear_alarm, raise_alarm
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

NOT_UNDERSTOOD: Final = "hl7-not-understood"
"""Alarm: messages of this sender wait for a person. Subject: its configured name."""

_NO_FAULTS: Final = "[]"
DUPLICATE: Final = "205"
"""An order for another patient: it has an alarm and a list of its own, where a person decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as it came in."""

    sender: str
    """The configured name."""
    address: str
    kind: str
    """MSH-9.1 and MSH-9.2, as "ORM^O01"."""
    control_id: str
    """MSH-10."""
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message of the books."""

    id: int
    received_at: datetime
    received: Received
    code: Code
    effect: str
    faults: tuple[Fault, ...]
    answer: bytes
    seen_at: datetime | None
    """None while it waits for a person."""


def receive(
    c: Connection,
    received: Received,
    *,
    apply: Callable[[], Outcome],
    answer: Callable[[Outcome], bytes],
    now: datetime,
) -> bytes:
    """Applies a message and keeps it with its answer, or finds the answer that the same bytes had."""
    digest = hashlib.sha256(received.raw).digest()
    before = c.execute(sql("message_before"), {"digest": digest}).fetchone()
    if before is not None and before["code"] == Code.AA and before["faults"] == _NO_FAULTS:
        return bytes(before["answer"])
    outcome = apply()
    faults = json.dumps([asdict(fault) for fault in outcome.faults]) if outcome.faults else _NO_FAULTS
    if before is not None and (before["code"], before["faults"]) == (outcome.code, faults):
        return bytes(before["answer"])
    waits = any(fault.code != DUPLICATE for fault in outcome.faults)
    if waits:
        raise_alarm(c, code=NOT_UNDERSTOOD, subject=received.sender, now=now)
    given = answer(outcome)
    values = {
        **{name: getattr(received, name) for name in Received.__dataclass_fields__},
        "digest": digest,
        "code": outcome.code.value,
        "effect": outcome.effect,
        "faults": faults,
        "answer": given,
        "now": to_text(now),
        "seen_at": None if waits else to_text(now),
    }
    c.execute(sql("message_insert"), values)
    return given


def get(c: Connection, number: int) -> Kept | None:
    """The message of that number."""
    row = c.execute(sql("message_get"), {"id": number}).fetchone()
    return None if row is None else _kept(row)


def latest(c: Connection, *, sender: str = "", still_open: bool = False, limit: int) -> tuple[Kept, ...]:
    """The latest messages, newest first; of one sender, or of all where `sender` is empty."""
    values = {"sender": sender, "limit": limit}
    rows = c.execute(sql("message_latest_open") if still_open else sql("message_latest"), values)
    return tuple(map(_kept, rows))


def see(c: Connection, numbers: Sequence[int], *, now: datetime) -> int:
    """A person has seen these; how many were open. Their senders' alarms end when nothing is open any more."""
    seen = 0
    for number in numbers:
        kept = get(c, number)
        if kept is None:
            continue
        seen += c.execute(sql("message_see"), {"id": number, "now": to_text(now)}).rowcount
        _clear_if_none_open(c, kept.received.sender, now=now)
    return seen


def bound(c: Connection, sender: str, *, most: int) -> None:
    """Erases the oldest of a sender's messages that nobody has seen, so that `most` are left."""
    c.execute(sql("message_bound"), {"sender": sender, "most": most})


def trim(c: Connection, *, before: datetime, limit: int, now: datetime) -> int:
    """Erases up to `limit` messages received before then; their number. An alarm goes with what it was about."""
    erased = c.execute(sql("message_trim"), {"before": to_text(before), "limit": limit}).rowcount
    for alarm in active_alarms(c, code=NOT_UNDERSTOOD):
        _clear_if_none_open(c, alarm.subject, now=now)
    return erased


def erase(c: Connection, names: Callable[[bytes], bool], *, now: datetime) -> int:
    """Erases the messages of which `names` says so, seen or not; how many. An alarm goes with what it was about."""
    found = [row for row in c.execute(sql("message_bodies")) if names(row["raw"])]
    c.executemany(sql("message_erase"), [{"id": row["id"]} for row in found])
    for sender in {row["sender"] for row in found}:
        _clear_if_none_open(c, sender, now=now)
    return len(found)


def _clear_if_none_open(c: Connection, sender: str, *, now: datetime) -> None:
    if not c.execute(sql("message_count_open"), {"sender": sender}).fetchone()["n"]:
        clear_alarm(c, code=NOT_UNDERSTOOD, subject=sender, now=now)


def _kept(row: Row) -> Kept:
    return Kept(
        id=row["id"],
        received_at=from_text(row["received_at"]),
        received=Received(**{name: row[name] for name in Received.__dataclass_fields__}),
        code=Code(row["code"]),
        effect=row["effect"],
        faults=tuple(Fault(**fault) for fault in json.loads(row["faults"])),
        answer=row["answer"],
        seen_at=from_text(row["seen_at"]),
    )
