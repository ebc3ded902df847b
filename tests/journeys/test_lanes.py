"""Precedence, times of day, a cap and several associations, with a real PACS behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pynetdicom import AE, evt

from gateway.domain.model import DeliveryState, DestinationName, Lane
from gateway.domain.window import parse_window
from gateway.net.flow import Flow
from gateway.roles.forward.lane import LEASE
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.spool import deliveries
from tests.journeys.forwarding import LIMIT, Forwarding, forwarding, target, to
from tests.journeys.reporting import until
from tests.peers import objects
from tests.peers.processes import HOST, free_port
from tests.peers.pynetdicom_scp import STANDARD_STORAGE, storage_scp

pytestmark = pytest.mark.slow

STAT, BULK = 1, 2
MANY = 60
"""Objects that are enough for a lane to widen."""


@contextmanager
def counting_pacs() -> Iterator[tuple[int, list[int]]]:
    """A PACS, and how many associations it had at the arrival of each object.

    Over the second half it takes its time until there are several: who is first is not to have sent all of it before
    the others are there.
    """
    port, seen = free_port(), list[int]()
    entity = AE(ae_title="PACS")
    for sop_class in STANDARD_STORAGE:
        entity.add_supported_context(sop_class)

    def store(_event: object) -> int:
        if len(seen) == MANY // 2:
            with suppress(AssertionError):
                until(lambda: len(server.active_associations) > 1, what="another association", limit=LIMIT / 4)
        seen.append(len(server.active_associations))
        return 0

    server = entity.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield port, seen
    finally:
        server.shutdown()


def test_a_stat_study_goes_before_the_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link of 250 KB/s and a backlog of half a minute: the STAT study is there while most of that still waits."""
    backlog = [objects.write(tmp_path, objects.ct(seed, rows=256, columns=256)) for seed in range(60)]
    urgent = [objects.write(tmp_path, objects.ct(1000 + seed, rows=64, columns=64)) for seed in range(5)]
    with storage_scp() as pacs:
        slow = target(pacs.port, flow=Flow(rate=250_000))
        with forwarding(tmp_path, [slow], monkeypatch=monkeypatch) as box:
            waiting = [box.put(path, priority=BULK) for path in backlog]
            box.until(lambda: len(pacs.received) > 1, what="the backlog is on its way")
            stat = [box.put(path, priority=STAT) for path in urgent]
            box.until_all(stat)
            left = [uid for uid in waiting if box.states()[uid] != [DeliveryState.CONFIRMED]]
            assert len(left) > len(waiting) / 2
            assert slow.flow.bytes_per_second <= 400_000


def test_what_takes_longer_than_a_lease_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link over which each kilobyte takes 25 minutes; who looks for leases that are over looks after each."""
    clock, boxes = [0.0], list[Forwarding]()

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        for box in boxes:
            box.clock.advance(timedelta(minutes=25))
            box.spool.db.write(partial(deliveries.release_expired_leases, now=box.clock())).result()

    flow = Flow(rate=16 * 1024, clock=lambda: clock[0], sleep=sleep)
    with (
        storage_scp() as pacs,
        forwarding(tmp_path, [target(pacs.port, flow=flow)], monkeypatch=monkeypatch) as box,
    ):
        boxes.append(box)
        began = box.clock()
        uids = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(3)]
        box.until_all(uids)
        assert box.clock() - began > 3 * LEASE
        assert [len(pacs.stored(uid)) for uid in uids] == [1, 1, 1]
        rows = box.spool.db.read().execute("SELECT attempts FROM delivery").fetchall()
        assert [row["attempts"] for row in rows] == [1, 1, 1]


def test_a_closed_window_holds_all_but_what_may_ignore_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's clock begins at 01:00 in Berlin."""
    pacs = PacsSimulator()
    night = target(lambda: to(pacs.port), window=parse_window("22:00-23:00"), stat_ignores_window=True)
    with hosted(pacs), forwarding(tmp_path, [night], monkeypatch=monkeypatch) as box:
        began = box.clock()
        routine = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(3)]
        stat = box.put(objects.write(tmp_path, objects.ct(9)), priority=STAT)
        box.until_all([stat])
        box.pass_time(timedelta(hours=20, minutes=59), seconds=2)
        assert set(pacs.held) == {stat}
        assert not box.alarms()  # to wait for the evening is not to be late
        box.pass_time(timedelta(minutes=1), seconds=1)
        box.until_all(routine)
        assert timedelta(hours=21) <= box.clock() - began <= timedelta(hours=22)


def test_what_a_window_leaves_over_is_late_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = target(lambda: to(free_port()), window=parse_window("02:00-02:10"))
    with forwarding(tmp_path, [night], monkeypatch=monkeypatch) as box:
        uid = box.put(objects.write(tmp_path, objects.ct()))
        box.until_all([uid], DeliveryState.QUEUED)
        box.pass_time(timedelta(hours=23), seconds=1)
        assert "delivery-late" not in box.alarms()
        box.clock.advance(timedelta(days=1))
        box.until(lambda: "delivery-late" in box.alarms(), what="two nights of ten minutes are more than fifteen")


def test_a_lane_has_more_associations_the_better_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with counting_pacs() as (port, seen):
        wide = target(port, lanes=(Lane.ROUTINE,), concurrency=3, batch=4)
        with forwarding(tmp_path, [wide], monkeypatch=monkeypatch) as box:
            uids = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(MANY)]
            box.until_all(uids)
            states = [state for states in box.states().values() for state in states]
    assert seen[0] == 1
    assert 1 < max(seen) <= 3
    assert states == [DeliveryState.CONFIRMED] * MANY


def test_one_that_hangs_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three destinations: one takes everything and says nothing, one is not there, one is well."""
    dead, well = PacsSimulator(behaviour=PacsBehaviour.HANG), PacsSimulator()
    gone = free_port()
    places = [
        target(lambda: to(dead.port, timeout=3), name=DestinationName("dead")),
        target(gone, name=DestinationName("gone")),
        target(lambda: to(well.port), name=DestinationName("well")),
    ]
    with hosted(dead, well), forwarding(tmp_path, places, monkeypatch=monkeypatch) as box:
        uids = {box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(50)}
        box.until(lambda: set(well.held) == uids, what="the one that is well has all of it")
        box.until(
            lambda: all(DeliveryState.CONFIRMED in states for states in box.states().values()), what="our books say so"
        )
        assert not dead.held
