"""What changed of orders and patients, and since when: for whoever decided by them and may have to decide anew.

Promises
- A change is noted in the transaction that makes it, and its `seq` grows in the order of the commits: who asks for
  what came `since` the last `seq` it looked at misses nothing, whichever clock is set back meanwhile.
- Noted are: an order that was entered or changed in anything (its patient's demographics, number or visit too), with
  the patient it now is of; a patient whose demographics changed; both numbers of a merge, each as a patient.
- A change is kept for as long as the order it is of: what was forgotten concerns no order that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.domain.order_model import PatientKey
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChanged:
    """One change. What it was is in the books as they are now."""

    seq: int
    order: int | None
    """Its number in `order_books`; None: only the patient changed."""
    patient: PatientKey
    """Whose it is; of a merge one change has the number that was given up, one that of the survivor."""
    at: datetime


def note(c: Connection, patient: PatientKey, *, order: int | None = None, now: datetime) -> None:
    """Notes a change."""
    values = {"procedure": order, "PatientID": patient.PatientID, "issuer": patient.issuer, "now": to_text(now)}
    c.execute(sql("order_change_add"), values)


def since(c: Connection, seq: int, *, limit: int) -> tuple[OrderChanged, ...]:
    """The changes behind `seq`, the oldest first. One order may be among them several times."""
    return tuple(
        OrderChanged(
            seq=row["seq"],
            order=row["procedure"],
            patient=PatientKey(row["issuer"], row["PatientID"]),
            at=from_text(row["at"]),
        )
        for row in c.execute(sql("order_changes_since"), {"seq": seq, "limit": limit})
    )


def last(c: Connection) -> int:
    """The `seq` of the last change there was; 0 before the first."""
    row = c.execute(sql("order_change_last")).fetchone()
    return 0 if row is None else int(row["seq"])


def forget(c: Connection, *, before: datetime) -> None:
    """Erases what was noted before then."""
    c.execute(sql("order_changes_forget"), {"before": to_text(before)})
