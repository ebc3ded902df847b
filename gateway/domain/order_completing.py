"""What an order lacks is supplied, so that no row reaches a scanner with an empty type 1 attribute (PS3.4 K.6-1).

Promises: what is supplied is a function of the order alone, so that the same order has the same identifiers on
every box and after every repetition; each supplied value is flagged, for it is no evidence. Only where another order
has them already are they made of more (`apart`). Nothing given is
replaced, except an identifier that does not fit its VR: that gets a surrogate and stays known as an alias. A
patient without name or number, and a step whose modality nobody tells, are a `Fault`: such a row would hide the
patient or show them on every scanner.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Final

from gateway.domain.hl7_ack import Fault
from gateway.domain.order_model import Code, Flag, Identifier, Patient, Procedure, Step, changed
from gateway.domain.orders import OrderChange, Sender

SHORT: Final = 16
"""Characters of an SH."""
LONG: Final = 64
"""Characters of an LO, of a component group of a PN, and of a UI."""
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_NAMESPACE: Final = uuid.UUID("6f0c9a52-4b0e-5d0b-9b1c-3f8e0c9d7a41")
"""Of the names from which Study Instance UIDs are made: never change it, or repeated orders get new studies."""
_GENERATED: Final = {
    "StudyInstanceUID": {Flag.STUDY_GENERATED},
    "RequestedProcedureID": {Flag.PROCEDURE_GENERATED},
    "accession": {Flag.ACCESSION_GENERATED, Flag.ACCESSION_SURROGATE},
}
_SUPPLIED: Final = {
    "ScheduledProcedureStepID": Flag.STEP_GENERATED,
    "start": Flag.TIME_DEFAULTED,
    "ScheduledStationAETitle": Flag.STATION_DEFAULTED,
    "Modality": Flag.MODALITY_DEFAULTED,
}
"""What a step lacked, until a message gives it for every step."""
_NOTHING: Final = Procedure()


def laid_over(known: Procedure | None, change: OrderChange, *, steps: bool) -> Procedure:
    """The procedure as the change leaves it; its steps are replaced as a set if `steps`.

    A step that names only some of its fields keeps the others of the step of the same ID.
    """
    given = {name: value for name, value in change.procedure.items() if not _is_empty(value)}
    base = known or _NOTHING
    flags = base.flags - {flag for name in given for flag in _GENERATED.get(name, ())}
    if steps:
        given["steps"] = _steps(base, change)
        told = {flag for name, flag in _SUPPLIED.items() if all(name in step for step in change.steps)}
        flags = (flags - told) | change.flags
    return changed(base, {**given, "flags": flags})


def _is_empty(value: object) -> bool:
    """Numbers can't be deleted, and "no number" is not a number."""
    return isinstance(value, Identifier) and not value.value


def _steps(base: Procedure, change: OrderChange) -> tuple[Step, ...]:
    old = {step.ScheduledProcedureStepID: step for step in base.steps}
    alone = base.steps[0] if len(base.steps) == len(change.steps) == 1 else None
    steps: dict[str, Step] = {}
    for number, given in enumerate(change.steps):
        name = given.get("ScheduledProcedureStepID") or ""
        step = changed(old.get(name) or (alone if alone and not name else None) or Step(), given)
        key = name or f"{number}"
        if name and key in steps:  # one step with several protocols, an OBR each (RAD-4, HL7 2.3.1)
            codes = dict.fromkeys((*steps[key].ScheduledProtocolCodeSequence, *step.ScheduledProtocolCodeSequence))
            step = replace(steps[key], ScheduledProtocolCodeSequence=tuple(codes))
        steps[key] = step
    return tuple(steps.values())


def complete(
    procedure: Procedure, patient: Patient, sender: Sender, *, facility: str, now: datetime
) -> Procedure | Fault:
    """The procedure with all it needs, but for an accession number that only a sequence can give: that stays empty."""
    fault = _patient_fault(patient)
    if fault is not None:
        return fault
    whole = _with_procedure_id(procedure, facility)
    whole = _with_study(whole, facility)
    whole = _with_accession(whole, sender, facility)
    steps: list[Step] = []
    flags = set[str](whole.flags)
    for number, step in enumerate(whole.steps or (Step(),), 1):
        modality = _modality(step, whole, sender)
        if not modality:
            text = "OBR-24 and IPC-5 are empty, and the procedure does not tell the modality; map it in [modality_of]"
            return Fault(code="101", text=text, segment="OBR", sequence=number, field=24)
        if not step.Modality:
            flags.add(Flag.MODALITY_DEFAULTED)
        told = step if step.Modality else replace(step, Modality=modality)
        steps.append(_with_rest(told, number, whole, sender, now=now, flags=flags))
    described = whole.RequestedProcedureDescription or _meaning(whole) or f"UNSPECIFIED {steps[0].Modality}"
    return replace(whole, steps=tuple(steps), flags=frozenset(flags), RequestedProcedureDescription=described)


def identified(change: OrderChange) -> tuple[str, str]:
    """(StudyInstanceUID, RequestedProcedureID) as a new order of the change would have them."""
    whole = _with_procedure_id(laid_over(None, change, steps=False), change.facility)
    return _with_study(whole, change.facility).StudyInstanceUID, whole.RequestedProcedureID


