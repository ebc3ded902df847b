"""Performed procedure steps in the books: what scanners said, and what of it the RISs have taken.

Promises
- A message and its place in every queue are one transaction: what was acknowledged is relayed.
- Order is kept per step and peer, an N-CREATE before every N-SET: `due` gives the first that is not over, never
  one behind it. A refused message waits for a person and holds up nothing. Steps do not wait for each other.
- Every move of a step or of a relay (`spool.relays`) has a journal row under our own id of the step.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import (
    Known,
    Performed,
    RelayState,
    Request,
    ScheduledReference,
    StepStatus,
    Verdict,
    judge,
    status_after,
)
from gateway.spool import audit, relays
from gateway.spool.audit import Subject
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.relays import LONGEST_DEFERRAL, Queued
from gateway.spool.times import from_text, to_text

UNKNOWN_THERE: Final = "0112"
_TOLD: Final = Performed.__dataclass_fields__.keys() - {"status", "references"}
_REFERRED: Final = ScheduledReference.__dataclass_fields__


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One N-CREATE or N-SET as it came."""

    request: Request
    SOPInstanceUID: UID
    TransferSyntaxUID: UID
    dataset: bytes
    """Empty if the message had no data set."""
    digest: str
    calling_ae: AETitle
    address: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay(Queued):
    """One message on its way to one peer."""

    message: int
    SOPInstanceUID: UID
    TransferSyntaxUID: UID
    calling_ae: AETitle
    """Of the scanner."""

    @property
    def step(self) -> int:
        """Our own id of the step."""
        return self.about

    @property
    def request(self) -> Request:
        return Request(self.tells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Performed):
    """A performed procedure step as its scanner told it last."""

    id: int
    SOPInstanceUID: UID
    calling_ae: AETitle
    first_at: datetime
    last_at: datetime
    ended_at: datetime | None
    """When it was told to be final."""
    relays: tuple[Relay, ...]


# -- what scanners say --


def accept(c: Connection, message: Message, said: Performed, *, targets: Sequence[str]) -> tuple[Verdict, int]:
    """Keeps the message for each of `targets` if it is to be kept; what became of it, and our id of the step."""
    row = c.execute(sql("mpps_step_by_uid"), {"SOPInstanceUID": message.SOPInstanceUID}).fetchone()
    verdict = judge(message.request, message.digest, None if row is None else _known(row))
    if verdict is not Verdict.KEPT:
        return verdict, row["id"]
    now = message.received_at
    before = StepStatus.UNKNOWN if row is None else StepStatus(row["status"])
    after = status_after(before, said.status)
    values = {
        "SOPInstanceUID": message.SOPInstanceUID,
        "calling_ae": message.calling_ae,
        "status": after,
        "created": message.digest if message.request is Request.CREATE else "",
        "last_set": message.digest if message.request is Request.SET else "",
        "now": to_text(now),
        "ended_at": to_text(now) if after.is_final and not before.is_final else None,
        "PatientID": said.PatientID,
        "Modality": said.Modality,
        "PerformedProcedureStepID": said.PerformedProcedureStepID,
        "PerformedStationAETitle": said.PerformedStationAETitle,
        "reason": said.reason,
        "series": said.series,
        "instances": said.instances,
    }
    step = int(c.execute(sql("mpps_step_upsert"), values).fetchone()["id"])
    if said.references:
        _refer(c, step, said.references)
    if after is not before:
        why = message.request
        audit.journal(c, Subject.MPPS, step, before=before, after=after, now=now, by="scanner", why=why)
    _queue(c, step, message, targets)
    return verdict, step


def _refer(c: Connection, step: int, references: Sequence[ScheduledReference]) -> None:
    c.execute(sql("mpps_reference_forget"), {"step": step})
    for position, one in enumerate(references):
        c.execute(
            sql("mpps_reference_insert"),
            {
                "step": step,
                "position": position,
                "StudyInstanceUID": one.StudyInstanceUID,
                "AccessionNumber": one.AccessionNumber,
                "RequestedProcedureID": one.RequestedProcedureID,
                "ScheduledProcedureStepID": one.ScheduledProcedureStepID,
            },
        )


def _queue(c: Connection, step: int, message: Message, targets: Sequence[str]) -> None:
    values = {"step": step, "request": message.request, "now": to_text(message.received_at)}
    row = c.execute(
        sql("mpps_message_insert"),
        {
            **values,
            "calling_ae": message.calling_ae,
            "address": message.address,
            "TransferSyntaxUID": message.TransferSyntaxUID,
            "dataset": message.dataset,
        },
    ).fetchone()
    for target in targets:
        c.execute(sql("mpps_relay_insert"), {**values, "message": row["seq"], "target": target})
    if message.request is Request.CREATE:
        # Its N-SETs came first, and the peers did not know the step: now they will
        for late in c.execute(sql("mpps_relay_unknown_there"), {"step": step, "status": UNKNOWN_THERE}).fetchall():
            relay = _relay(late)
            if relay.state is RelayState.REFUSED:
                relays.move(c, relay, RelayState.QUEUED, now=message.received_at, by="spool", why="its N-CREATE came")
            c.execute(sql("relay_at_once"), {"id": relay.id})


