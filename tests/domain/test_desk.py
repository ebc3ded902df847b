"""The desk's codes, what a person may type, and the worklist row that is made of it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import desk
from gateway.domain.desk import ALPHABET, CODE_LENGTH, SALTS, EntryRefused, code_of, read_code, second_of
from gateway.domain.worklist import items, merge_key, text, validate_row
from tests.domain.desk import NOW, POLICY, STUDY, entry, request

TODAY = date(2026, 3, 1)
seconds = st.integers(0, 2**35 - 1)
salts = st.integers(0, SALTS - 1)


@given(a=st.tuples(seconds, salts), b=st.tuples(seconds, salts))
def test_codes_are_as_many_as_seconds_and_salts(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (code_of(*a) == code_of(*b)) is (a == b)
    assert len("SIXCHR" + code_of(*a)) == desk.SH_LENGTH


@given(second=seconds, salt=salts, place=st.integers(0, CODE_LENGTH - 1), letter=st.sampled_from(ALPHABET))
def test_no_single_slip_passes(second: int, salt: int, place: int, letter: str) -> None:
    code = code_of(second, salt)
    slip = code[:place] + letter + code[place + 1 :]
    assert bool(read_code(f"DT{slip}", "DT")) is (slip == code)


def test_a_swap_of_neighbours_is_seen_but_for_the_first_and_the_last_letter() -> None:
    code = code_of(123_456_789, 77)
    swapped = {code[:i] + code[i + 1] + code[i] + code[i + 2 :] for i in range(CODE_LENGTH - 1)} - {code}
    assert len(swapped) > 5
    assert not [one for one in swapped if read_code(one, "")]


def test_a_code_is_read_however_it_was_typed() -> None:
    code = next(code for salt in range(SALTS) if {"0", "1"} <= set(code := code_of(5_000_000, salt)))
    typed = f" dt{code.lower().replace('0', 'o').replace('1', 'l')} "
    assert read_code(typed, "DT") == f"DT{code}"
    assert read_code(code, "DT") == read_code(f"DT{code}0", "DT") == read_code("", "DT") == ""


def test_the_second_never_stands_still_nor_goes_back() -> None:
    first = second_of(NOW, last=-1)
    assert second_of(NOW, last=first) == first + 1
    assert second_of(NOW - timedelta(days=9999), last=first + 1) == first + 2
    assert second_of(NOW - timedelta(days=9999), last=-1) == 0
    assert second_of(NOW + timedelta(seconds=5), last=first) == first + 5


def test_what_is_typed_is_kept_in_one_form() -> None:
    kept = desk.accepted(
        request(
            stations=(" ct1 ", "CT1", "MR"),
            Modality="ct",
            PatientName=" Müller^Änne^ ",
            PatientBirthDate="1980-02-29",
            PatientSex="f",
            procedure="  Head   CT ",
        ),
        policy=POLICY,
        known=["CT1", "mr"],
        today=TODAY,
    )
    assert kept.stations == ("CT1", "mr")
    assert (kept.Modality, kept.PatientName, kept.PatientBirthDate) == ("CT", "Müller^Änne", "19800229")
    assert (kept.PatientSex, kept.procedure) == ("F", "Head CT")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"stations": ()}, "station: 0 of them"),
        ({"stations": ("CT1", "CT9")}, "station: 1 of 2 may not call here"),
        ({"Modality": "C T"}, "Modality: is text of 3 characters"),
        ({"Modality": ""}, "Modality: is empty"),
        ({"PatientName": "Secret, Ada"}, "PatientName: is text of 11 characters with a comma"),
        ({"PatientName": "Secret\\Ada"}, "PatientName: has a backslash"),
        ({"PatientName": "Secret\udce4"}, "PatientName: has a backslash or a control character, or bytes"),
        ({"PatientName": "S" * 65}, "PatientName: is text of 65 characters; write at most 64"),
        ({"PatientName": "Secret^" * 6}, "PatientName: has 1 groups of up to 6 components"),
        ({"PatientName": "a=b=c=d"}, "PatientName: has 4 groups"),
        ({"PatientID": "Secret\n1"}, "PatientID: has a backslash or a control character"),
        ({"PatientID": "9" * 65}, "PatientID: is text of 65 characters"),
        ({"PatientID": "DTP0000000009"}, "PatientID: is text of 13 characters in the form of our own ids"),
        ({"PatientBirthDate": "30.02.1980"}, "PatientBirthDate: is text of 10 characters, no day of birth"),
        ({"PatientBirthDate": "2026-03-02"}, "PatientBirthDate: "),
        ({"PatientBirthDate": "1749-08-28"}, "PatientBirthDate: "),
        ({"PatientSex": "X"}, "PatientSex: is text of 1 characters; write M, F or O"),
        ({"procedure": "x" * 65}, "procedure: is text of 65 characters"),
    ],
)
def test_a_fault_is_told_by_field_and_shape(values: dict[str, object], fault: str) -> None:
    with pytest.raises(EntryRefused) as refused:
        desk.accepted(request(**values), policy=POLICY, known=["CT1"], today=TODAY)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(fault)
    assert "Secret" not in line


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(EntryRefused) as refused:
        desk.accepted(request(stations=("X",), Modality="?", PatientSex="Q"), policy=POLICY, known=["CT1"], today=TODAY)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["station", "PatientSex", "Modality"]


def test_the_row_of_somebody_nobody_knows() -> None:
    made = entry(emergency=True)
    row = desk.row_of(made)
    (step,) = items(row, 0x00400100)
    assert validate_row(row) == []
    assert text(row, 0x00080050) == text(row, 0x00401001) == text(step, 0x00400009) == made.AccessionNumber
    assert text(row, 0x0020000D) == STUDY
    assert (text(row, 0x00100010), text(row, 0x00100020)) == (f"UNKNOWN^{made.AccessionNumber}", "DTP00000J4100")
    assert (text(row, 0x00100021), text(row, 0x00100030), text(row, 0x00100040)) == ("EDGE", "", "")
    assert (text(row, 0x00401003), text(step, 0x00400002), text(step, 0x00400003)) == ("STAT", "20260301", "080000")
    assert 0x00080005 not in row
    assert all(len(value) % 2 == 0 for _, value in row.values() if isinstance(value, bytes))


def test_the_row_of_a_known_patient_at_two_stations() -> None:
    row = desk.row_of(entry(stations=("CT1", "CT2"), PatientName="Čapek^Karel", PatientID="P7"))
    (step,) = items(row, 0x00400100)
    assert text(step, 0x00400001) == "CT1\\CT2"
    assert row[0x00080005][1] == b"ISO_IR 192"
    assert row[0x00100010][1].rstrip() == "Čapek^Karel".encode()  # type: ignore[union-attr]
    assert 0x00100021 not in row
    assert merge_key(row).startswith(f"study\\{STUDY}\\")


def test_a_patient_id_of_ours_may_be_used_again() -> None:
    minted = entry(code_of(5_000_000, 1)).PatientID
    again = entry(PatientID=minted.lower())
    assert again.PatientID == minted
    assert again.mints_patient
