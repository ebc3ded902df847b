"""A study beside one order: how each value stands to it, and what is found.

Promises
- A study stands to an order as its worst image does: one that differs is not outvoted.
- What was done is compared with what was ordered; none of it is ever changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from gateway.domain import likeness
from gateway.domain.checks import Code, finding
from gateway.domain.header_checks import is_group_case
from gateway.domain.identity_changes import has_of, value_of
from gateway.domain.identity_evidence import Gathered, accession_relation, is_about_time, patient_relation, was_shown
from gateway.domain.identity_model import Candidate, CheckPolicy, Finding, Header, Relation, Study
from gateway.domain.merge import Kind
from gateway.domain.order_model import ENDED, Flag, Identifier, Status
from gateway.domain.worklist import date_of

WRONG_ENTRY: Final = "110514^DCM"
"""Incorrect worklist entry selected (PS3.16 CID 9300)."""
UNFIT: Final = frozenset(
    {
        Code.ORDER_STALE,
        Code.ORDER_CONTRADICTED,
        Code.ORDER_ENDED,
        Code.ORDER_PROVISIONAL,
        Code.ORDER_TAKEN,
        Code.PATIENT_ID_AMBIGUOUS,
        Code.ACCESSION_AMBIGUOUS,
    }
)
"""Findings with which an order may be right, but proves nothing."""
_WORST: Final = (
    Relation.EQUAL,
    Relation.UNKNOWN,
    Relation.ALIAS,
    Relation.MISSING,
    Relation.SLIP,
    Relation.DIFFERENT,
)
_GROUPS: Final = (
    frozenset({"CR", "DX", "RF", "DR", "RG", "PX", "IO"}),
    frozenset({"CT", "PT", "NM", "ST"}),
    frozenset({"MR", "PT"}),
    frozenset({"US", "IVUS", "ES", "BDUS"}),
    frozenset({"XA", "RF", "CT"}),
    frozenset({"MG", "DX", "CR", "BI"}),
)
"""Modalities that one order may lead to."""
_BESIDE: Final = frozenset({
    "", "SR", "PR", "KO", "SC", "OT", "DOC", "SEG", "REG", "AU", "HD", "ECG", "EPS", "FID", "PLAN",
})  # fmt: skip
"""Modalities of objects that come beside images of any other."""
_SIDES: Final = frozenset({"L", "R"})
FORMS: Final = {"PatientID": Code.PATIENT_ID_FORM, "AccessionNumber": Code.ACCESSION_FORM}
"""Numbers that are equal however they are written, and still should be written as the order has them."""
CODES: Final[Mapping[tuple[str, Relation], Code]] = {
    ("PatientID", Relation.MISSING): Code.PATIENT_ID_MISSING,
    ("PatientID", Relation.ALIAS): Code.PATIENT_ID_ALIAS,
    ("PatientID", Relation.SLIP): Code.PATIENT_ID_SLIP,
    ("PatientID", Relation.DIFFERENT): Code.PATIENT_ID_DIFFERS,
    ("PatientName", Relation.MISSING): Code.NAME_MISSING,
    ("PatientName", Relation.ALIAS): Code.NAME_SLIP,
    ("PatientName", Relation.SLIP): Code.NAME_SLIP,
    ("PatientName", Relation.DIFFERENT): Code.NAME_DIFFERS,
    ("PatientBirthDate", Relation.MISSING): Code.BIRTH_DATE_MISSING,
    ("PatientBirthDate", Relation.ALIAS): Code.BIRTH_DATE_SLIP,
    ("PatientBirthDate", Relation.SLIP): Code.BIRTH_DATE_SLIP,
    ("PatientBirthDate", Relation.DIFFERENT): Code.BIRTH_DATE_DIFFERS,
    ("PatientSex", Relation.MISSING): Code.SEX_MISSING,
    ("PatientSex", Relation.DIFFERENT): Code.SEX_DIFFERS,
    ("AccessionNumber", Relation.MISSING): Code.ACCESSION_MISSING,
    ("AccessionNumber", Relation.ALIAS): Code.ACCESSION_ALIAS,
    ("AccessionNumber", Relation.SLIP): Code.ACCESSION_DIFFERS,
    ("AccessionNumber", Relation.DIFFERENT): Code.ACCESSION_DIFFERS,
}


def relations(study: Study, order: Candidate, found: Gathered) -> dict[str, Relation]:
    """How the identity of the study stands to the order's, by keyword: as its worst image does."""
    worst: dict[str, Relation] = {}
    for attribute, relation in each_relation(study, order, found):
        worst[attribute] = max(worst.get(attribute, Relation.EQUAL), relation, key=_WORST.index)
    return worst


def each_relation(study: Study, order: Candidate, found: Gathered) -> Iterator[tuple[str, Relation]]:
    """How each image stands to the order."""
    for header in study.headers:
        yield from _of_header(header, study, order, found)


