"""Entries of the desk and their real orders: linked on proof or by a person, and parted again.

Promises
- `settle` links only what `gateway.domain.desk_orders` calls proven, and alarms about doubt once, not each time.
- The link, the removal of the desk's row and the journal row are one transaction. A link is an alias: the
  provisional accession number, PatientID and StudyInstanceUID stand for the real ones of `Entry.link`.
- An order that was cancelled proves nothing, is not suggested and can't be linked.
- A link that a person took back is not made again by itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import Final

from gateway.dicom import elements
from gateway.domain import desk_orders
from gateway.domain.desk import (
    DESK,
    ISSUER_OF_PATIENT_ID,
    PATIENT_BIRTH_DATE,
    Entry,
    EntryRefused,
    EntryState,
    Link,
)
from gateway.domain.desk_orders import RealOrder, Suggestion
from gateway.domain.model import SourceName
from gateway.domain.worklist import DONE, date_of, text
from gateway.spool import audit, desk
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import to_text

NAME_DAYS: Final = timedelta(days=7)
"""How far from an entry's day an order is looked for by the patient's name."""
_AT_ONCE: Final = 200
_WITHDRAWN: Final = DONE - {"COMPLETED"}
"""States of a step whose order is none any more; of one that was performed it is still the order."""


def due(c: Connection, *, now: datetime) -> bool:
    """Whether `settle` or `desk.expire` might have something to do: two look-ups in an index."""
    waiting = c.execute(sql("desk_waiting"), {"desk": DESK, "limit": 1}).fetchone()
    return bool(waiting or c.execute(sql("desk_overdue"), {"now": to_text(now), "limit": 1}).fetchone())


def settle(c: Connection, *, now: datetime) -> int:
    """Links every entry whose order is proven; how many."""
    linked = 0
    for row in c.execute(sql("desk_waiting"), {"desk": DESK, "limit": _AT_ONCE}).fetchall():
        entry = desk.entry_of_row(row, None)
        verdict = desk_orders.verdict(entry, _keyed(c, entry))
        if verdict.order is not None:
            _link(c, entry, verdict.order, how=verdict.how, now=now, by="desk")
            linked += 1
        elif verdict.doubt:
            _doubt(c, entry, now=now)
    return linked


def _doubt(c: Connection, entry: Entry, *, now: datetime) -> None:
    standing = audit.active_alarms(c, code=desk.ALARM_DOUBT)
    if str(entry.number) not in {alarm.subject for alarm in standing}:
        audit.raise_alarm(c, code=desk.ALARM_DOUBT, subject=str(entry.number), now=now)


def reconcile(
    c: Connection,
    entry: Entry,
    *,
    AccessionNumber: str,
    StudyInstanceUID: str = "",
    although_different: bool = False,
    now: datetime,
    by: str,
) -> Entry:
    """Links an entry to the order of the copy with that accession number, as a person decided.

    `StudyInstanceUID` chooses among several orders of one accession number. Raises EntryRefused if there is
    not exactly one such order, or if it names another patient and not `although_different`.
    """
    wanted = AccessionNumber.strip().upper()
    keys = {"AccessionNumber": wanted, "StudyInstanceUID": None, "PatientID": None}
    orders = [
        order
        for order in _select(c, sql("desk_orders_by_key"), keys)
        if not StudyInstanceUID or order.StudyInstanceUID == StudyInstanceUID.strip()
    ]
    if not wanted or not orders:
        raise EntryRefused(
            "to: the worklist has no such order; look at `gateway desk suggest`, or wait until its RIS answers again"
        )
    if not desk_orders.one_order(orders):
        raise EntryRefused(
            f"to: {len(orders)} orders of several patients or studies have it; say which by its study"
            " (`gateway desk suggest`), or correct them at the RIS"
        )
    order = max(orders, key=lambda one: bool(one.StudyInstanceUID))
    differs = desk_orders.differences(entry, order)
    if differs and not although_different:
        raise EntryRefused(
            f"to: the order differs in {', '.join(differs)}, so it may be another patient's;"
            " if you are sure it is not, say so (--although-different)"
        )
    return _link(c, entry, order, how="person", now=now, by=by)


def unlink(c: Connection, entry: Entry, *, now: datetime, by: str) -> Entry:
    """Takes a link back: the entry waits again, and is served again if its time is not over.

    Raises EntryRefused for an entry that is not linked.
    """
    if entry.link is None:
        raise EntryRefused(f"entry {entry.number}: is not linked; there is nothing to take back")
    c.execute(sql("desk_link_remove"), {"number": entry.number})
    over = entry.expires_at <= now
    state = EntryState.EXPIRED if over else EntryState.OPEN
    moved = desk.move(c, replace(entry, link=None), state, now=now, by=by, why="link taken back", automatic=False)
    if over:
        audit.raise_alarm(c, code=desk.ALARM_UNRECONCILED, subject=str(entry.number), now=now)
    return moved


def suggest(c: Connection, entry: Entry, *, accession_prefix: str) -> tuple[Suggestion, ...]:
    """The orders of the copy that may be the entry's, most likely first; nothing is changed."""
    orders = _keyed(c, entry)
    names = json.dumps(_written_names(c, entry))
    orders += _select(c, sql("desk_orders_by_name"), {"names": names, **_days(entry)})
    orders += _slipped(c, accession_prefix)
    return desk_orders.suggestions(entry, orders, accession_prefix=accession_prefix)


