"""The collector against mosquitto and PostgreSQL: what boxes say is here once, and a box forgets only what is here."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from functools import partial
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import fleet
from gateway.domain.telemetry import State
from gateway.fleet import boxes, incidents
from gateway.fleet.database import Books, BooksAway
from gateway.fleet.figures import Figures
from gateway.fleet.watchman import Watchman
from gateway.simulate.fleet_box import SimulatedBox
from tests.fleet.conftest import KEPT, Central, beside, now, playing, until
from tests.peers.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_every_event_of_fifty_boxes_is_here_once_through_a_storm(central: Central) -> None:
    whole = "SELECT count(*) FROM fleet.box WHERE health IS NOT NULL AND info IS NOT NULL"
    with central.broker.running():
        async with central.collector() as running, playing(central.plan(boxes=50)) as play:
            await until(lambda: central.sql(whole) == "50" and central.told()[0] > 50)
            assert None not in await play.fleet.storm()
            outcome = await play.end()
            assert (outcome.owed, outcome.connected) == (0, 50)
            assert central.told() == (outcome.tally.events, outcome.tally.events)
            await until(lambda: central.sql("SELECT count(*) FROM fleet.box WHERE state <> 'disconnected'") == "0")
            fleet = await boxes.fleet(running.books, now=now())
            assert len(fleet.boxes) == 50
            assert all(view.health and view.info for view in fleet.boxes)


async def test_a_collector_that_is_killed_loses_nothing(central: Central) -> None:
    """Two as processes; one is killed while messages of boxes are in its hands."""
    with central.broker.running(), ExitStack() as stack:
        first = stack.enter_context(central.process("c1"))
        stack.enter_context(central.process("c2"))
        async with playing(central.plan(events_every=0.1)) as play:
            await until(lambda: central.told()[0] > 100)
            first.kill()
            await more(central)
            outcome = await play.end()
    assert outcome.owed == 0
    assert central.told() == (outcome.tally.events, outcome.tally.events)


async def test_a_broker_that_is_killed_loses_nothing(central: Central) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(central.broker.running())
        async with central.collector(), playing(central.plan(events_every=0.2)) as play:
            await until(lambda: central.told()[0] > 50)
            broker.kill()
            stack.enter_context(central.broker.running())
            await more(central)
            outcome = await play.end()
    assert outcome.owed == 0
    assert central.told() == (outcome.tally.events, outcome.tally.events)


async def test_a_database_that_goes_away_is_waited_for(central: Central) -> None:
    ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{central.database}'"
    with central.broker.running():
        async with central.collector() as running, playing(central.plan(events_every=0.2)) as play:
            for _ in range(5):
                await more(central)
                central.server.sql(ending, database="postgres")
            await until(lambda: running.count("gateway_fleet_waits_total") > 0)
            outcome = await play.end()
    assert outcome.owed == 0
    assert central.told() == (outcome.tally.events, outcome.tally.events)


async def more(central: Central) -> None:
    """Events come."""
    before = central.told()[0]
    await until(lambda: central.told()[0] > before)


def watched(central: Central, *words: str) -> tuple[int, dict[str, Any]]:
    """`gateway fleet watch --once`, as a program reads it."""
    command = [sys.executable, "-m", "gateway", "fleet", "watch", "--once", *words]
    done = run([*command, "--config", central.configuration("watch")])
    return done.returncode, json.loads(done.output) if words else {"text": done.output}


async def test_a_database_that_only_reads_for_a_while_is_waited_for(central: Central) -> None:
    """A standby that is not yet, or no longer, the one that is written to."""
    books = await Books.open(central.server.dsn(central.database))
    for mode in ("on", "off"):
        statement = f'ALTER DATABASE "{central.database}" SET default_transaction_read_only = {mode}'
        central.server.sql(statement, database="postgres")
        await books.close()
        if mode == "on":
            with pytest.raises(BooksAway):
                await boxes.listen(books, now=now())
        else:
            await boxes.listen(books, now=now())
    await books.close()


async def test_who_watches_goes_on_when_the_database_comes_back(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.01)
    books = await Books.open(central.server.dsn(central.database))
    looks = fleet.live_looks(books, "")
    told = []
    for connects in (True, False, True):
        central.server.sql(f'ALTER DATABASE "{central.database}" ALLOW_CONNECTIONS {connects}', database="postgres")
        if not connects:
            central.server.sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{central.database}'",
                database="postgres",
            )
        out = StringIO()
        Console(file=out, width=200).print(await anext(looks))
        told.append("This is how things were: " in out.getvalue())
        assert "0 boxes" in out.getvalue()
    await books.close()
    assert told == [False, True, False]


async def test_old_events_go_and_none_that_a_box_may_say_again(central: Central) -> None:
    books = await Books.open(central.server.dsn(central.database))
    central.sql("INSERT INTO fleet.stream VALUES ('north', 'b1', 'g00000001', 3)")
    old, new = "now() - interval '401 days'", "now()"
    for number, at, received in ((1, old, old), (2, "'1970-01-01Z'", new), (3, new, new), (4, old, old)):
        named = f"'north', 'b1', 'g00000001', {number}"
        central.sql(f"INSERT INTO fleet.event VALUES ({named}, {at}, {received}, 'started', 'info', '{{}}')")
    watchman = Watchman(books, figures=Figures(), now=now, listening=lambda: False, kept=KEPT)
    await watchman.look()
    assert central.sql("SELECT seq FROM fleet.event ORDER BY seq").split() == ["2", "3", "4"]
    await books.close()


async def test_watch_says_first_that_nobody_listens(central: Central) -> None:
    status, shown = await asyncio.to_thread(watched, central)
    assert status == 1
    assert "No collector listens" in shown["text"]


async def test_a_site_that_nobody_heard_of_is_not_well(central: Central) -> None:
    """A name mistyped in what watches the fleet must not read as "nothing is amiss"."""
    books = await Books.open(central.server.dsn(central.database))
    await boxes.listen(books, now=now())
    await books.close()
    command = [sys.executable, "-m", "gateway", "fleet", "watch", "--once", "--site", "nroth"]
    done = run([*command, "--config", central.configuration("watch")])
    assert (done.returncode, done.output.count("\n")) == (3, 1)
    assert "no box of that site" in done.output


async def test_one_pacs_outage_is_one_incident_and_ends(central: Central) -> None:
    """And every health message is counted."""
    with central.broker.running():
        async with central.collector() as running, playing(central.plan(boxes=30, sites=3)) as play:
            raised = "SELECT count(*) FROM fleet.alarm WHERE cleared_at IS NULL"
            for line in play.fleet.lines:
                line.say(SimulatedBox.outage)
            await until(lambda: central.sql(raised) == "30")
            await running.watchman.look()
            (found,) = await incidents.shown(running.books, now=now())
            assert (found.code, found.instance, found.boxes_now) == ("destination-unreachable", "pacs", 30)
            assert found.sites == ("sim-01", "sim-02", "sim-03")
            status, shown = await beside(partial(watched, central, "--json"), running.watchman.look)
            assert status == 1, "an incident is open"
            assert [one["code"] for one in shown["incidents"]] == ["destination-unreachable"]
            assert (shown["listening"], len(shown["boxes"])) == (True, 30)
            for line in play.fleet.lines:
                line.say(partial(SimulatedBox.outage, ends=True))
            outcome = await play.end()
            await until(lambda: central.sql(raised) == "0")
            (found,) = await incidents.shown(running.books, now=now())
            assert (found.boxes_now, found.boxes) == (0, 30)
            later = now() + incidents.CALM + incidents.CALM
            await incidents.look(running.books, await boxes.fleet(running.books, now=now()), now=later)
            assert await incidents.shown(running.books, now=later) == []
            await until(lambda: running.count("gateway_fleet_messages_total", kind="health") >= outcome.tally.health)
            assert running.count("gateway_fleet_messages_total", kind="health") == outcome.tally.health


async def test_boxes_that_vanish_are_lost_by_their_wills(central: Central) -> None:
    """And one incident; while nobody listens nobody is judged."""
    with central.broker.running():
        plan = central.plan(reconnect_within=1e6, drain=0.1)
        async with central.collector() as running, playing(plan) as play:
            of_state = "SELECT count(*) FROM fleet.box WHERE state = "
            await until(lambda: central.sql(f"{of_state}'ready'") == "20")
            for line in play.fleet.lines:
                line.cut()
            await until(lambda: central.sql(f"{of_state}'lost'") == "20")
            await running.watchman.look()
            fleet = await boxes.fleet(running.books, now=now())
            assert {fleet.standing(view) for view in fleet.boxes} == {State.LOST}
            (found,) = await incidents.shown(running.books, now=now())
            assert (found.code, found.boxes_now) == (incidents.BOX_LOST, 20)
