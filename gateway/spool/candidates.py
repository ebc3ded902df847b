"""Every order that may be a study's, from all that the books hold: messages, worklists, the desk, what scanners were
shown, what they performed, and which numbers are one patient's.

Promises
- Nothing is decided here. What shares a number with the study, by any spelling the books know it by, or stands on the
  worklist of its scanner about its time, is handed over; the rules say which of them it is.
- An order that two sources tell is handed over twice; a row that left the copy is known by what was shown of it.
- Bounded: at most `MOST` orders, those scheduled nearest to the study's day first to be left out. If there were more,
  the books say so (`Found.complete`), and nothing may be concluded from there being no other order.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from gateway.domain import row_orders
from gateway.domain.desk import DESK
from gateway.domain.identity_model import Before, Candidate, Header, Naming, Shown
from gateway.domain.merge import Kind
from gateway.domain.model import AETitle, SourceName
from gateway.domain.mpps import Performed
from gateway.domain.order_model import PatientKey, Status
from gateway.domain.worklist import first_value, text
from gateway.spool import mpps, order_books, patients, worklist
from gateway.spool.checks import StudyKey, excerpt_of
from gateway.spool.datasets import decoder, read
from gateway.spool.db import Connection, Row
from gateway.spool.order_books import Order
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text
from gateway.spool.worklist import Attested

MOST: Final = 200
NEAR: Final = 60
"""Orders of a station's day that are handed over although they share no number."""
DAYS: Final = timedelta(days=1)
SHOWN_FOR: Final = timedelta(days=7)
WINDOW: Final = 500
"""Images before the study's first among which the study before it is looked for."""
_GONE: Final = {"done": Status.COMPLETED, "withdrawn": Status.CANCELED}
"""What became of a row that left the copy, by why it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the books hold for one study."""

    candidates: tuple[Candidate, ...]
    complete: bool
    performed: tuple[Performed, ...]
    patients: frozenset[Naming]
    before: Before | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A study, as far as orders are looked for by it."""

    study: StudyKey
    headers: Sequence[Header]
    scanners: Collection[AETitle]
    first_received: datetime
    zone: tzinfo
    AccessionNumber: str = ""
    """Of an order that a person named."""
    StudyInstanceUID: str = ""


def find(c: Connection, asked: Asked, *, now: datetime) -> Found:
    """Everything that is known beside the study's own headers."""
    return _Search(c, asked, now).found()


