"""What came before its order: the end of one that was never told, and appointments. Each waits for the order to come.

Promises: of what was told of one order the newest stands; it is found by any number that tells the order alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from gateway.domain.order_matching import Keys
from gateway.domain.order_model import Identifier, PatientKey, Stamp, Status, Step
from gateway.domain.orders import AppointmentChange, step_of
from gateway.spool.db import Connection
from gateway.spool.patients import stamp_of, stamps
from gateway.spool.queries import sql
from gateway.spool.texts import json_text
from gateway.spool.times import to_text


@cache
def _step() -> TypeAdapter[Step]:
    return TypeAdapter(Step)


def bury(c: Connection, asked: Keys, status: Status, stamp: Stamp, *, now: datetime) -> None:
    """Remembers the state of an order that is not known; a newer one stands."""
    for kind, value, issuer in _numbers(asked):
        values = {"kind": kind, "value": value, "issuer": issuer, "source": asked.source, "status": status}
        c.execute(sql("order_tombstone_set"), {**values, **stamps(stamp), "now": to_text(now)})


def tombstone(c: Connection, asked: Keys) -> tuple[Status, Stamp] | None:
    """The state that was told before the order came, and when: the newest."""
    numbers = {kind: (value, issuer) for kind, value, issuer in _numbers(asked)}
    values: dict[str, str | None] = {"source": asked.source}
    for kind in ("study", "filler", "placer", "accession"):
        values[kind], values[f"{kind}_issuer"] = numbers.get(kind, (None, None))
    row = c.execute(sql("order_tombstone_of"), values).fetchone()
    return None if row is None else (Status(row["status"]), stamp_of(row))


def _numbers(asked: Keys) -> Iterator[tuple[str, str, str]]:
    """What tells one order, best first: the study with its procedure; an accession only where there is nothing else."""
    if asked.StudyInstanceUID and asked.RequestedProcedureID:
        yield "study", f"{asked.StudyInstanceUID}\\{asked.RequestedProcedureID}", ""
    for kind in ("filler", "placer"):
        number: Identifier = getattr(asked, kind)
        if number.value:
            yield kind, number.value, number.issuer
    if asked.accession.value and not (asked.filler.value or asked.placer.value or asked.RequestedProcedureID):
        yield "accession", asked.accession.value, asked.accession.issuer


def park(c: Connection, change: AppointmentChange, patient: PatientKey, *, source: str, now: datetime) -> None:
    """Keeps an appointment for the order to come, or forgets one that was called off."""
    given = change.given
    named = [
        given[name].value
        for name in ("filler_appointment", "placer_appointment", "filler", "placer")
        if given.get(name)
    ]
    values = {"source": source, "number": next(iter(named), ""), **stamps(change.stamp)}
    if not values["number"]:
        return
    if not change.booked:
        c.execute(sql("appointment_remove"), values)
        return
    step = {name: value for name, value in step_of(given).items() if value}
    numbers = {name: given[name].value if given.get(name) else "" for name in ("placer", "filler")}
    content = _step().dump_json(Step(**step)).decode()
    who = {"PatientID": patient.PatientID, "issuer": patient.issuer, "content": content, "now": to_text(now)}
    c.execute(sql("appointment_set"), {**values, **numbers, **who})


def take_up(c: Connection, asked: Keys, patient: PatientKey) -> list[tuple[dict[str, Any], Stamp]]:
    """The appointments that waited for this order, each as the fields of a step it told; they wait no more."""
    values = {"source": asked.source, "placer": asked.placer.value or None, "filler": asked.filler.value or None}
    found = []
    for row in c.execute(sql("appointments_for"), values).fetchall():
        if not PatientKey(row["issuer"], row["PatientID"]).may_be(patient):
            continue
        step = _step().validate_json(json_text(row["content"]))
        told = {name: getattr(step, name) for name in Step.__dataclass_fields__ if getattr(step, name)}
        found.append((told, stamp_of(row)))
        c.execute(
            sql("appointment_remove"), {"source": row["source"], "number": row["number"], **stamps(stamp_of(row))}
        )
    return found
