"""The tables of orders: what they hold, and the worklist rows that follow from them.

Promises
- `write` keeps the order and its worklist rows together: rows of steps that are no more are gone, rows of an
  order that ended say so (that hides them, and a RIS's row of the same step for a while), then expire.
- Nothing here decides: what an order becomes is decided in `orders` and in the domain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from gateway.domain import order_rows
from gateway.domain.merge import Kind
from gateway.domain.model import SourceName
from gateway.domain.order_matching import Keys, Known
from gateway.domain.order_model import ENDED, Flag, Identifier, Patient, PatientKey, Procedure, Stamp, Status
from gateway.domain.orders import OrderChange
from gateway.domain.worklist import DataSet
from gateway.spool import audit, order_changes, patients, worklist
from gateway.spool.db import Connection, Row
from gateway.spool.patients import stamp_of, stamps
from gateway.spool.queries import sql
from gateway.spool.rows import row_of
from gateway.spool.texts import json_text
from gateway.spool.times import from_text, to_text
from gateway.spool.worklist import WorklistRow

CONFLICT: Final = "order-identity-conflict"
_BASE36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_ORDERS: Final = 500
"""Of one patient, or that share a number: a number that more share is no number."""
_MINTED: Final = frozenset({Flag.STUDY_GENERATED, Flag.ACCESSION_GENERATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A requested procedure as we keep it."""

    id: int
    """Ours; 0: not written yet."""
    source: SourceName
    """Who ordered first: the source of its worklist rows."""
    patient: PatientKey
    status: Status
    stamp: Stamp
    procedure: Procedure
    keys: tuple[str, ...] = ()
    """Of its worklist rows."""
    studies: frozenset[str] = frozenset()
    accessions: frozenset[str] = frozenset()
    first_seen: datetime | None = None
    changed_at: datetime | None = None

    @property
    def known(self) -> Known:
        """What it is found by."""
        whole = self.procedure
        return Known(
            id=self.id,
            patient=self.patient,
            keys=Keys(
                source=self.source,
                StudyInstanceUID=whole.StudyInstanceUID,
                RequestedProcedureID=whole.RequestedProcedureID,
                accession=whole.accession,
                placer=whole.placer,
                filler=whole.filler,
            ),
            flags=whole.flags,
            studies=self.studies | {whole.StudyInstanceUID},
            accessions=self.accessions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An order that was set aside."""

    id: int
    source: str
    order: int
    """The order it would have taken from its patient."""
    kind: str
    """What they share: study, accession, placer, filler."""
    patient: PatientKey
    at: datetime


class Met(NamedTuple):
    """What there may be of an order, by its numbers alone."""

    known: bool
    """Orders that share one: `candidates`."""
    ended: bool
    """An end that came before: `orders_awaited.tombstone`."""
    booked: bool
    """Appointments that wait for it: `orders_awaited.take_up`."""


@cache
def _content() -> TypeAdapter[Procedure]:
    return TypeAdapter(Procedure)


def candidates(c: Connection, asked: Keys) -> list[Order]:
    """Every order that shares a number or a study with what is asked for."""
    values = {**_values(asked), "limit": MOST_ORDERS}
    return [order_of(c, row) for row in c.execute(sql("orders_sharing"), values).fetchall()]


def met(c: Connection, asked: Keys) -> Met:
    """Whether there is anything of what is asked for: most messages tell of a new order."""
    whole = f"{asked.StudyInstanceUID}\\{asked.RequestedProcedureID}"
    known, ended, booked = c.execute(sql("order_met"), {**_values(asked), "whole": whole}).fetchone()
    return Met(bool(known), bool(ended), bool(booked))


def _values(asked: Keys) -> dict[str, str | int | None]:
    return {
        "study": asked.StudyInstanceUID or None,
        "accession": asked.accession.value or None,
        "placer": asked.placer.value or None,
        "filler": asked.filler.value or None,
    }


def of_procedure(c: Connection, StudyInstanceUID: str, RequestedProcedureID: str) -> Order | None:
    """The order of that requested procedure."""
    values = {"study": StudyInstanceUID, "procedure": RequestedProcedureID}
    row = c.execute(sql("order_of_procedure"), values).fetchone()
    return None if row is None else order_of(c, row)


def of_patient(c: Connection, key: PatientKey) -> list[Order]:
    """The orders of a patient, latest changed first."""
    values = {"PatientID": key.PatientID, "issuer": key.issuer, "limit": MOST_ORDERS}
    return [order_of(c, row) for row in c.execute(sql("orders_of_patient"), values).fetchall()]


def order(c: Connection, number: int) -> Order | None:
    """The order of our number."""
    row = c.execute(sql("order_by_id"), {"id": number}).fetchone()
    return None if row is None else order_of(c, row)


def latest(c: Connection, *, number: str = "", limit: int) -> list[Order]:
    """Orders, latest changed first; with `number` those that have it as accession, patient or order number or study."""
    values = {"number": number, "limit": limit}
    return [order_of(c, row) for row in c.execute(sql("orders_latest"), values).fetchall()]


def write(c: Connection, order: Order, *, now: datetime, patient: Patient | None = None, listed: bool = True) -> Order:
    """Keeps the order and makes its worklist rows; the order as it is kept.

    `patient` saves looking it up. Without `listed` only rows that are there are written: an order that
    ended long ago has none.
    """
    whole, source = order.procedure, order.source
    patient = patient or patients.patient(c, order.patient)
    made = []
    if patient.identifiers:
        made = [_row(order, dataset) for dataset in order_rows.rows(_as_known(patient, order), whole, order.status)]
    if not listed:
        made = [row for row in made if c.execute(sql("order_row_there"), {"source": source, "key": row.key}).fetchone()]
    keys = tuple(row.key for row in made)
    values = {
        "id": order.id or None,
        "source": source,
        "StudyInstanceUID": whole.StudyInstanceUID,
        "RequestedProcedureID": whole.RequestedProcedureID,
        "AccessionNumber": whole.accession.value,
        "accession_issuer": whole.accession.issuer,
        "placer": whole.placer.value,
        "placer_issuer": whole.placer.issuer,
        "filler": whole.filler.value,
        "filler_issuer": whole.filler.issuer,
        "PatientID": order.patient.PatientID,
        "issuer": order.patient.issuer,
        "status": order.status,
        "content": _content().dump_json(whole).decode(),
        "keys": json.dumps(keys),
        **stamps(order.stamp),
        "now": to_text(now),
    }
    number = c.execute(sql("order_set"), values).fetchone()["id"]
    for key in set(order.keys) - set(keys):
        c.execute(sql("order_row_remove"), {"source": source, "key": key})
    worklist.merge_answer(c, source, rows=made, now=now)
    order_changes.note(c, order.patient, order=number, now=now)
    return replace(order, id=number, keys=keys)


def _as_known(patient: Patient, order: Order) -> Patient:
    """The patient with that number first by which the order knows it."""
    identifiers, key = patient.identifiers, order.patient
    if identifiers[0].value == key.PatientID:
        return patient
    first = Identifier(value=key.PatientID, authority=key.issuer)
    others = (each for each in identifiers if each.value != key.PatientID)
    return replace(patient, identifiers=(first, *others))


def _row(order: Order, dataset: DataSet) -> WorklistRow:
    whole = order.procedure
    return row_of(
        order.source,
        dataset,
        lambda value, _: value.decode("utf-8"),
        kind=Kind.HL7,
        stamp=order.stamp.event,
        minted=not whole.flags.isdisjoint(_MINTED),
        IssuerOfAccessionNumber=whole.accession.universal_id or whole.accession.authority,
        IssuerOfPatientID=order.patient.issuer,
    )


def alias(c: Connection, number: int, kind: str, value: str, issuer: str) -> None:
    """Another identifier by which the order is found."""
    c.execute(sql("order_alias_set"), {"kind": kind, "value": value, "issuer": issuer, "procedure": number})


def remember(c: Connection, order: Order, before: Procedure) -> None:
    """Keeps what the order was known by before as aliases."""
    whole = order.procedure
    if before.StudyInstanceUID != whole.StudyInstanceUID:
        alias(c, order.id, "study", before.StudyInstanceUID, "")
    if before.accession.value != whole.accession.value:
        alias(c, order.id, "accession", before.accession.value, before.accession.issuer)


def was_served(c: Connection, order: Order) -> bool:
    """Whether a scanner was shown the order, or sent images under its study."""
    shown = c.execute(sql("order_was_served"), {"keys": json.dumps(order.keys)}).fetchone()
    return shown is not None or has_images(c, order)


def has_images(c: Connection, order: Order) -> bool:
    """Whether images of its study were received."""
    return c.execute(sql("order_images"), {"study": order.procedure.StudyInstanceUID}).fetchone() is not None


def next_accession(c: Connection, prefix: str) -> str:
    """An accession number of our own: the prefix, then a number that never comes again."""
    number = c.execute(sql("accession_next")).fetchone()["last"]
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return prefix + digits.rjust(6, "0")


def set_aside(c: Connection, change: OrderChange, order: int, by: str, *, source: str, now: datetime) -> None:
    """Keeps an order that names another patient than the one known; the same one is kept once."""
    values = {
        "source": source,
        "procedure": order,
        "kind": by,
        "PatientID": change.patient.PatientID,
        "issuer": change.patient.issuer,
        "now": to_text(now),
    }
    c.execute(sql("order_conflict_add"), values)


def conflicts(c: Connection, *, limit: int) -> list[Conflict]:
    """The orders set aside that nobody settled, latest first."""
    return [
        Conflict(
            id=row["id"],
            source=row["source"],
            order=row["procedure"],
            kind=row["kind"],
            patient=PatientKey(row["issuer"], row["PatientID"]),
            at=from_text(row["at"]),
        )
        for row in c.execute(sql("order_conflicts"), {"limit": limit})
    ]


def settle(c: Connection, number: int, *, by: str, now: datetime) -> bool:
    """A person looked at the conflict; whether it was open. The alarm of its sender ends with the last one."""
    row = c.execute(sql("order_conflict_settle"), {"id": number, "by": by, "now": to_text(now)}).fetchone()
    if row is None:
        return False
    if not c.execute(sql("order_conflicts_left"), {"source": row["source"]}).fetchone()["left"]:
        audit.clear_alarm(c, code=CONFLICT, subject=row["source"], now=now)
    return True


def forget(
    c: Connection, *, orders_before: datetime, tombstones_before: datetime, appointments_before: datetime
) -> int:
    """Erases what was last changed, and not scheduled later, before then; their number. The rows of an order go with
    it."""
    before = {"before": to_text(orders_before)}
    gone = c.execute(sql("orders_forget"), {**before, "ended": json.dumps(sorted(ENDED))}).fetchall()
    c.executemany(sql("order_rows_forget"), ({"source": row["source"], "keys": row["keys"]} for row in gone))
    c.execute(sql("order_conflicts_forget"), before)
    order_changes.forget(c, before=orders_before)
    c.execute(sql("order_tombstones_forget"), {"before": to_text(tombstones_before)})
    c.execute(sql("appointments_forget"), {"before": to_text(appointments_before)})
    return len(gone)


def erase(c: Connection, PatientID: str) -> int:
    """Erases a patient's orders, demographics, appointments, conflicts, changes and other numbers; their number."""
    statements = (
        sql("order_change_erase"),
        sql("orders_erase"),
        sql("patient_erase"),
        sql("patient_alias_erase"),
        sql("appointment_erase"),
        sql("order_conflict_erase"),
    )
    return sum(c.execute(statement, {"PatientID": PatientID}).rowcount for statement in statements)


def order_of(c: Connection, row: Row) -> Order:
    """The order of a row of `requested_procedure`."""
    aliases = c.execute(sql("order_aliases"), {"procedure": row["id"]}).fetchall()
    return Order(
        id=row["id"],
        source=SourceName(row["source"]),
        patient=PatientKey(row["issuer"], row["PatientID"]),
        status=Status(row["status"]),
        stamp=stamp_of(row),
        procedure=_content().validate_json(json_text(row["content"])),
        keys=tuple(json.loads(row["keys"])),
        studies=frozenset(each["value"] for each in aliases if each["kind"] == "study"),
        accessions=frozenset(each["value"] for each in aliases if each["kind"] == "accession"),
        first_seen=from_text(row["first_seen"]),
        changed_at=from_text(row["changed_at"]),
    )
