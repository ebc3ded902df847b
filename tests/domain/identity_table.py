"""The table of the check (`identity_cases.toml`), read: a study, its orders, and the verdict on it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from gateway.domain.identity_model import (
    Before,
    Candidate,
    CheckPolicy,
    Header,
    Naming,
    Request,
    Shown,
    Study,
)
from gateway.domain.merge import Kind
from gateway.domain.model import UID, AETitle, SourceName
from gateway.domain.mpps import Performed, ScheduledReference
from gateway.domain.order_model import Code, Identifier, Patient, PatientKey, Procedure, Status, Step

TABLE = Path(__file__).with_name("identity_cases.toml")
NOW = datetime(2026, 7, 6, 10, 0, tzinfo=UTC)
"""When the study of the table is complete: a minute after its last image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study, and what is expected of the verdict."""

    name: str
    study: Study
    orders: tuple[Candidate, ...]
    policy: CheckPolicy
    decision: str
    because: str
    findings: tuple[str, ...] | None
    """Codes; None: not compared."""
    changes: Mapping[str, str]
    blocks: bool


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text("utf-8"))


def cases() -> Iterator[Case]:
    """Every case of the table."""
    for written in _table()["case"]:
        orders = written.get("orders", [{}])
        yield Case(
            name=written["name"],
            study=study(**written.get("study", {}), headers=written.get("headers", [{}])),
            orders=tuple(order(**one) for one in orders),
            policy=policy(**written.get("policy", {})),
            decision=written["decision"],
            because=written["because"],
            findings=tuple(written["findings"]) if "findings" in written else None,
            changes=written.get("changes", {}),
            blocks=written.get("blocks", False),
        )


def policy(**written: Any) -> CheckPolicy:
    """A policy; lists become what the field holds."""
    lists = {"emergency_aes": frozenset, "test_patients": tuple}
    return CheckPolicy(**{name: lists[name](value) if name in lists else value for name, value in written.items()})


def header(**written: Any) -> Header:
    """The header of the table, with these values over it."""
    values = {**_table()["header"], **written}
    values["PatientID"] = Identifier(value=values["PatientID"], authority=values.pop("IssuerOfPatientID", ""))
    values["accession"] = _number(values, "AccessionNumber")
    values["requests"] = tuple(request(**one) for one in values.pop("requests", ()))
    values["OtherPatientIDs"] = tuple(Identifier(value=one) for one in values.pop("OtherPatientIDs", ()))
    for name in ("undecodable", "invalid", "missing"):
        values[name] = tuple(values.get(name, ()))
    return Header(**values)


def request(**written: Any) -> Request:
    return Request(accession=_number(written, "AccessionNumber"), **written)


def _number(values: dict[str, Any], name: str) -> Identifier:
    return Identifier(value=values.pop(name, ""), authority=values.pop(f"IssuerOf{name}", ""))


def study(headers: list[dict[str, Any]], **written: Any) -> Study:
    """A study of these headers, received in the ten minutes before."""
    made = tuple(dict.fromkeys(header(**one) for one in headers))
    before = written.get("before")
    return Study(
        StudyInstanceUID=UID(made[0].StudyInstanceUID),
        headers=made,
        calling_aes=frozenset(map(AETitle, written.get("calling_aes", ["CT1"]))),
        first_received=NOW - timedelta(minutes=10),
        last_received=NOW - timedelta(minutes=1),
        performed=tuple(performed(**one) for one in written.get("performed", ())),
        patients=frozenset(Naming(key(one[0]), key(one[-1])) for one in written.get("patients", ())),
        before=None if before is None else Before(**before),
    )


def performed(**written: Any) -> Performed:
    """What a scanner said of a performed step."""
    references = tuple(
        ScheduledReference(
            **{
                name.name: one.get(name.name, "")  # type: ignore[misc]
                for name in fields(ScheduledReference)
            }
        )
        for one in written.pop("references", ())
    )
    return Performed(references=references, **written)


def key(written: str) -> PatientKey:
    """A patient, as "number" or "issuer|number"."""
    issuer, _, number = written.rpartition("|")
    return PatientKey(issuer, number)


def order(**written: Any) -> Candidate:
    """The order of the table, with these values over it."""
    values = {**_table()["order"], **written}
    patient_key = key(values.pop("PatientID"))
    steps = values.pop("steps", [{}])
    since = {name: NOW - timedelta(hours=values.pop(name)) for name in ("confirmed_at", "ended_at") if name in values}
    return Candidate(
        id=values.pop("id"),
        source=SourceName(values.pop("source", "main")),
        kind=Kind(values.pop("kind", "live")),
        key=patient_key,
        patient=Patient(
            identifiers=(Identifier(value=patient_key.PatientID, authority=patient_key.issuer),),
            **{name: values.pop(name) for name in ("PatientName", "PatientBirthDate", "PatientSex")},
        ),
        status=Status(values.pop("status", "SCHEDULED")),
        aliases=frozenset(map(key, values.pop("aliases", ()))),
        studies=frozenset(values.pop("studies", ())),
        accessions=frozenset(values.pop("accessions", ())),
        taken_by=frozenset(values.pop("taken_by", ())),
        shown=tuple(Shown(calling_ae=AETitle("CT1"), at=NOW, **one) for one in values.pop("shown", ())),
        performed=tuple(performed(**one) for one in values.pop("performed", ())),
        is_contradicted=values.pop("is_contradicted", False),
        procedure=Procedure(
            accession=_number(values, "AccessionNumber"),
            admission=Identifier(value=values.pop("AdmissionID", "")),
            steps=tuple(step(**one) for one in steps),
            flags=frozenset(values.pop("flags", ())),
            **values,
        ),
        **since,
    )


def step(**written: Any) -> Step:
    """The step of the table; `start` is in hours before the study is complete."""
    values = {**_table()["step"], **written}
    values["start"] = NOW - timedelta(hours=values["start"])
    values["ScheduledStationAETitle"] = tuple(values["ScheduledStationAETitle"])
    return Step(**values)


def described(candidate: Candidate, text: str) -> Candidate:
    """The order with another description and a code of that meaning."""
    codes = (Code(CodeValue="X", CodingSchemeDesignator="99X", CodeMeaning=text),)
    whole = replace(candidate.procedure, RequestedProcedureDescription=text, RequestedProcedureCodeSequence=codes)
    return replace(candidate, procedure=whole)
