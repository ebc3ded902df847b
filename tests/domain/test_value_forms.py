"""Forms of values, against PS3.5 6.2 and against pydicom's own reading of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.valuerep import validate_value

from gateway.domain.value_forms import fault_of

GOOD = {
    "DA": ["", "20260102"], "TM": ["12", "1200", "120000.123456", "235960"], "DT": ["2026", "20260102120000.5+0100"],
    "CS": ["A_1 2", "ORIGINAL\\PRIMARY"], "UI": ["1.2.840", "0"], "DS": ["-1.5e3", " 70 "], "IS": ["-12", "+3 "],
    "AS": ["045Y"], "PN": ["A^B^C^D^E=Ä=b", "X" * 64], "SH": ["x" * 16], "LO": ["x" * 64], "AE": ["CT 1"],
    "LT": ["a\r\nb\\c"], "OB": ["\1\2"],
}  # fmt: skip
BAD = {
    "DA": ["1970.01.01", "20261301", "2026"], "TM": ["12:00", "2500"], "DT": ["20261", "2026-01-02"],
    "CS": ["lower", "X" * 17], "UI": ["1.02", "1..2", "1.2 ", "1." * 33 + "1"], "DS": ["1,5", "1" * 17], "IS": ["1.0"],
    "AS": ["45Y", "045y"], "PN": ["A=B=C=D", "A^B^C^D^E^F", "X" * 65], "SH": ["x" * 17], "LO": ["x" * 65, "a\tb"],
    "AE": ["x" * 17],
}  # fmt: skip


@pytest.mark.parametrize(("vr", "text"), [(vr, text) for vr, texts in GOOD.items() for text in texts])
def test_what_fits(vr: str, text: str) -> None:
    assert fault_of(text.encode(), vr) == ""
    assert fault_of(text.encode() + (b"\0" if vr == "UI" else b" "), vr) == ""


@pytest.mark.parametrize(("vr", "text"), [(vr, text) for vr, texts in BAD.items() for text in texts])
def test_what_does_not(vr: str, text: str) -> None:
    fault = fault_of(text.encode(), vr)
    assert fault
    assert text not in fault


@given(st.sampled_from(["CS", "DA", "UI", "AS", "SH"]), st.text("09A.Y _a", max_size=20).map(str.strip))
def test_pydicom_agrees(vr: str, text: str) -> None:
    try:
        validate_value(vr, text, config.RAISE)
    except ValueError:
        assert fault_of(text.encode(), vr)
        return
    assert not fault_of(text.encode(), vr)
