"""`gateway queue`, `retry` and `release`: what waits, and what a person decides about it."""

from __future__ import annotations

import socket

import pytest

from gateway.domain.model import DeliveryState, InstanceState
from gateway.spool import audit, deliveries, instances
from tests.cli.site import PACS, STUDY, Site


def test_age_by_destination(site: Site) -> None:
    now = site.clock.at
    for number, minutes in enumerate((0.5, 5, 30, 120, 600, 2000)):
        site.clock.at = now
        site.clock.pass_(minutes=-minutes)
        site.route(*site.receive(bytes([number])), to="pacs" if number < 5 else "vna")
    told = {shape["destination"]: shape for shape in site.json("queue")["destinations"]}
    assert [*told["pacs"]["ages"].values()] == [1, 1, 1, 1, 1, 0]
    assert told["vna"]["ages"] == {"<1m": 0, "1-10m": 0, "10m-1h": 0, "1-4h": 0, "4-24h": 0, ">1d": 1}
    assert (told["pacs"]["total"], told["pacs"]["state"]) == (5, "queued")


def test_confirmed_images_do_not_wait(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.send_all(confirm=True)
    assert site.run("queue").stdout == "Nothing waits.\n"


@pytest.mark.parametrize("words", [("queue",), ("queue", "--watch"), ("retry", "--refused")], ids=" ".join)
def test_an_unknown_destination_is_refused_with_the_known_ones(site: Site, words: tuple[str, ...]) -> None:
    """Not "Nothing waits.", and not "queued again: 0 of 0"."""
    site.route(*site.receive(b"one"), to="oldpacs")
    done = site.run(*words, "--destination", "pcas")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "name one of: oldpacs, pacs" in done.stderr


def test_refused_images_are_listed_with_cause_and_remedy(site: Site) -> None:
    (delivery,) = site.route(*site.receive(b"one"))
    site.refuse_all("0122")
    assert [one["id"] for one in site.json("queue", "--refused")["refused"]] == [delivery]
    assert "SOP class not supported; add it at the peer" in site.run("queue", "--refused").stdout
    told = "1 image was refused and waits for a person: `gateway queue --refused`.\n"
    assert site.run("queue").stdout == f"Nothing waits to be sent.\n{told}"
    site.route(*site.receive(b"two"))
    assert site.run("queue").stdout.endswith(told)


def test_retry_queues_refused_images_and_ends_their_alarm(site: Site) -> None:
    ids = site.route(*site.receive(b"one", b"two"))
    site.refuse_all()
    assert site.run("retry", str(ids[0])).exit_code == 0
    assert len(audit.active_alarms(site.spool.db.read())) == 1  # one is still refused
    done = site.run("retry", "--refused", "--destination", "pacs")
    assert (done.exit_code, done.stdout) == (0, "queued again: 1 of 1\n")
    assert audit.active_alarms(site.spool.db.read()) == ()
    queued = deliveries.in_state(site.spool.db.read(), destination=PACS, state=DeliveryState.QUEUED, limit=9)
    assert [one.id for one in queued] == ids


def test_retry_says_what_can_not_be_asked_again(site: Site) -> None:
    (sent,) = site.route(*site.receive(b"one"))
    site.send_all(confirm=False)
    done = site.run("retry", str(sent), "4711")
    assert done.exit_code == 1
    assert done.stdout == "queued again: 0 of 2\n"
    found = deliveries.get(site.spool.db.read(), sent)
    assert found is not None
    assert found.state is DeliveryState.SENT


@pytest.mark.parametrize(
    "command",
    [
        "retry", "messages show", "messages seen", "orders show", "orders settle", "orders out retry", "mpps dismiss",
        "tasks show", "tasks done", "tasks revoke", "hold", "release", "fleet rollout status",
    ],
)  # fmt: skip
def test_a_number_that_is_greater_than_any_of_ours_is_none(site: Site, command: str) -> None:
    """As when an accession number or a part of a UID is pasted there."""
    site.receive(b"one")
    done = site.run(*command.split(), "20261122093000123456")
    assert done.exit_code in {1, 2, 3}
    assert isinstance(done.exception, SystemExit)


def test_retry_needs_to_be_told_what(site: Site) -> None:
    assert site.run("retry").exit_code == 2
    assert site.run("retry", "1", "--refused").exit_code == 2
    assert site.run("retry", "1", "--destination", "pacs").exit_code == 2


def test_retry_wakes_forward(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.refuse_all()
    run = site.state / "run"
    run.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(run / "forward.sock"))
        bell.settimeout(10)
        site.run("retry", "--refused")
        assert bell.recv(8) == b""


def test_a_person_is_named_in_the_journal(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.refuse_all()
    site.run("retry", "--refused")
    last = site.json("study", STUDY, "--journal")["journal"][-1]
    assert last["why"] == "asked again"
    assert last["who"].startswith("command")


def test_release_lets_a_copy_go(site: Site) -> None:
    _first, copy = site.receive(b"one", b"other", uid="2.25.5")
    assert instances.waiting(site.spool.db.read(), limit=9) == (_first,)
    done = site.run("release", copy.id)
    assert (done.exit_code, done.stdout) == (0, f"{copy.id} goes on its way.\n")
    released = instances.get(site.spool.db.read(), copy.id)
    assert released is not None
    assert (released.state, released.quarantine) == (InstanceState.RECEIVED, "")
    assert site.run("release", copy.id).exit_code == 1
    assert site.run("status").exit_code == 0


def test_release_of_nothing(site: Site) -> None:
    site.receive(b"one")
    done = site.run("release", "DOE^JANE")
    assert done.exit_code == 3
    assert "DOE" not in done.stderr
