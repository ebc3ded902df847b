"""The entries of the downtime desk: added, served, taken back, expired, forgotten.

Promises
- An entry and its worklist row (source "desk") are written in one transaction, committed FULL: what was
  acknowledged is served, also after a crash.
- What was minted is never minted again: not in the same second, not when the clock goes back, not after an
  entry is forgotten; a restored backup is kept apart by the time and a salt.
- Every move is in `ENTRY_MOVES` and in the journal. An entry that expires without its order raises an alarm
  until a person links or cancels it.
- A row of kind "desk" is the mark that an image of it is no target of automatic correction; `find` knows
  the entry by any of its keys, and its link once the real order came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from gateway.dicom import elements
from gateway.domain.desk import (
    DESK,
    ENTRY_MOVES,
    SALTS,
    DeskPolicy,
    Entry,
    EntryRefused,
    EntryState,
    Link,
    Request,
    code_of,
    entry_of,
    row_of,
    second_of,
)
from gateway.domain.explain import Removal
from gateway.domain.merge import Kind
from gateway.domain.model import UID, SourceName
from gateway.domain.worklist import merge_key
from gateway.spool import audit, removals, worklist
from gateway.spool.audit import Subject
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.rows import as_elements
from gateway.spool.times import from_text, to_text
from gateway.spool.worklist import WorklistRow

ALARM_UNRECONCILED: Final = "desk-unreconciled"
"""An entry expired and its order has not come. Subject: the entry's number."""
ALARM_DOUBT: Final = "desk-doubt"
"""An order carries what we minted, and yet names another patient or is several. Subject: the entry's number."""
MOST_LISTED: Final = 500
_AT_ONCE: Final = 200


def add(
    c: Connection,
    request: Request,
    *,
    policy: DeskPolicy,
    uid: UID,
    salt: Callable[[], int],
    now: datetime,
    local: datetime,
    by: str,
) -> Entry:
    """Enters an accepted request and serves it from this commit on.

    `salt` gives any number below `SALTS`; `local` is now by the site's clock. Raises EntryRefused when as
    many entries stand as the policy allows.
    """
    if c.execute(sql("desk_count_open")).fetchone()["n"] >= policy.most_open:
        raise EntryRefused(
            f"desk: {policy.most_open} entries stand open, as many as [desk] open allows;"
            " link or cancel some with `gateway desk`"
        )
    second, code = _free_code(c, policy, salt, now)
    entry = entry_of(
        request, policy=policy, code=code, uid=uid, number=0, now=now, start=local.replace(tzinfo=None), by=by
    )
    (number,) = c.execute(sql("desk_insert"), {**_columns(entry), "second": second}).fetchone()
    entry = replace(entry, number=number)
    serve(c, entry, now=now)
    record(c, entry, before="", after=entry.state, now=now, by=by, why="emergency" if entry.emergency else "walk-in")
    return entry


def _free_code(c: Connection, policy: DeskPolicy, salt: Callable[[], int], now: datetime) -> tuple[int, str]:
    """A second and a code that no entry has, and no order of the copy either: one may come from before a restore."""
    last = newest(c)
    while True:
        last = second_of(now, last=last)
        code = code_of(last, salt() % SALTS)
        accession = {"AccessionNumber": policy.accession_prefix + code}
        if c.execute(sql("desk_known_accession"), accession).fetchone() is None:
            return last, code


def newest(c: Connection) -> int:
    """The second of the newest entry there ever was, -1 for none: another number means another entry."""
    return int(c.execute(sql("desk_last_second")).fetchone()["last"])


def entries(c: Connection, *, every: bool = False, limit: int = MOST_LISTED) -> tuple[Entry, ...]:
    """Those that wait for their order, latest first; with `every` those that are linked or cancelled too."""
    rows = c.execute(sql("desk_list"), {"all": every, "limit": limit}).fetchall()
    return tuple(_entry(c, row) for row in rows)


def find(c: Connection, key: str) -> Entry | None:
    """The entry of that number, provisional accession number or minted StudyInstanceUID; None for a forgotten one."""
    key = key.strip()
    number = int(key) if key.isascii() and key.isdecimal() and len(key) < 16 else -1
    row = c.execute(sql("desk_find"), {"number": number, "AccessionNumber": key, "StudyInstanceUID": key}).fetchone()
    return None if row is None or row["erased"] else _entry(c, row)


def cancel(c: Connection, entry: Entry, *, now: datetime, by: str) -> Entry:
    """Takes an entry back: it is served no more. Raises EntryRefused for a linked or cancelled one."""
    return move(c, entry, EntryState.CANCELLED, now=now, by=by, why="person")


def expire(c: Connection, *, now: datetime) -> int:
    """Ends the serving of entries whose time is over; how many."""
    overdue = c.execute(sql("desk_overdue"), {"now": to_text(now), "limit": _AT_ONCE}).fetchall()
    for row in overdue:
        entry = move(c, _entry(c, row), EntryState.EXPIRED, now=now, by="desk", why="its time is over")
        audit.raise_alarm(c, code=ALARM_UNRECONCILED, subject=str(entry.number), now=now)
    return len(overdue)


