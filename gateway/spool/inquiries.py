"""What scanners ask to be committed to that never came here: passed on to destinations, under Transaction UIDs of ours.

Promises
- An inquiry belongs to a scanner's request and is forgotten with it. It names at most as many instances as it was made
  with, and is asked under one Transaction UID at a time.
- Its answer is the report of that transaction (commitments.py). A transaction that was withdrawn, given up or forgotten
  leaves the inquiry to be asked anew: no inquiry is ever answered by time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.model import UID, AETitle, DestinationName
from gateway.spool import commitments
from gateway.spool.commitments import CommitmentRequest, CommitmentState, CommitmentTransaction, Referenced
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Some instances of a scanner's request, for one destination."""

    id: int
    scanner: AETitle
    destination: DestinationName
    referenced: tuple[Referenced, ...]
    transaction_uid: UID | None
    """Ours; None: not asked yet."""


def open_inquiry(
    c: Connection, request: CommitmentRequest, *, destination: DestinationName, referenced: Sequence[Referenced]
) -> None:
    """These instances are to be asked of that destination."""
    pairs = [[one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID] for one in referenced]
    values = {"request": request.transaction_uid, "scanner": request.scanner, "destination": destination}
    c.execute(sql("inquiry_insert"), {**values, "referenced": json.dumps(pairs)})


def of_request(c: Connection, request: CommitmentRequest) -> tuple[tuple[Inquiry, CommitmentTransaction | None], ...]:
    """The inquiries of a request, each with its report if that has come."""
    values = {"request": request.transaction_uid, "scanner": request.scanner}
    found = [_inquiry(row) for row in c.execute(sql("inquiries_of"), values).fetchall()]
    return tuple((one, _answer(c, one)) for one in found)


def unasked(c: Connection, *, destination: DestinationName, again: datetime, limit: int) -> tuple[Inquiry, ...]:
    """What is to be asked of a destination now: what was not asked, or was asked before `again` without an answer."""
    values = {"destination": destination, "again": to_text(again), "limit": limit}
    return tuple(_inquiry(row) for row in c.execute(sql("inquiries_unasked"), values))


def ask(c: Connection, inquiry: Inquiry, *, transaction_uid: UID, now: datetime) -> None:
    """It is asked under that Transaction UID: to be committed before the N-ACTION is sent."""
    commitments.record_transaction(
        c, transaction_uid=transaction_uid, destination=inquiry.destination, deliveries=(), now=now
    )
    c.execute(sql("inquiry_asked"), {"id": inquiry.id, "transaction_uid": transaction_uid})


def _answer(c: Connection, inquiry: Inquiry) -> CommitmentTransaction | None:
    asked = None if inquiry.transaction_uid is None else commitments.get_transaction(c, inquiry.transaction_uid)
    return None if asked is None or asked.state is CommitmentState.OPEN else asked


def _inquiry(row: Row) -> Inquiry:
    return Inquiry(
        id=row["id"],
        scanner=AETitle(row["scanner"]),
        destination=DestinationName(row["destination"]),
        referenced=tuple(
            Referenced(ReferencedSOPClassUID=UID(class_uid), ReferencedSOPInstanceUID=UID(instance_uid))
            for class_uid, instance_uid in json.loads(row["referenced"])
        ),
        transaction_uid=row["transaction_uid"],
    )
