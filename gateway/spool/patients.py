"""Patients as the messages tell them, and which numbers are one person's.

Promises
- Demographics are those of the newest stamp; an older message changes nothing.
- A merged or changed number stays an alias of the one that survived, so that what comes later under the
  old number, from a scanner too, is the survivor's. An alias leads there in one step. An older merge does
  not undo a newer one, and no number is ever its own alias.
- The name and birth date that come under a merged number are not the survivor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from gateway.domain.order_model import Given, Patient, PatientKey, Stamp, changed
from gateway.domain.orders import MergeChange
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.texts import json_text
from gateway.spool.times import from_text, to_text

LONG_AGO: Final = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Who a number of a message is."""

    key: PatientKey
    merged: bool = False
    """The number is an alias by a merge: what is told of its person is not told of the survivor."""
    renamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a patient after a message."""

    patient: Patient
    changed: bool
    """Something was known of the patient, and it is different now."""


@cache
def _content() -> TypeAdapter[Patient]:
    return TypeAdapter(Patient)


def stamps(stamp: Stamp) -> dict[str, str]:
    """A stamp as its two columns."""
    return {"event": to_text(stamp.event), "message": to_text(stamp.message)}


def stamp_of(row: Row) -> Stamp:
    """The stamp of a row that has these columns."""
    return Stamp(from_text(row["event"]), from_text(row["message"]))


def resolve(c: Connection, key: PatientKey) -> Resolved:
    """The patient that a number stands for. A number without an issuer is that of the one issuer that gave it."""
    alias = _fitting(c.execute(sql("patient_alias_of"), _named(key)).fetchall(), key)
    if alias is not None:
        survivor = PatientKey(alias["to_issuer"], alias["to_PatientID"])
        return Resolved(key=survivor, merged=not alias["renamed"], renamed=bool(alias["renamed"]))
    known = _fitting(c.execute(sql("patient_of"), _named(key)).fetchall(), key)
    return Resolved(key=PatientKey(known["issuer"], known["PatientID"]) if known is not None else key)


def patient(c: Connection, key: PatientKey) -> Patient:
    """What is known of a patient; a number nobody told of has nothing but itself."""
    row = c.execute(sql("patient_content"), _named(key)).fetchone()
    return Patient() if row is None else _content().validate_json(json_text(row["content"]))


def update(c: Connection, who: Resolved, given: Given, stamp: Stamp, *, now: datetime) -> Told:
    """Lays what a message says of the patient over what is known, unless that is newer."""
    row = c.execute(sql("patient_content"), _named(who.key)).fetchone()
    known = Patient() if row is None else _content().validate_json(json_text(row["content"]))
    if row is not None and (who.merged or stamp < stamp_of(row)):
        return Told(patient=known, changed=False)
    told: dict[str, Any] = dict(given)
    if who.renamed or who.merged:
        told.pop("identifiers", None)
    if told.get("PatientName", "") is None:
        del told["PatientName"]  # type 1: `""` is an error of the sender, not a deletion
    patient = changed(known, told)
    if row is None or patient != known or stamp != stamp_of(row):
        _write(c, who.key, patient, stamp, now)
    return Told(patient=patient, changed=row is not None and patient != known)


def link(c: Connection, change: MergeChange, *, now: datetime) -> tuple[PatientKey, PatientKey] | None:
    """Makes one number the other's alias; (subsumed, survivor) as they are known, or None if a newer merge stands."""
    here = _fitting(c.execute(sql("patient_alias_of"), _named(change.subsumed)).fetchall(), change.subsumed)
    there = _fitting(c.execute(sql("patient_alias_of"), _named(change.survivor)).fetchall(), change.survivor)
    if any(row is not None and change.stamp < stamp_of(row) for row in (here, there)):
        return None
    if there is not None:  # the number was given up before, and is used again
        c.execute(sql("patient_alias_remove"), {"PatientID": there["PatientID"], "issuer": there["issuer"]})
    survivor = resolve(c, change.survivor).key
    subsumed = _known_as(c, change.subsumed)
    old, row = patient(c, subsumed), c.execute(sql("patient_content"), _named(survivor)).fetchone()
    if row is None and (change.renamed or "PatientName" not in change.given):
        _write(c, survivor, old, Stamp(LONG_AGO, LONG_AGO), now)
    update(c, Resolved(key=survivor), change.given, change.stamp, now=now)
    values = {"to_PatientID": survivor.PatientID, "to_issuer": survivor.issuer, **_named(subsumed)}
    c.execute(sql("patient_alias_follow"), values)
    c.execute(
        sql("patient_alias_set"),
        {**values, **stamps(change.stamp), "renamed": change.renamed, "changed_at": to_text(now)},
    )
    c.execute(sql("patient_remove"), _named(subsumed))
    return subsumed, survivor


def forget(c: Connection, *, unordered_before: datetime, aliases_before: datetime) -> int:
    """Removes patients without an order and aliases, last changed before then; their number."""
    gone = c.execute(sql("patient_forget"), {"before": to_text(unordered_before)}).rowcount
    return gone + c.execute(sql("patient_alias_forget"), {"before": to_text(aliases_before)}).rowcount


def _known_as(c: Connection, key: PatientKey) -> PatientKey:
    known = _fitting(c.execute(sql("patient_of"), _named(key)).fetchall(), key)
    return PatientKey(known["issuer"], known["PatientID"]) if known is not None else key


def _write(c: Connection, key: PatientKey, patient: Patient, stamp: Stamp, now: datetime) -> None:
    content = _content().dump_json(patient).decode()
    c.execute(sql("patient_set"), {**_named(key), **stamps(stamp), "content": content, "changed_at": to_text(now)})


def _fitting(rows: Sequence[Row], key: PatientKey) -> Row | None:
    """The row of that very issuer; else the only one."""
    exact = next((row for row in rows if row["issuer"] == key.issuer), None)
    return exact if exact is not None else rows[0] if len(rows) == 1 else None


def _named(key: PatientKey) -> dict[str, str]:
    return {"PatientID": key.PatientID, "issuer": key.issuer}
