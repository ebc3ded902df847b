"""Instances on their way to destinations: who may send which, under a lease, and what came of it.

Promises
- A delivery is claimed by one sender at a time. A lease that ran out puts it back in the queue, and
  the late sender learns it (LeaseLost) when it settles: `attempts`, which grows with every claim,
  tells its claim from a later one. Sending twice is possible, losing is not.
- Oldest first within a destination and lane.
- Every move is checked against DELIVERY_MOVES and journalled; another move raises PermanentFailure.
- No clock can trap a delivery: a lease or a deferral further away than LONGEST_LEASE or
  LONGEST_DEFERRAL was written by a clock that was wrong, and counts as over.
- The move of an instance to `prepared` and its queue rows are one transaction (`prepare`), and the
  confirmation of the last delivery and the instance's move to `delivered` are another.
- What happens to many at once (`claim`, `settle_sent`, `settle_confirmed`) is a few statements for all
  of them: a lane sends thousands of small objects a second beside the thread that writes this down.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.model import (
    DELIVERY_MOVES,
    UID,
    Delivery,
    DeliveryState,
    DestinationName,
    InstanceId,
    InstanceState,
    Lane,
    PermanentFailure,
    TemporaryFailure,
)
from gateway.domain.routing import Route
from gateway.spool import audit, instances
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.times import from_text, to_text

EXPECTED: Final = "expected-"
"""A status that begins so: the destination refused it, as the configuration says it does; it holds nothing."""
SLOT_SECONDS: Final = 10
"""Of `throughput`."""
SENT_BY_HAND: Final = "sent by hand"
LONGEST_LEASE: Final = timedelta(hours=6)
LONGEST_DEFERRAL: Final = timedelta(hours=25)
"""A day (a destination's window opens once a day) and the hour of a change to winter time."""


FILE_FAULTS: Final = frozenset({"file-missing", "file-unreadable", "content-hash"})
"""Statuses of a delivery that was refused because of our own file."""


class LeaseLost(TemporaryFailure):
    """The lease ran out before the outcome was written: the delivery is in other hands, or queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A claimed delivery that the destination answered with success or a warning."""

    delivery: Delivery
    status: str
    at: datetime
    sent_as: str = ""
    """The Transfer Syntax UID; empty: nothing was stored, or the destination is expected to refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for one destination in one state."""

    destination: DestinationName
    lane: Lane
    state: DeliveryState
    count: int
    oldest: datetime
    """When the oldest of them was queued."""


def prepare(
    c: Connection,
    instance_id: InstanceId,
    *,
    routes: Sequence[Route],
    now: datetime,
    by: str,
    why: str,
) -> tuple[int, ...]:
    """Moves a received instance to prepared and queues it for each route: both or neither.

    Returns the delivery ids, in the order of `routes`. Without a route the instance stays prepared,
    or is delivered again if it has deliveries and all of them are confirmed.
    """
    instances.move(c, instance_id, after=InstanceState.PREPARED, now=now, by=by, why=why)
    if not routes:
        instances.conclude(c, {instance_id}, now=now, by=by)
    return tuple(_enqueue(c, instance_id, route=route, now=now, by=by) for route in routes)


def send_by_hand(c: Connection, instance_id: InstanceId, *, route: Route, now: datetime, by: str) -> int | None:
    """Queues an instance for one destination because a person asks, though it may be confirmed there already; the
    delivery's id. None, and nothing happens, if its file is gone or it is in quarantine.

    What waits for that destination, or was refused by it, goes on instead of a second one. An instance that is not
    prepared yet is not sent before it is.
    """
    instance = instances.get(c, instance_id)
    if instance is None or instance.state is InstanceState.PURGED or instance.quarantine:
        return None
    if instance.state is InstanceState.DELIVERED:
        instances.move(c, instance_id, after=InstanceState.PREPARED, now=now, by=by, why=SENT_BY_HAND)
    return _enqueue(c, instance_id, route=route, now=now, by=by, why=SENT_BY_HAND)


def due(c: Connection, *, destination: DestinationName, lane: Lane, now: datetime, limit: int) -> tuple[Delivery, ...]:
    """What `claim` would take, left as it is: a sender looks what it needs before it takes anything."""
    return tuple(_delivery(row) for row in _due(c, destination=destination, lane=lane, now=now, limit=limit))


def claim(
    c: Connection, *, destination: DestinationName, lane: Lane, now: datetime, lease: timedelta, limit: int
) -> tuple[Delivery, ...]:
    """Takes up to `limit` due deliveries for one sender, oldest first, until `now + lease`."""
    if lease > LONGEST_LEASE:
        raise ValueError(f"a lease of {lease} is longer than {LONGEST_LEASE}: claim fewer at a time")
    due = _due(c, destination=destination, lane=lane, now=now, limit=limit)
    values = {"ids": json.dumps([row["id"] for row in due]), "lease_until": to_text(now + lease)}
    before, after = DeliveryState.QUEUED, DeliveryState.SENDING
    _journal_all(c, values["ids"], before=before, after=after, now=now, by=destination, why="claimed")
    claimed = map(_delivery, c.execute(sql("delivery_claim"), values).fetchall())
    return tuple(sorted(claimed, key=lambda delivery: delivery.id))


def settle_sent(c: Connection, arrived: Sequence[Arrived], *, by: str) -> frozenset[int]:
    """The destination took these; it is not proven yet that it keeps them. The ids of those that were in
    other hands by then: they are as they were."""
    audit.refuse_foreign_text("by", by)
    for one in arrived:
        audit.refuse_foreign_text("status", one.status)
    values = {
        "by": by,
        "arrived": json.dumps(
            [
                {
                    "id": one.delivery.id,
                    "attempts": one.delivery.attempts,
                    "status": one.status,
                    "at": to_text(one.at),
                    "sent_as": one.sent_as,
                    "slot": int(one.at.timestamp()) // SLOT_SECONDS,
                }
                for one in arrived
            ]
        ),
    }
    c.execute(sql("delivery_throughput"), values)
    c.execute(sql("delivery_journal_sent"), values)
    sent = {row["id"] for row in c.execute(sql("delivery_sent"), values).fetchall()}
    return frozenset(one.delivery.id for one in arrived) - sent


def settle_confirmed(c: Connection, ids: Sequence[int], *, now: datetime, by: str, why: str) -> frozenset[InstanceId]:
    """The destination is known to keep these. Those that are not `sent` stay as they are; the instances
    that are delivered by this."""
    listed = json.dumps(list(ids))
    _journal_all(c, listed, before=DeliveryState.SENT, after=DeliveryState.CONFIRMED, now=now, by=by, why=why)
    confirmed = c.execute(sql("delivery_confirmed"), {"ids": listed, "now": to_text(now)}).fetchall()
    return instances.conclude(c, {InstanceId(row["instance"]) for row in confirmed}, now=now, by=by)


def defer(c: Connection, claimed: Delivery, *, not_before: datetime, status: str, now: datetime, by: str) -> None:
    """A temporary failure: back to the queue, due at `not_before` (at most LONGEST_DEFERRAL away)."""
    delivery = _held(c, claimed)
    _move(c, delivery, after=DeliveryState.QUEUED, now=now, by=by, why=status)
    _queue_again(c, delivery, not_before=min(not_before, now + LONGEST_DEFERRAL), status=status)


def refuse(c: Connection, claimed: Delivery, *, status: str, now: datetime, by: str) -> None:
    """A permanent failure: waits for a person, who may `requeue`."""
    delivery = _held(c, claimed)
    _move(c, delivery, after=DeliveryState.REFUSED, now=now, by=by, why=status)
    c.execute(sql("delivery_refused"), {"id": delivery.id, "status": status})


def requeue(
    c: Connection, delivery_id: int, *, now: datetime, by: str, why: str, not_before: datetime | None = None
) -> None:
    """Asks again: a refused delivery by a person, a sent one because its commitment failed."""
    delivery = _require(c, delivery_id)
    if delivery.state is DeliveryState.SENDING:
        raise PermanentFailure(f"delivery {delivery_id} is being sent: wait for its outcome", code="move")
    _move(c, delivery, after=DeliveryState.QUEUED, now=now, by=by, why=why)
    due = None if not_before is None else min(not_before, now + LONGEST_DEFERRAL)
    _queue_again(c, delivery, not_before=due, status=delivery.last_status)


def extend(c: Connection, claimed: Delivery, *, now: datetime, lease: timedelta) -> None:
    """Renews the lease of a claim that is still held (a long object on a slow line)."""
    delivery = _held(c, claimed)
    c.execute(sql("delivery_extend"), {"id": delivery.id, "lease_until": to_text(now + min(lease, LONGEST_LEASE))})


def release_expired_leases(c: Connection, *, now: datetime) -> int:
    """Puts deliveries whose sender is gone back in the queue; their number."""
    limits = {"now": to_text(now), "implausible": to_text(now + LONGEST_LEASE)}
    expired = tuple(_delivery(row) for row in c.execute(sql("delivery_lease_over"), limits).fetchall())
    for delivery in expired:
        _move(c, delivery, after=DeliveryState.QUEUED, now=now, by="spool", why="lease over")
        _queue_again(c, delivery, not_before=None, status=delivery.last_status)
    return len(expired)


def heal(c: Connection, instance_id: InstanceId, *, now: datetime) -> None:
    """The instance's file was gone or damaged, and is whole again: what was refused for that is queued again."""
    for delivery in of_instance(c, instance_id):
        if delivery.state is DeliveryState.REFUSED and delivery.last_status in FILE_FAULTS:
            requeue(c, delivery.id, now=now, by="spool", why="received again")
    for code in (audit.AlarmCode.FILE_MISSING, audit.AlarmCode.SPOOL_DAMAGED):
        audit.clear_alarm(c, code=code, subject=instance_id, now=now)


def release_all_leases(c: Connection, *, now: datetime) -> int:
    """Puts every claimed delivery back in the queue: for the one sender, when it starts; their number."""
    claimed = tuple(_delivery(row) for row in c.execute(sql("delivery_all_sending")).fetchall())
    for delivery in claimed:
        _move(c, delivery, after=DeliveryState.QUEUED, now=now, by="spool", why="sender restarted")
        _queue_again(c, delivery, not_before=None, status=delivery.last_status)
    return len(claimed)


def get(c: Connection, delivery_id: int) -> Delivery | None:
    """The delivery of that id."""
    row = c.execute(sql("delivery_get"), {"id": delivery_id}).fetchone()
    return None if row is None else _delivery(row)


def of_instance(c: Connection, instance_id: InstanceId) -> tuple[Delivery, ...]:
    """The instance's deliveries, oldest first."""
    return tuple(_delivery(row) for row in c.execute(sql("delivery_of_instance"), {"instance": instance_id}))


def of_study(c: Connection, StudyInstanceUID: UID) -> tuple[Delivery, ...]:
    """The deliveries of a study's images, oldest first."""
    values = {"StudyInstanceUID": StudyInstanceUID}
    return tuple(_delivery(row) for row in c.execute(sql("delivery_of_study"), values))


def in_state(c: Connection, *, destination: DestinationName, state: DeliveryState, limit: int) -> tuple[Delivery, ...]:
    """Deliveries of one destination in one state, oldest first; e.g. sent, to be confirmed."""
    values = {"destination": destination, "state": state, "limit": limit}
    return tuple(_delivery(row) for row in c.execute(sql("delivery_in_state"), values))


def unasked(c: Connection, *, destination: DestinationName, lately: datetime, limit: int) -> tuple[Delivery, ...]:
    """Deliveries that are sent, oldest first, but for those whose commitment was asked for since `lately` and is not
    answered."""
    values = {"destination": destination, "lately": to_text(lately), "limit": limit}
    return tuple(_delivery(row) for row in c.execute(sql("delivery_unasked"), values))


def backlog(c: Connection) -> tuple[Backlog, ...]:
    """What is not confirmed yet, by destination, lane and state."""
    return tuple(
        Backlog(
            destination=DestinationName(row["destination"]),
            lane=Lane(row["lane"]),
            state=DeliveryState(row["state"]),
            count=row["n"],
            oldest=from_text(row["oldest"]),
        )
        for row in c.execute(sql("delivery_backlog"))
    )


def younger(
    c: Connection, *, state: DeliveryState, bounds: Sequence[datetime]
) -> dict[DestinationName, tuple[int, ...]]:
    """For each destination, how many in that state (not confirmed) were queued after each of the bounds."""
    values = {"state": state, "bounds": json.dumps([to_text(bound) for bound in bounds])}
    counts: dict[DestinationName, list[int]] = {}
    for row in c.execute(sql("delivery_younger"), values):
        counts.setdefault(DestinationName(row["destination"]), [0] * len(bounds))[row["bound"]] = row["n"]
    return {destination: tuple(found) for destination, found in counts.items()}


def _due(c: Connection, *, destination: DestinationName, lane: Lane, now: datetime, limit: int) -> list[Row]:
    values = {
        "destination": destination,
        "lane": lane,
        "now": to_text(now),
        "implausible": to_text(now + LONGEST_DEFERRAL),
        "limit": limit,
    }
    return c.execute(sql("delivery_due"), values).fetchall()


def _enqueue(
    c: Connection, instance_id: InstanceId, *, route: Route, now: datetime, by: str, why: str = "prepared again"
) -> int:
    """A new delivery, unless one to the same destination was not begun yet or was refused: that one goes on, as the
    route says.

    One that is being sent, or was sent, carries an earlier version: the new one goes after it.
    """
    values = {
        "instance": instance_id,
        "destination": route.destination,
        "lane": route.lane,
        "compression": route.compression,
        "now": to_text(now),
    }
    row = c.execute(sql("delivery_unbegun"), values).fetchone()
    if row is None:
        added = int(c.execute(sql("delivery_insert"), values).fetchone()["id"])
        named = f"rule {route.rule}" if route.rule else f"route {route.destination}"
        first = SENT_BY_HAND if why == SENT_BY_HAND else named
        audit.journal(
            c, audit.Subject.DELIVERY, added, before="", after=DeliveryState.QUEUED, now=now, by=by, why=first
        )
        return added
    delivery = _delivery(row)
    c.execute(sql("delivery_reroute"), {**values, "id": delivery.id})
    if delivery.state is DeliveryState.REFUSED:
        requeue(c, delivery.id, now=now, by=by, why=why)
    return delivery.id


def _held(c: Connection, claimed: Delivery) -> Delivery:
    """The delivery as it stands, if it is still in the hands of the one who claimed it."""
    delivery = _require(c, claimed.id)
    if delivery.state is not DeliveryState.SENDING or delivery.attempts != claimed.attempts:
        raise LeaseLost(
            f"delivery {claimed.id}, attempt {claimed.attempts}, is {delivery.state} at attempt"
            f" {delivery.attempts}: drop this outcome, the delivery goes on by itself",
            code="lease",
        )
    return delivery


def _require(c: Connection, delivery_id: int) -> Delivery:
    delivery = get(c, delivery_id)
    if delivery is None:
        raise PermanentFailure(f"delivery {delivery_id} is not in the spool", code="unknown")
    return delivery


def _move(c: Connection, delivery: Delivery, *, after: DeliveryState, now: datetime, by: str, why: str) -> None:
    if (delivery.state, after) not in DELIVERY_MOVES:
        raise PermanentFailure(f"delivery {delivery.id} is {delivery.state}: it can't become {after}", code="move")
    audit.journal(c, audit.Subject.DELIVERY, delivery.id, before=delivery.state, after=after, now=now, by=by, why=why)


def _queue_again(c: Connection, delivery: Delivery, *, not_before: datetime | None, status: str) -> None:
    c.execute(sql("delivery_queue"), {"id": delivery.id, "not_before": to_text(not_before), "status": status})


def _journal_all(
    c: Connection,
    ids: str,
    *,
    before: DeliveryState,
    after: DeliveryState,
    now: datetime,
    by: str,
    why: str,
) -> None:
    """A row for each of these (a JSON list) that stands in `before`."""
    audit.refuse_foreign_text("by", by)
    audit.refuse_foreign_text("why", why)
    values = {"ids": ids, "before": before, "after": after, "at": to_text(now), "by": by, "why": why}
    c.execute(sql("delivery_journal_all"), values)


def _delivery(row: Row) -> Delivery:
    return Delivery(
        id=row["id"],
        instance=InstanceId(row["instance"]),
        destination=DestinationName(row["destination"]),
        lane=Lane(row["lane"]),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        not_before=from_text(row["not_before"]),
        lease_until=from_text(row["lease_until"]),
        last_status=row["last_status"],
        queued_at=from_text(row["queued_at"]),
        sent_at=from_text(row["sent_at"]),
        confirmed_at=from_text(row["confirmed_at"]),
        compression=row["compression"],
        sent_as=row["sent_as"],
    )
