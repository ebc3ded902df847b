"""The numbers of the box for those who watch many: what waits, and what came and went since they were read last.

What is promised: what went is read from the journal behind the row that was read last, so reading costs what happened
since, however much is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text

AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Images that are not at all their destinations yet; those that wait for a person are not among them."""

    count: int
    size: int
    """Bytes."""
    oldest: datetime | None
    """When the first of them was received."""
    received: int
    """Images ever received."""
    refused: int
    """Objects refused for want of resources, ever."""
    connected: int
    """Scanners that are connected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Went:
    """What became of attempts."""

    seq: int
    """The row of the journal that was read last."""
    taken: int
    """Deliveries that a destination took."""
    failed: int
    lags: tuple[float, ...]
    """Seconds from received to taken, of each that was."""


def waiting(c: Connection) -> Waiting:
    """As it stands."""
    row = c.execute(sql("figures_waiting")).fetchone()
    return Waiting(
        count=row["n"],
        size=row["size"],
        oldest=from_text(row["oldest"]),
        received=row["received"],
        refused=row["refused"],
        connected=row["connected"],
    )


def newest(c: Connection) -> int:
    """The last row of the journal."""
    return int(c.execute(sql("figures_newest")).fetchone()["seq"])


def went(c: Connection, *, seq: int) -> Went:
    """What became of attempts behind that row, of the first rows there."""
    upto = newest(c)  # first: what is written meanwhile is behind it, and read the next time
    rows = c.execute(sql("figures_went"), {"seq": seq, "upto": upto, "limit": AT_ONCE}).fetchall()
    taken = [row for row in rows if row["to_state"] == "sent"]
    return Went(
        seq=rows[-1]["seq"] if len(rows) == AT_ONCE else max(seq, upto),
        taken=len(taken),
        failed=len(rows) - len(taken),
        lags=tuple(
            max(0.0, (from_text(row["at"]) - from_text(row["received_at"])).total_seconds())
            for row in taken
            if row["received_at"] is not None
        ),
    )
