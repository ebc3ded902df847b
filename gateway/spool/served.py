"""Served snapshots: what exactly was shown to which scanner, and when.

Promises
- A snapshot holds the response as it was encoded for the scanner, after its profile, beside the identifiers of the
  row it was made of, whether or not the row is still in the copy when it is written.
- The same response again only counts. May be committed NORMAL: a power cut may take the last few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import xxhash

from gateway.domain.model import UID, AETitle, SourceName
from gateway.domain.worklist import columns
from gateway.spool.datasets import decoder, read
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


class Shown(NamedTuple):
    """One response, and the row of the copy that it shows."""

    source: SourceName
    key: str
    row: bytes
    """The row as the copy has it: Explicit VR little endian."""
    response: bytes
    transfer_syntax: str
    """Of the response."""
    conflict: str = ""
    """A source that had this step for another patient when it was shown; empty if none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One distinct response to one calling AE: evidence for the check of the images that follow."""

    calling_ae: AETitle
    source: SourceName
    key: str
    PatientID: str
    AccessionNumber: str
    StudyInstanceUID: str
    RequestedProcedureID: str
    ScheduledProcedureStepID: str
    """These as the RIS sent them."""
    first_served: datetime
    last_served: datetime
    count: int
    dataset: bytes
    """As the scanner was shown it."""
    transfer_syntax: UID
    conflict: SourceName
    """When it was last shown, this source had the step for another patient: no evidence for an automatic correction.
    Empty if none."""


def record_served(c: Connection, calling_ae: AETitle, *, shown: Sequence[Shown], now: datetime) -> None:
    """Remembers an answer."""
    at = to_text(now)
    values = [
        {
            "calling_ae": calling_ae,
            "source": one.source,
            "key": one.key,
            "digest": xxhash.xxh3_128_hexdigest(one.response),
            "now": at,
            "dataset": one.response,
            "transfer_syntax": one.transfer_syntax,
            "conflict": one.conflict,
        }
        for one in shown
    ]
    if c.executemany(sql("served_upsert"), values).rowcount < len(values):  # rows left the copy in the meantime
        whole = ({**each, **_identifiers(one.row)} for each, one in zip(values, shown, strict=True))
        c.executemany(sql("served_upsert_gone"), whole)


def served_to(c: Connection, calling_ae: AETitle, *, since: datetime) -> tuple[Served, ...]:
    """What this AE was answered since then, latest first."""
    return tuple(map(_served, c.execute(sql("served_to"), {"calling_ae": calling_ae, "since": to_text(since)})))


def last_served(c: Connection, calling_ae: str, *, key: str) -> datetime | None:
    """When this scanner (whatever the case of its title) was last shown this step."""
    values = {"calling_ae": calling_ae.strip(), "key": key}
    last: str | None = c.execute(sql("served_last"), values).fetchone()["last"]
    return from_text(last)


def forget_served(c: Connection, *, before: datetime) -> int:
    """Removes answers last given before then; their number."""
    return c.execute(sql("served_forget"), {"before": to_text(before)}).rowcount


def _identifiers(row: bytes) -> dict[str, str]:
    dataset = read(row)
    found = columns(dataset, decoder(dataset))
    return {
        "PatientID": found.PatientID,
        "AccessionNumber": found.AccessionNumber,
        "StudyInstanceUID": found.StudyInstanceUID,
        "RequestedProcedureID": found.RequestedProcedureID,
        "ScheduledProcedureStepID": found.ScheduledProcedureStepID,
    }


def _served(row: Row) -> Served:
    values = {name: row[name] for name in Served.__dataclass_fields__}
    times = {name: from_text(row[name]) for name in ("first_served", "last_served")}
    return Served(**{**values, **times})
