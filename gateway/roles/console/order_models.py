"""What the API's orders are told and answered: the JSON form of the order model (domain/order_model.py).

Fields are named for the DICOM attribute they become. A field that is not sent stays as it is known, null deletes it.
Text is made one value of one line, as that of a message is, so that no field can become two. Stable as models.py says.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from gateway.domain.order_model import Code, Identifier
from gateway.domain.order_scope import clean
from gateway.roles.console.models import Answer, Plain

MOST: Final = 32
"""Items of a list."""
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_UID: Final = r"^(?:[0-2](?:\.(?:0|[1-9][0-9]*))+)?$"
_YEARS: Final = range(1900, 2200)


def _name(text: str) -> str:
    """At most three component groups of at most five components (PS3.5 6.2.1)."""
    groups = (clean(group).split("^")[:5] for group in text.split("=")[:3])
    return "=".join("^".join(map(str.strip, parts)).rstrip("^") for parts in groups).rstrip("=")


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).strftime("%Y%m%d") if text else ""
    except ValueError:
        raise ValueError("no day of the calendar: send YYYYMMDD") from None


def _sensible(at: datetime) -> datetime:
    if at.year not in _YEARS:
        raise ValueError("the year is not one of ours: send a day between 1900 and 2199")
    return at


Text = Annotated[str, Field(max_length=1024), AfterValidator(clean)]
Number = Annotated[str, Field(max_length=64), AfterValidator(clean)]
Lines = Annotated[str, Field(max_length=10_240), AfterValidator(lambda text: _CONTROLS.sub(" ", text).strip())]
PersonName = Annotated[
    str, Field(max_length=256, description="FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX; groups by =."), AfterValidator(_name)
]
Day = Annotated[str, Field(pattern=r"^([0-9]{8})?$", description="YYYYMMDD."), AfterValidator(_day)]
Decimal = Annotated[str, Field(pattern=r"^([0-9]{1,3}(\.[0-9]{1,3})?)?$")]
StudyUID = Annotated[str, Field(pattern=_UID, max_length=64)]
AE = Annotated[str, Field(pattern=r"^[!-\[\]-~][ -\[\]-~]{0,15}$"), AfterValidator(str.strip)]
Moment = Annotated[datetime, Field(description="Without a zone: by the site's clock."), AfterValidator(_sensible)]


class Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OrderNumber(Told):
    """A number and who issued it (HL7 CX, EI; PS3.3 table 10-17)."""

    value: Annotated[Number, Field(min_length=1)]
    authority: Number = Field("", description="Its name here; empty: the issuer that the mapping names.")
    universal_id: Number = ""
    universal_id_type: Number = Field("", description="ISO, DNS, UUID, ...")
    type: Number = Field("", description="HL7 table 0203: MR, NI, ...")

    def identifier(self) -> Identifier:
        """As the order model has it."""
        return Identifier(**self.model_dump())


class OrderCode(Told):
    """A coded entry (PS3.3 table 8.8-1)."""

    CodeValue: Annotated[Number, Field(min_length=1)]
    CodingSchemeDesignator: Annotated[str, Field(max_length=16), AfterValidator(clean)] = ""
    CodeMeaning: Text = ""

    def code(self) -> Code:
        """As the order model has it."""
        meaning = self.CodeMeaning or self.CodeValue
        return Code(CodeValue=self.CodeValue, CodingSchemeDesignator=self.CodingSchemeDesignator, CodeMeaning=meaning)


Numbers = Annotated[list[OrderNumber], Field(min_length=1, max_length=MOST)]
Codes = Annotated[list[OrderCode], Field(max_length=MOST)]
Texts = Annotated[list[Text], Field(max_length=MOST)]


class OrderPatient(Told):
    """Who is examined."""

    identifiers: Numbers | None = Field(
        default=None, description="The first becomes PatientID; needed to enter an order."
    )
    PatientName: PersonName | None = None
    PatientBirthDate: Day | None = None
    PatientSex: Literal["M", "F", "O", ""] | None = None
    PatientWeight: Decimal | None = Field(default=None, description="Kilograms.")
    PatientSize: Decimal | None = Field(default=None, description="Metres.")
    PregnancyStatus: Annotated[int, Field(ge=0, le=4)] | None = None
    MedicalAlerts: Texts | None = None
    Allergies: Texts | None = None
    SpecialNeeds: Text | None = None
    PatientState: Text | None = None
    ConfidentialityConstraintOnPatientDataDescription: Text | None = None


class OrderProcedure(Told):
    """The requested procedure, with the visit it belongs to."""

    StudyInstanceUID: StudyUID | None = None
    RequestedProcedureID: Number | None = None
    procedure_issuer: Number | None = None
    accession: OrderNumber | None = None
    placer: OrderNumber | None = None
    filler: OrderNumber | None = None
    RequestedProcedureDescription: Text | None = None
    RequestedProcedureCodeSequence: Codes | None = None
    RequestedProcedurePriority: Literal["STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW", ""] | None = None
    PatientTransportArrangements: Text | None = None
    ReasonForTheRequestedProcedure: Text | None = None
    ReasonForRequestedProcedureCodeSequence: Codes | None = None
    RequestedProcedureComments: Lines | None = None
    RequestedContrastAgent: Text | None = None
    ConfidentialityCode: Text | None = None
    RequestingPhysician: PersonName | None = None
    ReferringPhysicianName: PersonName | None = None
    InstitutionName: Text | None = None
    InstitutionAddress: Text | None = None
    InstitutionalDepartmentName: Text | None = None
    admission: OrderNumber | None = None
    CurrentPatientLocation: Text | None = None


class OrderStep(Told):
    """One scheduled procedure step."""

    ScheduledProcedureStepID: Number | None = None
    Modality: Annotated[str, Field(pattern=r"^[A-Z0-9_]{2,16}$")] | None = None
    ScheduledStationAETitle: Annotated[list[AE], Field(min_length=1, max_length=MOST)] | None = None
    start: Moment | None = None
    ScheduledPerformingPhysicianName: PersonName | None = None
    ScheduledProcedureStepDescription: Text | None = None
    ScheduledProtocolCodeSequence: Codes | None = None
    laterality: Literal["L", "R", "B", ""] | None = None
    ScheduledStationName: Text | None = None
    ScheduledProcedureStepLocation: Text | None = None
    PreMedication: Text | None = None
    CommentsOnTheScheduledProcedureStep: Lines | None = None


class OrderRequest(Told):
    """What happened to one order. Told again under its id, it is answered the same and done once."""

    id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$", description="Yours, another for each thing told.")]
    at: Annotated[AwareDatetime, AfterValidator(_sensible)] = Field(
        description="When it happened, with its zone. The newest word counts, not the last to arrive."
    )
    control: str = Field("NW", max_length=2, description="HL7 table 0119: NW new, XO changed, CA cancelled, ...")
    status: str = Field("", max_length=2, description="HL7 table 0038: IP, CM, CA, ...; most often empty.")
    patient: OrderPatient = OrderPatient()
    procedure: OrderProcedure = OrderProcedure()
    steps: list[OrderStep] = Field(
        default=[], max_length=MOST, description="All of them: they are replaced as a set. Not needed to end an order."
    )


class OrderStepEntered(Answer):
    """A row of the worklist."""

    ScheduledProcedureStepID: Plain
    Modality: str
    ScheduledStationAETitle: list[str]
    start: datetime = Field(description="On the site's clock.")


class OrderEntered(Answer):
    """An order as it stands now."""

    number: int = Field(description="As in `gateway orders list`.")
    status: str = Field(description="SCHEDULED, ARRIVED, STARTED, HELD, COMPLETED, DISCONTINUED or CANCELED.")
    StudyInstanceUID: str
    RequestedProcedureID: Plain
    AccessionNumber: Plain
    flags: list[str] = Field(description="What of it was made here, for want of another: as study-generated.")
    steps: list[OrderStepEntered]


class OrderOutcome(Answer):
    """What became of what was told."""

    id: str
    code: Literal["AA"] = Field(description="As a message would be acknowledged (HL7 table 0008).")
    effect: str = Field(description="entered, changed, canceled, ...; that it is older than what is known; ...")
    orders: list[OrderEntered]
