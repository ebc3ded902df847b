"""Which alarms of many boxes have one cause: a PACS that is down at two hundred boxes is one incident.

Rules
- Alarms are of one kind if their codes name the same cause (`cause_of`) and they are about the same thing. A name of
  the configuration (`pacs`) is the same thing within a site. Other sites may give it to another thing, so there it is
  the same only if it failed within `TOGETHER`.
- What is about the box itself is of that box alone; but boxes that are lost within `TOGETHER` of each other, wherever
  they are, were cut off by one cause.
- An alarm belongs to one incident as long as it stands. An incident is over when none of its alarms stood for `CALM`:
  what comes back before is the same incident, and nobody is called again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.fleet import BoxId, SiteName
from gateway.domain.issue import Severity
from gateway.domain.telemetry_fields import OTHER

TOGETHER: Final = timedelta(minutes=2)
CALM: Final = timedelta(minutes=5)
BOX_LOST: Final = "box-lost"
"""What central says of a box that says nothing any more."""
UNREACHABLE: Final = "unreachable"
_CONSEQUENCES: Final = frozenset(
    {"destination-unreachable", "delivery-late", "worklist-stale", "mpps-late", "orders-out-late"}
)
_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAlarm:
    """An alarm that stands at a box."""

    site: SiteName
    box: BoxId
    code: str
    instance: str
    severity: Severity
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One cause; `number` is 0 for one that is new."""

    number: int = 0
    code: str
    """Of the alarm that opened it."""
    instance: str
    severity: Severity
    """The highest of its alarms."""
    opened_at: datetime
    latest_at: datetime
    """When the last alarm of it was raised."""
    sites: frozenset[SiteName]
    joining: tuple[BoxAlarm, ...] = ()
    """Those that are new to it."""

    def takes(self, alarm: BoxAlarm) -> bool:
        """Whether the alarm has the cause of this incident."""
        if (cause_of(alarm.code), alarm.instance) != (cause_of(self.code), self.instance):
            return False
        if alarm.instance == OTHER and alarm.code != BOX_LOST:
            return False
        if alarm.instance != OTHER and alarm.site in self.sites:
            return True
        return self.opened_at - TOGETHER <= alarm.since <= self.latest_at + TOGETHER

    def grown(self, alarm: BoxAlarm) -> Incident:
        """The incident with that alarm in it."""
        return replace(
            self,
            severity=max(self.severity, alarm.severity, key=_RANK.__getitem__),
            opened_at=min(self.opened_at, alarm.since),
            latest_at=max(self.latest_at, alarm.since),
            sites=self.sites | {alarm.site},
            joining=(*self.joining, alarm),
        )


def cause_of(code: str) -> str:
    """What a code comes to: a peer that can't be reached shows in many."""
    return UNREACHABLE if code in _CONSEQUENCES or code.startswith("peer-") else code


def correlate(alarms: Iterable[BoxAlarm], incidents: Sequence[Incident]) -> list[Incident]:
    """The incidents that alarms of none yet join, each with those in `joining`: known ones first, then new ones."""
    standing = list(incidents)
    by_kind: dict[tuple[str, str], list[int]] = {}
    for place, incident in enumerate(standing):
        by_kind.setdefault((cause_of(incident.code), incident.instance), []).append(place)
    for alarm in sorted(alarms, key=lambda one: one.since):
        kind = (cause_of(alarm.code), alarm.instance)
        found = next((one for one in by_kind.get(kind, []) if standing[one].takes(alarm)), None)
        if found is None:
            by_kind.setdefault(kind, []).append(len(standing))
            standing.append(_opened(alarm))
        else:
            standing[found] = standing[found].grown(alarm)
    return [incident for incident in standing if incident.joining]


def _opened(alarm: BoxAlarm) -> Incident:
    return Incident(
        code=alarm.code,
        instance=alarm.instance,
        severity=alarm.severity,
        opened_at=alarm.since,
        latest_at=alarm.since,
        sites=frozenset({alarm.site}),
        joining=(alarm,),
    )
