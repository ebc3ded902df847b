"""What a message asks for: its orders, appointments, patients and merges, as changes that the spool applies.

ORM^O01, OMI^O23, OMG^O19 (IHE RAD-4, RAD-13), SIU^S12 to S26, ADT (RAD-12). Promises: `read` never raises; every
order group of a message becomes a change or a `Fault` that names its place; groups of one requested procedure
become one change with all its steps. The order of two changes is that of their stamps: ORC-9 (EVN-2 for ADT), then
MSH-7, in UTC; a stamp more than a day ahead of our clock is a wrong clock and counts as now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from gateway.domain.hl7 import Message, Segment
from gateway.domain.hl7_ack import Fault
from gateway.domain.hl7_types import moment
from gateway.domain.model import SourceName
from gateway.domain.order_mapping import OrderMapping
from gateway.domain.order_model import Flag, Given, PatientKey, Stamp, Status
from gateway.domain.order_reading import identifier_at, told
from gateway.domain.order_scope import Reader, Scope, clean
from gateway.domain.order_states import Action, action

AHEAD: Final = timedelta(days=1)
ORDERS_MAX: Final = 500
"""Orders of one message: each is read beside all segments of it."""
ORDERS: Final = {("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")}
BOOKED: Final = frozenset({"S12", "S13", "S14"})
UNBOOKED: Final = frozenset({"S15", "S17", "S26"})
PERSON: Final = frozenset({"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A10", "A11", "A28", "A31", "A38"})
MERGED: Final = frozenset({"A18", "A30", "A34", "A36", "A39", "A40"})
RENAMED: Final = frozenset({"A46", "A47"})
ANSWERED_ONLY: Final = frozenset({"ORU", "MDM", "BAR", "DFT", "MFN"})
"""Kept and acknowledged: they say nothing of an order to come."""
_WITHOUT_VISIT: Final = frozenset({"A03", "A11", "A28", "A31", "A38"})
"""Their PV1 is over, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One sender of messages, as reading them needs it."""

    name: SourceName
    """The source of its worklist rows."""
    mapping: OrderMapping
    zone: ZoneInfo
    scanners: tuple[str, ...] = ()
    """AE titles of this box's scanners: the stations of an order that names none."""
    refuse_conflicts: bool = False
    """An order that binds a known study or accession to another patient is answered AE 205, not AA."""
    refuse_faults: bool = False
    """A message that can't be applied for its contents is answered AE or AR, not AA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange:
    """One requested procedure of a message."""

    action: Action
    status: Status | None
    stamp: Stamp
    patient: PatientKey
    patient_given: Given
    patient_stamp: Stamp
    procedure: Given
    steps: tuple[Given, ...]
    flags: frozenset[Flag]
    facility: str
    """MSH-4: who issued a number that names no issuer, when an identifier is derived from it."""
    places: dict[str, tuple[str, int]] = field(compare=False)
    """Where the study and the accession came from: segment and field, for an error."""
    sequence: int
    """Which ORC of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentChange:
    """When and where; the order it is for is found by number."""

    booked: bool
    stamp: Stamp
    patient: PatientKey
    given: Given
    """Fields of a step, and the numbers of order and appointment."""
    order: OrderChange | None
    """The order to make of it, if the mapping allows that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientChange:
    """Demographics, and where the patient is."""

    patient: PatientKey
    given: Given
    visit: Given
    stamp: Stamp
    arrived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeChange:
    """Two numbers are one patient's: what was under `subsumed` is under `survivor`."""

    survivor: PatientKey
    subsumed: PatientKey
    given: Given
    stamp: Stamp
    renamed: bool
    """The same person under a new number (A47), so nothing is known under it yet."""


Change: TypeAlias = OrderChange | AppointmentChange | PatientChange | MergeChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """All that a message asks for."""

    changes: tuple[Change, ...] = ()
    faults: tuple[Fault, ...] = ()
    rejected: bool = False
    """Not for us at all (AR): the faults say why."""
    silent: bool = False
    """Itself an acknowledgement: it is not answered."""


def read(message: Message, sender: Sender, now: datetime) -> Read:
    """What the message asks for; `now` is UTC-aware."""
    kind, event = message.get("MSH-9.1").strip().upper(), message.get("MSH-9.2").strip().upper()
    if kind == "ACK" or (message.first("MSA") and not event):
        return Read(silent=True)
    reading = _MessageReader(message, sender, now)
    if (kind, event) in ORDERS:
        return reading.orders()
    if kind == "ADT":
        event = event or message.get("EVN-1").strip().upper()
        return reading.merges(renamed=event in RENAMED) if event in MERGED | RENAMED else reading.person(event)
    if kind == "SIU":
        return reading.appointment(event) if event in BOOKED | UNBOOKED else Read()
    if kind in ANSWERED_ONLY:
        return Read()
    known = kind in {known for known, _ in ORDERS}
    fault = Fault(code="201" if known else "200", text="MSH-9 is a message not taken here", segment="MSH", field=9)
    return Read(faults=(fault,), rejected=True)


