"""How often the check corrects, and whether it may: the numbers behind `gateway.domain.kill_switch`.

Promises
- A stop is an alarm that stands. One that points at a fault waits for a person (`resume`), one that points at silence
  ends with it (`watch`).
- What was counted before a person resumed does not count again.
- A patient is known by a digest; none is named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.kill_switch import Cause, Corrected, Limits, stops
from gateway.domain.model import AETitle, SourceName
from gateway.spool import audit, worklist
from gateway.spool.checks import CHECK
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

LATELY: Final = timedelta(days=1)
BASELINE: Final = timedelta(days=29)
AN_HOUR: Final = timedelta(hours=1)
A_PATIENT: Final = "patient"
"""The subject of the alarm about one, who is never named."""


def watch(c: Connection, *, senders: Sequence[SourceName], limits: Limits, now: datetime) -> None:
    """Looks whether anything is a reason to stop, and raises or clears the alarms."""
    found = stops(
        _scanners(c, now),
        most_to_one_patient=_most_to_one_patient(c, now),
        heard=_heard(c, senders),
        limits=limits,
        now=now,
    )
    reasons = {(one.cause, one.subject or A_PATIENT) for one in found}
    for cause in Cause:
        standing = {alarm.subject for alarm in audit.active_alarms(c, code=cause)}
        for subject in {subject for which, subject in reasons if which is cause} - standing:
            audit.raise_alarm(c, code=cause, subject=subject, now=now)
        if not cause.waits_for_a_person:
            for subject in standing - {subject for which, subject in reasons if which is cause}:
                audit.clear_alarm(c, code=cause, subject=subject, now=now)


def are_stopped(c: Connection, scanners: Collection[AETitle]) -> bool:
    """Whether studies of these scanners may not be corrected now; a rate concerns its own scanner alone."""
    if audit.active_alarms(c, code=Cause.PATIENT) or audit.active_alarms(c, code=Cause.FEED):
        return True
    return any(alarm.subject in scanners for alarm in audit.active_alarms(c, code=Cause.RATE))


def resume(c: Connection, *, by: str, now: datetime) -> int:
    """A person looked at the cause: the check corrects again; how many alarms ended."""
    ended = 0
    for cause in Cause:
        for alarm in audit.active_alarms(c, code=cause):
            if cause.waits_for_a_person:
                ended += audit.clear_alarm(c, code=cause, subject=alarm.subject, now=now)
    if ended:
        c.execute(sql("corrections_resume"), {"now": to_text(now)})
        about = audit.Subject.DECISION
        audit.journal(c, about, "corrections", before="stopped", after="resumed", now=now, by=by, why="resumed")
    return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Studies that were decided alike."""

    verdict: str
    applied: bool
    """False: in shadow mode, nothing was changed."""
    blocks: bool
    by: str
    """"check" or "person"."""
    studies: int


def tallies(c: Connection, *, since: datetime, until: datetime) -> tuple[Tally, ...]:
    """What was decided in that time, in counts."""
    return tuple(
        Tally(
            verdict=row["verdict"],
            applied=bool(row["applied"]),
            blocks=bool(row["blocks"]),
            by=CHECK if row["automatic"] else "person",
            studies=row["studies"],
        )
        for row in c.execute(sql("check_summary"), {"since": to_text(since), "until": to_text(until)})
    )


def _since(c: Connection, at: datetime) -> str:
    resumed: str = c.execute(sql("corrections_resumed")).fetchone()["resumed_at"]
    return max(to_text(at), resumed)


def _scanners(c: Connection, now: datetime) -> list[Corrected]:
    values = {"lately": _since(c, now - LATELY), "since": to_text(now - BASELINE)}
    return [
        Corrected(
            calling_ae=AETitle(row["calling_ae"]),
            studies=row["studies"],
            corrected=row["corrected"],
            studies_before=row["studies_before"],
            corrected_before=row["corrected_before"],
        )
        for row in c.execute(sql("corrections_by_scanner"), values)
    ]


def _most_to_one_patient(c: Connection, now: datetime) -> int:
    row = c.execute(sql("corrections_to_one"), {"since": _since(c, now - AN_HOUR)}).fetchone()
    return int(row["most"] or 0)


def _heard(c: Connection, senders: Sequence[SourceName]) -> list[tuple[SourceName, datetime]]:
    found = [(one.name, one.last_success) for one in worklist.sources(c) if one.last_success is not None]
    for sender in senders:
        row = c.execute(sql("candidate_heard"), {"sender": sender}).fetchone()
        if row is not None:
            found.append((sender, from_text(row["received_at"])))
    return found
