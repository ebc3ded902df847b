"""Data sets as tables: every data set comes back as it was, and what is wrong in it stays wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.elements import DataSet, Element
from gateway.dicom.readable import data_set, table

VALUES = st.binary(max_size=24)
TAGS = st.sampled_from([0x00080050, 0x00080060, 0x00100010, 0x00100020, 0x00091001, 0x00281052, 0x00401400, 0x001021C0])
VRS = st.sampled_from(["SH", "CS", "PN", "LO", "US", "LT", "UN", "DA", "UI"])
SETS = st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030", b"nonsense"])


def stripped(dataset: DataSet) -> DataSet:
    return {
        tag: Element(vr, value.rstrip(b" \0") if isinstance(value, bytes) else [*map(stripped, value)])
        for tag, (vr, value) in sorted(dataset.items())
    }


@st.composite
def data_sets(draw: st.DrawFn) -> DataSet:
    made = {tag: Element(draw(VRS), draw(VALUES)) for tag in draw(st.sets(TAGS))}
    if declared := draw(SETS):
        made[0x00080005] = Element("CS", declared)
    return dict(sorted(made.items()))


@given(dataset=data_sets(), items=st.lists(data_sets(), max_size=2))
def test_every_data_set_comes_back(dataset: DataSet, items: list[DataSet]) -> None:
    dataset = {**dataset, 0x00400100: Element("SQ", items)}
    assert stripped(data_set(table(dataset))) == stripped(dataset)


def test_it_reads_as_the_standard_writes() -> None:
    dataset: DataSet = {
        0x00080005: Element("CS", b"ISO_IR 100"),
        0x00100010: Element("PN", "Müller^Änne".encode("latin-1") + b" "),
        0x00100020: Element("LO", b"\xff\x1b"),
        0x00091001: Element("LO", b"x"),
        0x00400100: Element("SQ", [{0x00400007: Element("LO", b"Sch\xe4del")}]),
    }
    assert table(dataset) == {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Änne",
        "PatientID": {"vr": "LO", "hex": "ff1b"},
        "0009,1001": {"vr": "LO", "text": "x"},
        "ScheduledProcedureStepSequence": [{"ScheduledProcedureStepDescription": "Schädel"}],
    }


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"PatientNam": "x"}, "PatientNam: no keyword of PS3.6"),
        ({"PatientName": "Müller"}, "PatientName: does not fit"),
        ({"PatientName": 3}, "PatientName: neither text"),
        ({"PatientName": {"vr": "PN"}}, "PatientName: neither text"),
        ({"PatientName": {"hex": "00"}}, "PatientName: its vr is none"),
        ({"PatientName": {"vr": "PN", "hex": "0"}}, "PatientName: its hex is none"),
        ({"0010,0010": "x"}, "0010,0010: neither text"),
        ({"ScheduledProcedureStepSequence": ["x"]}, "ScheduledProcedureStepSequence: neither text"),
    ],
)
def test_what_is_no_table_is_told_by_its_key(written: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        data_set(written)
