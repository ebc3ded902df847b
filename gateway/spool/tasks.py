"""Tasks for a person, what persons decided, and what of it is remembered for other studies.

Promises
- A study has at most one open task of each kind. A task is opened, and decided once; both have a journal row.
- A decision is durable before it is carried out; forward carries it out once (`carried`), whatever crashes between.
- A remembered decision holds for a study whose evidence is the same in every point, until it is revoked.
- What a later release asked, and this one does not know, is left out: the others are told.
- A person's own words and the order that was meant stay here: the journal has our own numbers alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.model import PermanentFailure
from gateway.domain.task import Choice, TaskKind, TaskState
from gateway.spool import audit
from gateway.spool.checks import StudyKey
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

ALARM_WAITS: Final = "study-held"
"""A task that holds images waits for a person. Subject: "task N"."""
LISTED: Final = 1000
_KINDS: Final = frozenset(TaskKind)
_DIGITS: Final = 18
"""Of a number that SQLite can hold, whatever they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a person is asked."""

    id: int
    study: StudyKey
    kind: TaskKind
    code: str
    """The rule or the fault behind it."""
    blocks: bool
    """Nothing of the study leaves before it is decided."""
    state: TaskState
    opened_at: datetime
    escalate_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person said."""

    id: int
    study: StudyKey
    choice: Choice
    target: Mapping[str, str]
    """The order that is meant, by keyword; empty if none is."""
    remember: bool
    why: str
    decided_by: str
    decided_at: datetime
    carried_at: datetime | None
    outcome: str
    """What became of it; empty until it is carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A decision that holds for others."""

    rule: int
    used: int
    last_used: datetime | None
    revoked_at: datetime | None
    revoked_by: str
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """How much waits for a person."""

    kind: TaskKind
    blocks: bool
    count: int
    oldest: datetime


# -- tasks --


def open_task(
    c: Connection,
    study: StudyKey,
    kind: TaskKind,
    *,
    code: str,
    blocks: bool,
    escalate_at: datetime | None,
    now: datetime,
) -> int:
    """Asks a person, or renews the question that is open; the number of the task."""
    values = {"code": code, "blocks": blocks, "escalate_at": to_text(escalate_at)}
    row = c.execute(sql("task_open"), {"study": study, "kind": kind}).fetchone()
    if row is not None:
        if (row["code"], bool(row["blocks"])) != (code, blocks):
            c.execute(sql("task_renew"), {**values, "id": row["id"]})
        return int(row["id"])
    asked = {**values, "study": study, "kind": kind, "now": to_text(now)}
    number = int(c.execute(sql("task_insert"), asked).fetchone()["id"])
    audit.journal(
        c, audit.Subject.TASK, number, before="", after=TaskState.OPEN, now=now, by="check", why=f"{kind} {code}"
    )
    return number


def settle(c: Connection, study: StudyKey, kind: TaskKind, *, by: str, outcome: str, now: datetime) -> bool:
    """Ends the open task of that kind, and its alarm; whether there was one."""
    row = c.execute(sql("task_open"), {"study": study, "kind": kind}).fetchone()
    if row is None:
        return False
    values = {"id": row["id"], "by": by, "outcome": outcome, "now": to_text(now)}
    c.execute(sql("task_decide"), values)
    audit.journal(
        c, audit.Subject.TASK, row["id"], before=TaskState.OPEN, after=TaskState.DECIDED, now=now, by=by, why=outcome
    )
    audit.clear_alarm(c, code=ALARM_WAITS, subject=f"task {row['id']}", now=now)
    return True


def named(c: Connection, key: str) -> Task | None:
    """The task of that number, as a person typed it; None for what is the number of none."""
    if not (key.isascii() and key.isdecimal() and len(key) <= _DIGITS):
        return None
    row = c.execute(sql("task_get"), {"id": int(key)}).fetchone()
    return None if row is None or row["kind"] not in _KINDS else _task(row)


def of_study(c: Connection, study: StudyKey) -> list[Task]:
    """Every task there was about a study, oldest first."""
    return [_task(row) for row in c.execute(sql("tasks_of_study"), {"study": study}) if row["kind"] in _KINDS]


def latest(c: Connection, *, every: bool, limit: int) -> list[Task]:
    """Open tasks, those that hold images first, then the oldest; with `every` decided ones after them."""
    rows = c.execute(sql("tasks_latest"), {"every": every, "limit": min(limit, LISTED)})
    return [_task(row) for row in rows if row["kind"] in _KINDS]


def counts(c: Connection) -> tuple[OpenTasks, ...]:
    """What is open, in counts."""
    return tuple(
        OpenTasks(
            kind=TaskKind(row["kind"]), blocks=bool(row["blocks"]), count=row["n"], oldest=from_text(row["oldest"])
        )
        for row in c.execute(sql("task_counts"))
        if row["kind"] in _KINDS
    )


def is_due(c: Connection, *, now: datetime) -> bool:
    """Whether a task waited too long."""
    return c.execute(sql("tasks_due"), {"now": to_text(now), "limit": 1}).fetchone() is not None


