"""Modality Performed Procedure Steps: what a message says, whether it is kept, and what a RIS's answer to it means.

Promises (PS3.4 F.7, PS3.3 C.4.13-C.4.16, PS3.7 10.1.3, 10.1.5):

* A message is judged by its SOP Instance UID and its bytes alone. Whatever else it holds, or lacks, is no reason
  to refuse it: who is to book the examination decides that, not the box in between.
* A final step is changed no more (F.7.2.2.2), whatever comes late or in another order.
* `read` never raises: what it can't read counts as not said.
* An answer that repeating can't change waits for a person; every other one is asked again.

Data sets are those of `gateway.dicom.elements`, seen through their shape alone.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.domain.model import UID
from gateway.domain.retry import CONTENT_ATTEMPTS, Outcome, OutcomeKind, TransportFailure
from gateway.domain.words import reason_of as reason_of_delivery
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    MODALITY,
    PATIENT_ID,
    REQUESTED_PROCEDURE_ID,
    SPS_ID,
    STUDY_INSTANCE_UID,
    DataSet,
    Decode,
    items,
    text,
)

NO_LONGER_UPDATED: Final = 0xA710
"""Error ID (0000,0903) that comes with 0110: the step is final (PS3.4 F.7.2.2.4)."""
LONGEST_UID: Final = 64
"""PS3.5 9.1."""
MOST_REFERENCES: Final = 100
"""Scheduled steps that one performed step is kept with: the group case has a handful."""

_CODE_VALUE: Final = 0x00080100
_CODING_SCHEME: Final = 0x00080102
_REFERENCED_IMAGES: Final = 0x00081140
_REFERENCED_NON_IMAGES: Final = 0x00400220
_PERFORMED_STATION_AE_TITLE: Final = 0x00400241
_STATUS: Final = 0x00400252
_PERFORMED_PROCEDURE_STEP_ID: Final = 0x00400253
_SCHEDULED_STEPS: Final = 0x00400270
_DISCONTINUATION_REASON: Final = 0x00400281
_PERFORMED_SERIES: Final = 0x00400340


class Request(StrEnum):
    """The two messages about a step. Their order as text is their order in the life of a step."""

    CREATE = "N-CREATE"
    SET = "N-SET"


class StepStatus(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    UNKNOWN = ""
    """Not told yet, or none of the defined terms."""
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"

    @property
    def is_final(self) -> bool:
        return self in {StepStatus.COMPLETED, StepStatus.DISCONTINUED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledReference:
    """An item of the Scheduled Step Attributes Sequence (0040,0270): what the step was performed for."""

    StudyInstanceUID: UID
    AccessionNumber: str
    RequestedProcedureID: str
    ScheduledProcedureStepID: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """What one message says of its step; "" and None where it says nothing."""

    status: StepStatus = StepStatus.UNKNOWN
    PatientID: str = ""
    Modality: str = ""
    PerformedProcedureStepID: str = ""
    PerformedStationAETitle: str = ""
    reason: str = ""
    """The first code of (0040,0281) as value^scheme; "110514^DCM" is "Incorrect worklist entry selected"."""
    series: int | None = None
    instances: int | None = None
    """Referenced in all series, images and others. The last N-SET names all of them (PS3.4 Table F.7.2-1)."""
    references: tuple[ScheduledReference, ...] = ()


def read(dataset: DataSet, decode: Decode | None = None) -> Performed:
    """What an N-CREATE or N-SET says."""
    told = dataset.get(_PERFORMED_SERIES)
    series = None if told is None or isinstance(told[1], bytes) else told[1]
    return Performed(
        status=_status(text(dataset, _STATUS)),
        PatientID=text(dataset, PATIENT_ID, decode),
        Modality=text(dataset, MODALITY),
        PerformedProcedureStepID=text(dataset, _PERFORMED_PROCEDURE_STEP_ID, decode),
        PerformedStationAETitle=text(dataset, _PERFORMED_STATION_AE_TITLE),
        reason=_reason(dataset),
        series=None if series is None else len(series),
        instances=None
        if series is None
        else sum(len(items(one, _REFERENCED_IMAGES)) + len(items(one, _REFERENCED_NON_IMAGES)) for one in series),
        references=tuple(
            ScheduledReference(
                StudyInstanceUID=UID(text(item, STUDY_INSTANCE_UID)),
                AccessionNumber=text(item, ACCESSION_NUMBER, decode),
                RequestedProcedureID=text(item, REQUESTED_PROCEDURE_ID, decode),
                ScheduledProcedureStepID=text(item, SPS_ID, decode),
            )
            for item in items(dataset, _SCHEDULED_STEPS)[:MOST_REFERENCES]
        ),
    )


def _status(told: str) -> StepStatus:
    word = told.upper()
    return StepStatus(word) if word in set(StepStatus) else StepStatus.UNKNOWN


def _reason(dataset: DataSet) -> str:
    for item in items(dataset, _DISCONTINUATION_REASON):
        return f"{text(item, _CODE_VALUE)}^{text(item, _CODING_SCHEME)}"
    return ""


def status_after(before: StepStatus, told: StepStatus) -> StepStatus:
    """The status of a step after a message: a final one stays, and silence changes nothing."""
    return before if before.is_final or told is StepStatus.UNKNOWN else told


# -- what is kept --


class Verdict(StrEnum):
    """What becomes of a message."""

    KEPT = "kept"
    """New: it is kept and relayed."""
    REPEATED = "repeated"
    """We have this one: the scanner lost our answer, and is answered success again (DIMSE has no exactly-once)."""
    DUPLICATE = "duplicate"
    """An N-CREATE of a UID that was created with other contents: 0111, for two steps must not become one."""
    FINAL = "final"
    """An N-SET that would change a final step: 0110 with Error ID A710 (F.7.2.2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the books hold of a SOP Instance UID."""

    status: StepStatus
    created: str
    """The digest of its N-CREATE; empty if none came."""
    last_set: str
    """The digest of its latest N-SET; empty if none came."""


def judge(request: Request, digest: str, known: Known | None) -> Verdict:
    """What becomes of a message with that digest.

    An N-SET for an unknown UID is kept: its N-CREATE may have gone to the RIS before this box was here, or be
    late. A late N-CREATE is kept beside the N-SET that came before it.
    """
    if known is None:
        return Verdict.KEPT
    if request is Request.CREATE:
        if not known.created:
            return Verdict.KEPT
        return Verdict.REPEATED if known.created == digest else Verdict.DUPLICATE
    if known.last_set == digest:
        return Verdict.REPEATED
    return Verdict.FINAL if known.status.is_final else Verdict.KEPT


def digest(transfer_syntax: str, dataset: bytes) -> str:
    """Hexadecimal, over transfer syntax and data set: "the same message" means this."""
    return hashlib.blake2b(transfer_syntax.encode("latin-1", "replace") + b"\0" + dataset, digest_size=16).hexdigest()


def assigned_uid(calling_ae: str, content: str) -> UID:
    """The SOP Instance UID for an N-CREATE that brought none (PS3.7 10.1.5.1.4 lets the SCP assign it).

    Made of the caller and the message's digest: the same message sent again, because our answer was lost, gets
    the same UID and stays one step. A UUID of version 5 under 2.25 (PS3.5 B.2).
    """
    seed = hashlib.blake2b(f"{calling_ae}\0{content}".encode(), digest_size=16).digest()
    return UID(f"2.25.{uuid.UUID(bytes=seed, version=5).int}")


# -- on its way --


class RelayState(StrEnum):
    """One message on its way to one peer."""

    QUEUED = "queued"
    SENDING = "sending"
    """It is, or was when the process ended: the peer may have taken it."""
    SENT = "sent"
    REFUSED = "refused"
    """Waits for a person; the later messages of its step go on."""
    DISMISSED = "dismissed"
    """A person decided that this peer goes without."""


RELAY_MOVES: Final = frozenset(
    {
        (RelayState.QUEUED, RelayState.SENDING),
        (RelayState.SENDING, RelayState.QUEUED),
        (RelayState.SENDING, RelayState.SENT),
        (RelayState.SENDING, RelayState.REFUSED),
        (RelayState.REFUSED, RelayState.QUEUED),
        (RelayState.REFUSED, RelayState.DISMISSED),
        (RelayState.QUEUED, RelayState.DISMISSED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """How the relaying to one peer stands."""

    name: str
    configured: bool
    """Whether the configuration relays to it; if not, nobody sends what waits."""
    waiting: int = 0
    refused: int = 0
    oldest: datetime | None = None
    """When the oldest that waits came."""
    last_status: str = ""
    """Of the oldest that waits, else of the oldest that was refused."""


# -- what a RIS answers --

_T, _P = OutcomeKind.TEMPORARY, OutcomeKind.PERMANENT
_TAKEN_WITH_WARNING: Final = frozenset({0x0001, 0x0107, 0x0116})
"""PS3.7 C.4: optional attributes not supported, attribute list error, attribute value out of range."""
_ANSWERS: Final[dict[int, tuple[OutcomeKind, str, bool]]] = {
    0x0000: (OutcomeKind.STORED, "taken", False),
    0x0105: (_P, "it has no such attribute; compare the two conformance statements", False),
    0x0106: (_P, "it does not accept a value; compare the message with its conformance statement", False),
    0x0110: (_T, "processing failure there; look at its log", False),
    0x0117: (_P, "it does not accept the UID of this step", False),
    0x0118: (_P, "it does not know the class; switch mpps off for it, or performed procedure steps on there", False),
    0x0119: (_P, "it knows this UID under another class; look at its log", False),
    0x0120: (_P, "it misses an attribute; let the scanner send it, or the RIS do without", False),
    0x0121: (_P, "it misses a value; let the scanner send it, or the RIS do without", False),
    0x0122: (_P, "it does not support the class; switch mpps off for it, or performed procedure steps on there", False),
    0x0124: (_T, "not authorised; add our AE title there", True),
    0x0211: (
        _P,
        "it does not know the operation; switch mpps off for it, or performed procedure steps on there",
        False,
    ),
    0x0212: (_P, "it can't read the message; look at its log", False),
    0x0213: (_T, "it is out of resources", True),
}


def classify_answer(request: Request, status: int, *, error_id: int = 0, attempts: int) -> Outcome:
    """What the response of a RIS to a relayed message means; `attempts` counts this one too.

    0111 to an N-CREATE means that the RIS has the step: our own first try, whose answer was lost, or another way
    to it. Either way repeating gains nothing, and the N-SET that follows finds its step. Final already (A710) is
    success only if we may have made it so: from the second attempt on. A step that is unknown there (0112) may
    be on its way, and Cxxx may be a lock: both are asked again CONTENT_ATTEMPTS times.
    """
    code = f"{status & 0xFFFF:04X}"
    if status == 0x0111 and request is Request.CREATE:
        return Outcome(kind=OutcomeKind.DUPLICATE, code=code, reason="it has this step already")
    if status == 0x0110 and error_id == NO_LONGER_UPDATED:
        kind = OutcomeKind.DUPLICATE if attempts > 1 else _P
        return Outcome(kind=kind, code="A710", reason=_FINAL_THERE)
    if status == 0x0112 or status >> 12 == 0xC:
        kind = _P if attempts >= CONTENT_ATTEMPTS else _T
        reason = "it does not know this step; look there for its N-CREATE" if status == 0x0112 else _CANNOT_PROCESS
        return Outcome(kind=kind, code=code, reason=reason)
    if status in _TAKEN_WITH_WARNING or status >> 12 == 0xB:
        return Outcome(kind=OutcomeKind.STORED_WITH_WARNING, code=code, reason="taken with a warning")
    kind, reason, blames = _ANSWERS.get(status, (_T, "status unknown for a performed step; look at its log", False))
    return Outcome(kind=kind, code=code, reason=reason, blames_destination=blames)


_STATUS_CODE: Final = re.compile(r"[0-9A-F]{4}")
_FINAL_THERE: Final = "the step is final there already; compare its state at the RIS with the scanner's"
_CANNOT_PROCESS: Final = "it can't process the message; look at its log"
_UNREADABLE: Final = (
    "it takes no transfer syntax the message came in, and the message can't be converted; let it take both"
    " little endian ones"
)


def reason_of(code: str) -> str:
    """The cause and the remedy behind the last status of a relay; a dash for none."""
    if code == "A710":
        return _FINAL_THERE
    if code == TransportFailure.CONTEXT_REFUSED:
        return _UNREADABLE
    if _STATUS_CODE.fullmatch(code):
        return classify_answer(Request.CREATE, int(code, 16), attempts=CONTENT_ATTEMPTS).reason
    return reason_of_delivery(code)
