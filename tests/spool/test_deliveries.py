"""Deliveries: leases, order, and moves that are not allowed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from gateway.domain.model import (
    UID,
    Delivery,
    DeliveryState,
    DestinationName,
    Instance,
    InstanceId,
    InstanceState,
    Lane,
    PermanentFailure,
)
from gateway.domain.routing import Route
from gateway.spool import Connection, Spool, audit, deliveries, instances
from tests.spool.objects import CT, EXPLICIT, Clock, origin

T = TypeVar("T")
PACS = DestinationName("pacs")
ARCHIVE = DestinationName("archive")
LEASE = timedelta(minutes=5)


def do(spool: Spool, job: Callable[[Connection], T]) -> T:
    return spool.db.write(job).result(30)


def held(spool: Spool, number: int = 0) -> InstanceId:
    """A received instance (its row alone: no test here looks at the file)."""
    instance = Instance(
        id=InstanceId(f"{number:022x}"),
        SOPClassUID=CT,
        SOPInstanceUID=UID(f"2.25.{number}"),
        TransferSyntaxUID=EXPLICIT,
        StudyInstanceUID=UID("2.25.1"),
        SeriesInstanceUID=UID("2.25.2"),
        content_hash="0" * 32,
        size=1,
        origin=origin(),
    )
    return do(spool, lambda c: instances.accept(c, instance, now=origin().received_at, why="test")).instance.id


def prepare(spool: Spool, instance_id: InstanceId, clock: Clock, *to: DestinationName) -> tuple[int, ...]:
    routes = [Route(destination=destination, lane=Lane.ROUTINE) for destination in to]
    return do(
        spool,
        lambda c: deliveries.prepare(c, instance_id, routes=routes, now=clock(), by="forward", why="passed"),
    )


def claim(spool: Spool, now: datetime, *, limit: int = 9, to: DestinationName = PACS) -> tuple[Delivery, ...]:
    return do(
        spool,
        lambda c: deliveries.claim(c, destination=to, lane=Lane.ROUTINE, now=now, lease=LEASE, limit=limit),
    )


def state_of(spool: Spool, delivery_id: int) -> DeliveryState:
    found = deliveries.get(spool.db.read(), delivery_id)
    assert found is not None
    return found.state


def instance_state(spool: Spool, instance_id: InstanceId) -> InstanceState:
    found = instances.get(spool.db.read(), instance_id)
    assert found is not None
    return found.state


def send(spool: Spool, claimed: Delivery, clock: Clock) -> frozenset[int]:
    return do(
        spool,
        lambda c: deliveries.settle_sent(
            c, [deliveries.Arrived(delivery=claimed, status="0000", at=clock())], by="forward"
        ),
    )


def confirm(spool: Spool, delivery_id: int, clock: Clock) -> frozenset[InstanceId]:
    return do(
        spool,
        lambda c: deliveries.settle_confirmed(c, [delivery_id], now=clock(), by="forward", why="commitment"),
    )


def test_the_whole_way_is_journalled(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    (delivery_id,) = prepare(spool, instance_id, clock, PACS)
    (claimed,) = claim(spool, clock())
    assert (claimed.attempts, claimed.lease_until) == (1, clock() + LEASE)
    send(spool, claimed, clock)
    assert instance_state(spool, instance_id) is InstanceState.PREPARED
    assert confirm(spool, delivery_id, clock)
    assert instance_state(spool, instance_id) is InstanceState.DELIVERED
    journal = audit.journal_of(spool.db.read(), kind=audit.Subject.DELIVERY, subject=str(delivery_id))
    assert [row.to_state for row in journal] == ["queued", "sending", "sent", "confirmed"]
    assert [(row.who, row.why, row.at) for row in journal][2] == ("forward", "0000", clock())


def test_an_instance_is_delivered_when_the_last_destination_confirmed(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    prepare(spool, instance_id, clock, PACS, ARCHIVE)
    claimed = [*claim(spool, clock()), *claim(spool, clock(), to=ARCHIVE)]
    for each in claimed:
        send(spool, each, clock)
    assert [confirm(spool, each.id, clock) for each in claimed] == [frozenset(), {instance_id}]


def test_the_oldest_go_first_and_nobody_gets_the_same_twice(spool: Spool, clock: Clock) -> None:
    wanted = [prepare(spool, held(spool, n), clock, PACS)[0] for n in range(5)]
    first, second = claim(spool, clock(), limit=2), claim(spool, clock(), limit=9)
    assert [each.id for each in (*first, *second)] == wanted
    assert claim(spool, clock()) == ()


def test_a_deferred_delivery_is_due_at_its_time_and_keeps_its_place(spool: Spool, clock: Clock) -> None:
    ids = [prepare(spool, held(spool, n), clock, PACS)[0] for n in range(2)]
    (claimed,) = claim(spool, clock(), limit=1)
    later = clock() + timedelta(minutes=1)
    do(spool, lambda c: deliveries.defer(c, claimed, not_before=later, status="A700", now=clock(), by="forward"))
    assert [each.id for each in claim(spool, later - timedelta(microseconds=1))] == ids[1:]
    (again,) = claim(spool, later)
    assert (again.id, again.attempts, again.last_status) == (ids[0], 2, "A700")


@pytest.mark.parametrize("step", ["deferred", "refused", "extended"])
def test_who_lost_its_lease_is_told_and_changes_nothing(spool: Spool, clock: Clock, step: str) -> None:
    prepare(spool, held(spool), clock, PACS)
    (late,) = claim(spool, clock())
    clock.pass_(minutes=5)
    assert do(spool, lambda c: deliveries.release_expired_leases(c, now=clock())) == 1
    (current,) = claim(spool, clock())
    outcome: dict[str, Callable[[Connection], None]] = {
        "deferred": lambda c: deliveries.defer(c, late, not_before=clock(), status="x", now=clock(), by="forward"),
        "refused": lambda c: deliveries.refuse(c, late, status="C000", now=clock(), by="forward"),
        "extended": lambda c: deliveries.extend(c, late, now=clock(), lease=LEASE),
    }
    with pytest.raises(deliveries.LeaseLost):
        do(spool, outcome[step])
    assert deliveries.get(spool.db.read(), late.id) == current


def test_of_many_that_arrived_those_in_other_hands_are_named_and_left(spool: Spool, clock: Clock) -> None:
    for number in range(3):
        prepare(spool, held(spool, number), clock, PACS)
    (late, *_) = claim(spool, clock(), limit=1)
    clock.pass_(minutes=5)
    do(spool, lambda c: deliveries.release_expired_leases(c, now=clock()))
    current, *others = claim(spool, clock())
    arrived = [deliveries.Arrived(delivery=one, status="0000", at=clock()) for one in (late, *others)]
    assert do(spool, lambda c: deliveries.settle_sent(c, arrived, by="forward")) == {late.id}
    assert deliveries.get(spool.db.read(), late.id) == current
    assert {state_of(spool, one.id) for one in others} == {DeliveryState.SENT}
    journal = audit.journal_of(spool.db.read(), kind=audit.Subject.DELIVERY, subject=str(late.id))
    assert [row.to_state for row in journal] == ["queued", "sending", "queued", "sending"]


def test_a_lease_that_is_renewed_does_not_run_out(spool: Spool, clock: Clock) -> None:
    prepare(spool, held(spool), clock, PACS)
    (claimed,) = claim(spool, clock())
    clock.pass_(minutes=4)
    do(spool, lambda c: deliveries.extend(c, claimed, now=clock(), lease=LEASE))
    clock.pass_(minutes=4)
    assert do(spool, lambda c: deliveries.release_expired_leases(c, now=clock())) == 0
    send(spool, claimed, clock)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumped_traps_nothing(spool: Spool, clock: Clock, years: int) -> None:
    for number in range(2):
        prepare(spool, held(spool, number), clock, PACS)
    leased, deferred = claim(spool, clock())
    late = clock() + timedelta(days=400)
    do(spool, lambda c: deliveries.defer(c, deferred, not_before=late, status="x", now=clock(), by="forward"))
    clock.pass_(days=365 * years)
    assert do(spool, lambda c: deliveries.release_expired_leases(c, now=clock())) == 1
    assert {each.id for each in claim(spool, clock())} == {leased.id, deferred.id}


def test_a_refused_delivery_waits_for_a_person(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    (delivery_id,) = prepare(spool, instance_id, clock, PACS)
    (claimed,) = claim(spool, clock())
    do(spool, lambda c: deliveries.refuse(c, claimed, status="C000", now=clock(), by="forward"))
    clock.pass_(days=100)
    assert claim(spool, clock()) == ()
    assert do(spool, lambda c: deliveries.release_expired_leases(c, now=clock())) == 0
    do(spool, lambda c: deliveries.requeue(c, delivery_id, now=clock(), by="person", why="asked again"))
    assert [each.id for each in claim(spool, clock())] == [delivery_id]


def test_a_failed_commitment_sends_again(spool: Spool, clock: Clock) -> None:
    (delivery_id,) = prepare(spool, held(spool), clock, PACS)
    (claimed,) = claim(spool, clock())
    send(spool, claimed, clock)
    do(spool, lambda c: deliveries.requeue(c, delivery_id, now=clock(), by="forward", why="commitment failed"))
    (again,) = claim(spool, clock())
    assert (again.id, again.attempts, again.sent_at) == (delivery_id, 2, None)


def test_moves_outside_the_table_are_refused(spool: Spool, clock: Clock) -> None:
    (delivery_id,) = prepare(spool, held(spool), clock, PACS)
    assert confirm(spool, delivery_id, clock) == frozenset()
    assert state_of(spool, delivery_id) is DeliveryState.QUEUED
    (claimed,) = claim(spool, clock())
    with pytest.raises(PermanentFailure, match="being sent"):
        do(spool, lambda c: deliveries.requeue(c, delivery_id, now=clock(), by="person", why="impatient"))
    send(spool, claimed, clock)
    assert confirm(spool, delivery_id, clock)
    with pytest.raises(PermanentFailure, match="is confirmed"):
        do(spool, lambda c: deliveries.requeue(c, delivery_id, now=clock(), by="person", why="again"))
    assert confirm(spool, 999, clock) == frozenset()
    assert confirm(spool, delivery_id, clock) == frozenset()
    journal = audit.journal_of(spool.db.read(), kind=audit.Subject.DELIVERY, subject=str(delivery_id))
    assert [row.to_state for row in journal] == ["queued", "sending", "sent", "confirmed"]
    assert state_of(spool, delivery_id) is DeliveryState.CONFIRMED


def test_what_goes_back_to_the_check_is_not_sent_until_it_is_prepared_again(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    ids = prepare(spool, instance_id, clock, PACS)
    do(
        spool,
        lambda c: instances.move(
            c, instance_id, after=InstanceState.RECEIVED, now=clock(), by="forward", why="late order"
        ),
    )
    assert claim(spool, clock()) == ()
    assert prepare(spool, instance_id, clock, PACS) == ids
    assert [each.id for each in claim(spool, clock())] == list(ids)


def test_a_corrected_version_goes_after_the_one_that_was_sent(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    (first,) = prepare(spool, instance_id, clock, PACS)
    (claimed,) = claim(spool, clock())
    send(spool, claimed, clock)
    do(
        spool,
        lambda c: instances.move(c, instance_id, after=InstanceState.RECEIVED, now=clock(), by="person", why="undo"),
    )
    (second,) = prepare(spool, instance_id, clock, PACS)
    assert second != first
    assert not confirm(spool, first, clock)  # the corrected one is not there yet
    (again,) = claim(spool, clock())
    send(spool, again, clock)
    assert confirm(spool, second, clock)


def test_the_backlog_counts_what_is_not_confirmed(spool: Spool, clock: Clock) -> None:
    oldest = clock()
    for number in range(3):
        prepare(spool, held(spool, number), clock, PACS)
        clock.pass_(minutes=1)
    claim(spool, clock(), limit=1)
    found = {(each.state, each.count): each.oldest for each in deliveries.backlog(spool.db.read())}
    assert found == {
        (DeliveryState.QUEUED, 2): oldest + timedelta(minutes=1),
        (DeliveryState.SENDING, 1): oldest,
    }


@pytest.mark.parametrize("missing", ["age", "confirmation", "state", "release"])
def test_nothing_is_purged_before_its_time(spool: Spool, clock: Clock, missing: str) -> None:
    instance_id = held(spool)
    prepare(spool, instance_id, clock, PACS, ARCHIVE)
    for each in (*claim(spool, clock()), *claim(spool, clock(), to=ARCHIVE)):
        send(spool, each, clock)
        if not (missing == "confirmation" and each.destination == ARCHIVE):
            confirm(spool, each.id, clock)
    if missing == "confirmation":  # even if everything else says that it may go
        do(spool, lambda c: c.execute("UPDATE delivery SET confirmed_at = queued_at"))
        do(spool, lambda c: c.execute("UPDATE instance SET state = 'delivered'"))
    if missing == "state":
        do(
            spool,
            lambda c: instances.move(c, instance_id, after=InstanceState.RECEIVED, now=clock(), by="person", why="u"),
        )
    if missing == "release":
        do(spool, lambda c: c.execute("UPDATE instance SET quarantine = 'a person looks at it'"))
    clock.pass_(days=7, seconds=0 if missing == "age" else 1)
    assert spool.purge(retention=timedelta(days=7), limit=9) == 0
    assert instance_state(spool, instance_id) is not InstanceState.PURGED


def test_what_is_due_is_purged_once(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    (delivery_id,) = prepare(spool, instance_id, clock, PACS)
    send(spool, claim(spool, clock())[0], clock)
    confirm(spool, delivery_id, clock)
    clock.pass_(days=7, seconds=1)
    assert spool.purge(retention=timedelta(days=7), limit=9) == 1
    assert spool.purge(retention=timedelta(days=7), limit=9) == 0
    assert instance_state(spool, instance_id) is InstanceState.PURGED


@pytest.mark.parametrize("after", [InstanceState.PURGED, InstanceState.DELIVERED, InstanceState.RECEIVED])
def test_an_instance_makes_no_other_move(spool: Spool, clock: Clock, after: InstanceState) -> None:
    instance_id = held(spool)
    with pytest.raises(PermanentFailure, match="can't become"):
        do(spool, lambda c: instances.move(c, instance_id, after=after, now=clock(), by="x", why="x"))
    with pytest.raises(PermanentFailure, match="not in the spool"):
        do(spool, lambda c: instances.move(c, InstanceId("f" * 22), after=after, now=clock(), by="x", why="x"))


def test_a_person_ends_a_quarantine(spool: Spool, clock: Clock) -> None:
    instance_id = held(spool)
    do(spool, lambda c: c.execute("UPDATE instance SET quarantine = 'duplicate-differs'"))
    assert instances.waiting(spool.db.read(), limit=9) == ()
    assert do(spool, lambda c: instances.release(c, instance_id, now=clock(), by="person", why="both are good"))
    assert not do(spool, lambda c: instances.release(c, instance_id, now=clock(), by="person", why="again"))
    assert [each.id for each in instances.waiting(spool.db.read(), limit=9)] == [instance_id]
    assert [each.id for each in instances.in_study(spool.db.read(), UID("2.25.1"))] == [instance_id]


def test_a_sender_that_restarts_takes_its_claims_back(spool: Spool, clock: Clock) -> None:
    ids = [prepare(spool, held(spool, n), clock, PACS)[0] for n in range(2)]
    (before,) = claim(spool, clock(), limit=1)
    assert do(spool, lambda c: deliveries.release_all_leases(c, now=clock())) == 1
    looked_at = deliveries.due(spool.db.read(), destination=PACS, lane=Lane.ROUTINE, now=clock(), limit=9)
    assert [each.id for each in looked_at] == ids
    assert [each.id for each in claim(spool, clock())] == ids
    assert send(spool, before, clock) == {before.id}


def test_deliveries_are_counted_by_age(spool: Spool, clock: Clock) -> None:
    first = clock()
    for number in range(3):
        prepare(spool, held(spool, number), clock, PACS)
        clock.pass_(minutes=1)
    bounds = [first + timedelta(minutes=minutes) for minutes in (-1, 0, 2)]
    found = deliveries.younger(spool.db.read(), state=DeliveryState.QUEUED, bounds=bounds)
    assert found == {PACS: (3, 2, 0)}
    assert deliveries.younger(spool.db.read(), state=DeliveryState.REFUSED, bounds=bounds) == {}
