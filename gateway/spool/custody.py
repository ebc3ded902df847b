"""The chain of custody of a study, read from its rows and the journal (domain/custody.py says what it is).

What is promised: a few statements, and one for each image's edits; what was purged is told for as long as the books
are kept (`[retention] custody`).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from gateway.domain.custody import FORM, Checked, Custody, Edited, Handing, Move, StudyCustody, attempts, proof
from gateway.domain.edits import from_json, spelled
from gateway.domain.model import UID, Delivery, Instance, InstanceId, InstanceState
from gateway.spool import checks, deliveries, instances
from gateway.spool.audit import Subject
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text


def of_study(c: Connection, key: str, *, site: str, box: str, now: datetime) -> StudyCustody | None:
    """The record of a study, named by its Study Instance UID or the id of any of its images; None if unknown."""
    named = instances.get(c, InstanceId(key))
    uid = UID(key) if named is None else named.StudyInstanceUID
    found = instances.in_study(c, uid)
    if not found:
        return None
    moves = _moves(c, uid)
    sent: defaultdict[InstanceId, list[Delivery]] = defaultdict(list)
    for delivery in deliveries.of_study(c, uid):
        sent[delivery.instance].append(delivery)
    told = tuple(_custody(c, one, sent[one.id], moves) for one in found)
    return StudyCustody(
        form=FORM,
        site=site,
        box=box,
        told_at=now,
        StudyInstanceUID=uid,
        safe=all(one.is_safe for one in told),
        check=_checked(c, found[0]),
        instances=told,
    )


Moves = dict[tuple[str, str], list[Move]]


def _moves(c: Connection, uid: UID) -> Moves:
    """What the journal has of a study's images and deliveries, by kind and subject."""
    found: Moves = defaultdict(list)
    for row in c.execute(sql("custody_journal"), {"StudyInstanceUID": uid}):
        move = Move(
            at=from_text(row["at"]), by=row["who"], before=row["from_state"], after=row["to_state"], why=row["why"]
        )
        found[row["kind"], row["subject"]].append(move)
    return found


def _checked(c: Connection, instance: Instance) -> Checked | None:
    check = checks.of_study(c, checks.key_of(instance))
    if check is None:
        return None
    return Checked(
        decision=check.verdict.decision,
        because=check.verdict.because,
        findings=tuple(dict.fromkeys(one.code for one in check.verdict.findings)),
        version=check.verdict.version,
        applied=check.applied,
        decided_by=check.decided_by,
        decided_at=check.decided_at,
    )


def _edited(c: Connection, instance: Instance) -> tuple[Edited, ...]:
    edits = checks.outgoing(c, instance.id).edits
    return tuple(Edited(attribute=spelled(one.path), rule=one.rule) for one in from_json(edits).edits) if edits else ()


def _custody(c: Connection, instance: Instance, sent: list[Delivery], moves: Moves) -> Custody:
    own = tuple(moves[Subject.INSTANCE, instance.id])
    return Custody(
        id=instance.id,
        SOPClassUID=instance.SOPClassUID,
        SOPInstanceUID=instance.SOPInstanceUID,
        SeriesInstanceUID=instance.SeriesInstanceUID,
        TransferSyntaxUID=instance.TransferSyntaxUID,
        size=instance.size,
        content_hash=instance.content_hash,
        received_at=instance.origin.received_at,
        calling_ae=instance.origin.calling_ae,
        called_ae=instance.origin.called_ae,
        address=instance.origin.address,
        state=instance.state,
        quarantine=instance.quarantine,
        edited=_edited(c, instance),
        moves=own,
        handings=tuple(_handing(one, moves[Subject.DELIVERY, str(one.id)]) for one in sent),
        purged_at=next((one.at for one in own if one.after == InstanceState.PURGED), None),
    )


def _handing(delivery: Delivery, moves: list[Move]) -> Handing:
    begun = next((one for one in moves if not one.before), None)
    return Handing(
        id=delivery.id,
        destination=delivery.destination,
        lane=delivery.lane,
        state=delivery.state,
        compression=delivery.compression,
        sent_as=delivery.sent_as,
        queued_at=delivery.queued_at,
        queued_by=begun.by if begun is not None else "",
        because=begun.why if begun is not None else "",
        attempts=attempts(moves),
        sent_at=delivery.sent_at,
        confirmed_at=delivery.confirmed_at,
        proof=proof(moves),
    )
