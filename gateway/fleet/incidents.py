"""The incidents of the fleet, in its books: what domain/incidents decides of the alarms that stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.fleet import BoxId, SiteName
from gateway.domain.incidents import BOX_LOST, CALM, BoxAlarm, Incident, correlate
from gateway.domain.issue import Severity
from gateway.domain.telemetry import State
from gateway.domain.telemetry_fields import OTHER
from gateway.fleet.boxes import Fleet
from gateway.fleet.database import Books, sql, take_watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An incident as people see it."""

    number: int
    code: str
    instance: str
    severity: Severity
    opened_at: datetime
    closed_at: datetime | None
    boxes: int
    """That it reached."""
    boxes_now: int
    """That it still holds."""
    sites: tuple[SiteName, ...]


async def look(books: Books, fleet: Fleet, *, now: datetime) -> None:
    """Find who is lost and who is back, put new alarms into their incidents, and close those that are over; or leave
    it to who is just doing that."""
    async with books.transaction() as c:
        if not await take_watch(c):
            return
        await _note_lost(c, fleet, now)
        for incident in correlate(await _alone(c), await _open(c)):
            await _enter(c, incident)
        await c.execute(sql("incidents_close"), now, now - CALM)


async def shown(books: Books, *, now: datetime, closed_within: timedelta = timedelta(0)) -> list[Shown]:
    """The open incidents, those of most boxes first, then those that were closed lately."""
    return [
        Shown(
            number=row["id"],
            code=row["code"],
            instance=row["instance"],
            severity=Severity(row["severity"]),
            opened_at=row["opened_at"],
            closed_at=row["closed_at"],
            boxes=row["boxes"],
            boxes_now=row["boxes_now"],
            sites=tuple(row["sites"] or ()),
        )
        for row in await books.fetch("incidents", now - closed_within)
    ]


async def _note_lost(c: Any, fleet: Fleet, now: datetime) -> None:
    """A box that is lost is an alarm, as if it could still say so."""
    lost = {
        (view.site, view.box)
        for view in fleet.boxes
        if view.presence is not None and fleet.standing(view) is State.LOST
    }
    known = {(SiteName(row["site"]), BoxId(row["box"])) for row in await c.fetch(sql("alarms_of_code"), BOX_LOST)}
    changed = [(key, None) for key in sorted(lost - known)] + [(key, now) for key in sorted(known - lost)]
    rows = [(*key, BOX_LOST, OTHER, Severity.ERROR.value, now, cleared) for key, cleared in changed]
    if rows:
        await c.execute(sql("alarms_write"), *(list(column) for column in zip(*rows, strict=True)))


async def _alone(c: Any) -> list[BoxAlarm]:
    return [
        BoxAlarm(**{**dict(row), "severity": Severity(row["severity"])}) for row in await c.fetch(sql("alarms_alone"))
    ]


async def _open(c: Any) -> list[Incident]:
    return [
        Incident(
            number=row["id"],
            code=row["code"],
            instance=row["instance"],
            severity=Severity(row["severity"]),
            opened_at=row["opened_at"],
            latest_at=row["latest_at"],
            sites=frozenset(row["sites"] or ()),
        )
        for row in await c.fetch(sql("incidents_open"))
    ]


async def _enter(c: Any, incident: Incident) -> None:
    about = (incident.severity.value, incident.opened_at, incident.latest_at)
    number = incident.number
    if number:
        await c.execute(sql("incident_grows"), number, *about)
    else:
        number = await c.fetchval(sql("incident_open"), incident.code, incident.instance, *about)
    columns = _columns(incident.joining)
    await c.execute(sql("incident_joins"), number, *columns)


def _columns(alarms: Sequence[BoxAlarm]) -> list[list[str]]:
    rows = [(one.site, one.box, one.code, one.instance) for one in alarms]
    return [list(column) for column in zip(*rows, strict=True)]