def _of_header(header: Header, study: Study, order: Candidate, found: Gathered) -> Iterator[tuple[str, Relation]]:
    patient = order.patient
    name = likeness.name(header.PatientName, patient.PatientName)
    born = likeness.birth_date(header.PatientBirthDate, patient.PatientBirthDate)
    if was_shown(order, header, study):
        # What the order said when the scanner asked: whatever it says now, the header is of this order
        name = Relation.ALIAS if name in _CHANGED else name
        born = Relation.ALIAS if born in _CHANGED else born
    yield "PatientID", patient_relation(order, header.PatientID, found.who)
    yield "PatientName", name
    yield "PatientBirthDate", born
    yield "PatientSex", likeness.sex(header.PatientSex, patient.PatientSex)
    yield "AccessionNumber", Relation.EQUAL if is_group_case(header) else accession_relation(order, _accession(header))


_CHANGED: Final = frozenset({Relation.SLIP, Relation.DIFFERENT})


def _accession(header: Header) -> Identifier:
    """The accession number, else the one that the request names."""
    if header.accession.value or len(header.requests) != 1:
        return header.accession
    return header.requests[0].accession


def differences(study: Study, order: Candidate, stands: Mapping[str, Relation]) -> Iterator[Finding]:
    """A finding for each attribute that differs from the order's, and for each form of it."""
    for attribute, relation in stands.items():
        code = CODES.get((attribute, relation))
        expected = value_of(order, attribute)
        has = max((has_of(header, attribute) for header in study.headers), key=lambda each: (each != expected, each))
        if code is Code.NAME_SLIP and likeness.is_damaged(has, expected):
            code = Code.NAME_DAMAGED
        if code is not None:
            yield finding(code, attribute, has=has, expected=expected)
        elif relation is Relation.EQUAL and has != expected and attribute in FORMS and has:
            yield finding(FORMS[attribute], attribute, has=has, expected=expected)
    issuer = order.key.issuer
    if stands["PatientID"] is Relation.EQUAL and issuer and any(not h.PatientID.issuer for h in study.headers):
        yield finding(Code.ISSUER_MISSING, "IssuerOfPatientID", expected=issuer)


# -- whether the order is fit for it --


def fitness(study: Study, order: Candidate, policy: CheckPolicy, now: datetime) -> Iterator[Finding]:
    """What speaks against the order itself."""
    if order.kind is Kind.DESK:
        yield finding(Code.ORDER_PROVISIONAL)
    if order.is_contradicted:
        yield finding(Code.ORDER_CONTRADICTED)
    if now - order.confirmed_at > policy.order_age:
        yield finding(Code.ORDER_STALE)
    if order.status in ENDED and (
        order.status is not Status.COMPLETED or order.ended_at is None or now - order.ended_at > policy.ended_for
    ):
        yield finding(Code.ORDER_ENDED)
    mine = {likeness.canonical(header.PatientID.value) for header in study.headers} | {""}
    theirs = {likeness.canonical(number) for number in order.taken_by}
    same = {likeness.canonical(key.PatientID) for key in (order.key, *order.aliases)}
    if theirs - mine - same:
        yield finding(Code.ORDER_TAKEN)


def examination(study: Study, order: Candidate, policy: CheckPolicy) -> Iterator[Finding]:
    """What was done against what was ordered."""
    steps = order.procedure.steps
    done = {header.Modality.upper() for header in study.headers} - _BESIDE
    asked = {step.Modality.upper() for step in steps} - _BESIDE
    told = Flag.MODALITY_DEFAULTED not in order.procedure.flags
    if done and asked and told and not any(may_be(one, other) for one in done for other in asked):
        yield finding(Code.MODALITY_DIFFERS, "Modality", has="\\".join(sorted(done)), expected="\\".join(sorted(asked)))
    sides = {step.laterality for step in steps} & _SIDES
    shown = {header.laterality.upper() for header in study.headers} & _SIDES
    if len(sides) == 1 and shown and not sides & shown and not any(step.laterality == "B" for step in steps):
        yield finding(Code.LATERALITY_DIFFERS, "Laterality", has=min(shown), expected=min(sides))
    uids = {header.StudyInstanceUID for header in study.headers}
    if order.procedure.StudyInstanceUID and not uids & {order.procedure.StudyInstanceUID, *order.studies}:
        yield finding(Code.STUDY_NOT_ORDERED, "StudyInstanceUID")
    scheduled = [step for step in steps if step.start is not None and is_about_time(step, study, policy)]
    for header in study.headers:
        day = date_of(header.StudyDate)
        received = study.first_received.astimezone(policy.zone).date()
        if scheduled and day is not None and received - day > timedelta(days=2):
            yield finding(Code.CLOCK_WRONG, "StudyDate", has=header.StudyDate)
    yield from _steps(study, order)


def may_be(done: str, asked: str) -> bool:
    """Whether an order for one modality may lead to images of the other."""
    return done == asked or any(done in group and asked in group for group in _GROUPS)


def _steps(study: Study, order: Candidate) -> Iterator[Finding]:
    asked = likeness.canonical(order.procedure.RequestedProcedureID)
    for header in study.headers:
        named = {likeness.canonical(one.RequestedProcedureID) for one in header.requests} - {""}
        if asked and named and asked not in named and Flag.PROCEDURE_GENERATED not in order.procedure.flags:
            yield finding(Code.STEP_DIFFERS, "RequestedProcedureID", expected=order.procedure.RequestedProcedureID)
    mine = {performed.PerformedProcedureStepID for performed in study.performed}
    if any(step.status == "COMPLETED" and step.PerformedProcedureStepID not in mine for step in order.performed):
        yield finding(Code.STEP_DONE)
