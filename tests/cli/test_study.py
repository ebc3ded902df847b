"""`gateway study UID`: status 0 only if every image is confirmed everywhere."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from gateway.spool import deliveries
from tests.cli.site import STUDY, Site


def test_a_confirmed_study_is_complete(site: Site) -> None:
    site.route(*site.receive(b"one", b"two"))
    site.send_all(confirm=True)
    done = site.run("study", STUDY)
    assert done.exit_code == 0
    assert done.stdout.startswith("2 of 2 images are confirmed at every destination.")
    assert "storage commitment" in done.stdout


def test_a_sent_study_is_not_complete(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.send_all(confirm=False)
    assert site.run("study", STUDY).exit_code == 1


def test_one_destination_is_not_enough(site: Site) -> None:
    first, second = site.receive(b"one", b"two")
    site.route(first)
    site.send_all(confirm=True)
    site.route(second, to="vna")
    assert site.json("study", STUDY)["complete"] is False


def test_an_image_without_a_delivery_is_not_complete(site: Site) -> None:
    site.receive(b"one")
    assert site.run("study", STUDY).exit_code == 1


def test_a_copy_in_quarantine_is_not_complete(site: Site) -> None:
    first, _copy = site.receive(b"one", b"other", uid="2.25.5")
    site.route(first)
    site.send_all(confirm=True)
    done = site.run("study", STUDY)
    assert done.exit_code == 1
    assert "duplicate-differs" in done.stdout


def test_a_purged_image_says_why_it_went(site: Site) -> None:
    site.route(*site.receive(b"one", b"two"))
    site.send_all(confirm=True)
    site.clock.pass_(days=1)
    assert site.spool.make_room(1, keep=timedelta(hours=1), limit=10) == 1
    site.clock.pass_(days=7)
    assert site.spool.purge(retention=timedelta(days=7), limit=10) == 1
    told = site.run("study", STUDY).stdout
    assert "the disk was above its high mark" in told
    assert "retention over" in told


def test_an_unknown_study(site: Site) -> None:
    site.receive(b"one")
    done = site.run("study", "2.25.4711")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "4711" not in done.stderr


def test_the_contract_for_programs(site: Site) -> None:
    (instance,) = site.receive(b"one")
    (delivery,) = site.route(instance)
    site.send_all(confirm=True)
    told = site.json("study", STUDY)
    at = site.clock().isoformat()
    assert told["StudyInstanceUID"] == STUDY
    assert told["complete"] is True
    assert told["instances"] == [
        {
            "id": instance.id,
            "SOPInstanceUID": instance.SOPInstanceUID,
            "SOPClassUID": instance.SOPClassUID,
            "TransferSyntaxUID": instance.TransferSyntaxUID,
            "size": 3,
            "state": "delivered",
            "quarantine": "",
            "received_at": at,
            "calling_ae": "CT1",
            "deliveries": [
                {
                    "id": delivery,
                    "destination": "pacs",
                    "lane": "routine",
                    "compression": "",
                    "state": "confirmed",
                    "attempts": 1,
                    "last_status": "0000",
                    "sent_as": "1.2.840.10008.1.2.1",
                    "queued_at": at,
                    "sent_at": at,
                    "confirmed_at": at,
                }
            ],
        }
    ]


def test_the_journal_tells_every_step_in_order(site: Site) -> None:
    site.route(*site.receive(b"one"))
    (claimed,) = site.claim()
    site.write(partial(deliveries.refuse, claimed=claimed, status="0122", now=site.clock(), by="pacs"))
    steps = [(row["kind"], row["to_state"]) for row in site.json("study", STUDY, "--journal")["journal"]]
    assert steps == [
        ("instance", "received"),
        ("instance", "prepared"),
        ("delivery", "queued"),
        ("delivery", "sending"),
        ("delivery", "refused"),
    ]
    assert "0122" in site.run("study", STUDY, "--journal").stdout