def _known(row: Row) -> Known:
    return Known(status=StepStatus(row["status"]), created=row["created"], last_set=row["last_set"])


# -- on their way --


def due(c: Connection, *, target: str, now: datetime, limit: int) -> tuple[Relay, ...]:
    """What may be sent to `target` now, oldest first: of each step the first message that is not over."""
    values = {
        "target": target,
        "now": to_text(now),
        "implausible": to_text(now + LONGEST_DEFERRAL),
        "limit": limit,
    }
    return tuple(_relay(row) for row in c.execute(sql("mpps_relay_due"), values))


def dataset(c: Connection, message: int) -> bytes:
    """The data set of a message as it came."""
    return bytes(c.execute(sql("mpps_message_dataset"), {"seq": message}).fetchone()["dataset"])


# -- what stands --


def not_over(c: Connection, *, target: str = "", state: RelayState | None = None, limit: int) -> tuple[Relay, ...]:
    """What waits or was refused, oldest first; of one peer and in one state, or all."""
    values = {"target": target, "state": state or "", "limit": limit}
    return tuple(_relay(row) for row in c.execute(sql("mpps_relay_not_over"), values))


def steps(c: Connection, *, limit: int) -> tuple[Step, ...]:
    """The steps that were told of last, latest first."""
    return tuple(_step(c, row) for row in c.execute(sql("mpps_steps"), {"limit": limit}).fetchall())


def steps_of_study(c: Connection, study: UID) -> tuple[Step, ...]:
    """The steps that were performed for a study, oldest first."""
    return tuple(_step(c, row) for row in c.execute(sql("mpps_steps_of_study"), {"study": study}).fetchall())


def _step(c: Connection, row: Row) -> Step:
    values = {"step": row["id"]}
    return Step(
        **told(row, c.execute(sql("mpps_references"), values)),
        id=row["id"],
        SOPInstanceUID=UID(row["SOPInstanceUID"]),
        calling_ae=AETitle(row["calling_ae"]),
        first_at=from_text(row["first_at"]),
        last_at=from_text(row["last_at"]),
        ended_at=from_text(row["ended_at"]),
        relays=tuple(_relay(one) for one in c.execute(sql("mpps_relays_of_step"), values)),
    )


def told(row: Row, references: Iterable[Row]) -> dict[str, Any]:
    """The fields of `Performed` of a step's row and those of its references."""
    return {
        "status": StepStatus(row["status"]),
        **{name: row[name] for name in _TOLD},
        "references": tuple(ScheduledReference(**{name: one[name] for name in _REFERRED}) for one in references),
    }


def _relay(row: Row) -> Relay:
    return Relay(
        **relays.common(row),
        message=row["message"],
        SOPInstanceUID=UID(row["SOPInstanceUID"]),
        TransferSyntaxUID=UID(row["TransferSyntaxUID"]),
        calling_ae=AETitle(row["calling_ae"]),
    )


def performed(
    c: Connection, scheduled: Collection[tuple[str, str]], *, ended_before: datetime
) -> dict[tuple[str, str], datetime]:
    """Of these (StudyInstanceUID, ScheduledProcedureStepID), those that were completed by then, with the time; not
    those that a performed step in progress names."""
    before = to_text(ended_before)
    if not scheduled or c.execute(sql("mpps_any_completed"), {"before": before}).fetchone() is None:
        return {}
    found = c.execute(sql("mpps_performed"), {"scheduled": json.dumps(list(scheduled)), "before": before})
    return {(row["study"], row["sps"]): from_text(row["ended_at"]) for row in found}


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets up to `limit` steps last told of before then, unless something of them is not over; how many."""
    old = [row["id"] for row in c.execute(sql("mpps_trim"), {"before": to_text(before), "limit": limit}).fetchall()]
    for step_id in old:
        c.execute(sql("mpps_trim_journal"), {"subject": str(step_id)})
        c.execute(sql("mpps_step_forget"), {"id": step_id})
    return len(old)


def erase(c: Connection, PatientID: str) -> int:
    """Forgets the steps of exactly this Patient ID, unless something of them is not over; how many."""
    return c.execute(sql("mpps_erase"), {"PatientID": PatientID}).rowcount
