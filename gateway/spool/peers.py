"""Who calls us: scanners added by a command, and strangers we turned away.

Promises
- A scanner added here stands beside those of the configuration file; adding it again replaces it.
- Strangers are remembered so that a person can add them with one command. At most CALLERS_KEPT of
  them: someone who calls under ever new names can't fill the disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.model import AETitle
from gateway.domain.overview import Caller
from gateway.spool import audit
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

CALLERS_KEPT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """A modality that may call us."""

    ae: AETitle
    addresses: tuple[str, ...]
    """Where it may call from; empty: from anywhere."""
    profile: str
    added_at: datetime
    added_by: str


def record_caller(
    c: Connection, *, calling_ae: AETitle, called_ae: AETitle, address: str, reason: str, now: datetime
) -> None:
    """Counts a call that was turned away."""
    c.execute(
        sql("caller_upsert"),
        {
            "calling_ae": calling_ae,
            "called_ae": called_ae,
            "address": address,
            "reason": reason,
            "now": to_text(now),
        },
    )
    c.execute(sql("caller_trim"), {"kept": CALLERS_KEPT})


def callers(c: Connection) -> tuple[Caller, ...]:
    """The strangers, latest first."""
    return tuple(_caller(row) for row in c.execute(sql("callers")))


def add_scanner(
    c: Connection, *, ae: AETitle, addresses: Sequence[str], profile: str, now: datetime, by: str
) -> Scanner:
    """Admits a scanner, or changes it; it is no stranger any more."""
    if not ae or len(ae) > 16 or not ae.isascii() or not ae.isprintable() or "\\" in ae or ae != ae.strip():
        raise ValueError(
            f"ae of {len(ae)} characters is no AE title: 1 to 16 printable ASCII characters without a backslash,"
            " no space around it (PS3.5 6.2)"
        )
    values = {"ae": ae, "addresses": json.dumps(list(addresses)), "profile": profile, "now": to_text(now), "by": by}
    c.execute(sql("scanner_upsert"), values)
    c.execute(sql("caller_forget"), {"calling_ae": ae})
    audit.journal(c, audit.Subject.SCANNER, ae, before="", after="added", now=now, by=by, why="command")
    return Scanner(ae=ae, addresses=tuple(addresses), profile=profile, added_at=now, added_by=by)


def remove_scanner(c: Connection, ae: AETitle, *, now: datetime, by: str) -> bool:
    """Whether there was such a scanner."""
    if c.execute(sql("scanner_remove"), {"ae": ae}).rowcount == 0:
        return False
    audit.journal(c, audit.Subject.SCANNER, ae, before="added", after="removed", now=now, by=by, why="command")
    return True


def scanners(c: Connection) -> tuple[Scanner, ...]:
    """The scanners added by a command, by AE title."""
    return tuple(_scanner(row) for row in c.execute(sql("scanners")))


def _scanner(row: Row) -> Scanner:
    return Scanner(
        ae=AETitle(row["ae"]),
        addresses=tuple(json.loads(row["addresses"])),
        profile=row["profile"],
        added_at=from_text(row["added_at"]),
        added_by=row["added_by"],
    )


def _caller(row: Row) -> Caller:
    return Caller(
        calling_ae=AETitle(row["calling_ae"]),
        called_ae=AETitle(row["called_ae"]),
        address=row["address"],
        first_seen=from_text(row["first_seen"]),
        last_seen=from_text(row["last_seen"]),
        count=row["count"],
        reason=row["reason"],
    )
