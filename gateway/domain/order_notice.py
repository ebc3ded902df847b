r"""What a RIS is told of its order: that the examination began, that it is done, and under which study it is.

Promises
- ORM^O01 (2.3.1) or OMI^O23 (2.5.1) with ORC-1 SC and ORC-5 IP or CM; ORU^R01 (2.5.1) with the study's UID under
  113014 (DCM). No result is ever called final: OBR-25 and OBX-11 are at most R, stored and not verified.
- Only what identifies order and patient goes out. A number that we made is not sent as if it were the RIS's,
  except in IPC, whose fields are required (HL7 v2.5.1, 4.5.6).
- No value can begin another field or segment: separators are escaped (2.7), control characters become blanks.
- A text goes out in a character set that holds it, which MSH-18 names.
- An answer counts only for the message whose control id it has (MSA-2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.domain.hl7 import Hl7Error, Message
from gateway.domain.order_model import Code, Flag, Identifier, Patient, Procedure, Step


class Event(StrEnum):
    """What there is to tell of an order; at most once each."""

    START = "start"
    COMPLETE = "complete"
    REPORT = "report"
    """The study's UID as a result."""


class Format(StrEnum):
    """The message of an order's status."""

    ORM = "orm"
    OMI = "omi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Who writes to whom: MSH-3 to MSH-6."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order and what was performed for it."""

    patient: Patient
    procedure: Procedure
    StudyInstanceUID: str
    """Of the images and performed steps: that of the order, or an alias of it."""
    instances: int
    at: datetime
    """When it happened, in the site's time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message before it is built: its structure, and its segments with their fields as they go on the wire."""

    structure: str
    version: str
    charset: str
    """MSH-18."""
    codec: str
    segments: tuple[str, ...]


_VERSION: Final = {"ORM_O01": "2.3.1", "OMI_O23": "2.5.1", "ORU_R01": "2.5.1"}
_STATUS: Final = {Event.START: "IP", Event.COMPLETE: "CM", Event.REPORT: "CM"}
_ESCAPES: Final = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MADE: Final = {
    "accession": frozenset({Flag.ACCESSION_GENERATED, Flag.ACCESSION_SURROGATE}),
    "procedure": frozenset({Flag.PROCEDURE_GENERATED}),
    "step": frozenset({Flag.STEP_GENERATED}),
}
_STORED: Final = "R"
"""HL7 tables 0123 and 0085: results stored, not yet verified."""


def draft(event: Event, form: Format, ordered: Ordered, header: Header, *, control_id: str, written: datetime) -> Draft:
    """The message that tells `event`; `written` is MSH-7, in the site's time zone."""
    structure = "ORU_R01" if event is Event.REPORT else {Format.ORM: "ORM_O01", Format.OMI: "OMI_O23"}[form]
    body = tuple(_body(structure, event, ordered))
    charset, codec = _charset("".join(body), structure)
    kind, trigger = structure.split("_")
    msh = {
        3: _text(header.sending_application),
        4: _text(header.sending_facility),
        5: _text(header.receiving_application),
        6: _text(header.receiving_facility),
        7: _moment(written),
        9: f"{kind}^{trigger}^{structure}",
        10: control_id,
        11: "P",
        12: _VERSION[structure],
        18: charset,
    }
    fields = _segment("MSH", msh).split("|", 2)[2]
    return Draft(
        structure=structure,
        version=_VERSION[structure],
        charset=charset,
        codec=codec,
        segments=(f"MSH|^~\\&{fields}", *body),
    )


def _body(structure: str, event: Event, ordered: Ordered) -> Iterator[str]:
    procedure, status, at = ordered.procedure, _STATUS[event], ordered.at
    yield _pid(ordered.patient)
    orc = {1: "SC", 2: _entity(procedure.placer), 3: _entity(procedure.filler), 5: status, 9: _moment(at)}
    obr = {1: "1", 2: _entity(procedure.placer), 3: _entity(procedure.filler), 4: _service(procedure)}
    stored = _STORED if event is not Event.START else ""
    if structure == "OMI_O23":
        yield _segment("ORC", orc)
        yield _segment("OBR", {**obr, **({22: _moment(at), 25: stored} if stored else {})})
        yield from (_ipc(ordered, step) for step in procedure.steps)
        return
    steps = procedure.steps if structure == "ORM_O01" else procedure.steps[:1]
    for number, step in enumerate(steps, 1):
        yield _segment("ORC", orc)
        yield _segment("OBR", {**obr, **_performed(procedure, step), 1: str(number), 22: _moment(at), 25: stored})
    if structure == "ORM_O01":
        yield _segment("ZDS", {1: f"{_text(ordered.StudyInstanceUID)}^^Application^DICOM"})
        return
    study = {1: "1", 2: "ST", 3: "113014^DICOM Study^DCM", 5: _text(ordered.StudyInstanceUID), 11: _STORED}
    count = {1: "2", 2: "NM", 3: "INSTANCES^Instances received^99GATEWAY", 5: str(ordered.instances), 11: _STORED}
    yield _segment("OBX", study)
    yield _segment("OBX", count)


def _performed(procedure: Procedure, step: Step) -> dict[int, str]:
    """IHE RAD-4: accession, requested procedure and scheduled step in OBR-18 to 20, the modality in OBR-24."""
    flags = procedure.flags
    return {
        18: _text(procedure.accession.value) if flags.isdisjoint(_MADE["accession"]) else "",
        19: _text(procedure.RequestedProcedureID) if flags.isdisjoint(_MADE["procedure"]) else "",
        20: _text(step.ScheduledProcedureStepID) if flags.isdisjoint(_MADE["step"]) else "",
        24: _text(step.Modality),
    }


