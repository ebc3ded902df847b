"""Orders: a message is applied here, and the worklist rows it leads to change in the same transaction.

Promises
- `apply` raises nothing for what a message holds; what can't be applied is a fault in its outcome, and the
  other orders of the message stand. It only reads and writes through its connection: commit it FULL before
  the message is acknowledged.
- The steps of a requested procedure are replaced as a set. What is older than what is known changes nothing.
- An order that would bind a known study, accession, placer or filler number to another patient changes
  nothing: it is set aside and alarmed. So is one that would make a known order another one's requested procedure.
- An order of which only the end was told is remembered, so that what comes late does not bring it back.
- Identifiers that a scanner was shown, or sent images under, don't change any more: what a message brings
  instead becomes an alias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.domain import orders as reading
from gateway.domain.hl7 import Message
from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.domain.order_completing import apart, complete, identified, laid_over
from gateway.domain.order_matching import Keys, foreign, keys_of, may_be, spoken_of
from gateway.domain.order_model import (
    ENDED,
    Flag,
    Identifier,
    Patient,
    PatientKey,
    Procedure,
    Stamp,
    Status,
    Step,
    changed,
)
from gateway.domain.order_states import Action, after
from gateway.domain.orders import (
    AppointmentChange,
    Change,
    MergeChange,
    OrderChange,
    PatientChange,
    Sender,
    step_of,
)
from gateway.spool import audit, order_books, order_changes, orders_awaited, patients
from gateway.spool.db import Connection
from gateway.spool.order_books import Met, Order
from gateway.spool.patients import Resolved

DUPLICATE: Final = "205"
"""HL7 table 0357: duplicate key identifier."""
TOMBSTONES: Final = timedelta(hours=72)
APPOINTMENTS: Final = timedelta(days=7)
ALIASES: Final = timedelta(days=90)
UNORDERED: Final = timedelta(hours=24)
"""How long a patient is remembered of whom nothing is ordered."""


def apply(c: Connection, message: Message, sender: Sender, *, now: datetime) -> Outcome:
    """Does what the message asks. `now` is UTC-aware."""
    return apply_read(c, reading.read(message, sender, now), sender, now=now)


def apply_read(c: Connection, asked: reading.Read, sender: Sender, *, now: datetime) -> Outcome:
    """The same for a message that was read before."""
    if asked.silent:
        return Outcome(code=Code.AA, effect="an acknowledgement", silent=True)
    return _outcome(asked, sender, [_applied(c, change, sender, now) for change in asked.changes])


def apply_changes(c: Connection, changes: tuple[Change, ...], sender: Sender, *, now: datetime) -> Outcome:
    """The same for changes that came by another door."""
    return _outcome(reading.Read(), sender, [_applied(c, change, sender, now) for change in changes])


def _outcome(asked: reading.Read, sender: Sender, done: list[str | Fault]) -> Outcome:
    faults = (*asked.faults, *(each for each in done if isinstance(each, Fault)))
    conflicts = [fault for fault in faults if fault.code == DUPLICATE]
    refused = (conflicts and sender.refuse_conflicts) or (len(faults) > len(conflicts) and sender.refuse_faults)
    effects = [each for each in done if isinstance(each, str)]
    return Outcome(
        code=Code.AA if not refused else Code.AR if asked.rejected else Code.AE,
        faults=faults,
        effect=", ".join(effects) or ("set aside" if conflicts else "not applied" if faults else "nothing to do"),
    )


def _applied(c: Connection, change: Change, sender: Sender, now: datetime) -> str | Fault:
    work = _Work(c, sender, now)
    match change:
        case OrderChange():
            return work.order(change)
        case AppointmentChange():
            return work.appointment(change)
        case PatientChange():
            return work.person(change)
        case MergeChange():
            return work.merge(change)


class _Work:
    """One change on its way into the books."""

    def __init__(self, c: Connection, sender: Sender, now: datetime) -> None:
        self._c = c
        self._sender = sender
        self._now = now

    def order(self, change: OrderChange) -> str | Fault:
        who = patients.resolve(self._c, change.patient)
        asked = keys_of(change, self._sender.name)
        met = order_books.met(self._c, asked)
        found = order_books.candidates(self._c, asked) if met.known else []
        if stranger := foreign([order.known for order in found], asked, who.key):
            known, by = stranger
            words = {"study": "StudyInstanceUID", "accession": "AccessionNumber"}.get(by, f"{by} order number")
            return self._conflict(change, known.id, by, f"{words} is bound to another patient")
        own = spoken_of(found, asked) or self._by_made_study(change, asked, who)
        match change.action:
            case Action.STATE:
                return self._state(change, own, asked)
            case Action.UPSERT | Action.REPLACE:
                return self._enter(change, own, who, asked, met)
            case _:
                return "noted"

    def _by_made_study(self, change: OrderChange, asked: Keys, who: Resolved) -> list[Order]:
        """The order that is known by a study we made of the same number, as it has no other."""
        if asked.StudyInstanceUID:
            return []
        holder = order_books.of_procedure(self._c, *identified(change))
        return [holder] if holder is not None and may_be(holder.known, asked, who.key) else []

    def _conflict(self, change: OrderChange, order: int, by: str, words: str) -> Fault:
        order_books.set_aside(self._c, change, order, by, source=self._sender.name, now=self._now)
        audit.raise_alarm(self._c, code=order_books.CONFLICT, subject=self._sender.name, now=self._now)
        segment, field = change.places.get(by, ("ORC", 2 if by == "placer" else 3))
        text = f"{words}; the order was set aside"
        return Fault(code=DUPLICATE, text=text, segment=segment, sequence=1, field=field, component=1)

    def _state(self, change: OrderChange, own: list[Order], asked: Keys) -> str:
        assert change.status is not None
        if not own:
            orders_awaited.bury(self._c, asked, change.status, change.stamp, now=self._now)
            return f"{change.status.lower()} before it was ordered"
        moved = False
        for order in own:
            performed = change.status in ENDED - {Status.COMPLETED} and order_books.has_images(self._c, order)
            if performed and change.stamp >= order.stamp:
                self._alarm("cancelled-but-performed", order)
            status = after(order.status, order.stamp, change.status, change.stamp, asks=change.action)
            if status is not None:
                order_books.write(self._c, replace(order, status=status, stamp=change.stamp), now=self._now)
                moved = True
        return change.status.lower() if moved else "older, or ended already"

    def _enter(self, change: OrderChange, own: list[Order], who: Resolved, asked: Keys, met: Met) -> str | Fault:
        told_of = patients.update(self._c, who, change.patient_given, change.patient_stamp, now=self._now)
        order = own[0] if own else None
        assert change.status is not None
        stamp = change.stamp
        if order is None:
            told = orders_awaited.tombstone(self._c, asked) if met.ended else None
            asked_for = after(*told, change.status, stamp, asks=change.action) if told else change.status
            status, stamp = (asked_for, stamp) if asked_for is not None else told or (change.status, stamp)
        else:
            moved = after(order.status, order.stamp, change.status, stamp, asks=change.action)
            if moved is None:
                if told_of.changed:
                    self._render_patient(who.key)
                return "older, or ended already"
            status = moved
        started = order is not None and order.status is Status.STARTED and status is Status.STARTED
        steps = not (started and change.action is Action.REPLACE)
        procedure = self._procedure(order, change, told_of.patient, met, steps=steps)
        if isinstance(procedure, Fault):
            if told_of.changed:
                self._render_patient(who.key)
            return procedure
        if started:
            self._alarm("order-changed-after-start", order)
        entered = Order(
            id=order.id if order else 0,
            source=order.source if order else self._sender.name,
            patient=who.key,
            status=status,
            stamp=max(stamp, order.stamp) if order else stamp,
            procedure=procedure,
            keys=order.keys if order else (),
        )
        entered = order_books.write(self._c, entered, now=self._now, patient=told_of.patient)
        if order is not None:
            order_books.remember(self._c, entered, order.procedure)
        self._remember_given(entered, change)
        if met.booked:
            self._booked(entered, asked)
        if told_of.changed:
            self._render_patient(who.key, but=entered.id)
        return "changed" if order else "entered" if status not in ENDED else f"entered as {status.lower()}"

    def _procedure(
        self, order: Order | None, change: OrderChange, patient: Patient, met: Met, *, steps: bool
    ) -> Procedure | Fault:
        """The procedure as it will be; identifiers that were served stay."""
        known = order.procedure if order else None
        laid = laid_over(known, change, steps=steps)
        whole = complete(laid, patient, self._sender, facility=change.facility, now=self._now)
        if isinstance(whole, Fault):
            return replace(whole, sequence=change.sequence) if whole.segment == "OBR" else whole
        if known and (whole.StudyInstanceUID, whole.RequestedProcedureID, whole.accession) != (
            known.StudyInstanceUID,
            known.RequestedProcedureID,
            known.accession,
        ):
            whole = self._frozen(order, whole) if order else whole
        told_apart = self._told_apart(order, whole, change, met)
        if isinstance(told_apart, Fault):
            return told_apart
        whole = told_apart
        if not whole.accession.value or self._is_taken(whole, order):
            number = order_books.next_accession(self._c, self._sender.mapping.accession_prefix)
            made = Identifier(value=number)
            whole = replace(whole, accession=made, flags=whole.flags | {Flag.ACCESSION_GENERATED})
        return whole

    def _told_apart(self, order: Order | None, whole: Procedure, change: OrderChange, met: Met) -> Procedure | Fault:
        """The procedure under identifiers that no other order has, as far as they are ours to choose."""
        if order is None and not met.known and whole.StudyInstanceUID == change.procedure.get("StudyInstanceUID"):
            return whole  # nobody has the study
        holder = self._holder(order, whole)
        if holder is not None:
            whole = apart(whole, change.facility)
            holder = self._holder(order, whole)
        if holder is not None:
            return self._conflict(change, holder.id, "study", "the requested procedure is another order's")
        return whole

    def _holder(self, order: Order | None, whole: Procedure) -> Order | None:
        """The other order that has this requested procedure."""
        holder = order_books.of_procedure(self._c, whole.StudyInstanceUID, whole.RequestedProcedureID)
        return None if holder is None or (order and holder.id == order.id) else holder

    def _frozen(self, order: Order, whole: Procedure) -> Procedure:
        known = order.procedure
        if not order_books.was_served(self._c, order):
            return whole
        if whole.StudyInstanceUID != known.StudyInstanceUID or whole.accession.value != known.accession.value:
            self._alarm("order-identifier-changed", order)
        kept = {Flag.STUDY_GENERATED, Flag.PROCEDURE_GENERATED, Flag.ACCESSION_GENERATED, Flag.ACCESSION_SURROGATE}
        return replace(
            whole,
            StudyInstanceUID=known.StudyInstanceUID,
            RequestedProcedureID=known.RequestedProcedureID,
            accession=known.accession,
            flags=(whole.flags - kept) | (known.flags & kept),
        )

    def _is_taken(self, whole: Procedure, order: Order | None) -> bool:
        """Whether a number we made is another order's, so that it can't be this one's too."""
        if Flag.ACCESSION_GENERATED not in whole.flags or (order and order.procedure.accession == whole.accession):
            return False
        asked = Keys(source=self._sender.name, accession=whole.accession)
        return any(other.id != (order.id if order else 0) for other in order_books.candidates(self._c, asked))

    def _remember_given(self, order: Order, change: OrderChange) -> None:
        """What a message called the order and a row can't, so that it is found by that again."""
        study, accession = change.procedure.get("StudyInstanceUID"), change.procedure.get("accession")
        if study and study != order.procedure.StudyInstanceUID:
            order_books.alias(self._c, order.id, "study", study, "")
        if accession and accession.value and accession.value != order.procedure.accession.value:
            order_books.alias(self._c, order.id, "accession", accession.value, accession.issuer)

    def appointment(self, change: AppointmentChange) -> str | Fault:
        who = patients.resolve(self._c, change.patient)
        placer, filler = (change.given.get(name) or Identifier(value="") for name in ("placer", "filler"))
        asked = Keys(source=self._sender.name, placer=placer, filler=filler)
        found = order_books.candidates(self._c, asked)
        if stranger := foreign([order.known for order in found], asked, who.key):
            audit.raise_alarm(self._c, code=order_books.CONFLICT, subject=self._sender.name, now=self._now)
            text = f"{stranger[1]} order number is bound to another patient; the appointment was set aside"
            return Fault(code=DUPLICATE, text=text, segment="SCH", field=26 if stranger[1] == "placer" else 27)
        own = spoken_of(found, asked)
        if own:
            moved = [self._book(order, change.booked, change.given, change.stamp) for order in own]
            return ("booked" if change.booked else "unbooked") if any(moved) else "older, or ended already"
        if change.order is not None:
            return self.order(change.order)
        orders_awaited.park(self._c, change, who.key, source=self._sender.name, now=self._now)
        return "appointment without an order" if change.booked else "appointment cancelled without an order"

    def _book(self, order: Order, booked: bool, given: Any, stamp: Stamp) -> bool:
        asked = Status.SCHEDULED if booked else Status.HELD
        if order.status in ENDED or stamp < order.stamp:
            return False
        told = step_of(given) if booked else {}
        told = {name: value for name, value in told.items() if name in {"start", *_BOOKED} and value}
        steps: tuple[Step, ...] = tuple(changed(step, told) for step in order.procedure.steps)
        flags = order.procedure.flags - ({Flag.TIME_DEFAULTED} if "start" in told else set())
        status = asked if order.status in {Status.SCHEDULED, Status.HELD} else order.status
        procedure = replace(order.procedure, steps=steps, flags=flags)
        order_books.write(self._c, replace(order, procedure=procedure, status=status, stamp=stamp), now=self._now)
        return True

    def _booked(self, order: Order, asked: Keys) -> None:
        """Takes up the appointment that came before its order."""
        for given, stamp in orders_awaited.take_up(self._c, asked, order.patient):
            self._book(order, True, given, max(stamp, order.stamp))

    def person(self, change: PatientChange) -> str:
        who = patients.resolve(self._c, change.patient)
        told_of = patients.update(self._c, who, change.given, change.stamp, now=self._now)
        if told_of.changed:
            order_changes.note(self._c, who.key, now=self._now)
        for order in self._open_orders(who.key):
            visited = self._visited(order, change)
            if told_of.changed or visited != order:
                order_books.write(self._c, visited, now=self._now)
        return "patient"

    def _visited(self, order: Order, change: PatientChange) -> Order:
        visit, known = change.visit, order.procedure.admission
        told = visit.get("admission")
        if told and known.value and told.value != known.value:
            visit = {}
        procedure = changed(order.procedure, visit)
        status = order.status
        today = change.stamp.event.astimezone(self._sender.zone).date()
        if (
            change.arrived
            and status is Status.SCHEDULED
            and any(step.start and step.start.date() == today for step in procedure.steps)
        ):
            status = Status.ARRIVED
        return replace(order, procedure=procedure, status=status)

    def merge(self, change: MergeChange) -> str:
        linked = patients.link(self._c, change, now=self._now)
        if linked is None:
            return "older merge"
        subsumed, survivor = linked
        for number in linked:
            order_changes.note(self._c, number, now=self._now)
        for order in order_books.of_patient(self._c, subsumed):
            listed = order.status not in ENDED
            order_books.write(self._c, replace(order, patient=survivor), now=self._now, listed=listed)
        self._render_patient(survivor)
        return "renamed" if change.renamed else "merged"

    def _render_patient(self, key: PatientKey, *, but: int = 0) -> None:
        for order in self._open_orders(key):
            if order.id != but:
                order_books.write(self._c, order, now=self._now)

    def _open_orders(self, key: PatientKey) -> Iterator[Order]:
        return (order for order in order_books.of_patient(self._c, key) if order.status not in ENDED)

    def _alarm(self, code: str, order: Order | None) -> None:
        if order is not None:
            audit.raise_alarm(self._c, code=code, subject=f"order {order.id}", now=self._now)


_BOOKED: Final = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepLocation",
    "ScheduledPerformingPhysicianName",
)


def forget(c: Connection, *, orders_before: datetime, now: datetime) -> int:
    """Erases by policy: orders last changed, and scheduled, before then with their rows, and what waited in vain; their
    number."""
    gone = order_books.forget(
        c,
        orders_before=orders_before,
        tombstones_before=now - TOMBSTONES,
        appointments_before=now - APPOINTMENTS,
    )
    return gone + patients.forget(c, unordered_before=now - UNORDERED, aliases_before=now - ALIASES)
