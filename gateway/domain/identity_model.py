"""What the check of a study against its orders speaks of: headers, orders, findings and the verdict.

Promises
- A `Header` holds nothing that differs between the images of one series, so that the headers of a study are a
  handful however many images it has, and equal headers get equal verdicts.
- A `Verdict` names its evidence, the rules that led to it and their version. What may be written is in it whole
  (`changes`); who applies it decides nothing. Without a proven order there are no changes.
- The logged form of a finding holds no value of a header or an order: `Finding.logged`.

Fields are named for the DICOM attribute they hold (PS3.6), text without padding; "" and () are "not there, or
empty". Orders are those of `order_model`. The rules are in `identity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.domain.merge import Kind
from gateway.domain.model import UID, AETitle, SourceName
from gateway.domain.mpps import Performed
from gateway.domain.order_model import Code, Identifier, Patient, PatientKey, Procedure, Status

RULES_VERSION: Final = "1"
"""Of the rules in `identity` and `plausibility`: kept with every verdict, raised with every change to them."""
NOT_GIVEN: Final = Identifier(value="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An item of the Request Attributes Sequence (0040,0275), or of Referenced Request Sequence (0040,A370)."""

    StudyInstanceUID: str = ""
    accession: Identifier = NOT_GIVEN
    RequestedProcedureID: str = ""
    ScheduledProcedureStepID: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What one image says of itself, as far as the check needs."""

    SOPClassUID: str = ""
    StudyInstanceUID: str = ""
    PatientID: Identifier = NOT_GIVEN
    """With its issuer: Issuer of Patient ID (0010,0021) and its qualifiers (0010,0024)."""
    OtherPatientIDs: tuple[Identifier, ...] = ()
    """Of (0010,1002) and the retired (0010,1000)."""
    PatientName: str = ""
    PatientBirthDate: str = ""
    """As it is written."""
    PatientSex: str = ""
    PatientAge: str = ""
    PatientSize: str = ""
    PatientWeight: str = ""
    accession: Identifier = NOT_GIVEN
    """Accession Number (0008,0050) and its issuer (0008,0051)."""
    requests: tuple[Request, ...] = ()
    StudyID: str = ""
    AdmissionID: str = ""
    ReferringPhysicianName: str = ""
    StudyDescription: str = ""
    SeriesDescription: str = ""
    ProcedureCodeSequence: tuple[Code, ...] = ()
    Modality: str = ""
    StationName: str = ""
    PerformedStationAETitle: str = ""
    Manufacturer: str = ""
    InstitutionName: str = ""
    InstitutionalDepartmentName: str = ""
    BodyPartExamined: str = ""
    ProtocolName: str = ""
    laterality: str = ""
    """Laterality (0020,0060), else Image Laterality (0020,0062)."""
    StudyDate: str = ""
    StudyTime: str = ""
    SeriesDate: str = ""
    AcquisitionDate: str = ""
    TimezoneOffsetFromUTC: str = ""
    SpecificCharacterSet: str = ""
    """Its values parted by backslashes."""
    is_deidentified: bool = False
    """Patient Identity Removed (0012,0062) is YES."""
    has_burned_in_text: bool = False
    """Burned In Annotation (0028,0301) is YES, or there is an overlay (60xx,3000)."""
    is_signed: bool = False
    """There is a MAC Parameters Sequence (4FFE,0001) or Digital Signatures Sequence (FFFA,FFFA)."""
    has_private_copy: bool = False
    """A private element holds the PatientID or the PatientName."""
    undecodable: tuple[str, ...] = ()
    """Keywords of text that the declared character set can't explain."""
    invalid: tuple[str, ...] = ()
    """Keywords of values that break their VR (PS3.5 6.2)."""
    missing: tuple[str, ...] = ()
    """Keywords of type 1 attributes that are not there, or empty."""
    uids_disagree: bool = False
    """The data set has other SOP Class or Instance UIDs than its command set or file meta."""
    pixels_disagree: bool = False
    """Its SOP Instance UID came before with other pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An order as a scanner was shown it: after its profile, so perhaps truncated or in other letters."""

    calling_ae: AETitle
    at: datetime
    """UTC-aware: last."""
    StudyInstanceUID: str = ""
    AccessionNumber: str = ""
    RequestedProcedureID: str = ""
    ScheduledProcedureStepID: str = ""
    PatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    PatientSex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An order that may be a study's, as one source tells it. The books hand over every order that shares a number
    with the study, or is scheduled at its station about its time; which of them it is, the rules say."""

    id: str
    """Our own name for it, free of patient data; the same order from another source has another."""
    source: SourceName
    kind: Kind
    """Of the desk: provisional, and never the target of an automatic correction."""
    key: PatientKey
    """Whose order it is."""
    patient: Patient
    procedure: Procedure
    status: Status
    confirmed_at: datetime
    """UTC-aware: when its source was last heard to stand by it. For a RIS that is asked, the last whole answer that
    had it; for messages, the last message of any kind from that sender: silence about an order confirms it."""
    ended_at: datetime | None = None
    """When it was completed or given up."""
    studies: frozenset[str] = frozenset()
    """Other Study Instance UIDs that are its own: by an earlier message, or minted at the desk."""
    accessions: frozenset[str] = frozenset()
    """Other accession numbers, likewise."""
    aliases: frozenset[PatientKey] = frozenset()
    """Other numbers of its patient, by a merge or a link from the desk."""
    shown: tuple[Shown, ...] = ()
    performed: tuple[Performed, ...] = ()
    """The performed procedure steps that name it."""
    is_contradicted: bool = False
    """Another source has the same step for another patient, or an order was set aside for it: never evidence."""
    taken_by: frozenset[str] = frozenset()
    """PatientIDs of other studies that were bound to it."""


class Naming(NamedTuple):
    """A number in the books, and the patient it stands for now: another one after a merge."""

    number: PatientKey
    patient: PatientKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The study that a scanner sent before this one."""

    PatientID: str
    PatientSize: str
    PatientWeight: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study as it came, and what is known beside its orders."""

    StudyInstanceUID: UID
    headers: tuple[Header, ...]
    """The different ones of all its images, at least one."""
    calling_aes: frozenset[AETitle]
    first_received: datetime
    """UTC-aware."""
    last_received: datetime
    performed: tuple[Performed, ...] = ()
    """The performed procedure steps that name the study, or an image of it."""
    patients: frozenset[Naming] = frozenset()
    """Every patient that is known under a number of its headers, from whichever issuer."""
    before: Before | None = None


class Severity(StrEnum):
    """What a finding means for the study."""

    NOTE = "note"
    """Worth knowing; nothing to do."""
    NORMALISE = "normalise"
    """A form that can be put right without an order."""
    CORRECT = "correct"
    """Can be put right where an order is proven."""
    WARN = "warn"
    """The study leaves; somebody should look."""
    HOLD = "hold"
    """Contradicts a correction; a person decides."""
    BLOCK = "block"
    """Two patients, or two images of one name: nothing leaves before a person decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement or oddity."""

    code: str
    """Stable: a value of `checks.Code`."""
    severity: Severity
    attribute: str = ""
    """The keyword it is about; "" if it is about several."""
    has: str = ""
    """What the header has. Patient data: for a person who may see it, never for a log."""
    expected: str = ""
    """What the order has. Patient data too."""

    @property
    def logged(self) -> str:
        """Code, attribute and the shapes of the values."""
        shapes = "".join(
            f" {name}={len(value)} characters"
            for name, value in (("has", self.has), ("expected", self.expected))
            if value
        )
        return f"{self.code}{f' {self.attribute}' if self.attribute else ''}{shapes}"


class Level(StrEnum):
    """How a study and an order are connected. The first four are keys; the others only speak for or against."""

    STUDY = "study"
    """Study Instance UID."""
    ACCESSION = "accession"
    """Accession number and issuer."""
    STEP = "step"
    """Requested Procedure ID and Scheduled Procedure Step ID, both, about its time."""
    MPPS = "mpps"
    """A performed procedure step of the study names the order."""
    PATIENT = "patient"
    """PatientID and issuer, or an alias."""
    SERVED = "served"
    """The header is as a scanner of the study was shown this order."""
    NAME = "name"
    """Name and birth date, at its station about its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one level names."""

    level: Level
    orders: tuple[str, ...]
    """Ids of candidates, sorted."""


class Relation(StrEnum):
    """How a value of the header stands to the order's."""

    EQUAL = "equal"
    """In canonical form: case, padding, accents and separators don't count."""
    ALIAS = "alias"
    """Another number of the same patient, or of the same order."""
    MISSING = "missing"
    """The header has none."""
    UNKNOWN = "unknown"
    """The order has none."""
    SLIP = "slip"
    """Differs as hands and consoles make it differ."""
    DIFFERENT = "different"


