"""What central IT is to be told of, kept until it says that it has committed it: PUBACK is no proof of either.

Promises
- An event has the next number of the log and is in the books, FULL, before it is published; it is taken out by an
  acknowledgement from central alone (`acknowledge`), however often the broker or the box ends in between.
- What is kept is what is sent: a body never changes, so an event that is sent twice is the same twice (`eid`).
- The log holds no more than a bound: the least severe go first, the oldest of these before the others, and an event
  `gap` says how many went. Numbers are never used twice, so central sees that they are missing.
- The log has a name of its own, made with the database. When that is lost another log begins, and an acknowledgement of
  the old one can't take anything out of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.issue import Severity
from gateway.domain.telemetry import Standing
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

FORGET_AT_ONCE: Final = 5_000
"""Rows taken out in one transaction; the others of the process wait for it."""
_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Who the box is to central, and how far it has been told."""

    log: str
    key: bytes
    """For `ref`; it never leaves the box."""
    starts: int
    """How often the reporting of this box began."""
    last_seq: int
    acked: int
    """Central has committed everything up to here."""
    study_seq: int
    """The study event that was entered last."""

    @property
    def waiting(self) -> int:
        """Events that central has not acknowledged, at most: some may have been given up."""
        return self.last_seq - self.acked


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An event as it is sent."""

    seq: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What was let go for room."""

    count: int
    upto: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAlarm:
    """An alarm as central knows it."""

    code: str
    inst: str
    state: Standing
    sev: Severity
    since: datetime
    changed_at: datetime
    """When it was raised or cleared, as central knows."""
    count: int
    seq: int
    """Of the event that said so."""
    eid: str


def state(c: Connection) -> Outbox:
    """As it stands."""
    row = c.execute(sql("outbox_state")).fetchone()
    return Outbox(**{name: row[name] for name in Outbox.__dataclass_fields__})


def begin(c: Connection) -> Outbox:
    """One more start of the reporting."""
    c.execute(sql("outbox_begin"))
    return state(c)


def append(c: Connection, *, sev: Severity, at: datetime, write: Callable[[int], bytes]) -> int:
    """Keeps an event. `write` makes its body of its number; what it raises leaves no trace. The number."""
    seq = int(c.execute(sql("outbox_number")).fetchone()["last_seq"])
    c.execute(sql("outbox_insert"), {"seq": seq, "rank": _RANKS[sev], "at": to_text(at), "body": write(seq)})
    return seq


def after(c: Connection, seq: int, *, upto: int, limit: int) -> tuple[Kept, ...]:
    """The first events behind a number, up to another."""
    rows = c.execute(sql("outbox_after"), {"seq": seq, "upto": upto, "limit": limit})
    return tuple(Kept(seq=row["seq"], body=row["body"]) for row in rows)


def oldest(c: Connection) -> datetime | None:
    """When the oldest that central has not acknowledged was entered."""
    row = c.execute(sql("outbox_oldest")).fetchone()
    return None if row is None else from_text(row["at"])


def acknowledge(c: Connection, *, log: str, upto: int) -> bool:
    """Central has committed what is up to that number. False for another log, or a number that no event has yet: that
    acknowledgement is not ours, and changes nothing."""
    stands = state(c)
    if log != stands.log or not 0 <= upto <= stands.last_seq:
        return False
    if upto > stands.acked:
        c.execute(sql("outbox_acked"), {"upto": upto})
    return True


def forget(c: Connection, *, limit: int = FORGET_AT_ONCE) -> int:
    """Takes out up to `limit` events that were acknowledged; how many."""
    return c.execute(sql("outbox_forget"), {"limit": limit}).rowcount


def has_acknowledged(c: Connection) -> bool:
    """Whether there is something to `forget`."""
    return c.execute(sql("outbox_acknowledged")).fetchone() is not None


def give_up(c: Connection, *, most: int) -> GivenUp | None:
    """Lets the least severe, of these the oldest, go where more than `most` are kept: a hundredth of that at once, so
    that it is not done at each event. The caller says so in an event (`gap`)."""
    if state(c).waiting <= most:
        return None
    over = int(c.execute(sql("outbox_count")).fetchone()["n"]) - most
    if over <= 0:
        return None
    rows = c.execute(sql("outbox_give_up"), {"limit": over + most // 100}).fetchall()
    return GivenUp(count=len(rows), upto=max(int(row["seq"]) for row in rows))


def entered(c: Connection, *, study_seq: int) -> None:
    """Study events up to that number are in the log."""
    c.execute(sql("outbox_studies"), {"study_seq": study_seq})


# -- alarms --


def alarms(c: Connection) -> tuple[ToldAlarm, ...]:
    """Those that central knows of."""
    return tuple(
        ToldAlarm(
            code=row["code"],
            inst=row["inst"],
            state=Standing(row["state"]),
            sev=Severity(row["sev"]),
            since=from_text(row["since"]),
            changed_at=from_text(row["changed_at"]),
            count=row["count"],
            seq=row["seq"],
            eid=row["eid"],
        )
        for row in c.execute(sql("outbox_alarms"))
    )


def keep_alarm(c: Connection, told: ToldAlarm, *, seq: int) -> None:
    """As it is now, in the transaction of the event that says so, which has that number."""
    values = {name: getattr(told, name) for name in ToldAlarm.__dataclass_fields__}
    c.execute(
        sql("outbox_alarm_keep"),
        values | {"since": to_text(told.since), "changed_at": to_text(told.changed_at), "seq": seq},
    )


def forget_alarms(c: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Central's broker has none of these (code, instance) any more."""
    c.executemany(sql("outbox_alarm_forget"), [{"code": code, "inst": inst} for code, inst in keys])
