"""Everything that stands, read from the index at one moment.

What is promised: a handful of statements whose answers are counts, so that looking costs the same however many
images wait, and no value of a data set. Give it a connection with a transaction begun for one view of it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.domain.health import Seen, lifeless, told
from gateway.domain.model import DeliveryState, DestinationName
from gateway.domain.overview import Configured, Overview, Towards
from gateway.spool import (
    audit,
    deliveries,
    disk,
    health,
    heartbeats,
    instances,
    peers,
    query_log,
    relays,
    tasks,
    worklist,
)
from gateway.spool.db import Connection
from gateway.spool.deliveries import Backlog


def seen(c: Connection, configured: Configured, *, free_bytes: int, now: datetime) -> Seen:
    """The state of the box, with what only those want who watch it."""
    return Seen(
        overview=look(c, configured, now=now),
        free_bytes=free_bytes,
        tally={outcome.value: count for outcome, count in query_log.tally(c).items()},
        probes=health.probes(c),
    )


def look(c: Connection, configured: Configured, *, now: datetime) -> Overview:
    """The state of the box."""
    open_tasks = tasks.counts(c)
    lives = heartbeats.lives(c, configured.parts)
    return Overview(
        now=now,
        instances=instances.count_by_state(c),
        quarantined=instances.count_quarantined(c),
        destinations=_towards_all(c, configured.destinations),
        worklist=worklist.sources(c),
        copied=worklist.copied(c),
        refresh=configured.refresh,
        alarms=(*lifeless(lives, now), *told(audit.active_alarms(c))),
        strangers=peers.callers(c),
        parts=lives,
        disk=disk.last(c),
        studies_held=sum(one.count for one in open_tasks if one.blocks),
        tasks=sum(one.count for one in open_tasks),
        rejected=instances.count_rejected(c),
        mpps=relays.standing(c, audit.Subject.MPPS, configured.mpps_peers),
        orders_out=relays.standing(c, audit.Subject.ORDER_MESSAGE, configured.order_receivers),
    )


def _towards_all(c: Connection, configured: Sequence[str]) -> list[Towards]:
    standing: dict[str, list[Backlog]] = {name: [] for name in configured}
    for backlog in deliveries.backlog(c):
        standing.setdefault(backlog.destination, []).append(backlog)
    return [_towards(c, name, found, configured=name in configured) for name, found in standing.items()]


def _towards(c: Connection, name: str, found: Sequence[Backlog], *, configured: bool) -> Towards:
    count = {state: sum(one.count for one in found if one.state is state) for state in DeliveryState}
    return Towards(
        name=name,
        configured=configured,
        waiting=count[DeliveryState.QUEUED] + count[DeliveryState.SENDING],
        sent=count[DeliveryState.SENT],
        refused=count[DeliveryState.REFUSED],
        oldest=min((one.oldest for one in found if one.state is not DeliveryState.REFUSED), default=None),
        last_status=_last_status(c, DestinationName(name)),
    )


def _last_status(c: Connection, destination: DestinationName) -> str:
    """Of the oldest that is not confirmed, what waits before what was refused."""
    for state in (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.SENT, DeliveryState.REFUSED):
        for one in deliveries.in_state(c, destination=destination, state=state, limit=1):
            return one.last_status
    return ""
