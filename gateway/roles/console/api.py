"""`/api/v1`: what the page shows, for programs. Read only; stable as models.py says.

Each operation reads what stands (books.py) and puts it in the types of models.py; errors are problem details.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query

from gateway.domain.issues import step
from gateway.domain.mpps import Relaying
from gateway.domain.overview import Alarm, Overview, Towards, WorklistSource, oldest_age, sentence
from gateway.domain.study import Hops, Study
from gateway.domain.transliteration import Script
from gateway.domain.words import admission, reason_of
from gateway.roles.console import models
from gateway.roles.console.books import Books, Standing
from gateway.spool import studies

LISTED: Final = 200
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": models.Problem, "description": "Asked wrongly"},
    "503": {"model": models.Problem, "description": "The spool does not answer"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBy:
    """How a scanner's worklist questions are answered."""

    mode: str
    """merge, live or copy."""
    fresh_for: timedelta
    max_stale: timedelta
    hide_performed: timedelta
    romanised: frozenset[Script]
    """Scripts that its profile shows in Latin letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredScanner:
    """A scanner that the configuration names."""

    ae: str
    addresses: tuple[str, ...]
    profile: str
    worklist: ServedBy


def routes(books: Books, configured: Sequence[ConfiguredScanner]) -> APIRouter:
    """The operations over these books."""
    router = APIRouter(prefix="/api/v1", responses=ERRORS)
    _tell_what_stands(router, books)
    _tell_studies(router, books)

    @router.get("/peers")
    async def peers() -> models.Peers:
        """Who may call us, and who was turned away."""
        return _peers(await books.standing(), configured)

    return router


def _tell_what_stands(router: APIRouter, books: Books) -> None:
    @router.get("/status")
    async def status() -> models.Status:
        """The state of the box, flat: one number per field."""
        return status_of(await books.standing())

    @router.get("/queue")
    async def queue() -> models.Queues:
        """What waits for each destination, and for how long."""
        overview = (await books.standing()).overview
        return models.Queues(at=overview.now, destinations=[_queue(one, overview) for one in overview.destinations])

    @router.get("/worklist/sources")
    async def worklist_sources() -> models.WorklistSources:
        """How fresh the worklist of each RIS is."""
        overview = (await books.standing()).overview
        asked = [_source(one, overview) for one in overview.worklist]
        never = [_never_asked(name) for name in overview.never_asked]
        return models.WorklistSources(at=overview.now, sources=asked + never)

    @router.get("/alarms")
    async def alarms(limit: Annotated[int, Query(ge=1, le=LISTED)] = LISTED) -> models.Alarms:
        """The alarms that stand, oldest first, each with its next step."""
        overview = (await books.standing()).overview
        listed = [_alarm(one) for one in overview.alarms[:limit]]
        return models.Alarms(at=overview.now, total=len(overview.alarms), alarms=listed)


def _tell_studies(router: APIRouter, books: Books) -> None:
    @router.get("/studies")
    async def latest_studies(limit: Annotated[int, Query(ge=1, le=LISTED)] = 20) -> models.Studies:
        """The studies that images came for last, latest first."""
        at = (await books.standing()).overview.now
        found = await books.read(partial(studies.latest, limit=limit))
        return models.Studies(at=at, studies=[models.Study(**_study(one)) for one in found])

    @router.get("/studies/{uid}")
    async def one_study(uid: Annotated[str, Path(min_length=1, max_length=64)]) -> models.StudyHops:
        """One study hop by hop, by its Study Instance UID or by our own id of it."""
        found = await books.read(partial(studies.hops, key=uid))
        if found is None:
            raise HTTPException(404, "No image of that study was received; check the UID.")
        return _hops(found)


def status_of(standing: Standing) -> models.Status:
    """Everything that stands as one flat object."""
    overview, now = standing.overview, standing.overview.now
    disk = overview.disk
    ages = [(now - one.last_success).total_seconds() for one in overview.worklist if one.last_success is not None]
    return models.Status(
        sentence=sentence(overview),
        mood=overview.mood,
        needs_a_person=overview.needs_a_person,
        at=now,
        **{f"instances_{state}": count for state, count in overview.instances.items()},
        instances_quarantined=overview.quarantined,
        deliveries_waiting=sum(one.waiting for one in overview.destinations),
        deliveries_unconfirmed=sum(one.sent for one in overview.destinations),
        deliveries_refused=sum(one.refused for one in overview.destinations),
        oldest_delivery_age_s=max((oldest_age(one, overview) for one in overview.destinations), default=0.0),
        worklist_sources=len(overview.worklist) + len(overview.never_asked),
        worklist_stale=sum(overview.is_stale(one) for one in overview.worklist),
        worklist_oldest_age_s=max(ages, default=None),
        mpps_waiting=sum(one.waiting for one in overview.mpps),
        mpps_refused=sum(one.refused for one in overview.mpps),
        mpps_oldest_age_s=max((oldest_age(one, overview) for one in overview.mpps), default=0.0),
        orders_out_waiting=sum(one.waiting for one in overview.orders_out),
        orders_out_refused=sum(one.refused for one in overview.orders_out),
        orders_out_oldest_age_s=max((oldest_age(one, overview) for one in overview.orders_out), default=0.0),
        studies_held=overview.studies_held,
        tasks_open=overview.tasks,
        alarms=len(overview.alarms),
        callers_turned_away=len(overview.strangers),
        disk_free_bytes=standing.free_bytes,
        disk_total_bytes=None if disk is None else disk.total,
        disk_confirmed_bytes=None if disk is None else disk.confirmed,
        disk_ingest_bytes_per_s=None if disk is None else disk.ingest,
        disk_holds_out_s=None if disk is None or disk.holds_out is None else disk.holds_out.total_seconds(),
    )


def relay_peer(one: Relaying, overview: Overview, reason_of: Callable[[str], str]) -> models.RelayPeer:
    """How it stands with a peer; `reason_of` reads the statuses of its kind of messages."""
    reason = reason_of(one.last_status) if one.last_status else ""
    return models.RelayPeer(**asdict(one), oldest_age_s=oldest_age(one, overview), reason=reason)


def _alarm(one: Alarm) -> models.Alarm:
    return models.Alarm(
        code=one.code,
        subject=one.subject,
        since=one.since,
        last=one.last,
        count=one.count,
        next_step=step(one.code, one.subject),
    )


def _peers(standing: Standing, configured: Sequence[ConfiguredScanner]) -> models.Peers:
    strangers = standing.overview.strangers
    return models.Peers(
        at=standing.overview.now,
        configured=[
            models.ScannerOfConfiguration(ae=one.ae, addresses=list(one.addresses), profile=one.profile)
            for one in configured
        ],
        added=[models.ScannerAdded(**asdict(one)) for one in standing.added],
        turned_away=[models.Stranger(**asdict(one), command=admission(one.calling_ae)) for one in strangers],
    )


def _queue(one: Towards, overview: Overview) -> models.Queue:
    return models.Queue(
        destination=one.name,
        configured=one.configured,
        waiting=one.waiting,
        unconfirmed=one.sent,
        refused=one.refused,
        oldest=one.oldest,
        oldest_age_s=oldest_age(one, overview),
        last_status=one.last_status,
        reason=reason_of(one.last_status) if one.last_status else "",
    )


def _source(one: WorklistSource, overview: Overview) -> models.WorklistSource:
    age_s = None if one.last_success is None else max(0.0, (overview.now - one.last_success).total_seconds())
    copied = overview.copied.get(one.name, 0)
    return models.WorklistSource(**asdict(one), stale=overview.is_stale(one), age_s=age_s, copied=copied)


def _never_asked(name: str) -> models.WorklistSource:
    return models.WorklistSource(
        name=name,
        rows=0,
        stale=False,
        last_attempt=None,
        last_success=None,
        age_s=None,
        last_error="",
        copied=0,
        resting_until=None,
    )


def _study(one: Study) -> dict[str, Any]:
    told = asdict(one)
    told["calling_ae"], told["size_bytes"] = told.pop("senders"), told.pop("size")
    return told | {"standing": one.standing}


def _hops(found: Hops) -> models.StudyHops:
    received = [asdict(one) for one in found.received]
    for one in received:
        one["size_bytes"] = one.pop("size")
    delivered = (
        models.Delivered(**asdict(one), reason=reason_of(one.last_status) if one.last_status else "")
        for one in found.delivered
    )
    return models.StudyHops(
        **_study(found.study),
        received=[models.Received(**one) for one in received],
        deliveries=list(delivered),
    )
