"""The configurations that central IT wished for, and what became of each.

Promises
- A version is wished for once, and only a greater one than all before: an old wish that is sent again changes nothing.
- Each move of a wish has its row of the journal, and is told anew (`told_at`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.command import Phase
from gateway.spool import audit
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

KIND: Final = audit.Subject.CONFIGURATION
KEPT: Final = 20
"""Wishes; what became of those before is in the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A configuration that was wished for."""

    version: int
    ring: str
    digest: str
    """SHA-256 of the text, its first 16 hexadecimal digits."""
    toml: str
    phase: Phase
    faults: tuple[str, ...]
    """The keys for which it was rejected."""
    changed_at: datetime
    is_told: bool


def latest(c: Connection) -> Wish | None:
    """The one that counts."""
    row = c.execute(sql("configuration_latest")).fetchone()
    if row is None:
        return None
    return Wish(
        version=row["version"],
        ring=row["ring"],
        digest=row["digest"],
        toml=row["toml"],
        phase=Phase(row["phase"]),
        faults=tuple(json.loads(row["faults"])),
        changed_at=from_text(row["changed_at"]),
        is_told=row["told_at"] is not None,
    )


def wish(
    c: Connection, *, version: int, ring: str, digest: str, toml: str, faults: Sequence[str], now: datetime
) -> bool:
    """Write a wish down, staged or (with faults) rejected; False: a later one is known, or this."""
    known = latest(c)
    if known is not None and known.version >= version:
        return False
    phase = Phase.REJECTED if faults else Phase.STAGED
    values = {"version": version, "ring": ring, "digest": digest, "toml": toml, "phase": phase}
    c.execute(sql("configuration_insert"), {**values, "faults": json.dumps(list(faults)), "now": to_text(now)})
    c.execute(sql("configuration_forget"), {"kept": KEPT})
    audit.journal(c, KIND, version, before="", after=phase, now=now, by="reporting", why="wish")
    return True


def move(c: Connection, found: Wish, phase: Phase, *, now: datetime) -> None:
    """This became of it."""
    c.execute(sql("configuration_move"), {"version": found.version, "phase": phase, "now": to_text(now)})
    audit.journal(c, KIND, found.version, before=found.phase, after=phase, now=now, by="reporting", why="wish")


def told(c: Connection, version: int, *, now: datetime | None) -> None:
    """It is published as it stands; None: it is to be published again."""
    c.execute(sql("configuration_told"), {"version": version, "now": to_text(now)})
