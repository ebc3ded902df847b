"""Everything that stands, read from the index at one moment.

What is promised: a handful of statements whose answers are counts, so that looking costs the same however many
images wait, and no value of a data set. Give it a connection with a transaction begun for one view of it all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from gateway.domain import health
from gateway.domain.model import DeliveryState, DestinationName
from gateway.domain.overview import Overview, Towards
from gateway.spool import audit, deliveries, disk, instances, peers, relays, tasks, worklist
from gateway.spool.claims import unclaimed
from gateway.spool.db import Connection
from gateway.spool.deliveries import Backlog


def look(
    c: Connection,
    *,
    destinations: Sequence[str],
    refresh: Mapping[str, timedelta],
    mpps_peers: Sequence[str],
    order_receivers: Sequence[str],
    now: datetime,
) -> Overview:
    """The state of the box. `destinations`, `refresh` (how often each RIS is asked), `mpps_peers` (whom performed
    procedure steps are passed on to) and `order_receivers` (who is told of orders) are the configuration's."""
    open_tasks = tasks.counts(c)
    return Overview(
        now=now,
        instances=instances.count_by_state(c),
        quarantined=instances.count_quarantined(c),
        destinations=_towards_all(c, destinations),
        worklist=worklist.sources(c),
        copied=worklist.copied(c),
        refresh=refresh,
        alarms=health.told(audit.active_alarms(c)),
        strangers=peers.callers(c),
        stopped=unclaimed(Path(c.execute("PRAGMA database_list").fetchone()["file"]).parent),
        disk=disk.last(c),
        studies_held=sum(one.count for one in open_tasks if one.blocks),
        tasks=sum(one.count for one in open_tasks),
        rejected=instances.count_rejected(c),
        mpps=relays.standing(c, audit.Subject.MPPS, mpps_peers),
        orders_out=relays.standing(c, audit.Subject.ORDER_MESSAGE, order_receivers),
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