class _Search:
    """One look through the books: the numbers it goes by, and what it met."""

    def __init__(self, c: Connection, asked: Asked, now: datetime) -> None:
        self._c = c
        self._asked = asked
        self._now = now
        self._studies: set[str] = {asked.study, asked.StudyInstanceUID}
        self._accessions: set[str] = {asked.AccessionNumber}
        self._patients: set[str] = set()
        for header in asked.headers:
            self._studies |= {header.StudyInstanceUID, *(one.StudyInstanceUID for one in header.requests)}
            self._accessions |= {header.accession.value, *(one.accession.value for one in header.requests)}
            self._patients |= {header.PatientID.value, *(one.value for one in header.OtherPatientIDs)}
        self._aliases: defaultdict[str, set[tuple[PatientKey, PatientKey]]] = defaultdict(set)
        self._minted: list[Row] = []

    def found(self) -> Found:
        steps = self._steps({self._asked.study})
        for performed in steps:
            self._accessions |= {one.AccessionNumber for one in performed.references}
            self._studies |= {one.StudyInstanceUID for one in performed.references}
        self._follow_aliases()
        self._follow_desk()
        rows = self._rows(sql("candidate_rows"), near=NEAR, **self._days())
        self._studies |= {row["StudyInstanceUID"] for row in rows if row["kind"] == Kind.HL7}
        orders = [order_books.order_of(self._c, row) for row in self._rows(sql("candidate_orders"))]
        keys = {row["key"] for row in rows} | {key for order in orders for key in order.keys}
        served = self._rows(
            sql("candidate_served"),
            keys=_listed(keys),
            scanners=_listed(self._asked.scanners),
            since=to_text(self._now - SHOWN_FOR),
        )
        made = [*self._of_orders(orders, served), *self._of_rows(rows, served), *self._of_served(served, keys)]
        return Found(
            candidates=tuple(self._marked(made[:MOST], orders)),
            complete=max(len(made), len(rows), len(orders), len(served)) < MOST,
            performed=tuple(steps),
            patients=self._known_patients(made),
            before=self._before(),
        )

    # -- numbers --

    def _follow_aliases(self) -> None:
        for row in self._rows(sql("candidate_aliases")):
            old, new = PatientKey(row["issuer"], row["PatientID"]), PatientKey(row["to_issuer"], row["to_PatientID"])
            self._aliases[new.PatientID].add((new, old))
            self._patients |= {old.PatientID, new.PatientID}

    def _given_up_for(self, key: PatientKey) -> frozenset[PatientKey]:
        """Numbers that were merged into a patient's. Two issuers may have the same number for two patients: where
        nobody said whose the key is, and several have it, none counts."""
        merged = [(new, old) for new, old in self._aliases.get(key.PatientID, ()) if new.may_be(key)]
        if not key.issuer and len({new.issuer for new, _ in merged}) > 1:
            return frozenset()
        return frozenset(old for _, old in merged)

    def _follow_desk(self) -> None:
        """What the desk minted stands for the order that was linked to it."""
        self._minted = self._rows(sql("candidate_desk"))
        for row in self._minted:
            self._accessions.add(row["AccessionNumber"])
            self._studies.add(row["StudyInstanceUID"])
            self._patients.add(row["PatientID"])

    def _known_patients(self, made: Sequence[Candidate]) -> frozenset[Naming]:
        told = {PatientKey(row["issuer"], row["PatientID"]) for row in self._rows(sql("candidate_patients"))}
        told |= {one.key for one in made if one.key.PatientID in self._patients}
        merged = {old for pairs in self._aliases.values() for _, old in pairs}
        return frozenset(Naming(key, patients.resolve(self._c, key).key) for key in told | merged)

    def _rows(self, statement: str, **more: Any) -> list[Row]:
        values = {
            "studies": _listed(self._studies),
            "accessions": _listed(self._accessions),
            "patients": _listed(self._patients),
            "limit": MOST,
        }
        return self._c.execute(statement, values | more).fetchall()

    def _days(self) -> dict[str, str]:
        day = self._asked.first_received.astimezone(self._asked.zone)
        stations = {ae.upper().replace(" ", "") for ae in self._asked.scanners}
        stations |= {one.PerformedStationAETitle.upper().replace(" ", "") for one in self._asked.headers}
        return {
            "stations": _listed(stations),
            "first": f"{day - DAYS:%Y%m%d}",
            "last": f"{day + DAYS:%Y%m%d}",
        }

    # -- orders --

    def _of_orders(self, orders: Sequence[Order], served: Sequence[Row]) -> Iterator[Candidate]:
        heard: dict[str, datetime] = {}
        for order in orders:
            if order.source not in heard:
                row = self._c.execute(sql("candidate_heard"), {"sender": order.source}).fetchone()
                heard[order.source] = from_text(row["received_at"]) if row else order.stamp.message
            known = patients.patient(self._c, order.patient)
            first = next((one for one in known.identifiers if one.value == order.patient.PatientID), None)
            yield Candidate(
                id=f"order {order.id}",
                source=order.source,
                kind=Kind.HL7,
                key=order.patient,
                patient=replace(known, identifiers=(first, *known.identifiers) if first else known.identifiers),
                procedure=order.procedure,
                status=order.status,
                confirmed_at=max(heard[order.source], order.stamp.message),
                ended_at=order.stamp.event if order.status in {Status.COMPLETED, Status.DISCONTINUED} else None,
                studies=order.studies,
                accessions=order.accessions,
                shown=_shown(served, set(order.keys)),
            )

    def _of_rows(self, rows: Sequence[Row], served: Sequence[Row]) -> Iterator[Candidate]:
        attested = worklist.attested(self._c)
        for row in rows:
            if row["kind"] == Kind.HL7:
                continue
            made = self._of_dataset(row, row["dataset"], shown=_shown(served, {row["key"]}))
            confirmed = _confirmed(row, attested.get(SourceName(row["source"])))
            status = _status(row["status"])
            yield replace(made, kind=Kind(row["kind"]), confirmed_at=confirmed, status=status)

    def _of_served(self, served: Sequence[Row], keys: Collection[str]) -> Iterator[Candidate]:
        """Orders whose row left the copy: the last that was shown of each."""
        met: set[tuple[str, str]] = set()
        for row in served:
            name = (row["source"], row["key"])
            if row["key"] in keys or name in met or row["source"] == DESK:
                continue
            met.add(name)
            made = self._of_dataset(row, row["dataset"], shown=_shown(served, {row["key"]}))
            last = from_text(row["last_served"])
            status = _GONE.get(row["reason"], Status.SCHEDULED)
            yield replace(made, status=status, confirmed_at=last, ended_at=last if row["reason"] == "done" else None)

    def _of_dataset(self, row: Row, encoded: bytes, *, shown: tuple[Shown, ...]) -> Candidate:
        syntax = row["transfer_syntax"] if "transfer_syntax" in row.keys() else None  # noqa: SIM118 -- a Row's `in` asks its values
        dataset = read(encoded) if syntax is None else read(encoded, syntax)
        decode = decoder(dataset)
        patient = row_orders.patient_of(dataset, decode)
        procedure = row_orders.procedure_of(dataset, decode, self._asked.zone)
        if syntax is not None:  # what was shown may be cut or in other letters; the numbers are kept as they came
            first, *others = patient.identifiers or (row_orders.NOBODY,)
            patient = replace(patient, identifiers=(replace(first, value=row["PatientID"]), *others))
            procedure = replace(
                procedure,
                StudyInstanceUID=row["StudyInstanceUID"],
                RequestedProcedureID=row["RequestedProcedureID"],
                accession=replace(procedure.accession, value=row["AccessionNumber"]),
            )
        number = patient.identifiers[0] if patient.identifiers else row_orders.NOBODY
        name = hashlib.blake2b(f"{row['source']}\\{row['key']}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        return Candidate(
            id=f"row {name}",
            source=SourceName(row["source"]),
            kind=Kind.LIVE,
            key=PatientKey(number.issuer, number.value),
            patient=patient,
            procedure=procedure,
            status=Status.SCHEDULED,
            confirmed_at=self._now,
            shown=shown,
        )

    def _marked(self, made: Sequence[Candidate], orders: Sequence[Order]) -> Iterator[Candidate]:
        """Each with what is known of it from elsewhere."""
        conflicts = {
            f"order {row['procedure']}"
            for row in self._c.execute(sql("candidate_conflicts"), {"orders": _listed(order.id for order in orders)})
        }
        taken: defaultdict[str, set[str]] = defaultdict(set)
        values = {"orders": _listed(one.id for one in made), "study": self._asked.study}
        for row in self._c.execute(sql("candidate_bound"), values):
            taken[row["bound"]].add(row["PatientID"])
        steps = self._steps({one.procedure.StudyInstanceUID for one in made})
        for one in made:
            studies, accessions, aliases = self._desk_names(one)
            yield replace(
                one,
                studies=one.studies | studies,
                accessions=one.accessions | accessions,
                aliases=aliases | self._given_up_for(one.key),
                performed=tuple(step for step in steps if _names(step, one)),
                is_contradicted=one.id in conflicts,
                taken_by=frozenset(taken.get(one.id, ())),
            )

    def _desk_names(self, one: Candidate) -> tuple[frozenset[str], frozenset[str], frozenset[PatientKey]]:
        linked = [
            row
            for row in self._minted
            if row["AccessionNumber"] == one.procedure.accession.value and row["source"] == one.source
        ]
        return (
            frozenset(row["minted_study"] for row in linked),
            frozenset(row["minted_accession"] for row in linked),
            frozenset(
                PatientKey(row["minted_issuer"], row["minted_patient"]) for row in linked if row["minted_issuer"]
            ),
        )

    # -- what was performed, and before --

    def _steps(self, studies: Collection[str]) -> list[Performed]:
        rows = self._c.execute(sql("candidate_steps"), {"studies": _listed(studies), "limit": MOST}).fetchall()
        of_step: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            of_step[row["id"]].append(row)
        return [Performed(**mpps.told(found[0], found)) for found in of_step.values()]

    def _before(self) -> Before | None:
        values = {"study": self._asked.study, "scanners": _listed(self._asked.scanners), "window": WINDOW}
        row = self._c.execute(sql("candidate_before"), values).fetchone()
        if row is None:
            return None
        header = excerpt_of(row).header()
        return Before(
            PatientID=header.PatientID.value, PatientSize=header.PatientSize, PatientWeight=header.PatientWeight
        )


