"""`gateway orders out`: what waits for a RIS, what it refused, and what a person decides."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.domain.completeness import Because, Progress, Standing
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Event
from gateway.spool import audit, orders_out, progress, relays
from gateway.spool.queries import sql
from tests.cli.site import Site
from tests.hl7_messages import message
from tests.spool.order_table import receive, sender

PATIENT = "PID-774411"


def tell(site: Site) -> None:
    """An order of which the RIS was told the beginning, and refused it; the end waits behind."""
    receive(site.spool, message("01"), sender(), now=site.clock())
    for event in (Event.START, Event.COMPLETE):
        job = partial(orders_out.queue, receiver="main", order=1, event=event, control_id=f"GW-{event}", valid=True)
        assert site.write(partial(job, body=PATIENT.encode(), now=site.clock()))
    head = orders_out.head(site.spool.db.read(), receiver="main", now=site.clock())
    assert head is not None
    begun = site.write(partial(relays.begin, message=head, now=site.clock()))
    refuse = partial(relays.settle, message=begun, state=RelayState.REFUSED, status="AE 204", now=site.clock())
    site.write(refuse)


@pytest.fixture
def told(site: Site) -> Site:
    tell(site)
    return site


def states(site: Site) -> dict[str, str]:
    return {one.event: one.state for one in orders_out.latest(site.spool.db.read(), limit=9)}


def alarms(site: Site) -> list[str]:
    return [alarm.code for alarm in audit.active_alarms(site.spool.db.read())]


def test_what_waits_and_what_was_refused(told: Site) -> None:
    answer = told.json("orders", "out", "list")
    (ris,) = answer["receivers"]
    assert (ris["name"], ris["configured"], ris["waiting"], ris["refused"]) == ("main", False, 1, 1)
    assert [(one["event"], one["state"], one["last_status"]) for one in answer["messages"]] == [
        ("start", "refused", "AE 204"),
        ("complete", "queued", ""),
    ]
    shown = told.run("orders", "out", "list")
    assert shown.exit_code == 0
    assert "gateway orders out retry" in shown.stdout
    assert PATIENT not in shown.stdout + told.run("orders", "out", "list", "--json").stdout
    assert len(told.json("orders", "out", "list", "--refused")["messages"]) == 1


def test_an_order_shows_how_far_its_examination_is(site: Site) -> None:
    receive(site.spool, message("01"), sender(), now=site.clock())
    assert site.json("orders", "show", "1")["examination"] is None
    study = "1.3.6.1.4.1.32473.7.9.77"
    now = site.clock().isoformat(timespec="microseconds")
    values = {"study": study, "first_at": now, "last_at": now, "now": now, "instances": 1}
    site.write(lambda c: c.execute(sql("progress_note"), values) and None)
    found = progress.of_study(site.spool.db.read(), study)
    assert found is not None
    over = Standing(progress=Progress.COMPLETE, because=Because.QUIET)
    assert site.write(partial(progress.stand, study=found, found=over, now=site.clock(), look_at=site.clock()))
    site.write(lambda c: c.execute(sql("progress_note"), values) and None)
    shown = site.json("orders", "show", "1")["examination"]
    assert (shown["progress"], shown["because"], shown["late"]) == ("complete", "quiet", 1)
    assert "complete (quiet)" in site.run("orders", "show", "1").stdout


def test_a_box_that_tells_nobody_says_so(site: Site) -> None:
    site.spool  # noqa: B018 -- made at the first use
    shown = site.run("orders", "out", "list")
    assert shown.exit_code == 0
    assert "orders_out" in shown.stdout


@pytest.mark.parametrize("chosen", [("1",), ("--to", "main")])
def test_retry_puts_it_before_what_waited_behind_it(told: Site, chosen: tuple[str, ...]) -> None:
    assert told.run("orders", "out", "retry", *chosen).exit_code == 0
    assert states(told) == {"start": "queued", "complete": "queued"}
    assert alarms(told) == []
    head = orders_out.head(told.spool.db.read(), receiver="main", now=told.clock())
    assert head is not None
    assert head.event is Event.START


def test_dismiss_lets_the_next_go(told: Site) -> None:
    assert orders_out.head(told.spool.db.read(), receiver="main", now=told.clock()) is None
    assert told.run("orders", "out", "dismiss", "1").exit_code == 0
    assert states(told) == {"start": "dismissed", "complete": "queued"}
    head = orders_out.head(told.spool.db.read(), receiver="main", now=told.clock())
    assert head is not None
    assert head.event is Event.COMPLETE
    assert told.run("orders", "out", "dismiss", "--to", "main").exit_code == 0
    assert set(states(told).values()) == {"dismissed"}


@pytest.mark.parametrize(
    ("words", "status"),
    [(("retry", "2"), 1), (("retry", "99"), 1), (("retry",), 2), (("retry", "1", "--to", "main"), 2)],
)
def test_what_can_t_be_decided(told: Site, words: tuple[str, ...], status: int) -> None:
    ended = told.run("orders", "out", *words)
    assert ended.exit_code == status
    assert states(told)["start"] == "refused"


def test_nobody_of_that_name(told: Site) -> None:
    ended = told.run("orders", "out", "retry", "--to", "other")
    assert ended.exit_code != 0
    assert "main" in ended.stderr
