"""Room is made of what every destination confirmed, oldest first, and of nothing else (invariant 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.disk import MEASURED
from gateway.domain.model import DeliveryState, InstanceState
from gateway.spool import Connection, deliveries, disk, instances
from tests.cli.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


KEEP = timedelta(hours=1)
ALL = 10**12


def states(site: Site) -> dict[str, InstanceState]:
    return {row["id"]: row["state"] for row in site.spool.db.read().execute("SELECT id, state FROM instance")}


def confirmed(site: Site, *bodies: bytes) -> list[str]:
    found = site.receive(*bodies)
    site.route(*found)
    site.send_all(confirm=True)
    return [one.id for one in found]


def room(site: Site, wanted: int, limit: int = 100) -> int:
    return site.spool.make_room(wanted, keep=KEEP, limit=limit)


def test_nothing_that_is_not_confirmed_everywhere_goes_however_much_room_is_wanted(site: Site) -> None:
    (gone,) = confirmed(site, b"a")
    (half,) = site.receive(b"b")
    site.route(half)
    site.send_all(confirm=True)
    (sent_again,) = site.receive(b"c")
    site.route(sent_again)
    site.send_all(confirm=True)
    site.run("send", "2.25.1", "--to", "pacs", "--instance", sent_again.SOPInstanceUID)
    (refused,) = site.receive(b"d")
    site.route(refused, to="vna")
    (waiting,) = site.receive(b"e")
    site.route(waiting, to="vna")
    (unrouted,) = site.receive(b"f")
    (first,) = site.receive(b"g", uid="2.25.7")
    (aside,) = site.receive(b"h", uid="2.25.7")
    site.route(first)

    def confirmed_elsewhere_and_open_here(c: Connection) -> None:
        c.execute("UPDATE instance SET state = 'delivered', delivered_at = '2000' WHERE id = ?", (half.id,))
        c.execute("UPDATE delivery SET state = 'sent' WHERE instance = ?", (half.id,))
        c.execute("UPDATE instance SET state = 'delivered', delivered_at = '2000' WHERE id = ?", (aside.id,))

    site.write(confirmed_elsewhere_and_open_here)
    site.clock.pass_(days=300)
    assert room(site, ALL) == 1
    left = {one: state for one, state in states(site).items() if state != InstanceState.PURGED}
    assert left.keys() == {one.id for one in (half, sent_again, refused, waiting, unrouted, first, aside)}
    assert not site.spool.files.path_of(gone).exists()  # type: ignore[arg-type]
    assert all(site.spool.files.path_of(one).exists() for one in left)  # type: ignore[arg-type]


def test_what_was_confirmed_first_goes_first_and_no_more_than_is_wanted(site: Site) -> None:
    late, early = site.receive(b"late-" * 100), site.receive(b"early" * 100)
    site.route(*early)
    site.send_all(confirm=True)
    site.clock.pass_(minutes=1)
    site.route(*late)
    site.send_all(confirm=True)
    site.clock.pass_(hours=2)
    assert room(site, 1) == 1
    assert [states(site)[one.id] for one in (*early, *late)] == ["purged", "delivered"]
    journal = instances.get(site.spool.db.read(), early[0].id)
    assert journal is not None
    assert room(site, 501, limit=1) == 1
    assert room(site, 1) == 0


def test_what_was_confirmed_lately_stays(site: Site) -> None:
    confirmed(site, b"a")
    site.clock.pass_(minutes=59)
    assert room(site, ALL) == 0
    site.clock.pass_(minutes=2)
    assert room(site, ALL) == 1


def test_what_may_be_let_go_and_what_came_lately_are_measured(site: Site) -> None:
    confirmed(site, b"12345")
    site.clock.pass_(hours=2)
    site.receive(b"123")
    c = site.spool.db.read()
    assert disk.confirmed_bytes(c, before=site.clock() - KEEP) == 5
    assert disk.confirmed_bytes(c, before=site.clock() - timedelta(hours=3)) == 0
    assert [*disk.received_bytes(c, now=site.clock(), spans=MEASURED).values()] == [3, 8]


def test_what_is_sent_again_is_not_room_until_it_is_confirmed_again(site: Site) -> None:
    (one,) = confirmed(site, b"a")
    site.run("send", "2.25.1", "--to", "pacs")
    site.clock.pass_(hours=5)
    assert room(site, ALL) == 0
    site.send_all(confirm=True)
    assert [each.state for each in _deliveries(site, one)] == [DeliveryState.CONFIRMED] * 2
    assert room(site, ALL) == 0
    site.clock.pass_(hours=2)
    assert room(site, ALL) == 1


def _deliveries(site: Site, instance: str) -> Sequence[deliveries.Delivery]:
    return deliveries.of_instance(site.spool.db.read(), instance)  # type: ignore[arg-type]
