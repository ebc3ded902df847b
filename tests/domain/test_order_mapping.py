"""Mappings: the shipped ones are whole, a site's is laid over them, and every fault is told at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from gateway.config import ConfigError, parse
from gateway.config.mappings import order_mapping, order_senders, shipped
from gateway.domain.order_mapping import READINGS, MappingError, mapping
from gateway.domain.order_model import Patient, Procedure, Step
from gateway.domain.order_reading import _READ

NOWHERE = Path("there-is-none")
SENDER = """
[site]
name = "north"
timezone = "Europe/Berlin"
[box]
id = "ct1-room"
[[scanner]]
ae = "CT1"
[[sender]]
name = "ris-hl7"
mapping = "ours"
on_identity_conflict = "refuse"
"""


def test_every_way_of_reading_has_a_name() -> None:
    assert _READ.keys() == READINGS


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_mappings_are_whole(name: str) -> None:
    found = order_mapping(name, NOWHERE)
    assert found.description
    for part, rules in ((Patient, found.patient), (Step, found.step), (Procedure, found.procedure)):
        missing = {field.name for field in fields(part)} - {rule.target for rule in rules}
        assert missing <= {
            *("steps", "flags", "RequestedContrastAgent", "PreMedication", "CommentsOnTheScheduledProcedureStep"),
        }


def test_a_sites_mapping_changes_only_what_it_says(tmp_path: Path) -> None:
    text = 'description = "x"\nextends = "generic"\n[issuers]\npatient = "NORD"\n[sex]\nW = "F"\n'
    (tmp_path / "ours.toml").write_text(text)
    found, base = order_mapping("ours", tmp_path), order_mapping("generic", tmp_path)
    assert found.issuers["patient"] == "NORD"
    assert found.tables["sex"] == {**base.tables["sex"], "W": "F"}
    assert found.step == base.step


def test_senders_are_as_configured(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "ours.toml").write_text('extends = "ihe-rad4-2.5.1"\n')
    (sender,) = order_senders(parse(SENDER, base=tmp_path))
    assert (sender.name, sender.scanners, sender.mapping.name) == ("ris-hl7", ("CT1",), "ours")
    assert (sender.refuse_conflicts, sender.refuse_faults) == (True, False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('extends = "nowhere"', "mapping nowhere: there is no such table; write nowhere.toml"),
        ('extends = "../x"', "there is no such table"),
        ('extends = "t"', "extends more than 8 tables, or itself"),
        ("[", "is not TOML"),
        ('extends = "generic"\n[patient]\nName = { from = ["PID-5"], as = "name" }', "[patient] Name is no attribute"),
        ('extends = "generic"\n[step]\nModality = "OBR-24"', "[step] Modality is not of the form"),
        ('extends = "generic"\n[step]\nModality = { from = ["OBR24"], as = "text" }', "names a place of 5 characters"),
        ('extends = "generic"\n[step]\nModality = { from = ["OBR-24"], as = "guess" }', "is read in no known way"),
        ('extends = "generic"\n[options]\nopening_time = "8"', "opening_time is missing or of another form"),
        ('extends = "generic"\n[options]\nsui = true', "[options] sui is not known"),
        ('extends = "generic"\n[stations]\nCT = []', "[stations] CT is no list of AE titles"),
        ('extends = "generic"\n[sex]\nW = 1', "[sex] holds something other than text"),
        ('extends = "generic"\n[sexes]\nW = "F"', "[sexes] is no section"),
        ('description = "x"', "[options] is missing; write extends"),
    ],
)
def test_faults_are_told(text: str, told: str) -> None:
    def text_of(name: str) -> str | None:
        return (
            text
            if name == "t"
            else (Path("gateway/mappings") / f"{name}.toml").read_text()
            if name == "generic"
            else None
        )

    with pytest.raises(MappingError) as caught:
        mapping("t", text_of)
    assert told in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    generic = (Path("gateway/mappings") / "generic.toml").read_text()
    text = 'extends = "g"\n[sex]\nW = 1\n[patient]\nName = 1\n[options]\nmodality = 1\n'
    with pytest.raises(MappingError) as caught:
        mapping("t", lambda name: text if name == "t" else generic)
    assert len(str(caught.value).splitlines()) == 3


def test_a_mapping_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SENDER, base=tmp_path)
    assert "sender[ris-hl7].mapping" in str(caught.value)
