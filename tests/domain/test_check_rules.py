"""The site's rules for headers: what they may set and repair, and where everything stays as it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config.check_rules import load_check_rules
from gateway.config.problems import ConfigError
from gateway.dicom import charset
from gateway.dicom.elements import DataSet, Element
from gateway.domain import checks
from gateway.domain.check_rules import CONSTANTS, REPAIRABLE, normalised, repaired
from gateway.domain.edits import EDITABLE, Edit, Patch
from gateway.domain.identity_model import Decision, Reason, Verdict
from tests.domain.test_coercion import NOW, ORDER

RULES = """
[[rule]]
id = "institution"
version = 3
when = { calling_ae = "CT1" }
check = { InstitutionName = ["", "*default*"] }
action = { InstitutionName = "North", StationName = "CT1" }

[[rule]]
id = "other-institution"
version = 1
action = { InstitutionName = "South" }

[[rule]]
id = "dates"
version = 1
check = { PatientBirthDate = "@invalid" }
action = { PatientBirthDate = "@repair" }

[[rule]]
id = "letters"
version = 1
check = { SpecificCharacterSet = "" }
action = { SpecificCharacterSet = "ISO_IR 100" }
"""
EMPTY = Patch(edits=(), at=datetime(2026, 1, 2, tzinfo=UTC), system="n")
Changed = dict[str, tuple[str | None, str, Reason]]
Made = Callable[..., Changed]
PASS = Verdict(decision=Decision.PASS, because="agrees")


def rules_in(folder: Path, text: str = RULES) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.toml").write_text(text)
    return folder


@pytest.fixture
def edits(tmp_path: Path) -> Made:
    rules = load_check_rules(rules_in(tmp_path / "check"))

    def made(header: DataSet, verdict: Verdict | None = PASS, patch: Patch = EMPTY, calling: str = "CT1") -> Changed:
        found = normalised(patch, verdict, header, charset, rules=rules, calling=calling)
        return {edit.name: (edit.value, edit.rule, edit.reason) for edit in found.edits}

    return made


def test_a_constant_is_set_where_the_rule_is_for(edits: Made) -> None:
    header: DataSet = {0x00080080: Element("LO", b"Vendor DEFAULT")}
    assert edits(header) == {
        "InstitutionName": ("North", "institution@3", Reason.COERCE),
        "StationName": ("CT1", "institution@3", Reason.COERCE),
    }
    assert edits(header, calling="MR1") == {"InstitutionName": ("South", "other-institution@1", Reason.COERCE)}
    assert edits({**header, 0x00080080: Element("LO", b"South ")}, calling="CT1") == {}


def test_a_value_is_repaired_only_if_it_is_broken_and_means_the_same(edits: Made) -> None:
    header: DataSet = {0x00080080: Element("LO", b"South ")}
    assert edits({**header, 0x00100030: Element("DA", b"1970.01.01")})["PatientBirthDate"][0] == "19700101"
    assert edits({**header, 0x00100030: Element("DA", b"01.02.1970")}) == {}
    assert edits({**header, 0x00100030: Element("DA", b"19700101")}) == {}


@pytest.mark.parametrize(
    ("vr", "text", "meant"),
    [
        ("CS", "m", "M"),
        ("DA", "1970-01-02", "19700102"),
        ("DA", "2/1/1970", "2/1/1970"),
        ("TM", "12:30", "1230"),
        ("PN", "DOE, JOHN", "DOE^JOHN"),
        ("PN", "DOE, JOHN, JR", "DOE, JOHN, JR"),
        ("SH", "  A1\t", "A1"),
        ("SH", "A" * 17, "A" * 17),
    ],
)
def test_repairs(vr: str, text: str, meant: str) -> None:
    assert repaired(text, vr) == meant


def test_a_character_set_is_declared_only_where_the_proven_name_is_read_by_it(edits: Made) -> None:
    header: DataSet = {0x00080080: Element("LO", b"South "), 0x00100010: Element("PN", b"M\xfcller^A")}
    known = replace(PASS, order=replace(ORDER, patient=replace(ORDER.patient, PatientName="MÜLLER^A")))
    assert edits(header, known) == {"SpecificCharacterSet": ("ISO_IR 100", "letters@1", Reason.COERCE)}
    assert edits(header) == {}
    other = replace(PASS, order=replace(ORDER, patient=replace(ORDER.patient, PatientName="Möller^A")))
    assert edits(header, other) == {}


@pytest.mark.parametrize("decision", [Decision.HOLD, Decision.SUGGEST])
def test_what_is_in_doubt_stays(edits: Made, decision: Decision) -> None:
    assert edits({}, Verdict(decision=decision, because="doubt")) == {}


@pytest.mark.parametrize("code", [checks.Code.SIGNED, checks.Code.DEIDENTIFIED])
def test_what_is_signed_or_de_identified_stays(edits: Made, code: checks.Code) -> None:
    assert edits({}, Verdict(decision=Decision.PASS, because="x", findings=(checks.finding(code),))) == {}


def test_what_the_verdict_edits_no_rule_does(edits: Made) -> None:
    one = Edit(path=(0x00080080,), value="By order", reason=Reason.CORRECT, rule="v@1")
    patch = Patch(edits=(one,), at=NOW, system="n")
    assert edits({}, PASS, patch, "MR1") == {"InstitutionName": ("By order", "v@1", Reason.CORRECT)}


def test_no_rule_says_who_the_patient_is() -> None:
    assert CONSTANTS.isdisjoint({0x00100010, 0x00100020, 0x00100021, 0x00080050, 0x00100030})
    assert set(EDITABLE) >= CONSTANTS | REPAIRABLE


FAULTS = {
    "not TOML": ("rule = [", "is not TOML"),
    "an unknown key": ("[[rule]]\nid='a'\nversion=1\nactions={}", "actions"),
    "no version": ("[[rule]]\nid='a'\naction={StationName='X'}", "version"),
    "nothing done": ("[[rule]]\nid='a'\nversion=1\naction={}", "does nothing"),
    "an identity": ("[[rule]]\nid='a'\nversion=1\naction={PatientID='1'}", "can't be set by a rule"),
    "a UID": ("[[rule]]\nid='a'\nversion=1\naction={StudyInstanceUID='@repair'}", "can't be repaired"),
    "a value too long": (f"[[rule]]\nid='a'\nversion=1\naction={{StationName='{'x' * 17}'}}", "breaks its VR"),
    "an unknown set": (
        "[[rule]]\nid='a'\nversion=1\naction={SpecificCharacterSet='ISO_IR 7'}",
        "no known character set",
    ),
    "a condition on nothing": (
        "[[rule]]\nid='a'\nversion=1\nwhen={Modalty='CT'}\naction={StationName='X'}",
        'did you mean "Modality"',
    ),
    "invalid in when": (
        "[[rule]]\nid='a'\nversion=1\nwhen={PatientSex='@invalid'}\naction={StationName='X'}",
        "can't stand",
    ),
    "no text": ("[[rule]]\nid='a'\nversion=1\nwhen={Modality=7}\naction={StationName='X'}", "not text"),
    "an id twice": ("[[rule]]\nid='a'\nversion=1\naction={StationName='X'}\n" * 2, "more than once"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_with_its_file(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failed:
        load_check_rules(rules_in(tmp_path / "check", text))
    assert said in str(failed.value)
    assert "a" in str(failed.value)