def escalate(c: Connection, *, now: datetime, next_at: datetime, limit: int) -> int:
    """An alarm for each task that waited too long, and again at `next_at`; how many."""
    due = c.execute(sql("tasks_due"), {"now": to_text(now), "limit": limit}).fetchall()
    for row in due:
        audit.raise_alarm(c, code=ALARM_WAITS, subject=f"task {row['id']}", now=now)
        c.execute(sql("task_escalate"), {"id": row["id"], "escalate_at": to_text(next_at)})
    return len(due)


# -- decisions --


def decide(
    c: Connection,
    study: StudyKey,
    choice: Choice,
    *,
    target: Mapping[str, str] | None = None,
    remember: bool = False,
    why: str = "",
    by: str,
    now: datetime,
) -> int:
    """Writes down what a person decided; its number. Forward carries it out."""
    values = {
        "study": study,
        "choice": choice,
        "target": json.dumps(dict(target or {})),
        "remember": remember,
        "why": why[:1000],
        "by": by,
        "now": to_text(now),
    }
    number = int(c.execute(sql("decision_insert"), values).fetchone()["id"])
    why = "remembered" if remember else "decided"
    audit.journal(c, audit.Subject.DECISION, number, before="", after=choice, now=now, by=by, why=why)
    return number


def decision(c: Connection, number: int) -> Decision | None:
    """The decision of that number."""
    row = c.execute(sql("decision_get"), {"id": number}).fetchone()
    return None if row is None else _decision(row)


def decisions_of(c: Connection, study: StudyKey) -> list[Decision]:
    """What persons said of a study, oldest first."""
    return [_decision(row) for row in c.execute(sql("decisions_of_study"), {"study": study})]


def waiting(c: Connection, *, limit: int) -> list[Decision]:
    """Decisions that are not carried out, oldest first."""
    return [_decision(row) for row in c.execute(sql("decisions_waiting"), {"limit": limit})]


def carried(c: Connection, decision: Decision, *, outcome: str, now: datetime) -> None:
    """The decision is carried out, in this transaction. Raises PermanentFailure if it was before."""
    values = {"id": decision.id, "outcome": outcome, "now": to_text(now)}
    if c.execute(sql("decision_carried"), values).fetchone() is None:
        raise PermanentFailure(f"decision {decision.id} was carried out before", code="move")


# -- what is remembered --


def remember(c: Connection, decision: Decision, fingerprint: str) -> int:
    """The decision holds for whatever has this evidence; the number of the rule."""
    values = {"decision": decision.id, "fingerprint": fingerprint}
    return int(c.execute(sql("remembered_add"), values).fetchone()["id"])


def recall(c: Connection, fingerprint: str) -> tuple[int, Decision] | None:
    """The rule for this evidence, and its decision."""
    row = c.execute(sql("remembered_for"), {"fingerprint": fingerprint}).fetchone()
    return None if row is None else (int(row[0]), _decision(row))


def used(c: Connection, rule: int, *, now: datetime) -> None:
    """A study followed that rule."""
    c.execute(sql("remembered_use"), {"id": rule, "now": to_text(now)})


def rules(c: Connection, *, every: bool) -> Sequence[Remembered]:
    """The remembered decisions; with `every` revoked ones too."""
    return [
        Remembered(
            rule=row["rule"],
            used=row["used"],
            last_used=from_text(row["last_used"]),
            revoked_at=from_text(row["revoked_at"]),
            revoked_by=row["revoked_by"],
            decision=_decision(row),
        )
        for row in c.execute(sql("remembered_list"), {"every": every, "limit": LISTED})
    ]


def revoke(c: Connection, rule: int, *, by: str, now: datetime) -> bool:
    """Studies to come don't follow the rule any more; whether it stood."""
    gone = c.execute(sql("remembered_revoke"), {"id": rule, "by": by, "now": to_text(now)}).fetchone()
    if gone is None:
        return False
    subject = f"rule {rule}"
    audit.journal(
        c, audit.Subject.DECISION, subject, before="remembered", after="revoked", now=now, by=by, why="revoked"
    )
    return True


def forget(c: Connection, *, before: datetime) -> None:
    """Forgets tasks and decisions that were over by then."""
    values = {"before": to_text(before)}
    for statement in (sql("tasks_forget"), sql("decisions_forget"), sql("read_back_forget")):
        c.execute(statement, values)


def _task(row: Row) -> Task:
    return Task(
        id=row["id"],
        study=StudyKey(row["study"]),
        kind=TaskKind(row["kind"]),
        code=row["code"],
        blocks=bool(row["blocks"]),
        state=TaskState(row["state"]),
        opened_at=from_text(row["opened_at"]),
        escalate_at=from_text(row["escalate_at"]),
        decided_at=from_text(row["decided_at"]),
        decided_by=row["decided_by"],
        outcome=row["outcome"],
    )


def _decision(row: Row) -> Decision:
    return Decision(
        id=row["id"],
        study=StudyKey(row["study"]),
        choice=Choice(row["choice"]),
        target=json.loads(row["target"] or "{}"),
        remember=bool(row["remember"]),
        why=row["why"],
        decided_by=row["decided_by"],
        decided_at=from_text(row["decided_at"]),
        carried_at=from_text(row["carried_at"]),
        outcome=row["outcome"],
    )