class _MessageReader:
    def __init__(self, message: Message, sender: Sender, now: datetime) -> None:
        self._message = message
        self._mapping = sender.mapping
        self._zone = sender.zone
        self._now = now
        self._header = until(message.segments, "ORC")
        sent = moment(message.get("MSH-7"), sender.zone)
        self._sent = self._not_ahead(sent.utc if sent else now)

    def orders(self) -> Read:
        groups = self._message.groups("ORC")
        if not groups:
            fault = Fault(code="100", text="there is no ORC segment; send one for each order", segment="ORC")
            return Read(faults=(fault,))
        if any(len(self._message.named(name)) > ORDERS_MAX for name in ("ORC", "OBR", "IPC")):
            text = f"more than {ORDERS_MAX} orders in one message: send fewer"
            return Read(faults=(Fault(code="207", text=text, segment="ORC"),))
        changes: dict[tuple[Any, ...], OrderChange] = {}
        faults: list[Fault] = []
        for group in groups:
            for part, step in parts(group):
                found = self._order(group, part, step)
                if isinstance(found, Fault):
                    faults.append(found)
                    continue
                key = _key_of(found, len(changes))
                changes[key] = _joined(changes[key], found) if key in changes else found
        return Read(changes=tuple(changes.values()), faults=tuple(dict.fromkeys(faults)))

    def _order(self, group: Sequence[Segment], part: Sequence[Segment], step: Segment | None) -> OrderChange | Fault:
        orc = group[0]
        control, status = orc.get("1").strip().upper(), orc.get("5").strip().upper()
        asked, state = action(control, status)
        if asked is Action.REFUSE:
            place = 5 if action(control, "")[0] is not Action.REFUSE else 1
            code = "103" if orc.get(str(place)) else "101"
            text = f"ORC-{place} holds no order {'status' if place == 5 else 'control'} that is understood"
            return Fault(code=code, text=text, segment="ORC", sequence=orc.number, field=place)
        scope = Scope((step,) if step else (), part, group, self._header)
        reader = Reader(self._mapping, self._zone)
        patient_given = told(reader, self._mapping.patient, scope)
        patient = _patient_of(patient_given)
        if patient is None:
            if asked in {Action.UPSERT, Action.REPLACE}:
                return _no_patient()
            patient = PatientKey("", "")  # a cancellation may name the order alone
        procedure = told(reader, self._mapping.procedure, scope)
        stamp = moment(orc.get("9"), self._zone)
        return OrderChange(
            action=asked,
            status=state,
            stamp=Stamp(self._not_ahead(stamp.utc) if stamp else self._sent, self._sent),
            patient=patient,
            patient_given=patient_given,
            patient_stamp=Stamp(self._sent, self._sent),
            procedure=procedure,
            steps=(told(reader, self._mapping.step, scope),),
            flags=frozenset(reader.flags),
            facility=clean(self._message.get("MSH-4")),
            places={"study": ("IPC", 3) if step else ("ZDS", 1), "accession": ("IPC", 1) if step else ("OBR", 18)},
            sequence=orc.number,
        )

    def person(self, event: str) -> Read:
        if event not in PERSON:
            return Read()
        given, patient = self._patient(self._header)
        if patient is None:
            return Read(faults=(_no_patient(),))
        visit = {}
        if event not in _WITHOUT_VISIT:
            rules = [rule for rule in self._mapping.procedure if rule.target in {"admission", "CurrentPatientLocation"}]
            visit = told(Reader(self._mapping, self._zone), rules, Scope(self._header))
        change = PatientChange(
            patient=patient, given=given, visit=visit, stamp=self._recorded(), arrived=event == "A10"
        )
        return Read(changes=(change,))

    def merges(self, *, renamed: bool) -> Read:
        changes: list[Change] = []
        faults: list[Fault] = []
        for number, group in enumerate(self._message.groups("PID"), 1):
            given, survivor = self._patient(group)
            prior = next((segment for segment in group if segment.name == "MRG"), None)
            subsumed = self._prior(prior, survivor) if prior and survivor else None
            if survivor is None:
                faults.append(_no_patient(number))
            elif subsumed is None:
                text = "MRG-1 is empty: send the number that is merged"
                faults.append(Fault(code="101", text=text, segment="MRG", sequence=number, field=1))
            elif subsumed.may_be(survivor):
                text = "MRG-1 and PID-3 are one number: a patient can't be merged into itself"
                faults.append(Fault(code="204", text=text, segment="MRG", sequence=number, field=1))
            else:
                change = MergeChange(
                    survivor=survivor, subsumed=subsumed, given=given, stamp=self._recorded(), renamed=renamed
                )
                changes.append(change)
        if not changes and not faults:
            faults.append(_no_patient())
        return Read(changes=tuple(changes), faults=tuple(faults))

    def _prior(self, mrg: Segment, survivor: PatientKey) -> PatientKey | None:
        """The number of MRG-1; without an issuer it is of the survivor's."""
        reader = Reader(self._mapping, self._zone)
        found = identifier_at(mrg, 1) if mrg.get("1") else identifier_at(mrg, 4)
        if not found.value:
            return None
        issuer = reader.issued("patient", found).issuer if found.issuer else survivor.issuer
        return PatientKey(issuer, found.value)

    def appointment(self, event: str) -> Read:
        scope = Scope(self._header)
        reader = Reader(self._mapping, self._zone)
        given = told(reader, self._mapping.appointment, scope)
        patient_given, patient = self._patient(self._header)
        if patient is None:
            return Read(faults=(_no_patient(),))
        change = AppointmentChange(
            booked=event in BOOKED,
            stamp=Stamp(self._sent, self._sent),
            patient=patient,
            given=given,
            order=self._booked_order(given, patient, patient_given) if event in BOOKED else None,
        )
        return Read(changes=(change,))

    def _booked_order(self, given: dict[str, Any], patient: PatientKey, patient_given: Given) -> OrderChange | None:
        if not self._mapping.siu_creates_mwl or not given.get("ScheduledProtocolCodeSequence"):
            return None
        numbers = {name: given.get(name) or given.get(f"{name}_appointment") for name in ("placer", "filler")}
        codes = given["ScheduledProtocolCodeSequence"]
        procedure = {name: number for name, number in numbers.items() if number}
        procedure |= {"RequestedProcedureCodeSequence": codes[:1]}
        procedure |= {"RequestedProcedureDescription": given.get("ScheduledProcedureStepDescription", "")}
        stamp = Stamp(self._sent, self._sent)
        return OrderChange(
            action=Action.REPLACE,
            status=Status.SCHEDULED,
            stamp=stamp,
            patient=patient,
            patient_given=patient_given,
            patient_stamp=stamp,
            procedure=procedure,
            steps=(step_of(given),),
            flags=frozenset(),
            facility=clean(self._message.get("MSH-4")),
            places={"study": ("SCH", 27), "accession": ("SCH", 27)},
            sequence=1,
        )

    def _patient(self, segments: Sequence[Segment]) -> tuple[dict[str, Any], PatientKey | None]:
        found = told(Reader(self._mapping, self._zone), self._mapping.patient, Scope(segments))
        return found, _patient_of(found)

    def _recorded(self) -> Stamp:
        recorded = moment(self._message.get("EVN-2"), self._zone)
        return Stamp(self._not_ahead(recorded.utc) if recorded else self._sent, self._sent)

    def _not_ahead(self, at: datetime) -> datetime:
        return min(at, self._now) if at > self._now + AHEAD else at