def _written_names(c: Connection, entry: Entry) -> list[str]:
    """The names of orders near its day that are the entry's, as each of them is written."""
    if not entry.PatientBirthDate:
        return []
    names = (row["PatientName"] for row in c.execute(sql("desk_names"), {**_days(entry), "desk": DESK}))
    return [name for name in names if desk_orders.same_name(entry, name)][:_AT_ONCE]


def _days(entry: Entry) -> dict[str, str | None]:
    day = entry.start.date()
    return {"first": f"{day - NAME_DAYS:%Y%m%d}", "last": f"{day + NAME_DAYS:%Y%m%d}"}


def _slipped(c: Connection, accession_prefix: str) -> list[RealOrder]:
    """Orders whose accession number looks like one of ours."""
    return _select(c, sql("desk_orders_by_prefix"), {"first": accession_prefix, "last": accession_prefix + "~"})


def _keyed(c: Connection, entry: Entry) -> list[RealOrder]:
    names = ("AccessionNumber", "StudyInstanceUID", "PatientID")
    return _select(c, sql("desk_orders_by_key"), {name: getattr(entry, name) for name in names})


def _select(c: Connection, statement: str, values: dict[str, str | None]) -> list[RealOrder]:
    found = c.execute(statement, {**values, "desk": DESK, "limit": _AT_ONCE})
    return [_order(row) for row in found if row["status"] not in _WITHDRAWN]


def _order(row: Row) -> RealOrder:
    dataset = elements.parse(row["dataset"], elements.EXPLICIT_LITTLE)
    born = date_of(text(dataset, PATIENT_BIRTH_DATE))
    return RealOrder(
        source=SourceName(row["source"]),
        AccessionNumber=row["AccessionNumber"],
        StudyInstanceUID=row["StudyInstanceUID"],
        PatientID=row["PatientID"],
        IssuerOfPatientID=text(dataset, ISSUER_OF_PATIENT_ID),
        PatientName=row["PatientName"],
        PatientBirthDate=f"{born:%Y%m%d}" if born else "",
        RequestedProcedureID=row["RequestedProcedureID"],
        Modality=row["Modality"],
        start=date.fromisoformat(row["start_date"]) if row["start_date"] else None,
    )


def _link(c: Connection, entry: Entry, order: RealOrder, *, how: str, now: datetime, by: str) -> Entry:
    moved = desk.move(c, entry, EntryState.LINKED, now=now, by=by, why=how)
    names = ("source", "AccessionNumber", "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "RequestedProcedureID")
    link = Link(**{name: getattr(order, name) for name in names}, how=how, at=now, by=by)
    c.execute(sql("desk_link_insert"), {**asdict(link), "entry": entry.number, "at": to_text(now)})
    return replace(moved, link=link)
