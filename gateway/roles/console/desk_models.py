"""What the API's desk is asked and answers. Patients are in it: these are the only answers that name any.

Stable as models.py says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.domain.desk import MOST_STATIONS, EntryState
from gateway.roles.console.models import Answer, Plain

Typed = Annotated[str, Field(max_length=256)]
"""What a person typed; the desk's own rules are stricter and say more."""


class Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeskRequest(Asked):
    """A patient to put on a worklist. Leave out what is not known."""

    stations: list[Typed] = Field(max_length=MOST_STATIONS, description="AE titles of scanners that may call.")
    Modality: Typed
    PatientName: Typed = Field("", description="FAMILY^GIVEN; empty: somebody nobody knows.")
    PatientID: Typed = Field("", description="Empty: one is made.")
    PatientBirthDate: Typed = Field("", description="YYYY-MM-DD or YYYYMMDD.")
    PatientSex: Typed = Field("", description="M, F or O.")
    procedure: Typed = ""
    emergency: bool = False


class DeskReconciliation(Asked):
    """Which order an entry is."""

    AccessionNumber: Typed
    StudyInstanceUID: Typed = Field("", description="Which of several orders with that accession number.")
    although_different: bool = Field(default=False, description="Although patient id, birth date or name differ.")


class DeskLink(Answer):
    """The real order behind an entry."""

    source: str
    AccessionNumber: Plain
    StudyInstanceUID: Plain = Field(description="Empty where the order has none.")
    PatientID: Plain
    IssuerOfPatientID: Plain
    RequestedProcedureID: Plain
    how: str = Field(description="accession, study: the order carried what we minted; person: a person said so.")
    at: datetime
    by: str


class DeskEntry(Answer):
    """An entry of the desk."""

    number: int
    state: EntryState
    AccessionNumber: str = Field(description="Provisional, as the next three; also RequestedProcedureID and step ID.")
    StudyInstanceUID: str
    PatientID: Plain
    IssuerOfPatientID: str = Field(description="EDGE if the PatientID was made here; else empty.")
    PatientName: Plain
    PatientBirthDate: str
    PatientSex: str
    named: bool
    stations: list[str]
    Modality: str
    procedure: Plain
    emergency: bool
    start: datetime = Field(description="Scheduled start by the site's clock, without a zone.")
    automatic: bool = Field(description="Whether proof alone links it; not after a person took a link back.")
    added_at: datetime
    added_by: str
    expires_at: datetime
    link: DeskLink | None


class DeskEntries(Answer):
    """Entries, latest first."""

    at: datetime
    entries: list[DeskEntry]


class DeskSuggestion(Answer):
    """An order that may be an entry's."""

    source: str
    AccessionNumber: Plain
    StudyInstanceUID: Plain
    PatientID: Plain
    IssuerOfPatientID: Plain
    PatientName: Plain
    PatientBirthDate: str
    RequestedProcedureID: Plain
    Modality: Plain
    start: str | None = Field(description="The scheduled day, YYYY-MM-DD.")
    reasons: list[str]
    differs: list[str] = Field(description="What names another patient.")


class DeskSuggestions(Answer):
    """Orders that may be an entry's, most likely first. Nothing is decided by it."""

    number: int
    suggestions: list[DeskSuggestion]