def step_of(appointment: Given) -> dict[str, Any]:
    """What an appointment says of a step."""
    numbers = {"placer", "filler", "placer_appointment", "filler_appointment"}
    return {name: value for name, value in appointment.items() if name not in numbers}


def until(segments: Sequence[Segment], name: str) -> Sequence[Segment]:
    end = next((at for at, segment in enumerate(segments) if segment.name == name), len(segments))
    return segments[:end]


def parts(group: Sequence[Segment]) -> Iterator[tuple[Sequence[Segment], Segment | None]]:
    """The steps of one ORC: each OBR with what follows it, and in it each IPC; an ORC alone is one too."""
    begins = [at for at, segment in enumerate(group) if segment.name == "OBR"]
    if not begins:
        yield group, None
        return
    for begin, end in zip(begins, [*begins[1:], len(group)], strict=True):
        part = group[begin:end]
        steps = [segment for segment in part if segment.name == "IPC"]
        yield from ((part, step) for step in steps)
        if not steps:
            yield part, None


def _key_of(change: OrderChange, number: int) -> tuple[Any, ...]:
    """What makes two groups of a message one requested procedure."""
    study, procedure = (change.procedure.get(name) for name in ("StudyInstanceUID", "RequestedProcedureID"))
    return (study, procedure, change.patient) if study and procedure else (number,)


def _joined(one: OrderChange, other: OrderChange) -> OrderChange:
    return replace(one, steps=(*one.steps, *other.steps), flags=one.flags | other.flags)


def _patient_of(given: Given) -> PatientKey | None:
    identifiers = given.get("identifiers")
    return PatientKey(identifiers[0].issuer, identifiers[0].value) if identifiers else None


def _no_patient(sequence: int = 1) -> Fault:
    text = "PID-3 is empty: send the patient's number"
    return Fault(code="101", text=text, segment="PID", sequence=sequence, field=3)
