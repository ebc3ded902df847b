"""`gateway check --dry-run`: before and after, over a folder and over a study in the spool."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.dicom.elements import EXPLICIT_LITTLE, Element, encode
from tests.cli.site import STUDY, TOML, Site
from tests.peers import objects
from tests.roles.reading_room import ADA, ORDER, reading_room

RULE = """
[[rule]]
id = "institution"
version = 3
when = { calling_ae = "CT1" }
action = { InstitutionName = "North" }
"""


def with_rule(site: Site) -> None:
    folder = site.config.parent / "check"
    folder.mkdir()
    (folder / "constants.toml").write_text(RULE)


def test_a_folder_is_shown_before_and_after_and_stays_as_it_is(site: Site, tmp_path: Path) -> None:
    with_rule(site)
    folder = tmp_path / "images"
    files = objects.study(folder, "CT", instances=3)
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").touch()
    cut = folder / "cut.dcm"
    cut.write_bytes(files[0].read_bytes()[:-10])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    found = site.json("check", "--dry-run", str(folder), "--calling", "CT1")
    assert found["images"] == 4
    assert found["changes"] == [
        {
            "attribute": "InstitutionName",
            "before": None,
            "after": "North",
            "reason": "COERCE",
            "rule": "institution@3",
            "images": 3,
        }
    ]
    assert [one["images"] for one in found["left_alone"]] == [1]
    assert "7FE0,0010" in found["left_alone"][0]["why"]
    lacking = {(one["code"], one["attribute"]): one["images"] for one in found["deviations"]}
    assert lacking["type-1-missing", "FrameOfReferenceUID"] == 3
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    shown = site.run("check", "--dry-run", str(folder), "--calling", "CT1")
    assert "(absent)" in shown.stdout
    assert site.json("check", "--dry-run", str(folder), "--calling", "MR1")["unchanged"] == 3


def test_a_study_in_the_spool_is_looked_at_by_its_sender(site: Site) -> None:
    with_rule(site)
    header = {0x00080080: Element("LO", b"Vendor"), 0x7FE00010: Element("OW", bytes(8))}
    site.receive(encode(header, EXPLICIT_LITTLE), b"no data set")
    found = site.json("check", "--dry-run", STUDY)
    assert found["images"] == 2
    assert [(one["before"], one["after"]) for one in found["changes"]] == [("Vendor", "North")]
    assert len(found["left_alone"]) == 1


def test_what_is_not_there_is_said(site: Site, tmp_path: Path) -> None:
    site.receive(b"one")
    assert site.run("check", "--dry-run", "1.2.3").exit_code == 3
    assert site.run("check", "--dry-run", str(tmp_path / "gone")).exit_code == 3
    (tmp_path / "none").mkdir()
    assert site.run("check", "--dry-run", str(tmp_path / "none")).exit_code == 3
    assert site.run("check").exit_code != 0


def test_a_fault_in_a_rule_is_told_by_check_config(site: Site) -> None:
    with_rule(site)
    (site.config.parent / "check" / "more.toml").write_text(RULE.replace("InstitutionName", "PatientID"))
    told = site.run("check-config")
    assert told.exit_code != 0
    assert "can't be set by a rule" in told.output


def test_of_a_study_that_was_judged_the_verdict_is_shown_too(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(TOML)
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        room.image(AccessionNumber="ACC1", **{**ADA, "PatientBirthDate": "19800228"})
        room.rounds()
        done = CliRunner().invoke(app, ["check", "--dry-run", ORDER, "--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    changes = {one["attribute"]: (one["before"], one["after"]) for one in json.loads(done.stdout)["changes"]}
    assert changes["PatientBirthDate"] == ("19800228", "19800229")
