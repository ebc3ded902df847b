"""After any crash: what was acknowledged is here, once, and what can't be understood is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.model import UID, DestinationName, Instance, InstanceState, Lane
from gateway.domain.routing import Route
from gateway.spool import Connection, Spool, Swept, audit, deliveries, instances
from gateway.spool.commit import CRASH_POINTS
from tests.spool.objects import Clock, open_spool, read_origin, receive, stored_body

CALM = Swept(
    unfinished_removed=0,
    adopted=0,
    duplicates_removed=0,
    purges_finished=0,
    put_aside=0,
    unreadable=0,
    missing=0,
    leases_released=0,
)


def store(spool: Spool, uid: str, body: bytes) -> Instance:
    committer = spool._committer or spool.accepting()
    return committer.submit(receive(spool.files, uid, body)).result(30).instance


def forget_row(spool: Spool, instance: Instance) -> None:
    """What a power cut may do to a NORMAL commit."""
    spool.db.write(lambda c: c.execute("DELETE FROM instance WHERE id = ?", (instance.id,))).result()


def contents(spool: Spool) -> list[tuple[str, str]]:
    rows = spool.db.read().execute("SELECT SOPInstanceUID, content_hash FROM instance WHERE state <> 'purged'")
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_a_crash_point_nothing_acknowledged_is_lost(tmp_path: Path, point: str, number: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.spool.crashing", str(tmp_path), point, str(number)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    acknowledged = {tuple(line.split()) for line in ran.stdout.splitlines()}
    spool = open_spool(tmp_path)
    swept = spool.sweep(read_origin)
    assert (swept.put_aside, swept.missing, swept.unreadable) == (0, 0, 0)
    held = contents(spool)
    assert len(held) == len(set(held))
    assert acknowledged <= set(held)
    rows = [instance for uid, _ in held for instance in instances.by_uid(spool.db.read(), UID(uid))]
    for instance in rows:
        found = read_origin(spool.files.path_of(instance.id))
        assert found is not None
        assert found.content_hash == instance.content_hash
    assert {path.stem for path in spool.files.objects.glob("*/*.dcm")} == {instance.id for instance in rows}
    assert spool.sweep(read_origin) == CALM
    spool.close()


def test_a_quiet_spool_is_left_as_it_is(spool: Spool) -> None:
    instance = store(spool, "2.25.1", b"x")
    assert spool.sweep(read_origin) == CALM
    assert instances.get(spool.db.read(), instance.id) == instance


@pytest.mark.parametrize("begun", ["empty", "header", "whole but for its hash"])
def test_what_was_still_being_received_is_removed(spool: Spool, begun: str) -> None:
    received = receive(spool.files, "2.25.1", b"x")
    if begun != "whole but for its hash":
        os.truncate(received.incoming.path, 0 if begun == "empty" else received.incoming.file_size - 1)
    received.incoming.close()
    assert spool.sweep(read_origin).unfinished_removed == 1
    assert list(spool.files.objects.glob("*/*")) == []


def test_a_file_without_a_row_is_adopted_and_loses_nothing(spool: Spool) -> None:
    instance = store(spool, "2.25.1", b"x")
    forget_row(spool, instance)
    assert spool.sweep(read_origin).adopted == 1
    assert instances.get(spool.db.read(), instance.id) == instance


def test_adopted_copies_that_differ_keep_their_order(spool: Spool, clock: Clock) -> None:
    """The later one has the smaller id: the clock went back in between."""
    committer = spool.accepting()
    first = committer.submit(receive(spool.files, "2.25.1", b"one", at=clock.at)).result().instance
    received_later = clock.at + timedelta(seconds=5)
    clock.pass_(minutes=-30)
    second = committer.submit(receive(spool.files, "2.25.1", b"two", at=received_later)).result().instance
    assert second.id < first.id
    forget_row(spool, first)
    forget_row(spool, second)
    assert spool.sweep(read_origin).adopted == 2
    assert [i.id for i in instances.waiting(spool.db.read(), limit=9)] == [first.id]
    assert [i.id for i in instances.quarantined(spool.db.read(), limit=9)] == [second.id]


def test_the_second_file_of_the_same_bytes_goes(spool: Spool) -> None:
    instance = store(spool, "2.25.1", b"x")
    other = spool.files.path_of(spool.files.new_id())
    other.write_bytes(spool.files.path_of(instance.id).read_bytes())
    assert spool.sweep(read_origin).duplicates_removed == 1
    assert not other.exists()
    assert stored_body(spool, instance.id) == b"x"


def test_a_missing_file_is_an_alarm_until_it_is_back(spool: Spool) -> None:
    instance = store(spool, "2.25.1", b"x")
    path = spool.files.path_of(instance.id)
    content = path.read_bytes()
    path.unlink()
    assert spool.sweep(read_origin).missing == 1
    assert spool.sweep(read_origin).missing == 1
    (alarm,) = audit.active_alarms(spool.db.read())
    assert (alarm.code, alarm.subject, alarm.count) == ("file-missing", instance.id, 2)
    spool.files.path_of(spool.files.new_id()).write_bytes(content)  # the same bytes, under another id
    swept = spool.sweep(read_origin)
    assert (swept.missing, swept.duplicates_removed) == (0, 1)
    assert stored_body(spool, instance.id) == b"x"
    assert audit.active_alarms(spool.db.read()) == ()


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_file_that_is_no_whole_object_is_kept_for_a_person(spool: Spool, damage: str) -> None:
    instance = store(spool, "2.25.1", b"pixels")
    forget_row(spool, instance)
    path = spool.files.path_of(instance.id)
    content = path.read_bytes()
    damaged = {"flip": content[:-1] + b"?", "cut": content[:-1], "empty": b""}[damage]
    path.write_bytes(damaged)
    assert spool.sweep(read_origin).put_aside == 1
    (aside,) = spool.files.quarantine.iterdir()
    assert aside.read_bytes() == damaged
    assert [a.subject for a in audit.active_alarms(spool.db.read(), code="object-unreadable")] == [aside.stem]
    aside.unlink()
    assert spool.sweep(read_origin) == CALM
    assert audit.active_alarms(spool.db.read()) == ()


def test_a_file_the_disk_cannot_read_stays_where_it_is(spool: Spool) -> None:
    instance = store(spool, "2.25.1", b"pixels")
    forget_row(spool, instance)

    def failing(_: Path) -> Instance | None:
        raise OSError(5, "Input/output error")

    assert spool.sweep(failing).unreadable == 1
    assert spool.files.path_of(instance.id).exists()
    assert [a.subject for a in audit.active_alarms(spool.db.read())] == [instance.id]
    assert spool.sweep(read_origin).adopted == 1
    assert audit.active_alarms(spool.db.read()) == ()


def test_a_foreign_file_is_put_aside_and_its_name_is_told_to_nobody(spool: Spool) -> None:
    (spool.files.objects / "7f" / "DOE^JANE.dcm").write_bytes(b"?")
    assert spool.sweep(read_origin).put_aside == 1
    (alarm,) = audit.active_alarms(spool.db.read())
    assert "DOE" not in alarm.subject


def test_an_interrupted_purge_is_finished(spool: Spool, clock: Clock) -> None:
    instance = deliver(spool, store(spool, "2.25.1", b"x"), clock)
    clock.pass_(days=8)
    spool.db.write(lambda c: instances.purge_due(c, now=clock(), retention=timedelta(days=7), limit=9)).result()
    assert spool.files.path_of(instance.id).exists()  # the crash: the file was not removed
    assert spool.sweep(read_origin).purges_finished == 1
    assert not spool.files.path_of(instance.id).exists()
    assert spool.sweep(read_origin) == CALM


def test_the_same_object_after_its_purge_is_a_new_one(spool: Spool, clock: Clock) -> None:
    instance = deliver(spool, store(spool, "2.25.1", b"x"), clock)
    clock.pass_(days=8)
    assert spool.purge(retention=timedelta(days=7), limit=9) == 1
    assert not spool.files.path_of(instance.id).exists()
    again = store(spool, "2.25.1", b"x")
    assert again.id != instance.id
    assert again.state is InstanceState.RECEIVED


def test_a_lease_whose_sender_died_is_released(spool: Spool, clock: Clock) -> None:
    instance = store(spool, "2.25.1", b"x")
    pacs, lane = DestinationName("pacs"), Lane.ROUTINE

    def begin(c: Connection) -> None:
        deliveries.prepare(
            c, instance.id, routes=[Route(destination=pacs, lane=lane)], now=clock(), by="forward", why="passed"
        )
        deliveries.claim(c, destination=pacs, lane=lane, now=clock(), lease=timedelta(minutes=5), limit=1)

    spool.db.write(begin).result()
    assert spool.sweep(read_origin).leases_released == 0
    clock.pass_(minutes=5)
    assert spool.sweep(read_origin).leases_released == 1


def deliver(spool: Spool, instance: Instance, clock: Clock) -> Instance:
    pacs, lane = DestinationName("pacs"), Lane.ROUTINE

    def whole_way(c: Connection) -> None:
        deliveries.prepare(
            c, instance.id, routes=[Route(destination=pacs, lane=lane)], now=clock(), by="forward", why="passed"
        )
        (claimed,) = deliveries.claim(c, destination=pacs, lane=lane, now=clock(), lease=timedelta(minutes=5), limit=1)
        deliveries.settle_sent(c, [deliveries.Arrived(delivery=claimed, status="0000", at=clock())], by="forward")
        assert deliveries.settle_confirmed(c, [claimed.id], now=clock(), by="forward", why="commitment")

    spool.db.write(whole_way).result()
    return instance
