"""An order as a program tells it, field by field: the same change as a message leads to.

Promises: what comes out went through the same issuers, zone and table of states (ORC-1 and ORC-5, HL7 tables 0119 and
0038) as a message of its sender, so that an order is the same by whichever door it came. Nothing here raises; what
can't be an order is a `Fault` whose text names the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.domain.hl7_ack import Fault
from gateway.domain.order_model import Given, PatientKey, Stamp
from gateway.domain.order_scope import Reader
from gateway.domain.order_states import Action, action
from gateway.domain.orders import AHEAD, OrderChange, Sender

_PLACES: Final = {"study": ("ZDS", 1), "accession": ("OBR", 18)}
_ISSUED: Final = ("accession", "placer", "filler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One requested procedure as it was told. A field that is None is to be deleted, one that is not there is kept."""

    at: datetime
    """When it happened, by the teller's clock; aware."""
    control: str
    """ORC-1."""
    status: str
    """ORC-5."""
    patient: Given
    procedure: Given
    steps: Sequence[Given]


def change_of(entry: Entry, sender: Sender, now: datetime) -> OrderChange | Fault:
    """What the entry asks for; `now` is UTC-aware."""
    asked, state = action(entry.control, entry.status)
    if asked is Action.REFUSE:
        known = action(entry.control, "")[0] is not Action.REFUSE
        name, field = ("status", 5) if known else ("control", 1)
        return Fault(code="103", text=f"{name} holds no code that is understood", segment="ORC", field=field)
    identifiers = entry.patient.get("identifiers")
    anew = asked in {Action.UPSERT, Action.REPLACE}
    if anew and not identifiers:
        text = "patient.identifiers is empty: send the patient's number"
        return Fault(code="101", text=text, segment="PID", field=3)
    if anew and not entry.steps:
        text = "steps is empty: a new or changed order has all its steps"
        return Fault(code="101", text=text, segment="OBR", field=4)
    reader = Reader(sender.mapping, sender.zone)
    patient = {**entry.patient}
    if identifiers:
        patient["identifiers"] = tuple(reader.issued("patient", each) for each in identifiers)
    stamp = Stamp(*[now if entry.at > now + AHEAD else entry.at] * 2)
    return OrderChange(
        action=asked,
        status=state,
        stamp=stamp,
        patient=_key(patient),
        patient_given=patient,
        patient_stamp=stamp,
        procedure=_issued(entry.procedure, reader),
        steps=tuple(_in_zone(step, sender.zone) for step in entry.steps),
        flags=frozenset(),
        facility=sender.name,
        places=_PLACES,
        sequence=1,
    )


_OWN_WORDS: Final = {
    ("PID", 3): "patient.identifiers is empty, or longer than 64 characters: send the patient's number",
    ("PID", 5): "patient.PatientName is empty: send the patient's name",
    ("OBR", 24): "steps.Modality is missing, and nothing tells it: send it with each step",
}


def worded(fault: Fault) -> Fault:
    """The fault by the fields of an entry, where the words are those of a message."""
    if fault.text.startswith(("patient.", "steps", "control", "status")):
        return fault
    return replace(fault, text=_OWN_WORDS.get((fault.segment, fault.field), fault.text))


def _key(patient: Mapping[str, Any]) -> PatientKey:
    found = patient.get("identifiers")
    return PatientKey(found[0].issuer, found[0].value) if found else PatientKey("", "")


def _issued(procedure: Given, reader: Reader) -> dict[str, Any]:
    numbers = {name: procedure[name] for name in _ISSUED if procedure.get(name)}
    return {**procedure, **{name: reader.issued(name, number) for name, number in numbers.items()}}


def _in_zone(step: Given, zone: ZoneInfo) -> dict[str, Any]:
    """The step with its start on the site's clock: a time without a zone is that already."""
    start: datetime | None = step.get("start")
    if start is None:
        return {**step}
    return {**step, "start": start.replace(tzinfo=zone) if start.tzinfo is None else start.astimezone(zone)}
