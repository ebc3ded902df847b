"""Messages on their way to peers that are to take each of them once: performed steps, and what is told of orders.

Promises
- An attempt is in the books before its first byte leaves, so that after a crash a peer's "I have this already" can be
  told from somebody else's.
- Only the moves of RELAY_MOVES happen, and each has a journal row, under what the message is about.
- What a peer refused waits for a person, with an alarm that ends with its last refusal; what waits too long is alarmed.
- No clock can trap a message: a `not_before` further away than LONGEST_DEFERRAL counts as over.
Which message is the next is for each kind to say (`spool.mpps`, `spool.orders_out`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from gateway.domain.model import PermanentFailure
from gateway.domain.mpps import RELAY_MOVES, Relaying, RelayState
from gateway.domain.retry import Severity, age_severity
from gateway.spool import audit
from gateway.spool.audit import Subject
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

LONGEST_DEFERRAL: Final = timedelta(hours=1)
REFUSED: Final = {Subject.MPPS: "mpps-refused", Subject.ORDER_MESSAGE: "orders-out-refused"}
LATE: Final = {Subject.MPPS: "mpps-late", Subject.ORDER_MESSAGE: "orders-out-late"}
"""Alarms by kind. Subject: the peer's configured name."""
_OVER: Final = frozenset({RelayState.SENT, RelayState.DISMISSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What is common to every message."""

    id: int
    kind: Subject
    about: int
    """Of the journal: our own id of the step, or of the message itself."""
    target: str
    tells: str
    """N-CREATE or N-SET; or the event of the order."""
    state: RelayState
    attempts: int
    not_before: datetime | None
    last_status: str
    queued_at: datetime
    settled_at: datetime | None


Q = TypeVar("Q", bound=Queued)


def read(row: Row) -> Queued:
    """The message of a row of `relay`."""
    return Queued(**common(row))


def common(row: Row) -> dict[str, Any]:
    """The values of `Queued` in a row."""
    kind = Subject(row["kind"])
    return {
        "id": row["id"],
        "kind": kind,
        "about": row["step"] if kind is Subject.MPPS else row["id"],
        "target": row["target"],
        "tells": row["tells"],
        "state": RelayState(row["state"]),
        "attempts": row["attempts"],
        "not_before": from_text(row["not_before"]),
        "last_status": row["last_status"],
        "queued_at": from_text(row["queued_at"]),
        "settled_at": from_text(row["settled_at"]),
    }


# -- an attempt --


def begin(c: Connection, message: Q, *, now: datetime) -> Q:
    """An attempt begins; what comes back counts it. To be committed before the message leaves."""
    move(c, message, RelayState.SENDING, now=now, by=message.target, why=message.tells)
    c.execute(sql("relay_count"), {"id": message.id})
    return replace(message, state=RelayState.SENDING, attempts=message.attempts + 1)


def settle(
    c: Connection, message: Queued, state: RelayState, *, status: str, now: datetime, not_before: datetime | None = None
) -> None:
    """What the attempt came to: sent, refused, or queued until `not_before` (at most LONGEST_DEFERRAL away)."""
    move(c, message, state, now=now, by=message.target, why=f"{message.tells} {status}")
    due_at = None if not_before is None else min(not_before, now + LONGEST_DEFERRAL)
    c.execute(sql("relay_settle"), {"id": message.id, "status": status, "not_before": to_text(due_at)})
    if state is RelayState.REFUSED:
        audit.raise_alarm(c, code=REFUSED[message.kind], subject=message.target, now=now)


def put_off(c: Connection, message: Queued, *, status: str, not_before: datetime) -> None:
    """The peer could not be asked: the message is tried again at `not_before`, and says why."""
    c.execute(sql("relay_put_off"), {"id": message.id, "status": status, "not_before": to_text(not_before)})


def note(c: Connection, message: Queued, *, status: str) -> None:
    """Why a message that stays due could not even be tried."""
    if message.last_status != status:
        c.execute(sql("relay_note"), {"id": message.id, "status": status})


def release(c: Connection, kind: Subject, *, target: str, now: datetime) -> int:
    """Puts back what an ended process was sending to `target`: it is sent again; how many."""
    left = [read(row) for row in c.execute(sql("relay_left"), {"kind": kind, "target": target}).fetchall()]
    for message in left:
        move(c, message, RelayState.QUEUED, now=now, by="spool", why="process ended")
    return len(left)


def move(c: Connection, message: Queued, state: RelayState, *, now: datetime, by: str, why: str) -> None:
    """Raises PermanentFailure if that may not happen, or somebody moved it meanwhile ("moved")."""
    if (message.state, state) not in RELAY_MOVES:
        raise PermanentFailure(f"a relay can't go from {message.state} to {state}: this is a fault of the gateway")
    settled_at = to_text(now) if state in _OVER else None
    values = {"id": message.id, "from": message.state, "to": state, "settled_at": settled_at}
    if c.execute(sql("relay_move"), values).rowcount != 1:
        raise PermanentFailure(
            f"relay {message.id} is no longer {message.state}: a person decided meanwhile", code="moved"
        )
    why = f"{message.target}: {why}"
    audit.journal(c, message.kind, message.about, before=message.state, after=state, now=now, by=by, why=why)


# -- a person --


def decide(c: Connection, kind: Subject, number: int, state: RelayState, *, now: datetime, by: str) -> bool:
    """A person's decision: a refused message is queued again, or what waits is dismissed. False if it is neither."""
    row = c.execute(sql("relay_get"), {"id": number, "kind": kind}).fetchone()
    if row is None:
        return False
    message = read(row)
    if message.state not in {RelayState.REFUSED, RelayState.QUEUED} or (message.state, state) not in RELAY_MOVES:
        return False
    move(c, message, state, now=now, by=by, why="decision")
    c.execute(sql("relay_at_once"), {"id": number})
    if not any(one.refused for one in standing(c, kind, (message.target,)) if one.name == message.target):
        audit.clear_alarm(c, code=REFUSED[kind], subject=message.target, now=now)
    return True


def undecided(c: Connection, kind: Subject, *, target: str, states: Collection[RelayState]) -> list[int]:
    """The ids of the messages to `target` in one of these states, oldest first."""
    found = c.execute(sql("relay_undecided"), {"kind": kind, "target": target})
    return [row["id"] for row in found if row["state"] in states]


# -- what stands --


def standing(c: Connection, kind: Subject, targets: Sequence[str]) -> tuple[Relaying, ...]:
    """How it stands with each of `targets`, and with every other peer for which something is not over."""
    found = {name: Relaying(name=name, configured=True) for name in targets}
    for row in c.execute(sql("relay_backlog"), {"kind": kind}):
        before = found.get(row["target"], Relaying(name=row["target"], configured=False))
        found[row["target"]] = replace(
            before,
            waiting=row["waiting"],
            refused=row["refused"],
            oldest=from_text(row["oldest"]),
            last_status=row["last_status"],
        )
    return tuple(found.values())


def watch(c: Connection, *, now: datetime) -> None:
    """An alarm for each peer whose oldest message has waited too long; it ends when that is over. So does the one for
    refusals, once none waits for a person any more."""
    for kind in REFUSED:
        found = standing(c, kind, ())
        late = {one.name for one in found if one.oldest and age_severity(now - one.oldest) is not Severity.NONE}
        refused = {one.name for one in found if one.refused}
        for name in late:
            audit.raise_alarm(c, code=LATE[kind], subject=name, now=now)
        for code, names in ((LATE[kind], late), (REFUSED[kind], refused)):
            for alarm in audit.active_alarms(c, code=code):
                if alarm.subject not in names:
                    audit.clear_alarm(c, code=code, subject=alarm.subject, now=now)
