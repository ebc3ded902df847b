"""Storage commitment, both ways (PS3.4 J.3): what a scanner asked us, and what we asked a destination.

Promises
- A request (a scanner's N-ACTION) stands until it is answered, through restarts. The same
  Transaction UID from the same scanner again is the same request.
- A transaction (our N-ACTION) is matched to its N-EVENT-REPORT by our own Transaction UID alone.
  `record_result` keeps the first report and says False for a UID we never sent, so that an unknown
  report can be refused.
- open -> answered (the report is here) -> settled (its deliveries have been moved). The report may
  come in one process and be settled in another, so nothing is lost between the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.dicom.commitment import Result
from gateway.domain.model import UID, AETitle, DestinationName
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


class CommitmentState(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    """Of a request: its outcome is known, and the scanner has not taken our report yet."""
    ANSWERED = "answered"
    SETTLED = "settled"
    """Of a transaction: its deliveries have been moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referenced:
    """An item of a Referenced SOP Sequence (0008,1199)."""

    ReferencedSOPClassUID: UID
    ReferencedSOPInstanceUID: UID


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An item of a Failed SOP Sequence (0008,1198)."""

    ReferencedSOPInstanceUID: UID
    FailureReason: int
    """PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scanner is to be told of its request."""

    succeeded: tuple[Referenced, ...]
    failed: tuple[tuple[Referenced, int], ...]
    """With their Failure Reason (PS3.3 C.14.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    transaction_uid: UID
    scanner: AETitle
    received_at: datetime
    referenced: tuple[Referenced, ...]
    state: CommitmentState
    outcome: Outcome | None
    """None while open."""
    answered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentTransaction:
    transaction_uid: UID
    destination: DestinationName
    asked_at: datetime
    deliveries: tuple[int, ...]
    state: CommitmentState
    succeeded: tuple[UID, ...]
    """SOP Instance UIDs the destination committed to."""
    failed: tuple[Failed, ...]
    answered_at: datetime | None


def record_request(
    c: Connection, *, transaction_uid: UID, scanner: AETitle, referenced: Sequence[Referenced], now: datetime
) -> bool:
    """Keeps a scanner's request. False if it was here already: it stands as it was."""
    items = [_pair(item) for item in referenced]
    values = {"transaction_uid": transaction_uid, "scanner": scanner, "now": to_text(now)}
    return c.execute(sql("request_insert"), {**values, "referenced": json.dumps(items)}).rowcount > 0


def requests(c: Connection, *, state: CommitmentState, limit: int, offset: int = 0) -> tuple[CommitmentRequest, ...]:
    """Requests in that state, oldest first, the first `offset` left out."""
    values = {"state": state, "limit": limit, "offset": offset}
    return tuple(_request(row) for row in c.execute(sql("requests_in_state"), values))


def get_request(c: Connection, *, transaction_uid: UID, scanner: AETitle) -> CommitmentRequest | None:
    """The scanner's request of that UID."""
    row = c.execute(sql("request_get"), {"transaction_uid": transaction_uid, "scanner": scanner}).fetchone()
    return None if row is None else _request(row)


def decide_request(c: Connection, *, transaction_uid: UID, scanner: AETitle, outcome: Outcome, now: datetime) -> bool:
    """Keeps what the scanner is to be told. False if no such request is open."""
    result = {
        "succeeded": [_pair(item) for item in outcome.succeeded],
        "failed": [[*_pair(item), reason] for item, reason in outcome.failed],
    }
    values = {"transaction_uid": transaction_uid, "scanner": scanner, "now": to_text(now)}
    return c.execute(sql("request_decide"), {**values, "result": json.dumps(result)}).rowcount > 0


def answer_request(c: Connection, *, transaction_uid: UID, scanner: AETitle, now: datetime) -> bool:
    """The scanner took our report. False if no such request is decided."""
    values = {"transaction_uid": transaction_uid, "scanner": scanner, "now": to_text(now)}
    return c.execute(sql("request_answer"), values).rowcount > 0


def record_transaction(
    c: Connection, *, transaction_uid: UID, destination: DestinationName, deliveries: Sequence[int], now: datetime
) -> None:
    """To be committed before the N-ACTION is sent: the report may come at once."""
    values = {"transaction_uid": transaction_uid, "destination": destination, "now": to_text(now)}
    c.execute(sql("transaction_insert"), {**values, "deliveries": json.dumps(list(deliveries))})


def withdraw_transaction(c: Connection, transaction_uid: UID) -> bool:
    """The destination did not take the request, so no report will come. False if it is not open."""
    return c.execute(sql("transaction_withdraw"), {"transaction_uid": transaction_uid}).rowcount > 0


def record_result(
    c: Connection, *, transaction_uid: UID, succeeded: Sequence[UID], failed: Sequence[Failed], now: datetime
) -> bool:
    """Keeps the destination's report. False if the UID is not one of ours; a repeated report is True."""
    if get_transaction(c, transaction_uid) is None:
        return False
    reasons = [[item.ReferencedSOPInstanceUID, item.FailureReason] for item in failed]
    c.execute(
        sql("transaction_answer"),
        {
            "transaction_uid": transaction_uid,
            "succeeded": json.dumps(list(succeeded)),
            "failed": json.dumps(reasons),
            "now": to_text(now),
        },
    )
    return True


def record_report(c: Connection, result: Result, *, now: datetime) -> bool:
    """Keeps a report as it was read, whichever association it came on; see `record_result`."""
    return record_result(
        c,
        transaction_uid=UID(result.transaction_uid),
        succeeded=[UID(uid) for uid in result.succeeded],
        failed=[Failed(ReferencedSOPInstanceUID=UID(uid), FailureReason=reason) for uid, reason in result.failed],
        now=now,
    )


def get_transaction(c: Connection, transaction_uid: UID) -> CommitmentTransaction | None:
    """Our transaction of that UID."""
    row = c.execute(sql("transaction_get"), {"transaction_uid": transaction_uid}).fetchone()
    return None if row is None else _transaction(row)


def withdraw_all(c: Connection, destination: DestinationName) -> int:
    """All that is open of that destination is asked anew, under other UIDs; how many requests it was."""
    return c.execute(sql("transactions_withdraw"), {"destination": destination}).rowcount


def transactions(
    c: Connection, *, destination: DestinationName, state: CommitmentState, asked_before: datetime, limit: int
) -> tuple[CommitmentTransaction, ...]:
    """Our transactions with a destination in that state, oldest first: answered ones to settle, open ones overdue."""
    values = {"destination": destination, "state": state, "asked_before": to_text(asked_before), "limit": limit}
    return tuple(_transaction(row) for row in c.execute(sql("transactions_in_state"), values))


def mark_settled(c: Connection, transaction_uid: UID) -> bool:
    """The answered transaction's deliveries have been moved (in this same transaction of the database)."""
    return c.execute(sql("transaction_settle"), {"transaction_uid": transaction_uid}).rowcount > 0


def _request(row: Row) -> CommitmentRequest:
    return CommitmentRequest(
        transaction_uid=UID(row["transaction_uid"]),
        scanner=AETitle(row["scanner"]),
        received_at=from_text(row["received_at"]),
        referenced=tuple(_referenced(*pair) for pair in json.loads(row["referenced"])),
        state=CommitmentState(row["state"]),
        outcome=_outcome(row["result"]),
        answered_at=from_text(row["answered_at"]),
    )


def _pair(item: Referenced) -> list[str]:
    return [item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID]


def _referenced(class_uid: str, instance_uid: str) -> Referenced:
    return Referenced(ReferencedSOPClassUID=UID(class_uid), ReferencedSOPInstanceUID=UID(instance_uid))


def _outcome(result: str) -> Outcome | None:
    if not result:
        return None
    told = json.loads(result)
    return Outcome(
        succeeded=tuple(_referenced(*pair) for pair in told["succeeded"]),
        failed=tuple((_referenced(class_uid, uid), reason) for class_uid, uid, reason in told["failed"]),
    )


def _transaction(row: Row) -> CommitmentTransaction:
    return CommitmentTransaction(
        transaction_uid=UID(row["transaction_uid"]),
        destination=DestinationName(row["destination"]),
        asked_at=from_text(row["asked_at"]),
        deliveries=tuple(json.loads(row["deliveries"])),
        state=CommitmentState(row["state"]),
        succeeded=tuple(UID(uid) for uid in json.loads(row["succeeded"])),
        failed=tuple(
            Failed(ReferencedSOPInstanceUID=UID(uid), FailureReason=reason) for uid, reason in json.loads(row["failed"])
        ),
        answered_at=from_text(row["answered_at"]),
    )
