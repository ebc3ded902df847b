"""The disk gets short while a destination is away: what is confirmed makes room, what is not stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.model import DeliveryState
from gateway.roles.forward.disk import ALARM_HIGH, ALARM_SHORT
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.spool import disk
from gateway.spool.files import Space
from tests.journeys.forwarding import forwarding, target, to
from tests.peers import objects

pytestmark = pytest.mark.slow

TOTAL = 100 * 10**6


def test_what_is_confirmed_makes_room_and_what_waits_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [TOTAL // 2]
    pacs = PacsSimulator()
    with (
        hosted(pacs) as host,
        forwarding(
            tmp_path,
            [target(lambda: to(pacs.port))],
            monkeypatch=monkeypatch,
            space=lambda: Space(free=free[0], total=TOTAL, reserve=0),
        ) as box,
    ):
        kept = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(3)]
        box.until_all(kept)
        host.call(pacs.behave(PacsBehaviour.DOWN))
        box.clock.advance(timedelta(hours=2))
        waiting = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(3, 6)]
        box.pass_time(timedelta(minutes=20), seconds=1)
        assert box.files() == 6  # the retention of what is confirmed is days
        free[0] = 0
        box.until(lambda: box.files() == 3, what="what is confirmed is let go")
        assert all(box.instance_states(uid) == ["purged"] for uid in kept)
        box.until(lambda: {ALARM_HIGH, ALARM_SHORT} <= box.alarms(), what="it is said")
        box.pass_time(timedelta(days=2), seconds=1)
        assert box.files() == 3
        assert all(box.instance_states(uid) == ["prepared"] for uid in waiting)
        assert ALARM_HIGH in box.alarms()
        free[0] = TOTAL // 2
        host.call(pacs.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until_all(waiting, DeliveryState.CONFIRMED)
        box.until(lambda: ALARM_HIGH not in box.alarms(), what="the alarm ends")
        told = disk.last(box.spool.db.read())
        assert told is not None
        assert (told.free, told.total) == (TOTAL // 2, TOTAL)
