"""Commands of central IT in the books: each at most once, each with who signed it and what became of it.

Promises
- `take` hands a command out once, in a transaction that is on the disk before it returns; no restart, no second copy
  and no clock that goes back hands it out again. What was being carried out when the box stopped is settled as
  interrupted by `interrupt`, and never begun anew.
- A nonce is forgotten only when a command that was signed later than its end has been taken: `floor` is the time that
  it is at least, whatever the clock of the box says.
- Each that was signed for this box has its row and its row of the journal (who: the ids of the keys); of all others
  only their number is kept, by reason, so that nobody can fill the disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from gateway.domain.command import (
    Asked,
    Authentic,
    Code,
    Command,
    CommandName,
    Done,
    Outcome,
    Reason,
    Refused,
    Result,
    Standing,
    hindered,
)
from gateway.domain.signature import Flaw, KeyId
from gateway.domain.update import Objection
from gateway.domain.worklist import DONE
from gateway.spool import audit
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

ACCEPTED: Final = "accepted"
_UNKEPT: Final = frozenset({"toml"})
"""Arguments that are kept elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A command as the books tell of it."""

    nonce: str
    name: CommandName | None
    signers: tuple[KeyId, ...]
    received_at: datetime
    state: str
    code: str
    count: int | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """How often something was no command of ours, for one reason."""

    reason: str
    count: int
    last_at: datetime


def floor(c: Connection, now: datetime) -> datetime:
    """How late it is at least: `now`, or when the latest command that was taken was signed."""
    issued = from_text(c.execute(sql("command_floor")).fetchone()["issued_at"])
    return now if issued is None else max(now, issued)


def take(c: Connection, judged: Authentic | Refused, *, standing: Standing, now: datetime) -> Command | None:
    """The command, if it is to be carried out now and by this call; otherwise it is written down why not."""
    if isinstance(judged, Refused):
        if judged.asked is None or _known(c, judged.asked.nonce):
            turn_away(c, Reason.REPLAYED if judged.asked else judged.reason, now=now)
        else:
            _insert(c, judged.asked, {}, state=Outcome.REFUSED, code=judged.reason, now=now)
        return None
    command = judged.command
    if _known(c, command.nonce):
        turn_away(c, Reason.REPLAYED, now=now)
        return None
    asked = Asked(
        nonce=command.nonce,
        name=command.name,
        not_before=command.not_before,
        expires=command.expires,
        signers=judged.signers,
    )
    reason = Reason.EXPIRED if command.expires <= floor(c, now) else hindered(command.name, standing)
    state = ACCEPTED if reason is None else Outcome.REFUSED
    _insert(c, asked, command.arguments, state=state, code=reason or "", now=now)
    return command if reason is None else None


def settle(c: Connection, command: Command, done: Done, *, now: datetime) -> None:
    """This became of a command that was handed out."""
    _settle(c, command.nonce, done, now)


def interrupt(c: Connection, *, now: datetime) -> int:
    """At the start: what was handed out and never settled did not end; how many."""
    left = [row["nonce"] for row in c.execute(sql("command_unfinished"))]
    for nonce in left:
        _settle(c, nonce, Done(outcome=Outcome.FAILED, code=Code.INTERRUPTED), now)
    return len(left)


def turn_away(c: Connection, reason: Flaw | Reason, *, now: datetime) -> None:
    """Counts one that is not answered."""
    c.execute(sql("command_turn_away"), {"reason": reason, "now": to_text(now)})


def turned_away(c: Connection) -> tuple[TurnedAway, ...]:
    """What was not answered, by reason."""
    return tuple(
        TurnedAway(reason=row["reason"], count=row["count"], last_at=from_text(row["last_at"]))
        for row in c.execute(sql("command_turned_away"))
    )


def untold(c: Connection, *, limit: int) -> tuple[Result, ...]:
    """Answers that were not published yet, oldest first."""
    return tuple(
        Result(
            nonce=row["nonce"],
            name=_name(row),
            outcome=Outcome(row["state"]),
            code=_code(row["code"]),
            count=row["count"],
            at=from_text(row["settled_at"]),
        )
        for row in c.execute(sql("command_untold"), {"limit": limit})
    )


def told(c: Connection, nonces: Sequence[str], *, now: datetime) -> None:
    """These answers are published."""
    c.executemany(sql("command_told"), [{"nonce": nonce, "now": to_text(now)} for nonce in nonces])


def latest(c: Connection, *, limit: int) -> tuple[Kept, ...]:
    """What was asked lately, the latest first."""
    return tuple(
        Kept(
            nonce=row["nonce"],
            name=_name(row),
            signers=tuple(row["signers"].split()),
            received_at=from_text(row["received_at"]),
            state=row["state"],
            code=row["code"],
            count=row["count"],
            settled_at=from_text(row["settled_at"]),
        )
        for row in c.execute(sql("command_latest"), {"limit": limit})
    )


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets commands settled before then that can't come again; how many."""
    return c.execute(sql("command_trim"), {"before": to_text(before), "limit": limit}).rowcount


def room(c: Connection, *, now: datetime, zone: tzinfo, behind: timedelta, ahead: timedelta) -> Standing:
    """What goes on: whether a scanner is connected, and whether a step of the worklist begins within `ahead` or was to
    begin less than `behind` ago and is not over. A step without a time of day is never due."""
    first, last = ((now + off).astimezone(zone).strftime("%Y%m%d%H%M%S") for off in (-behind, ahead))
    values = {"first": first, "last": last, "over": json.dumps(sorted(DONE))}
    return Standing(
        association_open=c.execute(sql("room_association")).fetchone() is not None,
        exam_due=c.execute(sql("room_exam"), values).fetchone() is not None,
    )


def _known(c: Connection, nonce: str) -> bool:
    return c.execute(sql("command_known"), {"nonce": nonce}).fetchone() is not None


def _insert(c: Connection, asked: Asked, arguments: Any, *, state: str, code: str, now: datetime) -> None:
    kept = {name: value for name, value in arguments.items() if name not in _UNKEPT}
    values = {
        "nonce": asked.nonce,
        "name": asked.name or "",
        "arguments": json.dumps(kept),
        "signers": " ".join(asked.signers),
        "issued_at": to_text(asked.not_before),
        "expires_at": to_text(asked.expires),
        "now": to_text(now),
        "state": state,
        "code": code,
        "settled_at": None if state == ACCEPTED else to_text(now),
    }
    c.execute(sql("command_insert"), values)
    audit.journal(
        c,
        audit.Subject.COMMAND,
        asked.nonce,
        before="",
        after=state,
        now=now,
        by=_who(asked.signers),
        why=code or asked.name or "",
    )


def _settle(c: Connection, nonce: str, done: Done, now: datetime) -> None:
    values = {"nonce": nonce, "state": done.outcome, "code": done.code, "count": done.count, "now": to_text(now)}
    if c.execute(sql("command_settle"), values).rowcount:
        audit.journal(
            c, audit.Subject.COMMAND, nonce, before=ACCEPTED, after=done.outcome, now=now, by="reporting", why=done.code
        )


def _who(signers: Sequence[KeyId]) -> str:
    return " ".join(f"key:{signer}" for signer in signers)


def _name(row: Row) -> CommandName | None:
    return CommandName(row["name"]) if row["name"] in set(CommandName) else None


def _code(text: str) -> Code | Flaw | Objection | Reason:
    for kind in (Code, Reason, Objection):
        if text in set(kind):
            return kind(text)
    return Flaw(text)
