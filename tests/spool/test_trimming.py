"""The books forget what is long over, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.domain.model import UID, AETitle, DestinationName, InstanceId, Lane
from gateway.domain.routing import Route
from gateway.spool import Connection, Spool, audit, commitments, deliveries, instances
from gateway.spool.commitments import Outcome
from gateway.spool.trimming import trim
from tests.spool.objects import Clock, receive

PACS = DestinationName("pacs")
LONG = timedelta(days=90)


def confirmed(spool: Spool, uid: str, clock: Clock) -> InstanceId:
    committer = spool._committer or spool.accepting()
    instance = committer.submit(receive(spool.files, uid, b"x")).result(30).instance

    def job(c: Connection) -> None:
        deliveries.prepare(
            c, instance.id, routes=[Route(destination=PACS, lane=Lane.ROUTINE)], now=clock(), by="test", why="test"
        )
        (claimed,) = deliveries.claim(
            c, destination=PACS, lane=Lane.ROUTINE, now=clock(), lease=timedelta(hours=1), limit=1
        )
        deliveries.settle_sent(c, [deliveries.Arrived(delivery=claimed, status="0000", at=clock())], by="test")
        deliveries.settle_confirmed(c, [claimed.id], now=clock(), by="test", why="test")

    spool.db.write(job).result()
    return instance.id


def test_only_what_was_purged_long_ago_is_forgotten(spool: Spool, clock: Clock) -> None:
    gone = confirmed(spool, "2.25.1", clock)
    clock.pass_(days=1)
    assert spool.purge(retention=timedelta(hours=1), limit=9) == 1
    clock.pass_(days=80)
    kept = confirmed(spool, "2.25.2", clock)
    clock.pass_(days=20)
    spool.db.write(lambda c: trim(c, before=clock() - LONG, limit=9)).result()
    c = spool.db.read()
    assert instances.get(c, gone) is None
    assert deliveries.of_instance(c, gone) == ()
    assert audit.journal_of(c, kind=audit.Subject.INSTANCE, subject=gone) == ()
    assert instances.get(c, kept) is not None
    assert [row.to_state for row in audit.journal_of(c, kind=audit.Subject.DELIVERY, subject="2")][-1] == "confirmed"


def test_what_was_not_purged_stays_however_old(spool: Spool, clock: Clock) -> None:
    kept = confirmed(spool, "2.25.1", clock)
    clock.pass_(days=4000)
    assert spool.db.write(lambda c: trim(c, before=clock() - LONG, limit=9)).result() == 0
    assert instances.get(spool.db.read(), kept) is not None


def test_ended_commitments_and_cleared_alarms_go_open_ones_stay(spool: Spool, clock: Clock) -> None:
    def begin(c: Connection) -> None:
        for uid in ("2.25.7", "2.25.8"):
            commitments.record_transaction(c, transaction_uid=UID(uid), destination=PACS, deliveries=[], now=clock())
        commitments.record_result(c, transaction_uid=UID("2.25.7"), succeeded=[], failed=[], now=clock())
        commitments.mark_settled(c, UID("2.25.7"))
        for subject in ("old", "new"):
            audit.raise_alarm(c, code="delivery-late", subject=subject, now=clock())
        audit.clear_alarm(c, code="delivery-late", subject="old", now=clock())

    spool.db.write(begin).result()
    clock.pass_(days=100)
    spool.db.write(lambda c: trim(c, before=clock() - LONG, limit=9)).result()
    c = spool.db.read()
    assert commitments.get_transaction(c, UID("2.25.7")) is None
    assert commitments.get_transaction(c, UID("2.25.8")) is not None
    assert c.execute("SELECT subject FROM alarm").fetchone()["subject"] == "new"


@pytest.mark.parametrize("taken", [True, False])
def test_what_a_scanner_is_to_be_told_is_kept_from_the_time_that_it_is_known(
    spool: Spool, clock: Clock, taken: bool
) -> None:
    uid, ct1 = UID("2.25.9"), AETitle("CT1")

    def ask(c: Connection) -> bool:
        return commitments.record_request(c, transaction_uid=uid, scanner=ct1, referenced=[], now=clock())

    def decide(c: Connection) -> bool:
        told = Outcome(succeeded=(), failed=())
        return commitments.decide_request(c, transaction_uid=uid, scanner=ct1, outcome=told, now=clock())

    def answer(c: Connection) -> bool:
        return commitments.answer_request(c, transaction_uid=uid, scanner=ct1, now=clock())

    def kept() -> bool:
        spool.db.write(lambda c: trim(c, before=clock() - LONG, limit=9)).result()
        return commitments.get_request(spool.db.read(), transaction_uid=uid, scanner=ct1) is not None

    assert spool.db.write(ask).result()
    clock.pass_(days=100)
    assert kept()
    assert spool.db.write(decide).result()
    assert kept()
    clock.pass_(days=80)
    if taken:
        assert spool.db.write(answer).result()
    clock.pass_(days=20)
    assert kept() is taken
    clock.pass_(days=80)
    assert not kept()
