"""What health saw, and what may be told of it: the state of every hop, the last readings, the issues that stand.

What is promised: the issues are the alarms, those that health raises and those that the other roles do, and of parts
that don't live (which can raise none) what is found by looking; there is no second list. What `issues` returns may
leave the box. A peer or a reading that is judged no more leaves no row behind. What a later version wrote, and this one
does not know, is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from gateway.domain import health
from gateway.domain.health import Hop, Probe, Reading
from gateway.domain.issue import Issue
from gateway.domain.overview import Alarm
from gateway.domain.parts import Part, lost
from gateway.spool import audit, heartbeats
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

_HOPS: Final = frozenset(Hop)
_READINGS: Final = frozenset(Reading)


def issues(c: Connection, *, parts: Collection[Part], now: datetime) -> tuple[Issue, ...]:
    """Those that stand, one for each code and instance, the oldest first. `parts`: those that have to live."""
    return health.issues(alarms(c, parts=parts, now=now))


def alarms(c: Connection, *, parts: Collection[Part], now: datetime) -> tuple[Alarm, ...]:
    """What may be told outside of the box; a part that is only started again is not told of."""
    lifeless = health.lifeless(lost(heartbeats.lives(c, parts), now), now)
    return (*lifeless, *health.told(audit.active_alarms(c)))


def probed(c: Connection, *, hop: Hop, peer: str, at: datetime, latency_ms: float | None, code: str) -> None:
    """So it was now: good (no code) in that time, or not."""
    audit.refuse_foreign_text("peer", peer)
    values = {"hop": hop, "peer": peer, "at": to_text(at), "latency_ms": latency_ms, "code": code}
    c.execute(sql("health_probed"), values)


def probes(c: Connection) -> tuple[Probe, ...]:
    """Every hop of every peer."""
    return tuple(
        Probe(
            hop=Hop(row["hop"]),
            peer=row["peer"],
            at=from_text(row["at"]),
            last_good=from_text(row["last_good"]),
            latency_ms=row["latency_ms"],
            code=row["code"],
        )
        for row in c.execute(sql("health_probes"))
        if row["hop"] in _HOPS
    )


def read(c: Connection, found: Mapping[Reading, float], *, at: datetime) -> None:
    """This was measured; what was measured before and is not among it is known no more."""
    c.execute(sql("health_readings_forget"))
    for name, value in found.items():
        c.execute(sql("health_reading"), {"name": name, "value": value, "at": to_text(at)})


def readings(c: Connection) -> dict[Reading, float]:
    """What was measured last."""
    return {Reading(row["name"]): row["value"] for row in c.execute(sql("health_readings")) if row["name"] in _READINGS}


def standing(c: Connection, *, codes: Collection[str]) -> dict[str, str]:
    """Of these codes those that stand, by subject."""
    return {alarm.subject: alarm.code for alarm in audit.active_alarms(c) if alarm.code in codes}


def change(c: Connection, *, subject: str, was: str, now_is: str, at: datetime) -> None:
    """The issue that stands of this subject is another one, or none any more."""
    if was:
        audit.clear_alarm(c, code=was, subject=subject, now=at)
    if now_is:
        audit.raise_alarm(c, code=now_is, subject=subject, now=at)


def forget_others(c: Connection, *, peers: Collection[str]) -> None:
    """Forget the hops of those who are not among these."""
    for probe in probes(c):
        if probe.peer not in peers:
            c.execute(sql("health_probe_forget"), {"hop": probe.hop, "peer": probe.peer})
