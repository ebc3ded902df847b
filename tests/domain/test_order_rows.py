"""Whatever an order holds, each value of its row fits its VR and is one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.order_model import Code, Identifier, Patient, Procedure, Status, Step, changed
from gateway.domain.order_rows import fit, name, rows, several
from gateway.domain.order_scope import clean
from gateway.domain.worklist import DataSet

LONGEST = {"SH": 16, "LO": 64, "CS": 16, "AE": 16, "DA": 8, "DS": 16, "UI": 64, "LT": 10240, "ST": 1024}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(clean)
codes = st.builds(Code, CodeValue=texts, CodingSchemeDesignator=texts, CodeMeaning=texts)


def values(dataset: DataSet) -> Iterator[tuple[int, str, str]]:
    for tag, (vr, value) in dataset.items():
        if isinstance(value, bytes):
            yield tag, vr, value.decode("utf-8") if vr != "US" else ""
        else:
            for item in value:
                yield from values(item)


@given(
    text=texts,
    long=st.lists(texts, max_size=3),
    coded=st.lists(codes, max_size=2),
    side=st.sampled_from(["", "L", "R", "B"]),
)
def test_every_value_fits(text: str, long: list[str], coded: list[Code], side: str) -> None:
    patient = Patient(
        identifiers=(
            Identifier(value="P1", authority=text),
            Identifier(value=text, universal_id=text, universal_id_type=text),
        ),
        PatientName=text.replace("^", " ").replace("=", " ") or "A",
        MedicalAlerts=tuple(long),
        Allergies=tuple(long),
        SpecialNeeds=text,
        PatientState=text,
    )
    step = Step(
        ScheduledProcedureStepID="S1",
        Modality="CT",
        ScheduledStationAETitle=("CT1", "CT2"),
        start=datetime(2026, 3, 4, 8, tzinfo=UTC),
        ScheduledPerformingPhysicianName=text.replace("=", " "),
        ScheduledProcedureStepDescription=text,
        ScheduledProtocolCodeSequence=tuple(coded),
        laterality=side,
        ScheduledStationName=text,
        ScheduledProcedureStepLocation=text,
        PreMedication=text,
    )
    texts_of = {each.name: text for each in fields(Procedure) if each.type == "str"}
    fixed = {"StudyInstanceUID": "1.2", "RequestedProcedureID": "R1", "steps": (step,)}
    procedure = changed(Procedure(), {**texts_of, "RequestedProcedureCodeSequence": tuple(coded), **fixed})
    (row,) = rows(patient, procedure, Status.SCHEDULED)
    for tag, vr, value in values(row):
        several_values = value.split("\\") if tag in {0x00102000, 0x00102110, 0x00400001} else [value]
        for one in several_values:
            assert len(one) <= LONGEST.get(vr, 10240), f"{tag:08X}"
            assert vr in {"LT", "ST", "UT", "UC"} or "\\" not in one, f"{tag:08X}"
        if vr == "PN":
            assert all(len(group) <= 64 for group in value.split("="))
            assert "\\" not in value
    assert list(row) == sorted(row)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (fit("short", 16), "short"),
        (fit("left knee with and without contrast", 16), "left knee..."),
        (fit("x" * 20, 16), "x" * 13 + "..."),
        (several(["a" * 40 + " " + "b" * 40, "c"]), "a" * 40 + "\\" + "b" * 40 + "\\c"),
        (name("F" * 50 + "^Given^" + "M" * 20 + "^Dr"), "F" * 50 + "^Given"),
        (name("A^B=C^D"), "A^B=C^D"),
    ],
)
def test_what_is_too_long(made: str, text: str) -> None:
    assert made == text


def test_a_code_without_a_scheme_is_not_sent_and_a_long_one_is_a_long_code() -> None:
    known: dict[str, Any] = {
        "StudyInstanceUID": "1.2",
        "RequestedProcedureID": "R",
        "RequestedProcedureDescription": "x",
    }
    step = Step(Modality="CT", start=datetime(2026, 3, 4, tzinfo=UTC))
    for code, tags in (
        (Code(CodeValue="A", CodingSchemeDesignator="", CodeMeaning="m"), None),
        (Code(CodeValue="A" * 17, CodingSchemeDesignator="S", CodeMeaning="m"), {0x00080119, 0x00080102, 0x00080104}),
        (Code(CodeValue="A", CodingSchemeDesignator="S", CodeMeaning="m"), {0x00080100, 0x00080102, 0x00080104}),
    ):
        whole = Procedure(**known, RequestedProcedureCodeSequence=(code,), steps=(step,))
        (row,) = rows(Patient(identifiers=(Identifier(value="P"),), PatientName="A"), whole, Status.SCHEDULED)
        found = row.get(0x00321064)
        assert (None if found is None else set(found[1][0])) == tags  # type: ignore[index,arg-type]
