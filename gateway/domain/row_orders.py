"""A worklist row as an order: the other way of `order_rows`, for rows that a RIS or the desk made (PS3.4 table K.6-1).

Promises: nothing is made up; what a row does not say is unknown. A row is one step, so its order has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from gateway.domain.order_model import Code, Identifier, Patient, Procedure, Step
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    ADMISSION_ID,
    ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    ISSUER_OF_PATIENT_ID,
    LOCAL_NAMESPACE_ENTITY_ID,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    REQUESTED_PROCEDURE_ID,
    SCHEDULED_STATION_AE_TITLE,
    SPS_ID,
    SPS_SEQUENCE,
    SPS_START_DATE,
    SPS_START_TIME,
    STUDY_INSTANCE_UID,
    UNIVERSAL_ENTITY_ID,
    DataSet,
    Decode,
    all_values,
    date_of,
    first_value,
    items,
    text,
    time_at,
    time_span,
)

NOBODY = Identifier(value="")
"""The number of a row that names no patient."""
_UNIVERSAL_TYPE = 0x00400033


def patient_of(row: DataSet, decode: Decode) -> Patient:
    """Whom it is scheduled for."""
    number = Identifier(
        value=first_value(text(row, PATIENT_ID, decode)),
        authority=first_value(text(row, ISSUER_OF_PATIENT_ID, decode)),
        **_universal(next(iter(items(row, 0x00100024)), {}), decode),
    )
    others = (
        Identifier(
            value=first_value(text(item, PATIENT_ID, decode)),
            authority=first_value(text(item, ISSUER_OF_PATIENT_ID, decode)),
        )
        for item in items(row, 0x00101002)
    )
    return Patient(
        identifiers=tuple(one for one in (number, *others) if one.value),
        PatientName=text(row, PATIENT_NAME, decode),
        PatientBirthDate=_day(text(row, 0x00100030)),
        PatientSex=text(row, 0x00100040).upper(),
    )


def procedure_of(row: DataSet, decode: Decode, zone: tzinfo) -> Procedure:
    """What is to be done; its step starts in the site's zone."""
    issuer = next(iter(items(row, ISSUER_OF_ACCESSION_NUMBER_SEQUENCE)), {})
    return Procedure(
        StudyInstanceUID=first_value(text(row, STUDY_INSTANCE_UID)),
        RequestedProcedureID=first_value(text(row, REQUESTED_PROCEDURE_ID, decode)),
        accession=Identifier(
            value=first_value(text(row, ACCESSION_NUMBER, decode)),
            authority=text(issuer, LOCAL_NAMESPACE_ENTITY_ID, decode),
            **_universal(issuer, decode),
        ),
        RequestedProcedureDescription=text(row, 0x00321060, decode),
        RequestedProcedureCodeSequence=tuple(_codes(row, 0x00321064, decode)),
        RequestedProcedurePriority=text(row, 0x00401003, decode),
        RequestingPhysician=text(row, 0x00321032, decode),
        ReferringPhysicianName=text(row, 0x00080090, decode),
        InstitutionName=text(row, 0x00080080, decode),
        admission=Identifier(value=text(row, ADMISSION_ID, decode)),
        steps=tuple(_step(step, decode, zone) for step in items(row, SPS_SEQUENCE)),
    )


def _step(step: DataSet, decode: Decode, zone: tzinfo) -> Step:
    day, span = date_of(first_value(text(step, SPS_START_DATE))), time_span(first_value(text(step, SPS_START_TIME)))
    start = None if day is None else datetime.combine(day, time_at(span[0] if span else 0), zone)
    return Step(
        ScheduledProcedureStepID=first_value(text(step, SPS_ID, decode)),
        Modality=first_value(text(step, MODALITY)).upper(),
        ScheduledStationAETitle=all_values(text(step, SCHEDULED_STATION_AE_TITLE)),
        start=start,
        ScheduledProcedureStepDescription=text(step, 0x00400007, decode),
        ScheduledProtocolCodeSequence=tuple(_codes(step, 0x00400008, decode)),
        ScheduledStationName=text(step, 0x00400010, decode),
    )


def _codes(dataset: DataSet, tag: int, decode: Decode) -> Iterator[Code]:
    for item in items(dataset, tag):
        yield Code(
            CodeValue=text(item, 0x00080100, decode),
            CodingSchemeDesignator=text(item, 0x00080102, decode),
            CodeMeaning=text(item, 0x00080104, decode),
        )


def _universal(item: DataSet, decode: Decode) -> dict[str, str]:
    return {
        "universal_id": text(item, UNIVERSAL_ENTITY_ID, decode),
        "universal_id_type": text(item, _UNIVERSAL_TYPE),
    }


def _day(value: str) -> str:
    day = date_of(value)
    return "" if day is None else day.isoformat().replace("-", "")
