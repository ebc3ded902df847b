"""An order as worklist rows: one data set for each scheduled procedure step (PS3.4 K.6-1).

Promises: every type 1 attribute has a value, every value fits its VR (PS3.5 6.2) and holds no character that parts
values; what is too long is cut at a word and ends in dots. Text is UTF-8 and says so (ISO_IR 192); what is ASCII
declares nothing. Which letters a scanner can show is decided when it is answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from gateway.domain.order_completing import LONG, SHORT
from gateway.domain.order_model import Code, Identifier, Patient, Procedure, Status, Step
from gateway.domain.worklist import SPECIFIC_CHARACTER_SET, DataSet, Element, Value

Elements: TypeAlias = "dict[int, tuple[str, Value]]"
"""A data set on its way: VR and value by tag."""
UTF8: Final = b"ISO_IR 192"
COMMENTS: Final = 10_240
"""Characters of an LT."""
_UNIVERSAL: Final = frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"})
"""Universal Entity ID Type, PS3.3 table 10-17."""
_SIDE: Final = {"R": ("24028007", "Right"), "L": ("7771000", "Left"), "B": ("51440002", "Bilateral")}
"""SNOMED CT, as CID 244 has them."""


def rows(patient: Patient, procedure: Procedure, status: Status) -> list[DataSet]:
    """One data set a step."""
    whole = _patient(patient) | _procedure(procedure)
    return [_row(whole, step, procedure, status) for step in procedure.steps]


def _row(whole: Elements, step: Step, procedure: Procedure, status: Status) -> DataSet:
    side = _SIDE.get(step.laterality, ("", ""))[1]
    described = whole[0x00321060]
    if side and side.upper() not in described[1].decode().upper():  # type: ignore[union-attr]
        text = f"{procedure.RequestedProcedureDescription} {side.upper()}"
        described = Element("LO", fit(text, LONG).encode())
    row = whole | {0x00321060: described, 0x00400100: Element("SQ", [_step(step, procedure, status)])}
    if not _is_ascii(row):
        row[SPECIFIC_CHARACTER_SET] = Element("CS", UTF8)
    return dict(sorted(row.items()))


def _patient(patient: Patient) -> Elements:
    first, *others = patient.identifiers
    found = _texts(
        (0x00100010, "PN", name(patient.PatientName)),
        (0x00100020, "LO", first.value),
        (0x00100030, "DA", patient.PatientBirthDate),
        (0x00100040, "CS", patient.PatientSex),
        (0x00101020, "DS", patient.PatientSize),
        (0x00101030, "DS", patient.PatientWeight),
        (0x00102000, "LO", several(patient.MedicalAlerts)),
        (0x00102110, "LO", several(patient.Allergies)),
        (0x00380050, "LO", fit(patient.SpecialNeeds, LONG)),
        (0x00380500, "LO", fit(patient.PatientState, LONG)),
        (0x00403001, "LO", fit(patient.ConfidentialityConstraintOnPatientDataDescription, LONG)),
    )
    status = patient.PregnancyStatus
    found[0x001021C0] = Element("US", status.to_bytes(2, "little") if status else b"")
    found |= _issuer(first, 0x00100021, 0x00100024)
    if others:
        found[0x00101002] = Element("SQ", [_other(each) for each in others if len(each.value) <= LONG])
    return found


def _other(identifier: Identifier) -> DataSet:
    item = _texts((0x00100020, "LO", identifier.value), (0x00100022, "CS", "TEXT"))
    return dict(sorted((item | _issuer(identifier, 0x00100021, 0x00100024)).items()))


def _issuer(identifier: Identifier, local: int, qualifiers: int) -> Elements:
    """Issuer of Patient ID and its qualifiers; nothing if nobody is named."""
    found: Elements = {}
    if identifier.issuer:
        found |= _texts((local, "LO", fit(identifier.issuer, LONG)))
    if entity := _universal(identifier):
        found[qualifiers] = Element("SQ", [entity])
    return found


def _universal(identifier: Identifier) -> Elements:
    """Universal Entity ID and its type; nothing if the type is none that DICOM knows, for an ID needs one."""
    kind = identifier.universal_id_type.upper()
    if not identifier.universal_id or kind not in _UNIVERSAL:
        return {}
    return _texts((0x00400032, "UT", identifier.universal_id), (0x00400033, "CS", kind))


def _entity(identifier: Identifier) -> list[DataSet]:
    """HL7v2 Hierarchic Designator Macro, PS3.3 table 10-17."""
    if not identifier.issuer:
        return []
    item: Elements = {}
    if identifier.authority:
        item |= _texts((0x00400031, "UT", identifier.authority))
    item |= _universal(identifier)
    return [item] if item else []


def _procedure(procedure: Procedure) -> Elements:
    found = _texts(
        (0x00080050, "SH", procedure.accession.value),
        (0x00080080, "LO", fit(procedure.InstitutionName, LONG)),
        (0x00080081, "ST", fit(procedure.InstitutionAddress, 1024)),
        (0x00080090, "PN", name(procedure.ReferringPhysicianName)),
        (0x00081040, "LO", fit(procedure.InstitutionalDepartmentName, LONG)),
        (0x0020000D, "UI", procedure.StudyInstanceUID),
        (0x00321032, "PN", name(procedure.RequestingPhysician)),
        (0x00321060, "LO", fit(procedure.RequestedProcedureDescription, LONG)),
        (0x00380010, "LO", fit(procedure.admission.value, LONG)),
        (0x00380300, "LO", fit(procedure.CurrentPatientLocation, LONG)),
        (0x00401001, "SH", procedure.RequestedProcedureID),
        (0x00401003, "SH", fit(procedure.RequestedProcedurePriority, SHORT)),
        (0x00401004, "LO", fit(procedure.PatientTransportArrangements, LONG)),
    )
    optional = _texts(
        (0x00321070, "LO", fit(procedure.RequestedContrastAgent, LONG)),
        (0x00401002, "LO", fit(procedure.ReasonForTheRequestedProcedure, LONG)),
        (0x00401008, "LO", fit(procedure.ConfidentialityCode, LONG)),
        (0x00401400, "LT", procedure.RequestedProcedureComments[:COMMENTS]),
        (0x00402016, "LO", fit(procedure.placer.value, LONG)),
        (0x00402017, "LO", fit(procedure.filler.value, LONG)),
    )
    found |= {tag: element for tag, element in optional.items() if element[1]}
    sequences: dict[int, list[DataSet]] = {
        0x00080051: _entity(procedure.accession),
        0x00321064: codes(procedure.RequestedProcedureCodeSequence),
        0x00380014: _entity(procedure.admission),
        0x0040100A: codes(procedure.ReasonForRequestedProcedureCodeSequence),
        0x00400026: _entity(procedure.placer),
        0x00400027: _entity(procedure.filler),
    }
    found |= {tag: Element("SQ", items) for tag, items in sequences.items() if items}
    return found | {0x00081110: Element("SQ", []), 0x00081120: Element("SQ", [])}


def _step(step: Step, procedure: Procedure, status: Status) -> DataSet:
    assert step.start is not None
    day, clock = step.start.isoformat().split("T")
    side = _SIDE.get(step.laterality)
    described = step.ScheduledProcedureStepDescription or procedure.RequestedProcedureDescription
    if side and side[1].upper() not in described.upper():
        described = f"{described} {side[1].upper()}"
    item = _texts(
        (0x00080060, "CS", step.Modality),
        (0x00400001, "AE", "\\".join(step.ScheduledStationAETitle)),
        (0x00400002, "DA", day.replace("-", "")),
        (0x00400003, "TM", clock[:8].replace(":", "")),
        (0x00400006, "PN", name(step.ScheduledPerformingPhysicianName)),
        (0x00400007, "LO", fit(described, LONG)),
        (0x00400009, "SH", step.ScheduledProcedureStepID),
        (0x00400010, "SH", fit(step.ScheduledStationName, SHORT)),
        (0x00400011, "SH", fit(step.ScheduledProcedureStepLocation, SHORT)),
        (0x00400020, "CS", status),
    )
    optional = _texts(
        (0x00400012, "LO", fit(step.PreMedication, LONG)),
        (0x00400400, "LT", step.CommentsOnTheScheduledProcedureStep[:COMMENTS]),
    )
    item |= {tag: element for tag, element in optional.items() if element[1]}
    if protocol := codes(step.ScheduledProtocolCodeSequence):
        context = {0x00400440: Element("SQ", [_laterality(*side)])} if side else {}
        item[0x00400008] = Element("SQ", [{**each, **context} for each in protocol])
    return dict(sorted(item.items()))


def _laterality(value: str, meaning: str) -> DataSet:
    """Protocol context: laterality (PS3.16 TID 15)."""
    concept = Code(CodeValue="272741003", CodingSchemeDesignator="SCT", CodeMeaning="Laterality")
    side = Code(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    return {
        0x0040A040: Element("CS", b"CODE"),
        0x0040A043: Element("SQ", codes([concept])),
        0x0040A168: Element("SQ", codes([side])),
    }


def codes(found: Iterable[Code]) -> list[DataSet]:
    """Code Sequence items (PS3.3 table 8.8-1); a code without a scheme makes none, a long one is a Long Code Value."""
    return [
        _texts(
            *([(0x00080100, "SH", code.CodeValue)] if len(code.CodeValue) <= SHORT else []),
            (0x00080102, "SH", code.CodingSchemeDesignator),
            (0x00080104, "LO", fit(code.CodeMeaning, LONG)),
            *([(0x00080119, "UC", code.CodeValue)] if len(code.CodeValue) > SHORT else []),
        )
        for code in found
        if 0 < len(code.CodingSchemeDesignator) <= SHORT
    ]


def _texts(*elements: tuple[int, str, str]) -> Elements:
    return {tag: (vr, text.encode("utf-8")) for tag, vr, text in elements}


def _is_ascii(dataset: DataSet) -> bool:
    for _, value in dataset.values():  # a plain loop: every row of every order comes by here
        if not (value.isascii() if isinstance(value, bytes) else all(map(_is_ascii, value))):
            return False
    return True


def fit(text: str, length: int) -> str:
    """The text, or its beginning up to a word with three dots."""
    if len(text) <= length:
        return text
    head = text[: length - 3]
    return (head.rpartition(" ")[0] or head).rstrip() + "..."


def several(texts: Iterable[str]) -> str:
    """Values of an LO: a long text goes on in the next value."""
    values: list[str] = []
    for text in texts:
        line = ""
        for word in text.split():
            for piece in (word[at : at + LONG] for at in range(0, len(word), LONG)):
                if line and len(line) + 1 + len(piece) > LONG:
                    values.append(line)
                    line = piece
                else:
                    line = f"{line} {piece}".strip()
        values += [line] if line else []
    return "\\".join(values)


def name(text: str) -> str:
    """A PN whose component groups fit: what doesn't loses suffix, prefix and middle name first, then letters."""
    groups = text if len(text) <= LONG else "=".join(map(_group, text.split("=")))
    return groups.rstrip("=")


def _group(group: str) -> str:
    parts = group.split("^")
    while len("^".join(parts)) > LONG and len(parts) > 2:
        parts.pop()
    if len("^".join(parts)) > LONG:
        room = max(LONG - 1 - len(parts[-1]), LONG // 2) if len(parts) > 1 else LONG
        parts[0] = parts[0][:room]
    return "^".join(parts)[:LONG]
