"""Received objects: one row per file of `objects/`, its state, and whether it waits for a person.

Promises
- `accept` is the one way in, for the committer and for the recovery sweep alike, and decides what
  a repeated SOP Instance UID means (invariant 11): same bytes, no second row; other bytes, both are
  kept, the newcomer in quarantine with an alarm. A purged row counts as gone.
- A move that is not in `INSTANCE_MOVES` raises PermanentFailure and changes nothing; every move has
  a journal row. PURGED is reached only through `purge_due`.
- `purge_due` names only instances that are delivered, not in quarantine, whose every delivery is
  confirmed, the last of them longer ago than the retention (invariant 3).

Purge order: the row moves to PURGED first (committed FULL), the file goes after. A crash between the
two leaves a file whose row says why it may go, and the sweep removes it. The other order would leave
a row that claims a file: not to be told from a loss, and an undo or a requeue could still ask for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.model import (
    INSTANCE_MOVES,
    UID,
    AETitle,
    Instance,
    InstanceId,
    InstanceState,
    Origin,
    PermanentFailure,
)
from gateway.spool import audit
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

DUPLICATE_DIFFERS: Final = "duplicate-differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of an object that was handed in."""

    instance: Instance
    """The row that stands for these bytes: the new one, or for a duplicate the one we had."""
    duplicate: bool
    """The bytes were here already: the new file is not needed."""


def accept(c: Connection, instance: Instance, *, now: datetime, why: str) -> Accepted:
    """Enters a durable file into the index, by the rule of invariant 11."""
    same = c.execute(
        sql("instance_same_content"),
        {"SOPInstanceUID": instance.SOPInstanceUID, "content_hash": instance.content_hash},
    ).fetchone()
    if same is not None:
        kept = instance_of(same)
        return Accepted(instance=kept, duplicate=kept.id != instance.id)
    differs = c.execute(sql("instance_same_uid"), {"SOPInstanceUID": instance.SOPInstanceUID}).fetchone()
    quarantine = DUPLICATE_DIFFERS if differs is not None else instance.quarantine
    c.execute(sql("instance_insert"), _columns(instance, quarantine=quarantine))
    audit.journal(
        c, audit.Subject.INSTANCE, instance.id, before="", after=InstanceState.RECEIVED, now=now, by="spool", why=why
    )
    if differs is not None:
        audit.raise_alarm(c, code=audit.AlarmCode.DUPLICATE_DIFFERS, subject=instance.id, now=now)
    return Accepted(instance=replace(instance, state=InstanceState.RECEIVED, quarantine=quarantine), duplicate=False)


def get(c: Connection, instance_id: InstanceId) -> Instance | None:
    """The instance of that id, purged ones included."""
    row = c.execute(sql("instance_get"), {"id": instance_id}).fetchone()
    return None if row is None else instance_of(row)


def by_uid(c: Connection, SOPInstanceUID: UID) -> tuple[Instance, ...]:
    """Every copy we ever held under that UID, oldest first, purged ones included."""
    return tuple(instance_of(row) for row in c.execute(sql("instance_by_uid"), {"SOPInstanceUID": SOPInstanceUID}))


def in_study(c: Connection, StudyInstanceUID: UID) -> tuple[Instance, ...]:
    """The study's instances, oldest first, purged ones included."""
    return tuple(
        instance_of(row) for row in c.execute(sql("instance_in_study"), {"StudyInstanceUID": StudyInstanceUID})
    )


def waiting(c: Connection, *, limit: int) -> tuple[Instance, ...]:
    """Received instances that are free to be checked, oldest first."""
    return tuple(instance_of(row) for row in c.execute(sql("instance_waiting"), {"limit": limit}))


def quarantined(c: Connection, *, limit: int) -> tuple[Instance, ...]:
    """Instances that wait for a person, oldest first."""
    return tuple(instance_of(row) for row in c.execute(sql("instance_quarantined"), {"limit": limit}))


def count_quarantined(c: Connection) -> int:
    """How many instances wait for a person."""
    return int(c.execute(sql("instance_count_quarantined")).fetchone()["n"])


def count_rejected(c: Connection) -> dict[InstanceState, int]:
    """How many that a person rejected stand in each state."""
    return {InstanceState(row["state"]): int(row["n"]) for row in c.execute(sql("instance_count_rejected"))}


def count_by_state(c: Connection) -> dict[InstanceState, int]:
    """How many rows stand in each state; states without rows are 0."""
    found = {InstanceState(row["state"]): int(row["n"]) for row in c.execute(sql("instance_count"))}
    return {state: found.get(state, 0) for state in InstanceState}


def states_in_folder(c: Connection, folder: str) -> dict[InstanceId, InstanceState]:
    """The states of the instances whose file lies in `objects/<folder>/`."""
    rows = c.execute(sql("instance_in_folder"), {"low": folder, "high": folder + "g"})
    return {InstanceId(row["id"]): InstanceState(row["state"]) for row in rows}


def move(c: Connection, instance_id: InstanceId, *, after: InstanceState, now: datetime, by: str, why: str) -> None:
    """Moves an instance, by INSTANCE_MOVES; to PURGED only `purge_due` leads."""
    instance = get(c, instance_id)
    if instance is None:
        raise PermanentFailure(f"instance {instance_id} is not in the spool", code="unknown")
    if after is InstanceState.PURGED or (instance.state, after) not in INSTANCE_MOVES:
        raise PermanentFailure(f"instance {instance_id} is {instance.state}: it can't become {after}", code="move")
    _move(c, instance, after=after, now=now, by=by, why=why)


