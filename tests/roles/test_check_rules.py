"""The site's rules for headers in the check: with an order, without one, and where everything stays as it came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.check_rules import load_check_rules
from gateway.domain.edits import from_json
from gateway.domain.task import Choice, Mode
from gateway.roles.forward.judging import CheckRules
from tests.roles.reading_room import ADA, BEN, Room, reading_room, rules

RULE = """
[[rule]]
id = "institution"
version = 2
when = { calling_ae = "CT1" }
action = { InstitutionName = "North" }
"""


@pytest.fixture
def settings(tmp_path: Path) -> CheckRules:
    folder = tmp_path / "check"
    folder.mkdir()
    (folder / "a.toml").write_text(RULE)
    return rules(headers=load_check_rules(folder), expects_orders=False)


def edited(room: Room, *, calling: str = "CT1", **values: str) -> dict[str, tuple[str | None, str]]:
    image = room.image(calling=calling, **values)
    room.rounds()
    stored = room.edits(image)
    return {one.name: (one.value, one.rule) for one in from_json(stored).edits} if stored else {}


def test_a_constant_needs_no_order(tmp_path: Path, settings: CheckRules) -> None:
    with reading_room(tmp_path, settings) as room:
        assert edited(room, AccessionNumber="ACC1", **ADA) == {"InstitutionName": ("North", "institution@2")}


def test_another_scanner_is_none_of_its_business(tmp_path: Path, settings: CheckRules) -> None:
    with reading_room(tmp_path, settings) as room:
        assert edited(room, calling="CT2", AccessionNumber="ACC1", **ADA) == {}


def test_it_goes_beside_what_the_order_says(tmp_path: Path, settings: CheckRules) -> None:
    with reading_room(tmp_path, settings) as room:
        room.order(ADA, "ACC1")
        found = edited(room, AccessionNumber="ACC1", **{**ADA, "PatientBirthDate": "19800228"})
        assert found["PatientBirthDate"][0] == "19800229"
        assert found["InstitutionName"] == ("North", "institution@2")


def test_what_is_held_and_what_a_person_sends_as_it_came_stays(tmp_path: Path, settings: CheckRules) -> None:
    with reading_room(tmp_path, settings) as room:
        room.order(ADA, "ACC1")
        room.order(BEN, "ACC2", study="1.2.3.4")
        image = room.image(AccessionNumber="ACC1", **BEN)
        room.rounds()
        assert room.edits(image) == ""
        room.decide(Choice.RELEASE)
        assert room.edits(image) == ""


def test_shadow_mode_writes_nothing(tmp_path: Path, settings: CheckRules) -> None:
    with reading_room(tmp_path, replace(settings, mode=Mode.SHADOW)) as room:
        assert edited(room, AccessionNumber="ACC1", **ADA) == {}