def apart(procedure: Procedure, facility: str) -> Procedure:
    """The procedure with those of its identifiers that we made made anew, of every number it has: they were another
    order's, whose numbers are few or the same (a sender may number the procedures of each patient from 1)."""
    issuer, name = procedure.procedure_issuer or facility, procedure.RequestedProcedureID
    numbers = (name, procedure.filler.value, procedure.placer.value, procedure.accession.value)
    if Flag.PROCEDURE_GENERATED in procedure.flags:
        name = surrogate(issuer, *numbers)
        procedure = replace(procedure, RequestedProcedureID=name)
    if Flag.STUDY_GENERATED in procedure.flags:
        procedure = replace(procedure, StudyInstanceUID=_study("|".join((issuer, *numbers))))
    return procedure


def _patient_fault(patient: Patient) -> Fault | None:
    if not patient.PatientName:
        return Fault(code="101", text="PID-5 is empty: send the patient's name", segment="PID", field=5)
    if len(patient.identifiers[0].value) > LONG:
        text = f"PID-3 has {len(patient.identifiers[0].value)} characters; DICOM takes {LONG}"
        return Fault(code="102", text=text, segment="PID", field=3)
    return None


def surrogate(*parts: str) -> str:
    """Sixteen characters that stand for what does not fit: the same for the same."""
    digest = hashlib.sha1("|".join(parts).encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return base64.b32encode(digest).decode("ascii")[:SHORT]


def _with_procedure_id(procedure: Procedure, facility: str) -> Procedure:
    given = procedure.RequestedProcedureID
    if given and len(given) <= SHORT:
        return procedure
    numbers = (procedure.filler.value, procedure.accession.value) if not given else ()
    fitting = next((number for number in numbers if 0 < len(number) <= SHORT), "")
    parts = (given, procedure.filler.value, procedure.placer.value, procedure.accession.value)
    made = fitting or surrogate(procedure.procedure_issuer or facility, *parts)
    return replace(procedure, RequestedProcedureID=made, flags=procedure.flags | {Flag.PROCEDURE_GENERATED})


def _with_study(procedure: Procedure, facility: str) -> Procedure:
    if _UID.fullmatch(procedure.StudyInstanceUID):
        return procedure
    issuer = procedure.procedure_issuer or facility
    made = _study(f"{issuer}|{procedure.RequestedProcedureID}")
    return replace(procedure, StudyInstanceUID=made, flags=procedure.flags | {Flag.STUDY_GENERATED})


def _study(name: str) -> str:
    """A Study Instance UID of that name (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def _with_accession(procedure: Procedure, sender: Sender, facility: str) -> Procedure:
    given = procedure.accession
    if given.value and len(given.value) <= SHORT:
        return procedure
    if given.value:
        made = sender.mapping.accession_prefix + surrogate(given.issuer or facility, given.value)
        number = replace(given, value=made[:SHORT])
        return replace(procedure, accession=number, flags=procedure.flags | {Flag.ACCESSION_SURROGATE})
    number = replace(procedure.filler, type="") if len(procedure.filler.value) <= SHORT else Identifier(value="")
    return replace(procedure, accession=number, flags=procedure.flags | {Flag.ACCESSION_GENERATED})


def _modality(step: Step, procedure: Procedure, sender: Sender) -> str:
    if step.Modality:
        return step.Modality
    table = sender.mapping.tables["modality_of"]
    for code in (*procedure.RequestedProcedureCodeSequence, *step.ScheduledProtocolCodeSequence):
        value = code.CodeValue.upper()
        if fitting := [start for start in table if value.startswith(start.upper())]:
            return table[max(fitting, key=len)]
    stations = sender.mapping.stations.items()
    of_station = (name for name, titles in stations if not set(titles).isdisjoint(step.ScheduledStationAETitle))
    return next(of_station, sender.mapping.default_modality)


def _with_rest(
    step: Step, number: int, procedure: Procedure, sender: Sender, *, now: datetime, flags: set[str]
) -> Step:
    """The step with ID, station and start; what had to be supplied is added to `flags`."""
    name = step.ScheduledProcedureStepID
    if not 0 < len(name) <= SHORT:
        flags.add(Flag.STEP_GENERATED)
        parent = procedure.RequestedProcedureID
        name = parent if len(procedure.steps) < 2 else f"{parent[: SHORT - len(str(number)) - 1]}-{number}"
    stations = step.ScheduledStationAETitle
    if not stations:
        flags.add(Flag.STATION_DEFAULTED)
        stations = sender.mapping.stations.get(step.Modality) or sender.scanners or (f"{step.Modality}_POOL"[:SHORT],)
    start = step.start
    if start is None:
        flags.add(Flag.TIME_DEFAULTED)
        start = now.astimezone(sender.zone).replace(microsecond=0)
    return replace(
        step,
        ScheduledProcedureStepID=name,
        ScheduledStationAETitle=stations,
        start=start,
    )


def _meaning(procedure: Procedure) -> str:
    codes: tuple[Code, ...] = procedure.RequestedProcedureCodeSequence
    return next((code.CodeMeaning for code in codes), "")