def _listed(values: Any) -> str:
    return json.dumps(sorted({value for value in values if value != ""}))


def _confirmed(row: Row, attested: Attested | None) -> datetime:
    last: str = row["last_confirmed"]
    if (
        row["kind"] == Kind.LIVE
        and attested is not None
        and row["missed"] == 0
        and attested.window[0] <= row["start_date"] <= attested.window[1]
    ):
        last = max(last, attested.last_complete)
    return from_text(last)


def _status(told: str) -> Status:
    word = {"CANCELLED": "CANCELED", "READY": "ARRIVED", "DEPARTED": "STARTED"}.get(told, told)
    return Status(word) if word in set(Status) else Status.SCHEDULED


def _shown(served: Sequence[Row], keys: Collection[str]) -> tuple[Shown, ...]:
    return tuple(_as_shown(row) for row in served if row["key"] in keys)


def _as_shown(row: Row) -> Shown:
    dataset = read(row["dataset"], row["transfer_syntax"])
    decode = decoder(dataset)
    return Shown(
        calling_ae=AETitle(row["calling_ae"]),
        at=from_text(row["last_served"]),
        StudyInstanceUID=row["StudyInstanceUID"],
        AccessionNumber=row["AccessionNumber"],
        RequestedProcedureID=row["RequestedProcedureID"],
        ScheduledProcedureStepID=row["ScheduledProcedureStepID"],
        PatientID=first_value(text(dataset, 0x00100020, decode)),
        PatientName=text(dataset, 0x00100010, decode),
        PatientBirthDate=text(dataset, 0x00100030),
        PatientSex=text(dataset, 0x00100040),
    )


def _names(step: Performed, order: Candidate) -> bool:
    """Whether a performed step says that it was performed for this order."""
    whole = order.procedure
    return any(
        (one.StudyInstanceUID and one.StudyInstanceUID == whole.StudyInstanceUID)
        or (one.AccessionNumber and one.AccessionNumber == whole.accession.value)
        for one in step.references
    )
