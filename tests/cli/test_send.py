"""`gateway send`: a person has images sent again, and the books tell who."""

from __future__ import annotations

from gateway.domain.model import DeliveryState, InstanceState
from gateway.spool import audit, deliveries, instances
from tests.cli.site import STUDY, Site


def states(site: Site, instance: str) -> list[DeliveryState]:
    return [one.state for one in deliveries.of_instance(site.spool.db.read(), instance)]  # type: ignore[arg-type]


def test_what_is_confirmed_is_sent_again_and_confirmed_again(site: Site) -> None:
    first, second = site.receive(b"one", b"two")
    site.route(first, second)
    site.send_all(confirm=True)
    done = site.run("send", STUDY, "--to", "pacs", "--instance", first.SOPInstanceUID, "--priority", "stat")
    assert (done.exit_code, done.stdout) == (0, "queued for pacs: 1 of 1 image\n")
    assert states(site, first.id) == [DeliveryState.CONFIRMED, DeliveryState.QUEUED]
    assert states(site, second.id) == [DeliveryState.CONFIRMED]
    journal = audit.journal_of(site.spool.db.read(), kind=audit.Subject.INSTANCE, subject=first.id)
    assert journal[-1].why == deliveries.SENT_BY_HAND
    assert journal[-1].who.startswith("command")
    assert site.run("study", STUDY).exit_code == 1
    (again,) = (one for one in deliveries.of_instance(site.spool.db.read(), first.id) if one.lane == "stat")
    assert again.state is DeliveryState.QUEUED


def test_what_waits_or_was_refused_goes_on_and_is_not_doubled(site: Site) -> None:
    waiting, refused = site.receive(b"one", b"two")
    site.route(refused)
    site.refuse_all()
    site.route(waiting)
    assert site.run("send", STUDY, "--to", "pacs", "--series", "2.25.2").exit_code == 0
    assert states(site, waiting.id) == [DeliveryState.QUEUED]
    assert states(site, refused.id) == [DeliveryState.QUEUED]


def test_what_is_not_checked_yet_is_queued_and_not_sent(site: Site) -> None:
    (held,) = site.receive(b"one")
    assert site.run("send", STUDY, "--to", "pacs").exit_code == 0
    assert site.claim() == ()
    found = instances.get(site.spool.db.read(), held.id)
    assert found is not None
    assert found.state is InstanceState.RECEIVED


def test_what_can_not_be_sent_is_counted(site: Site) -> None:
    one, _ = site.receive(b"one", b"two", uid="2.25.77")
    assert one.SOPInstanceUID == "2.25.77"
    done = site.run("send", STUDY, "--to", "pacs")
    assert (done.exit_code, done.stdout) == (1, "queued for pacs: 1 of 2 images\n")
    assert "1 can't be sent" in done.stderr


def test_an_unknown_destination_or_study_is_refused(site: Site) -> None:
    site.receive(b"one")
    done = site.run("send", STUDY, "--to", "pac")
    assert (done.exit_code, done.stderr.count('did you mean "pacs"? name one of: pacs')) == (2, 1)
    assert site.run("send", STUDY, "--to", "pacs", "--series", "2.25.404").exit_code == 3
