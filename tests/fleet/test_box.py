"""A real box and the real collector: what happened in the box is in the database once, and the box forgets it then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.fleet import boxes
from tests.fleet.conftest import Central, now, until
from tests.journeys.reporting import Reported, reporting

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


def live(box: Reported, studies: range) -> None:
    for number in studies:
        box.study(number)


def here(central: Central, box: Reported) -> bool:
    """Every event is here once, and the box knows; while one looks another may happen."""
    books = box.outbox
    return books.waiting == 0 and central.told() == (books.last_seq, books.last_seq)


async def test_what_happens_in_a_box_is_in_the_database(central: Central, tmp_path: Path) -> None:
    """At once, and after the broker was killed and nobody collected."""
    with central.broker.running(), reporting(tmp_path / "state", central.broker, rate=20) as box:
        await asyncio.to_thread(live, box, range(10))
        box.alarm("destination-unreachable", "pacs")
        async with central.collector() as running:
            await until(lambda: box.outbox.last_seq >= 32 and here(central, box))
            await until(lambda: central.sql("SELECT count(*) FROM fleet.alarm WHERE cleared_at IS NULL") == "1")
            (view,) = (await boxes.fleet(running.books, now=now())).boxes
            assert view.presence is not None
            assert (view.site, view.box, view.presence.state.value) == ("north", "ct1-room", "alert")
        await asyncio.to_thread(live, box, range(10, 20))
        await until(lambda: box.outbox.last_seq >= 62)
        assert box.outbox.waiting >= 30
        async with central.collector("c2"):
            await until(lambda: here(central, box))
