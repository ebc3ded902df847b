"""What an order says, whichever message brought it: patient, requested procedure, scheduled procedure steps.

Fields are named for the DICOM attribute they become (PS3.3 C.4.10 to C.4.12, C.2.2 to C.2.4); their text is
free of escapes and of the separators of HL7, not yet cut to a VR. A message says of each field a new value,
its deletion, or nothing: that is a `Given`, and `changed` lays it over what is known. An empty field is
unknown.

The identity of an order is its Requested Procedure: (StudyInstanceUID, RequestedProcedureID).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

Given: TypeAlias = Mapping[str, Any]
"""Fields that a message spoke of: the value, or None for "delete it" (the HL7 null)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """A value and who issued it: HL7 CX and EI, DICOM PS3.3 table 10-17 (HL7v2 Hierarchic Designator)."""

    value: str
    authority: str = ""
    """Local Namespace Entity ID (0040,0031)."""
    universal_id: str = ""
    universal_id_type: str = ""
    """Universal Entity ID Type (0040,0033): ISO, DNS, ..."""
    type: str = ""
    """HL7 table 0203: MR, NI, ..."""

    @property
    def issuer(self) -> str:
        """What two spellings of one authority are compared by; empty if nobody is named."""
        return self.authority or self.universal_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded entry, PS3.3 table 8.8-1. Without a scheme it is never sent, but it may tell the modality."""

    CodeValue: str
    CodingSchemeDesignator: str
    CodeMeaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Who is examined. Address, phone, language and the like are not taken over: nobody at a scanner needs them."""

    identifiers: tuple[Identifier, ...] = ()
    """The first becomes PatientID, the others Other Patient IDs."""
    PatientName: str = ""
    """Up to three component groups, parted by equals signs."""
    PatientBirthDate: str = ""
    """YYYYMMDD or empty."""
    PatientSex: str = ""
    """M, F, O or empty."""
    PatientWeight: str = ""
    """Kilograms."""
    PatientSize: str = ""
    """Metres."""
    PregnancyStatus: int = 0
    """1 to 4 as PS3.3 C.2.4; 0 is unknown to us and not sent."""
    MedicalAlerts: tuple[str, ...] = ()
    Allergies: tuple[str, ...] = ()
    SpecialNeeds: str = ""
    PatientState: str = ""
    ConfidentialityConstraintOnPatientDataDescription: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One scheduled procedure step."""

    ScheduledProcedureStepID: str = ""
    Modality: str = ""
    ScheduledStationAETitle: tuple[str, ...] = ()
    start: datetime | None = None
    """In the site's time zone."""
    ScheduledPerformingPhysicianName: str = ""
    ScheduledProcedureStepDescription: str = ""
    ScheduledProtocolCodeSequence: tuple[Code, ...] = ()
    laterality: str = ""
    """L, R, B or empty."""
    ScheduledStationName: str = ""
    ScheduledProcedureStepLocation: str = ""
    PreMedication: str = ""
    CommentsOnTheScheduledProcedureStep: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """A requested procedure with the visit it belongs to and all its steps."""

    StudyInstanceUID: str = ""
    RequestedProcedureID: str = ""
    procedure_issuer: str = ""
    accession: Identifier = Identifier(value="")
    placer: Identifier = Identifier(value="")
    """Placer Order Number / Imaging Service Request (0040,2016)."""
    filler: Identifier = Identifier(value="")
    """Filler Order Number / Imaging Service Request (0040,2017)."""
    RequestedProcedureDescription: str = ""
    RequestedProcedureCodeSequence: tuple[Code, ...] = ()
    RequestedProcedurePriority: str = ""
    PatientTransportArrangements: str = ""
    ReasonForTheRequestedProcedure: str = ""
    ReasonForRequestedProcedureCodeSequence: tuple[Code, ...] = ()
    RequestedProcedureComments: str = ""
    RequestedContrastAgent: str = ""
    ConfidentialityCode: str = ""
    RequestingPhysician: str = ""
    ReferringPhysicianName: str = ""
    InstitutionName: str = ""
    InstitutionAddress: str = ""
    InstitutionalDepartmentName: str = ""
    admission: Identifier = Identifier(value="")
    CurrentPatientLocation: str = ""
    steps: tuple[Step, ...] = ()
    flags: frozenset[str] = frozenset()
    """What is not the sender's word but ours: see `Flag`."""


class Flag(StrEnum):
    """What we made or changed of an order, so that it never counts as evidence by itself."""

    STUDY_GENERATED = "study-generated"
    PROCEDURE_GENERATED = "procedure-id-generated"
    ACCESSION_GENERATED = "accession-generated"
    ACCESSION_SURROGATE = "accession-surrogate"
    STEP_GENERATED = "step-id-generated"
    TIME_DEFAULTED = "time-defaulted"
    STATION_DEFAULTED = "station-defaulted"
    MODALITY_DEFAULTED = "modality-defaulted"


def _may_be(one: str, other: str) -> bool:
    return one == other or not one or not other


class PatientKey(NamedTuple):
    """Who a patient is: the issuer of the number, and the number. Both empty: the message did not say."""

    issuer: str
    PatientID: str

    def may_be(self, other: PatientKey) -> bool:
        """Whether both can name one patient: no two different numbers, and no two different issuers."""
        return _may_be(self.PatientID, other.PatientID) and _may_be(self.issuer, other.issuer)


class Stamp(NamedTuple):
    """When the sender says it happened: ORC-9 or EVN-2, and where that stands still, MSH-7. Compared in this order."""

    event: datetime
    message: datetime


class Status(StrEnum):
    """The states of an order. The values are those of Scheduled Procedure Step Status where it knows them."""

    SCHEDULED = "SCHEDULED"
    ARRIVED = "ARRIVED"
    STARTED = "STARTED"
    HELD = "HELD"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    CANCELED = "CANCELED"


ENDED: Final = frozenset({Status.COMPLETED, Status.DISCONTINUED, Status.CANCELED})
"""Left only by a new or changed order with a newer stamp."""
OFF_LIST: Final = ENDED | {Status.HELD}
"""Not shown to a scanner."""

Part = TypeVar("Part", Patient, Step, Procedure)


def changed(part: Part, given: Given) -> Part:
    """`part` with what was given laid over it; a deleted field becomes unknown again."""
    return replace(part, **{name: _unknown(part, name) if value is None else value for name, value in given.items()})


def _unknown(part: Patient | Step | Procedure, name: str) -> Any:
    return next(field.default for field in fields(part) if field.name == name)
