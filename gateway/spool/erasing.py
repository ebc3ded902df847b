"""Erasing a patient from the books of worklist, orders and check, when a person or the law asks for it.

Promises
- Rows, orders, snapshots, entries of the desk, the memory of removed rows, HL7 messages as received and every question
  that names the patient are gone after the commit. So is what the check keeps of a study of which no image is here
  any more. So are performed procedure steps and what was told of orders, but for those that a RIS has not taken: these
  are its due, and go with their retention, or when they were dismissed before. The place of all that goes is
  overwritten in the database, and in its log once that begins anew.
  A question names the patient if it asks by a name or an identifier, and finds him by them.
- The journal says that, when and by whom something was erased, and how much; nothing of the patient.
- A RIS that still has the patient sends the row again: it is to be erased there first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.hl7_naming import names_patient
from gateway.domain.matching import PATIENT_KEYS, TagPath, compile_query
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    PATIENT_ID,
    REQUESTED_PROCEDURE_ID,
    SPS_ID,
    SPS_SEQUENCE,
    STUDY_INSTANCE_UID,
    DataSet,
    Element,
)
from gateway.spool import audit, checks, desk, messages, mpps, order_books, orders_out
from gateway.spool.datasets import decoder, read
from gateway.spool.db import Connection
from gateway.spool.queries import sql

_IDENTIFIERS: Final = {
    ACCESSION_NUMBER: ("SH", "AccessionNumber"),
    PATIENT_ID: ("LO", "PatientID"),
    STUDY_INSTANCE_UID: ("UI", "StudyInstanceUID"),
    REQUESTED_PROCEDURE_ID: ("SH", "RequestedProcedureID"),
}
"""What a snapshot tells of its row beside the response: VR and column by tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much was erased."""

    rows: int
    snapshots: int
    queries: int
    entries: int
    """Of the downtime desk."""
    orders: int = 0
    """That came as messages, and what waited for one."""
    steps: int = 0
    """Performed."""
    studies: int = 0
    """Of the check, whose images are gone."""
    messages: int = 0
    """As received."""
    told: int = 0
    """Messages about orders that their RIS has taken."""


def erase_patient(c: Connection, PatientID: str, *, now: datetime, by: str) -> Erased:
    """Erases the patient of exactly this Patient ID. Raises ValueError if it is empty."""
    patient = {"PatientID": PatientID.strip(" \0")}
    if not patient["PatientID"]:
        raise ValueError("PatientID is empty: name the patient to be erased")
    c.execute("PRAGMA secure_delete = ON")
    entries = desk.of_patient(c, patient["PatientID"])
    minted = {entry.PatientID for entry in entries if entry.mints_patient}
    known = [patient, *({"PatientID": one} for one in minted - {patient["PatientID"]})]
    naming = {asked for one in known for asked in _naming(c, one)}

    def names(raw: bytes) -> bool:
        return any(names_patient(raw, one["PatientID"]) for one in known)

    for entry in entries:
        desk.forget(c, entry, now=now, by=by)
    erased = Erased(
        queries=sum(c.execute(sql("query_erase"), {"identifier": asked}).rowcount for asked in naming),
        rows=sum(c.execute(sql("erase_rows"), one).rowcount for one in known),
        snapshots=sum(c.execute(sql("erase_served"), one).rowcount for one in known),
        entries=len(entries),
        orders=sum(order_books.erase(c, one["PatientID"]) for one in known),
        steps=sum(mpps.erase(c, one["PatientID"]) for one in known),
        studies=sum(checks.erase(c, one["PatientID"]) for one in known),
        messages=messages.erase(c, names, now=now),
        told=orders_out.erase(c, names),
    )
    c.executemany(sql("erase_removals"), known)
    audit.journal(
        c,
        audit.Subject.WORKLIST,
        "patient",
        before="kept",
        after="erased",
        now=now,
        by=by,
        why=f"{erased.rows} rows, {erased.snapshots} snapshots, {erased.queries} queries,"
        f" {erased.entries} desk entries, {erased.orders} orders, {erased.steps} performed steps,"
        f" {erased.studies} studies, {erased.messages} messages received, {erased.told} told",
    )
    return erased


def _naming(c: Connection, patient: dict[str, str]) -> Iterator[bytes]:
    """The identifiers of the questions that name the patient."""
    known: list[DataSet] = [{PATIENT_ID: Element("LO", patient["PatientID"].encode())}]
    for row in c.execute(sql("erase_rows_known"), patient):
        known.append(read(row["dataset"]))
    for row in c.execute(sql("erase_served_known"), patient):
        identifiers = {tag: Element(vr, row[name].encode()) for tag, (vr, name) in _IDENTIFIERS.items()}
        known.append({**read(row["dataset"], row["transfer_syntax"]), **identifiers})
    for (asked,) in c.execute(sql("query_identifiers")).fetchall():
        if _finds(asked, known):
            yield asked


def _finds(asked: bytes, known: Iterable[DataSet]) -> bool:
    """Whether a question asks for a person or an order, and this is one that it finds."""
    identifier = read(asked)
    query = compile_query(identifier, decoder(identifier))
    return query.is_patient_based and any(
        not any(_is_personal(path) for path in query.failing(row, decoder(row))) for row in known
    )


def _is_personal(path: TagPath) -> bool:
    return path[0] in PATIENT_KEYS or path[-1] == SPS_ID or path == (SPS_SEQUENCE,)
