"""`gateway route test`: which rule fires, and why the others do not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.site import STUDY, Site
from tests.peers import objects

RULES = """
[[rule]]
id = "ct"
when = { Modality = "CT" }
to = ["pacs"]
priority = "stat"
[[rule]]
id = "ct9"
when = { calling_ae = "CT9", Modality = "MR" }
to = ["pacs"]
"""


def ruled(site: Site) -> None:
    folder = site.config.parent / "rules"
    folder.mkdir()
    (folder / "site.toml").write_text(RULES)


def test_a_file_is_routed_as_if_a_scanner_had_sent_it(site: Site, tmp_path: Path) -> None:
    ruled(site)
    assert site.spool
    path = objects.write(tmp_path / "f", objects.ct(1))
    (group,) = json.loads(site.run("route", "test", str(path), "--calling", "CT9", "--json").stdout)["groups"]
    assert group["routes"] == [{"destination": "pacs", "lane": "stat", "compression": "", "rule": "ct"}]
    assert group["rules"] == [
        {"rule": "ct", "fired": True, "missed": [], "stopped_by": ""},
        {
            "rule": "ct9",
            "fired": False,
            "missed": [{"key": "Modality", "wanted": ["MR"], "found": ["CT"], "unwanted": False}],
            "stopped_by": "",
        },
    ]
    shown = site.run("route", "test", str(path)).stdout
    assert 'calling_ae is nothing, wanted is "CT9"; Modality is "CT", wanted is "MR"' in shown


def test_a_study_is_routed_alike_in_groups_and_without_rules_by_default(site: Site) -> None:
    first, second = site.receive(b"one", b"two")
    assert "3" not in site.run("route", "test", STUDY).stdout.splitlines()[0]
    (group,) = site.json("route", "test", STUDY)["groups"]
    assert group["images"] == 2
    assert group["routes"] == [{"destination": "pacs", "lane": "routine", "compression": "", "rule": ""}]
    assert site.json("route", "test", second.id)["groups"][0]["SOPInstanceUIDs"] == [second.SOPInstanceUID]
    assert first.id != second.id


def test_what_is_not_there_is_said_with_status_3(site: Site) -> None:
    assert site.spool
    done = site.run("route", "test", "2.25.404")
    assert done.exit_code == 3
    assert "no such study, instance or file" in done.stderr


def test_a_file_that_is_no_part_10_is_said_plainly(site: Site, tmp_path: Path) -> None:
    assert site.spool
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    done = site.run("route", "test", str(tmp_path / "x.dcm"))
    assert (done.exit_code, "can't be read as Part 10" in done.stderr) == (2, True)
