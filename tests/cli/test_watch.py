"""`gateway queue --watch` and the progress of a study: counts, measured rates, and dashes where nothing is known."""

from __future__ import annotations

import json

import pytest

from gateway.cli import watching
from gateway.domain.model import UID
from gateway.domain.transit import Transit
from gateway.spool import transit
from tests.cli.site import STUDY, Site


def to_pacs(site: Site) -> Transit:
    found = transit.journey(site.spool.db.read(), STUDY, now=site.clock())
    assert found is not None
    (one,) = (one for one in found.destinations if one.destination == "pacs")
    return one


def test_images_and_bytes_on_their_way(site: Site) -> None:
    sent, *waiting = site.receive(b"sent", b"waits", b"waits too")
    site.route(sent)
    site.send_all(confirm=False)
    site.route(*waiting)
    one = to_pacs(site)
    assert (one.images, one.size, one.waiting_images, one.waiting_size, one.sent_images) == (3, 18, 2, 14, 1)
    assert one.rate is not None
    assert 4 / 20 <= one.rate <= 4 / 10
    assert one.arrives_in is not None
    site.clock.pass_(minutes=2)
    assert (to_pacs(site).rate, to_pacs(site).arrives_in) == (None, None)


def test_what_is_sent_again_counts_once(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.send_all(confirm=True)
    site.run("send", STUDY, "--to", "pacs")
    one = to_pacs(site)
    assert (one.images, one.waiting_images, one.confirmed_images) == (1, 1, 0)


def test_what_others_have_before_it_counts_into_its_time(site: Site) -> None:
    mine, _other = site.receive(b"mine", b"others")
    site.write(lambda c: c.execute("UPDATE instance SET StudyInstanceUID = '2.25.99' WHERE id <> ?", (mine.id,)))
    site.route(_other)
    site.route(mine)
    assert to_pacs(site).ahead_size == len(b"others")
    site.write(lambda c: c.execute("UPDATE delivery SET lane = 'stat' WHERE instance = ?", (mine.id,)))
    assert to_pacs(site).ahead_size == 0
    assert transit.under_way(site.spool.db.read(), limit=9) == (UID("2.25.99"), UID(STUDY))


def test_watching_ends_when_nothing_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.route(*site.receive(b"one", b"two"))
    looks = list[float]()

    def meanwhile(seconds: float) -> None:
        looks.append(seconds)
        site.send_all(confirm=len(looks) > 1)
        if len(looks) == 2:
            site.write(lambda c: c.execute("UPDATE delivery SET state = 'confirmed'"))

    monkeypatch.setattr(watching, "pause", meanwhile)
    done = site.run("queue", "--watch", "--json")
    first, second, last = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 0
    assert (first["destinations"][0]["waiting_images"], first["studies"][0]["StudyInstanceUID"]) == (2, STUDY)
    assert first["destinations"][0]["rate_bytes_per_s"] is None
    assert (second["destinations"][0]["waiting_images"], second["destinations"][0]["sent_images"]) == (0, 2)
    assert last == {"destinations": [], "studies": []}


def test_a_person_sees_dashes_where_nothing_is_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.route(*site.receive(b"one"))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "pause", interrupt)
    done = site.run("queue", "--watch")
    assert done.exit_code == 0
    assert STUDY in done.stdout
    assert "0 of 1" in done.stdout
    assert "MB/s" not in done.stdout