def erase(c: Connection, *, before: datetime, now: datetime) -> int:
    """Forgets the patients of entries that were over, and links that were made, before then; how many entries."""
    erased = [row["number"] for row in c.execute(sql("desk_erase"), {"before": to_text(before)}).fetchall()]
    for number in erased:
        c.execute(sql("desk_link_remove"), {"number": number})
        _end_alarms(c, number, now=now)
    return len(erased)


def of_patient(c: Connection, PatientID: str) -> tuple[Entry, ...]:
    """The entries of a patient, and those whose order is the patient's."""
    return tuple(_entry(c, row) for row in c.execute(sql("desk_of_patient"), {"PatientID": PatientID}).fetchall())


def forget(c: Connection, entry: Entry, *, now: datetime, by: str) -> None:
    """Forgets the patient of an entry at once. One that waits for its order is cancelled."""
    if entry.state in {EntryState.OPEN, EntryState.EXPIRED}:
        move(c, entry, EntryState.CANCELLED, now=now, by=by, why="the patient is erased")
    c.execute(sql("desk_erase_one"), {"number": entry.number})
    c.execute(sql("desk_link_remove"), {"number": entry.number})


# -- moves, for desk_links too --


def move(
    c: Connection, entry: Entry, to: EntryState, *, now: datetime, by: str, why: str, automatic: bool | None = None
) -> Entry:
    """Brings an entry into another state, its row and its alarms with it. Raises EntryRefused if it may not."""
    if (entry.state, to) not in ENTRY_MOVES:
        raise EntryRefused(f"entry {entry.number}: is {entry.state} and can't become {to}; look at `gateway desk list`")
    moved = replace(entry, state=to, automatic=entry.automatic if automatic is None else automatic)
    c.execute(sql("desk_move"), {"number": entry.number, "state": to, "automatic": moved.automatic})
    record(c, entry, before=entry.state, after=to, now=now, by=by, why=why)
    if to is EntryState.OPEN:
        serve(c, moved, now=now)
    else:
        gone = c.execute(sql("desk_remove_row"), {"source": DESK, "key": merge_key(row_of(entry))})
        removals.record(c, gone.fetchall(), reason=Removal.WITHDRAWN, now=now)
    if to in {EntryState.LINKED, EntryState.CANCELLED}:
        _end_alarms(c, entry.number, now=now)
    return moved


def record(c: Connection, entry: Entry, *, before: str, after: str, now: datetime, by: str, why: str) -> None:
    """Writes the journal row of a move."""
    audit.journal(c, Subject.DESK, entry.number, before=before, after=after, now=now, by=by, why=why)


def serve(c: Connection, entry: Entry, *, now: datetime) -> None:
    """Puts the entry's row into the worklist."""
    dataset = row_of(entry)
    row = WorklistRow(
        source=DESK,
        key=merge_key(dataset),
        PatientID=entry.PatientID,
        PatientName=entry.PatientName,
        AccessionNumber=entry.AccessionNumber,
        StudyInstanceUID=entry.StudyInstanceUID,
        RequestedProcedureID=entry.AccessionNumber,
        ScheduledProcedureStepID=entry.AccessionNumber,
        start_date=f"{entry.start:%Y%m%d}",
        start_time=f"{entry.start:%H%M%S}",
        Modality=entry.Modality,
        ScheduledStationAETitle="\\".join(entry.stations),
        status="SCHEDULED",
        dataset=elements.encode(as_elements(dataset), elements.EXPLICIT_LITTLE),
        kind=Kind.DESK,
        stamp=entry.added_at,
        minted=True,
        IssuerOfPatientID=entry.IssuerOfPatientID,
    )
    worklist.merge_answer(c, DESK, rows=[row], now=now)


def _end_alarms(c: Connection, number: int, *, now: datetime) -> None:
    for code in (ALARM_UNRECONCILED, ALARM_DOUBT):
        audit.clear_alarm(c, code=code, subject=str(number), now=now)


# -- rows --


def _columns(entry: Entry) -> dict[str, object]:
    values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__ if name not in {"number", "link"}}
    return values | {
        "stations": "\\".join(entry.stations),
        "start": entry.start.isoformat(),
        "added_at": to_text(entry.added_at),
        "expires_at": to_text(entry.expires_at),
    }


def entry_of_row(row: Row, link: Link | None) -> Entry:
    """An entry as the books have it."""
    values = {name: row[name] for name in Entry.__dataclass_fields__ if name != "link"}
    changed = {
        "StudyInstanceUID": UID(row["StudyInstanceUID"]),
        "named": bool(row["named"]),
        "emergency": bool(row["emergency"]),
        "automatic": bool(row["automatic"]),
        "stations": tuple(row["stations"].split("\\")),
        "start": datetime.fromisoformat(row["start"]),
        "state": EntryState(row["state"]),
        "added_at": from_text(row["added_at"]),
        "expires_at": from_text(row["expires_at"]),
    }
    return Entry(**values | changed, link=link)


def _entry(c: Connection, row: Row) -> Entry:
    linked = c.execute(sql("desk_link_of"), {"number": row["number"]}).fetchone()
    return entry_of_row(row, None if linked is None else _link(linked))


def _link(row: Row) -> Link:
    values = {name: row[name] for name in Link.__dataclass_fields__}
    return Link(**values | {"source": SourceName(row["source"]), "at": from_text(row["at"])})
