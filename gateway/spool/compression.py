"""What is not compressed any more, and why: until a person allows it again.

A bar of a destination names a SOP class that it took native and not compressed. A bar of a codec (no destination)
names a kind of image that did not come back as it went in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.model import InstanceId
from gateway.spool import audit
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

ALARM_REFUSED = "compression-refused"
"""Subject: the destination."""
ALARM_MISMATCH = "compression-mismatch"
"""Subject: the kind of image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that goes out as it came."""

    destination: str
    """Empty: every destination."""
    subject: str
    """A SOP Class UID, or a kind of image as `ImagePixel.kind` tells it."""
    why: str
    since: datetime


def bars(c: Connection) -> tuple[Bar, ...]:
    """All that stand, oldest first."""
    return tuple(
        Bar(destination=row["destination"], subject=row["subject"], why=row["why"], since=from_text(row["since"]))
        for row in c.execute(sql("compression_bars"))
    )


def bar(c: Connection, *, destination: str, subject: str, why: str, now: datetime) -> None:
    """Compress this no more, and tell a person."""
    for text in (destination, subject, why):
        audit.refuse_foreign_text("bar", text)
    values = {"destination": destination, "subject": subject, "why": why, "now": to_text(now)}
    c.execute(sql("compression_bar"), values)
    code, about = (ALARM_REFUSED, destination) if destination else (ALARM_MISMATCH, subject)
    audit.raise_alarm(c, code=code, subject=about, now=now)


def allow(c: Connection, *, destination: str, now: datetime) -> int:
    """Compress again what was barred for a destination ("" for all: the codecs' bars); how many bars are gone."""
    gone = c.execute(sql("compression_allow"), {"destination": destination}).fetchall()
    for row in gone:
        code, about = (ALARM_REFUSED, destination) if destination else (ALARM_MISMATCH, row["subject"])
        audit.clear_alarm(c, code=code, subject=about, now=now)
    return len(gone)


def still_to_send(c: Connection, instances: Iterable[InstanceId]) -> frozenset[InstanceId]:
    """Those of these that a destination still waits for."""
    values = {"instances": json.dumps(sorted(instances))}
    return frozenset(InstanceId(row["instance"]) for row in c.execute(sql("delivery_still_to_send"), values))