def _ipc(ordered: Ordered, step: Step) -> str:
    procedure = ordered.procedure
    codes = step.ScheduledProtocolCodeSequence
    fields = {
        1: _entity(procedure.accession),
        2: _text(procedure.RequestedProcedureID),
        3: _text(ordered.StudyInstanceUID),
        4: _text(step.ScheduledProcedureStepID),
        5: _text(step.Modality),
        6: _code(codes[0]) if codes else "",
        7: _text(step.ScheduledStationName),
        8: _text(step.ScheduledProcedureStepLocation),
    }
    return _segment("IPC", fields)


def _pid(patient: Patient) -> str:
    identifiers = "~".join(
        f"{_text(one.value)}^^^{_authority(one)}^{_text(one.type)}".rstrip("^") for one in patient.identifiers
    )
    fields = {1: "1", 3: identifiers, 5: _name(patient.PatientName), 7: _text(patient.PatientBirthDate)}
    return _segment("PID", {**fields, 8: _text(patient.PatientSex)})


def _name(name: str) -> str:
    """PN as XPN: prefix and suffix change places, and XPN-8 names the component group where there are several."""
    groups = []
    for which, group in zip("AIP", name.split("="), strict=False):
        parts = [_text(part) for part in (*group.split("^"), "", "", "", "")[:5]]
        family, given, middle, prefix, suffix = parts
        told = "^".join((family, given, middle, suffix, prefix))
        if group:
            groups.append(f"{told}^^L^{which}" if "=" in name else told.rstrip("^"))
    return "~".join(groups)


def _service(procedure: Procedure) -> str:
    """OBR-4 is required: the code, or the words alone."""
    codes = procedure.RequestedProcedureCodeSequence
    return _code(codes[0]) if codes else f"^{_text(procedure.RequestedProcedureDescription or 'UNSPECIFIED')}"


def _code(code: Code) -> str:
    return "^".join(map(_text, (code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator))).rstrip("^")


def _entity(number: Identifier) -> str:
    parts = (number.value, number.authority, number.universal_id, number.universal_id_type)
    return "^".join(map(_text, parts)).rstrip("^") if number.value else ""


def _authority(number: Identifier) -> str:
    parts = (number.authority, number.universal_id, number.universal_id_type)
    return "&".join(map(_text, parts)).rstrip("&")


def _moment(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S%z")


def _text(value: str) -> str:
    return _CONTROLS.sub(" ", value).translate(_ESCAPES)


def _segment(name: str, fields: Mapping[int, str]) -> str:
    last = max((number for number, value in fields.items() if value), default=0)
    return "|".join((name, *(fields.get(number, "") for number in range(1, last + 1))))


def _charset(text: str, structure: str) -> tuple[str, str]:
    if structure == "ORM_O01":
        try:
            text.encode("iso8859_1")
        except UnicodeEncodeError:
            pass
        else:
            return "8859/1", "iso8859_1"
    return "UNICODE UTF-8", "utf_8"


# -- what comes back --

_TAKEN: Final = frozenset({"AA", "CA"})
_REFUSED: Final = frozenset({"AE", "AR", "CE", "CR"})
_ERROR: Final = re.compile(r"\d{1,3}")


class Verdict(StrEnum):
    """What becomes of a message by its answer."""

    TAKEN = "taken"
    REFUSED = "refused"
    """Sent again as it is, it would be refused again: a person decides."""
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An acknowledgement of our message."""

    verdict: Verdict
    status: str
    """MSA-1, and the code of HL7 table 0357 if there is one: "AE 205". Nothing else of the answer, which may quote
    the patient."""


def answer_to(raw: bytes, control_id: str) -> Answer | None:
    """What an acknowledgement says of the message of that control id; None if it is not about it.

    In enhanced mode the commit acknowledgement decides (2.9.3): with CA the receiver answers for the message.
    """
    try:
        message = Message.parse(raw, charset="8859/1")
    except Hl7Error:
        return None
    if message.get("MSA-2").strip() != control_id:
        return None
    code = message.get("MSA-1").strip().upper()
    if code in _TAKEN:
        return Answer(verdict=Verdict.TAKEN, status=code)
    if code not in _REFUSED:
        return Answer(verdict=Verdict.UNCLEAR, status="protocol")
    error = message.get("ERR-3.1") or message.get("ERR-1.4")
    return Answer(verdict=Verdict.REFUSED, status=f"{code} {error}" if _ERROR.fullmatch(error) else code)


_REASONS: Final = {
    "AE": "it can't apply the message; look at its log, correct the order there, then retry",
    "AR": "it takes no such message; compare orders_out (format, application, facility) with what it expects",
    "CE": "it could not take the message; look at its log, then retry",
    "CR": "it takes no such message; compare orders_out (format, application, facility) with what it expects",
    "protocol": "it answers no acknowledgement that HL7 knows; look at its log",
    "invalid": "the message lacks what its structure requires; look at the order, then retry to send it as it is",
    "silence": "it did not acknowledge in time; look at its log",
    "files": "a certificate or key of ours can't be used; check ca, certificate and key of orders_out",
    "connect": "no connection; check host, port, firewall and that it runs",
    "send": "the connection broke; look at its log",
    "receive": "it ended the connection without an answer; look at its log",
    "fault": "this gateway failed at it; look for it in the gateway's log",
}


def reason_of(status: str) -> str:
    """The cause and the remedy behind the last status of a message; a dash for none."""
    return _REASONS.get(status.partition(" ")[0], "look for this code in the gateway's log") if status else "-"