def release(c: Connection, instance_id: InstanceId, *, now: datetime, by: str, why: str) -> bool:
    """Ends a quarantine: the instance is free to be checked. False if it was not in quarantine."""
    instance = get(c, instance_id)
    if instance is None or not instance.quarantine:
        return False
    c.execute(sql("instance_release"), {"id": instance_id})
    audit.journal(
        c,
        audit.Subject.INSTANCE,
        instance_id,
        before=instance.quarantine,
        after=instance.state,
        now=now,
        by=by,
        why=why,
    )
    audit.clear_alarm(c, code=audit.AlarmCode.DUPLICATE_DIFFERS, subject=instance_id, now=now)
    return True


def conclude(c: Connection, ids: Collection[InstanceId], *, now: datetime, by: str) -> frozenset[InstanceId]:
    """Prepared -> delivered for those of `ids` that have deliveries, all of them confirmed; which moved."""
    audit.refuse_foreign_text("by", by)
    values = {"ids": json.dumps(list(ids)), "at": to_text(now), "by": by, "why": "every delivery confirmed"}
    if not c.execute(sql("instance_journal_delivered"), values).rowcount:
        return frozenset()
    return frozenset(InstanceId(row["id"]) for row in c.execute(sql("instance_deliver"), values).fetchall())


def purge_due(c: Connection, *, now: datetime, retention: timedelta, limit: int) -> tuple[InstanceId, ...]:
    """Moves what may go to PURGED and names it. Remove the files only after this is committed."""
    return _purge(c, _purgeable(c, before=now - retention, limit=limit), now=now, why="retention over")


def purge_early(c: Connection, wanted: int, *, now: datetime, keep: timedelta, limit: int) -> tuple[InstanceId, ...]:
    """The same before the retention is over, to make `wanted` bytes of room: of what was confirmed longer ago than
    `keep`, the first to be confirmed first, and no more than is wanted."""
    chosen: list[Instance] = []
    for instance in _purgeable(c, before=now - keep, limit=limit):
        if wanted <= 0:
            break
        chosen.append(instance)
        wanted -= instance.size
    return _purge(c, chosen, now=now, why="the disk was above its high mark")


def _purgeable(c: Connection, *, before: datetime, limit: int) -> tuple[Instance, ...]:
    rows = c.execute(sql("instance_purgeable"), {"confirmed_before": to_text(before), "limit": limit})
    return tuple(instance_of(row) for row in rows.fetchall())


def _purge(c: Connection, chosen: Collection[Instance], *, now: datetime, why: str) -> tuple[InstanceId, ...]:
    for instance in chosen:
        _move(c, instance, after=InstanceState.PURGED, now=now, by="spool", why=why)
    return tuple(instance.id for instance in chosen)


def purge_rejected(c: Connection, *, now: datetime, retention: timedelta, limit: int) -> tuple[InstanceId, ...]:
    """The same for what a person rejected longer ago than the retention, and nobody is sending."""
    rows = c.execute(sql("instance_purge_rejected"), {"rejected_before": to_text(now - retention), "limit": limit})
    due = tuple(instance_of(row) for row in rows.fetchall())
    return _purge(c, due, now=now, why="rejected, retention over")


def _move(c: Connection, instance: Instance, *, after: InstanceState, now: datetime, by: str, why: str) -> None:
    c.execute(sql("instance_move"), {"id": instance.id, "state": after})
    audit.journal(c, audit.Subject.INSTANCE, instance.id, before=instance.state, after=after, now=now, by=by, why=why)


def _columns(instance: Instance, *, quarantine: str) -> dict[str, object]:
    origin = instance.origin
    return {
        "id": instance.id,
        "SOPClassUID": instance.SOPClassUID,
        "SOPInstanceUID": instance.SOPInstanceUID,
        "TransferSyntaxUID": instance.TransferSyntaxUID,
        "StudyInstanceUID": instance.StudyInstanceUID,
        "SeriesInstanceUID": instance.SeriesInstanceUID,
        "content_hash": instance.content_hash,
        "size": instance.size,
        "calling_ae": origin.calling_ae,
        "called_ae": origin.called_ae,
        "address": origin.address,
        "association": origin.association,
        "received_at": to_text(origin.received_at),
        "priority": origin.priority,
        "state": InstanceState.RECEIVED,
        "quarantine": quarantine,
    }


def instance_of(row: Row) -> Instance:
    """The instance of a whole row."""
    return Instance(
        id=InstanceId(row["id"]),
        SOPClassUID=UID(row["SOPClassUID"]),
        SOPInstanceUID=UID(row["SOPInstanceUID"]),
        TransferSyntaxUID=UID(row["TransferSyntaxUID"]),
        StudyInstanceUID=UID(row["StudyInstanceUID"]),
        SeriesInstanceUID=UID(row["SeriesInstanceUID"]),
        content_hash=row["content_hash"],
        size=row["size"],
        origin=Origin(
            calling_ae=AETitle(row["calling_ae"]),
            called_ae=AETitle(row["called_ae"]),
            address=row["address"],
            association=row["association"],
            received_at=from_text(row["received_at"]),
            priority=row["priority"],
        ),
        state=InstanceState(row["state"]),
        quarantine=row["quarantine"],
        held=row["held"],
    )
