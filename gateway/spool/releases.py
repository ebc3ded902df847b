"""The releases that central IT wished for, and what became of each.

Promises
- Only the latest counts. One that was rejected may be wished for again, for it may be mended where it came from.
- Each move of a wish has its row of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.command import Phase
from gateway.domain.update import Objection
from gateway.spool import audit
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

KIND: Final = audit.Subject.RELEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseWish:
    """A release that was wished for."""

    sequence: int
    version: str
    ring: str
    sha256: str
    """Of its manifest, as it lies at the mirror."""
    phase: Phase
    fault: Objection | None
    """Why it was rejected; None too where a later release said it in a word that this one does not know."""
    changed_at: datetime

    @property
    def is_due(self) -> bool:
        """It waits to be installed."""
        return self.phase is Phase.STAGED


def latest(c: Connection) -> ReleaseWish | None:
    """The one that counts."""
    row = c.execute(sql("release_latest")).fetchone()
    if row is None:
        return None
    return ReleaseWish(
        sequence=row["sequence"],
        version=row["version"],
        ring=row["ring"],
        sha256=row["sha256"],
        phase=Phase(row["phase"]),
        fault=Objection(row["fault"]) if row["fault"] in set(Objection) else None,
        changed_at=from_text(row["changed_at"]),
    )


def wish(c: Connection, *, sequence: int, version: str, ring: str, sha256: str, now: datetime) -> Objection | None:
    """Write a wish down, staged; or why that can't be. The same that is under way already stays as it is."""
    known = latest(c)
    if known is not None and known.sequence >= sequence:
        if known.sequence > sequence or known.phase is Phase.CONFIRMED:
            return Objection.NOT_NEWER
        if known.phase is Phase.ROLLED_BACK:
            return Objection.FELL_BACK
        if known.phase is not Phase.REJECTED:
            return None
    values = {"sequence": sequence, "version": version, "ring": ring, "sha256": sha256, "now": to_text(now)}
    c.execute(sql("release_wish"), values)
    before = known.phase if known is not None and known.sequence == sequence else ""
    audit.journal(c, KIND, sequence, before=before, after=Phase.STAGED, now=now, by="reporting", why="wish")
    return None


def move(c: Connection, found: ReleaseWish, phase: Phase, *, fault: Objection | None = None, now: datetime) -> None:
    """This became of it."""
    values = {"sequence": found.sequence, "phase": phase, "fault": fault or "", "now": to_text(now)}
    c.execute(sql("release_move"), values)
    audit.journal(c, KIND, found.sequence, before=found.phase, after=phase, now=now, by="update", why=fault or "wish")
