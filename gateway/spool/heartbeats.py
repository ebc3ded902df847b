"""The signs of life of the parts: one row for each, written again and again, when all that proves its work held.

A write that changes nothing would sync nothing, so it takes a row of its own to see that a commit comes to the disk.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gateway.domain.parts import Life, Part
from gateway.spool import claims
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text


def beat(c: Connection, part: Part, *, now: datetime) -> None:
    """Note that the work of `part` is proven."""
    c.execute(sql("heartbeat"), {"part": part, "now": to_text(now)})


def lives(c: Connection, parts: Collection[Part]) -> tuple[Life, ...]:
    """How each of these parts is."""
    state = Path(c.execute("PRAGMA database_list").fetchone()["file"]).parent
    proven = {row["part"]: from_text(row["at"]) for row in c.execute(sql("heartbeats"))}
    return tuple(_later(one, proven.get(one.part)) for one in claims.lives(state, parts))


def _later(life: Life, proven: datetime | None) -> Life:
    return life if proven is None or (life.seen is not None and life.seen > proven) else replace(life, seen=proven)
