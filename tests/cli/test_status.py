"""`gateway status`: the sentence names the worst, and the exit status says whether a person is needed."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

import gateway
from gateway.domain.issues import KINDS
from gateway.domain.model import AETitle
from gateway.domain.parts import IMAGES, Part
from gateway.spool import audit, deliveries, heartbeats, peers
from tests.cli.site import Site

ROOT = Path(gateway.__file__).parent


def first_line(site: Site) -> str:
    return site.run("status").stdout.splitlines()[0]


def test_an_empty_box_does_not_boast(site: Site) -> None:
    assert site.spool.db.broken == ""
    assert first_line(site) == "No image has been received yet."
    assert site.run("status").exit_code == 0


def test_all_images_safe(site: Site) -> None:
    site.route(*site.receive(b"one", b"two"))
    site.send_all(confirm=True)
    assert first_line(site) == "All 2 images are safe at their destinations."
    assert site.run("status").exit_code == 0


def test_one_unconfirmed_image_is_not_safe(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.send_all(confirm=True)
    site.route(*site.receive(b"two"))
    site.send_all(confirm=False)
    assert first_line(site) == "1 image is sent; pacs has not confirmed it yet."


def test_what_waits_names_the_destination_the_age_and_the_cause(site: Site) -> None:
    site.clock.pass_(hours=-3, minutes=-5)
    site.route(*site.receive(b"one", b"two"))
    for one in site.claim():
        site.write(
            partial(
                deliveries.defer, claimed=one, not_before=site.clock(), status="connect", now=site.clock(), by="pacs"
            )
        )
    assert first_line(site) == "2 images wait for pacs, the oldest for 3 h: pacs does not answer (connect)."
    assert site.run("status").exit_code == 0  # it ends by itself


def test_refused_images_need_a_person(site: Site) -> None:
    site.route(*site.receive(b"one", b"two"))
    site.refuse_all()
    done = site.run("status")
    assert done.stdout.splitlines()[0] == "2 images were refused by pacs: look at `gateway queue --refused`."
    assert done.exit_code == 1
    assert "gateway retry --refused --destination pacs" in done.stdout


def test_refused_images_need_a_person_even_without_their_alarm(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.refuse_all()
    site.write(partial(audit.clear_alarm, code="delivery-refused", subject="pacs", now=site.clock()))
    assert site.run("status").exit_code == 1


def test_images_for_a_destination_that_was_deleted_need_a_person(site: Site) -> None:
    site.route(*site.receive(b"one"), to="oldpacs")
    done = site.run("status")
    assert done.exit_code == 1
    assert done.stdout.startswith("1 image waits for oldpacs, which the configuration does not name")


def test_a_differing_copy_needs_a_person(site: Site) -> None:
    site.receive(b"one", b"other", uid="2.25.5")
    done = site.run("status")
    assert done.exit_code == 1
    assert done.stdout.startswith("1 alarm needs a person: duplicate-differs.")
    assert "gateway release " in done.stdout


def test_no_route_is_told(site: Site) -> None:
    site.receive(b"one")
    assert first_line(site) == "1 image is received and not routed yet."


def test_every_alarm_that_is_raised_has_a_next_step() -> None:
    sources = "\n".join(path.read_text() for path in [*(ROOT / "roles").rglob("*.py"), *(ROOT / "spool").rglob("*.py")])
    raised = set(re.findall(r'^ALARM_\w+(?:: \w+)? = "([a-z-]+)"', sources, re.MULTILINE)) | set(audit.AlarmCode)
    assert "delivery-refused" in raised
    assert raised - KINDS.keys() == set()


def test_the_same_for_programs(site: Site) -> None:
    site.clock.pass_(hours=-1)
    site.route(*site.receive(b"one"))
    site.alarm("delivery-late", "pacs")
    done = site.run("status", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert told["needs_a_person"] is True
    assert told["instances"] == {"received": 0, "prepared": 1, "delivered": 0, "purged": 0}
    assert told["destinations"][0]["oldest"] == site.clock().isoformat()
    assert told["alarms"][0]["next_step"].startswith("Check that pacs runs")
    assert told["never_asked"] == ["main"]


def test_strangers_are_named_with_the_command_that_admits_them(site: Site) -> None:
    stranger = partial(
        peers.record_caller,
        called_ae=AETitle("GATEWAY"),
        address="10.9.9.9",
        reason="calling-ae-unknown",
        now=site.clock(),
    )
    site.write(partial(stranger, calling_ae=AETitle("MR7")))
    site.write(partial(stranger, calling_ae=AETitle("\x1b[2J[red]")))
    shown = site.run("status").stdout
    assert "gateway peers add 'MR7'" in shown
    assert "\x1b" not in shown
    assert "[2J[red]" in shown


def test_a_box_that_never_ran_has_no_self_test(site: Site) -> None:
    done = site.run("selftest")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("gateway: spool: ")
    assert "start the gateway once" in done.stderr


def test_times_are_shown_in_the_zone_of_the_site(site: Site) -> None:
    site.clock.at = site.clock.at.replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=1)
    site.alarm("no-route", "routing")
    tomorrow = (site.clock.at + timedelta(hours=9)).date()
    assert f"{tomorrow} 05:00:00 JST" in site.run("status").stdout


def test_a_health_that_is_dead_is_in_the_first_line_and_in_the_list(site: Site) -> None:
    """Nobody's silence reads as health."""
    site.route(*site.receive(b"one"))
    site.send_all(confirm=True)
    site.stop(Part.HEALTH)
    done = site.run("status")
    assert done.stdout.startswith("Nobody watches the box: no process is its health.")
    assert "The 1 image is safe" in done.stdout.splitlines()[0]
    assert "part-stopped" in done.stdout
    assert done.exit_code == 1
    told = json.loads(site.run("status", "--json").stdout)
    assert [(one["code"], one["subject"]) for one in told["alarms"]] == [("part-stopped", "health")]
    assert {one["part"]: one["found"] for one in told["parts"]} == {"edge": "", "forward": "", "health": "part-stopped"}


def test_a_part_that_hangs_is_told_by_its_silence(site: Site) -> None:
    """It is a process, and has not proven its work for long."""
    site.spool.db.read()
    for part in (Part.EDGE, Part.HEALTH):
        os.utime(site.state / f"{part}.lock", (0, 0))
    site.write(partial(heartbeats.beat, part=Part.HEALTH, now=site.clock()))
    done = site.run("status")
    assert done.stdout.startswith("No sign of life of edge for ")
    assert "of health" not in done.stdout
    assert "part-silent" in done.stdout
    assert done.exit_code == 1


def test_reporting_is_missed_where_there_is_a_broker(site: Site) -> None:
    site.spool.db.read()
    site.stop(Part.REPORTING)
    assert first_line(site) == "No image has been received yet."
    site.config.write_text(site.config.read_text() + '[mqtt]\nhost = "broker.example"\n')
    assert first_line(site).startswith("Central IT is told nothing: no process is its reporting.")


@pytest.mark.parametrize("part", IMAGES)
def test_a_part_that_does_not_run_comes_before_everything_else(site: Site, part: Part) -> None:
    site.spool.db.read()
    site.stop(part)
    result = site.run("status")
    assert f"The gateway is not running: no process is its {part}." in " ".join(result.output.split())
    assert result.exit_code == 1
