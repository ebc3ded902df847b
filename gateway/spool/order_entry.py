"""Orders that a program enters: kept, applied and answered as a message is.

Promises
- The entry is kept in the transaction of its effect, and with it what is answered (invariant 1).
- The same entry again gets the same answer and has no second effect. The entry holds the id that its teller gave
  it, so another entry under that id is another entry, as it is of messages.
- What names another patient than known is set aside and alarmed; what can't be applied is kept under the alarm
  `hl7-not-understood` of this sender, as a message is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from pydantic import TypeAdapter

from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.domain.model import SourceName
from gateway.domain.order_entry import Entry, change_of, worded
from gateway.domain.order_matching import keys_of, spoken_of
from gateway.domain.order_model import Status
from gateway.domain.orders import OrderChange, Sender
from gateway.spool import messages, order_books, orders
from gateway.spool.db import Connection
from gateway.spool.messages import Received

API: Final = SourceName("api")
"""The sender of what a program enters."""
KIND: Final = "JSON"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredStep:
    """A row of the worklist."""

    ScheduledProcedureStepID: str
    Modality: str
    ScheduledStationAETitle: tuple[str, ...]
    start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredOrder:
    """An order as the entry left it."""

    number: int
    """Ours, as in `gateway orders list`."""
    status: Status
    StudyInstanceUID: str
    RequestedProcedureID: str
    AccessionNumber: str
    flags: tuple[str, ...]
    """What of it we made: order_model.Flag."""
    steps: tuple[EnteredStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What became of an entry."""

    code: Code
    """AA or AE."""
    effect: str
    faults: tuple[Fault, ...]
    orders: tuple[EnteredOrder, ...]


@cache
def _answer() -> TypeAdapter[Entered]:
    return TypeAdapter(Entered)


def enter(
    c: Connection, raw: bytes, entry: Entry, sender: Sender, *, control_id: str, address: str, now: datetime
) -> Entered:
    """Applies the entry, once; `raw` is all that was told, as it is kept. `now` is UTC-aware."""
    change = change_of(entry, sender, now)
    received = Received(sender=sender.name, address=address, kind=KIND, control_id=control_id, raw=raw)

    def apply() -> Outcome:
        if isinstance(change, Fault):
            return Outcome(code=Code.AE, faults=(change,), effect="not applied")
        done = orders.apply_changes(c, (change,), sender, now=now)
        return Outcome(code=done.code, faults=tuple(map(worded, done.faults)), effect=done.effect)

    def answer(outcome: Outcome) -> bytes:
        found = () if outcome.faults or isinstance(change, Fault) else _orders(c, change, sender)
        told = Entered(code=outcome.code, effect=outcome.effect, faults=outcome.faults, orders=found)
        return _answer().dump_json(told)

    return _answer().validate_json(messages.receive(c, received, apply=apply, answer=answer, now=now))


def _orders(c: Connection, change: OrderChange, sender: Sender) -> tuple[EnteredOrder, ...]:
    asked = keys_of(change, sender.name)
    return tuple(map(_order, spoken_of(order_books.candidates(c, asked), asked)))


def _order(order: order_books.Order) -> EnteredOrder:
    whole = order.procedure
    return EnteredOrder(
        number=order.id,
        status=order.status,
        StudyInstanceUID=whole.StudyInstanceUID,
        RequestedProcedureID=whole.RequestedProcedureID,
        AccessionNumber=whole.accession.value,
        flags=tuple(sorted(whole.flags)),
        steps=tuple(
            EnteredStep(
                ScheduledProcedureStepID=step.ScheduledProcedureStepID,
                Modality=step.Modality,
                ScheduledStationAETitle=step.ScheduledStationAETitle,
                start=step.start,
            )
            for step in whole.steps
            if step.start is not None
        ),
    )