class Reason(StrEnum):
    """Reason for the Attribute Modification (0400,0565)."""

    CORRECT = "CORRECT"
    """The value was wrong."""
    COERCE = "COERCE"
    """The value was right in its own terms, or was not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One attribute that may be written."""

    attribute: str
    """Keyword. `RequestedProcedureID` and `ScheduledProcedureStepID` are of Request Attributes; qualifiers of an
    identifier's issuer are in the order."""
    value: str
    reason: Reason
    rule: str
    """The code of the finding that asks for it."""


class Decision(StrEnum):
    """What becomes of a study."""

    PASS = "pass"  # noqa: S105 -- not a password
    """It agrees with its order, or must not be touched."""
    ENRICH = "enrich"
    """It agrees; what is empty is filled from its order."""
    CORRECT = "correct"
    """Its order is proven; what differs is written from it."""
    HOLD = "hold"
    """Doubt: unchanged, with a task; it leaves at once unless the site holds, or the verdict `blocks`."""
    SUGGEST = "suggest"
    """An order fits, but nothing proves it: unchanged, with a task that names the order."""
    UNSCHEDULED = "unscheduled"
    """No order is known: unchanged, with a task, and looked at again when an order comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided of a study, and why."""

    decision: Decision
    because: str
    """The rule that decided: a value of `identity.Rule`."""
    order: Candidate | None = None
    """The order that it is, or that is suggested."""
    evidence: tuple[Evidence, ...] = ()
    relations: Mapping[str, Relation] = field(default_factory=dict)
    """Of the header's PatientID, PatientName, PatientBirthDate, PatientSex and accession to the order's."""
    version: str = RULES_VERSION
    findings: tuple[Finding, ...] = ()
    changes: tuple[Change, ...] = ()
    plausibility: float = 0.0
    """How much speaks for a wrong row, see `plausibility`."""
    blocks: bool = False
    """Nothing of the study leaves before a person decided; no time ends that."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of all rules that were met: the codes of the findings, and last what decided."""
        return (*dict.fromkeys(one.code for one in self.findings), self.because)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPolicy:
    """The site's rules for the check."""

    zone: tzinfo = UTC
    """Of the site: scanners write its civil time."""
    automatic: bool = True
    """Whether anything may be written; off, what would have been written waits for a person (see `kill_switch`)."""
    enrich: bool = True
    """Whether what is empty is filled from a proven order."""
    wider_guard: bool = False
    """Correct by any exact order key and two corroborators, instead of accession number and PatientID alone.
    Meant to follow a time in shadow mode."""
    order_age: timedelta = timedelta(hours=24)
    """An order that its source confirmed longer ago proves nothing."""
    ended_for: timedelta = timedelta(days=2)
    """An order that ended longer ago is not the target of a correction."""
    early: timedelta = timedelta(hours=12)
    late: timedelta = timedelta(hours=24)
    """How long before and after its schedule a step is performed at most, to count as about its time."""
    clock: timedelta = timedelta(minutes=15)
    """By how much a scanner's clock may be off."""
    wrong_row: float = 2.0
    """From which plausibility score on a study is held for a look."""
    emergency_aes: frozenset[str] = frozenset()
    """AE titles of scanners whose patients come without an order."""
    test_patients: tuple[str, ...] = ("TEST", "TEST^*", "*^TEST", "*PHANTOM*", "QC", "QC^*", "QA^*", "SMPTE*")
    """Patterns with `*` and `?` of the PatientName and PatientID of what is no patient. TESTA is a surname."""
    constants: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    """What a scanner's images should say of themselves: by AE title, value by keyword."""
