"""A row as one scanner is shown it: every text proven in a set that the scanner reads, and no row lost for a field."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.dicom import charset, elements
from gateway.domain.profile import Fill, FillSource, PersonNames, Profile, Quirk
from gateway.domain.transliteration import Script
from gateway.domain.worklist import DataSet, Element
from gateway.roles.worklist.presenting import derived_study, present, view_of
from gateway.simulate.keywords import Values, data_set, tag
from gateway.spool.rows import as_elements

DAY = date(2026, 7, 6)
PLAIN: Values = {"PatientName": "Miller^Anna", "PatientID": "4711", "RequestedProcedureDescription": "CT THORAX"}


def read_by_pydicom(shown: DataSet) -> Dataset:
    encoded = elements.encode(as_elements(shown), elements.EXPLICIT_LITTLE)
    return pydicom.dcmread(io.BytesIO(encoded), force=True)


def presented(
    profile: Profile, row: DataSet, *, asked: str = "", answer: DataSet | None = None, calling: str = "CT1"
) -> tuple[Dataset, set[Quirk]]:
    identifier = {0x00080005: Element("CS", asked.encode())} if asked else {}
    view = view_of(profile, identifier, calling=calling, today=DAY)
    shown, quirks = present(row if answer is None else answer, row, view)
    return read_by_pydicom(shown), set(quirks)


def sets(*names: str, **other: Any) -> Profile:
    return Profile(character_sets=names, **other)


SOKOLOVA = "Соколова^Вера"  # noqa: RUF001
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
NAMES = [
    # profile, asked set, row's set, name, set answered, name as read, what was done
    (Profile(), "", "", "Miller^Anna", "ISO_IR 100", "Miller^Anna", ""),
    (Profile(), "", "ISO_IR 192", "Müller^Änne", "ISO_IR 192", "Müller^Änne", ""),
    (Profile(), "ISO_IR 100", "ISO_IR 192", "Müller^Änne", "ISO_IR 100", "Müller^Änne", ""),
    (Profile(), "ISO_IR 100", "ISO_IR 192", SOKOLOVA, "ISO_IR 192", SOKOLOVA, ""),
    (Profile(), "ISO_IR 777", "ISO_IR 100", "Müller^Änne", "ISO_IR 100", "Müller^Änne", ""),
    (sets("ISO_IR 100"), "", "ISO_IR 192", "Łucja^Żak", "ISO_IR 100", "Lucja^Zak", "folded"),
    (sets("ISO_IR 101"), "", "ISO_IR 192", "Łucja^Żak", "ISO_IR 101", "Łucja^Żak", ""),
    (sets("ISO_IR 6"), "", "ISO_IR 192", "Größe^Björn", "ISO_IR 6", "Grosse^Bjorn", "folded"),
    (sets("ISO_IR 100"), "", "ISO_IR 144", SOKOLOVA, "ISO_IR 100", "NAME NOT READABLE", "name-unreadable"),
    (sets("ISO_IR 100", romanised=frozenset({Script.CYRILLIC})), "", "ISO_IR 144", SOKOLOVA, "ISO_IR 100",
     "Sokolova^Vera", "romanised"),
    (sets("ISO_IR 100"), "", "ISO_IR 192", YAMADA, "ISO_IR 100", "Yamada^Tarou",
     "name-groups-left-out"),
    (sets("\\ISO 2022 IR 87"), "", "ISO_IR 192", YAMADA, "\\ISO 2022 IR 87",
     YAMADA, ""),
    (sets("ISO_IR 100", "\\ISO 2022 IR 149"), "", "ISO_IR 192", "Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149",
     "Hong^Gildong=洪^吉洞=홍^길동", ""),
    (sets("ISO_IR 192", person_names=PersonNames.ALPHABETIC), "", "ISO_IR 192", "Yamada^Tarou=山田^太郎", "ISO_IR 192",
     "Yamada^Tarou", "name-groups-left-out"),
    (sets("ISO_IR 192", name_length=12), "", "", "Featherstonehaugh^A", "ISO_IR 192", "Featherstone", "name-shortened"),
    (Profile(), "", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎", ""),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "asked", "stored", "name", "answered", "read", "done"), NAMES)
def test_a_name_arrives_readable(
    profile: Profile, asked: str, stored: str, name: str, answered: str, read: str, done: str
) -> None:
    row = data_set({"PatientName": name}, "") if not stored else _row(name, stored)
    shown, quirks = presented(profile, row, asked=asked)
    declared = shown.SpecificCharacterSet
    assert ("\\".join(declared) if not isinstance(declared, str) else declared) == answered
    assert str(shown.PatientName) == read
    assert quirks == ({Quirk(done)} if done else set())


def _row(name: str, stored: str) -> DataSet:
    sets = stored.split("\\")
    return {
        tag("SpecificCharacterSet"): Element("CS", stored.encode()),
        tag("PatientName"): Element("PN", charset.encode(name, "PN", sets)),
    }


def test_bytes_that_don_t_fit_their_declaration_cost_no_row() -> None:
    row = {tag("PatientName"): Element("PN", b"M\xfcller^\xc4nne"), tag("Modality"): Element("CS", b"C\xd6")}
    shown, quirks = presented(sets("ISO_IR 100"), row)
    assert str(shown.PatientName) == "Müller^Änne"
    assert shown.Modality == "CO"
    assert quirks == {Quirk.CHARSET_GUESSED, Quirk.FOLDED}


@pytest.mark.parametrize(
    ("value", "shown"), [(b"SCHED\x1b(BULED", b"SCHEDULED"), (b"\xe5\xb1\xb1", b""), (b"READY", b"READY")]
)
def test_a_code_is_ascii_or_empty(value: bytes, shown: bytes) -> None:
    row = {tag("ScheduledProcedureStepStatus"): Element("CS", value)}
    answer, quirks = present(row, row, view_of(sets("ISO_IR 192"), {}, calling="CT1", today=DAY))
    assert answer[tag("ScheduledProcedureStepStatus")][1] == shown
    assert (Quirk.CHARSET_GUESSED in quirks) is (value != shown)


def test_a_text_too_long_to_fold_is_left_out_at_once() -> None:
    row = data_set({**PLAIN, "RequestedProcedureComments": "\u0141" * 10_241}, "ISO_IR 192")
    shown, quirks = presented(sets("ISO_IR 100"), row)
    assert (shown.RequestedProcedureComments, quirks) == ("", {Quirk.TEXT_LEFT_OUT})


def test_a_text_that_nothing_can_show_is_left_out_and_its_row_is_not() -> None:
    row = data_set(
        {**PLAIN, "RequestedProcedureDescription": "胸部CT", "RequestingPhysician": "山田^太郎"}, "ISO_IR 192"
    )
    shown, quirks = presented(sets("ISO_IR 100", unreadable_name="X"), row)
    assert (shown.RequestedProcedureDescription, str(shown.RequestingPhysician)) == ("", "")
    assert (str(shown.PatientName), shown.PatientID) == ("Miller^Anna", "4711")
    assert quirks == {Quirk.TEXT_LEFT_OUT}


def test_a_name_that_is_not_there_is_not_unreadable() -> None:
    row = data_set({"PatientName": " ", "RequestedProcedureDescription": "胸部"}, "ISO_IR 192")
    shown, quirks = presented(sets("ISO_IR 100"), row)
    assert (str(shown.PatientName).strip(), quirks) == ("", {Quirk.TEXT_LEFT_OUT})


def test_the_set_that_loses_least_is_taken() -> None:
    row = data_set(
        {"PatientName": "Σωκράτης^Ζαχ=山田^太郎", "RequestedProcedureDescription": "Ακτινογραφία"}, "ISO_IR 192"
    )
    shown, quirks = presented(sets("ISO_IR 100", "ISO_IR 126"), row)
    assert (shown.SpecificCharacterSet, str(shown.PatientName)) == ("ISO_IR 126", "Σωκράτης^Ζαχ")
    assert quirks == {Quirk.NAME_GROUPS_LEFT_OUT}


@given(
    name=st.text(st.characters(exclude_characters="\\=?", exclude_categories=["Cs", "Cc"]), max_size=40),
    names=st.lists(
        st.sampled_from(["query", "row", "ISO_IR 6", "ISO_IR 100", "ISO_IR 126", "ISO_IR 192", "GB18030",
                         "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 149"]),
        min_size=1, max_size=3,
    ),
    scripts=st.frozensets(st.sampled_from(Script)),
)  # fmt: skip
def test_whatever_a_row_holds_it_is_answered_and_no_question_mark_appears(
    name: str, names: list[str], scripts: frozenset[Script]
) -> None:
    row = data_set({"PatientName": name, "PatientID": "4711", "RequestedProcedureDescription": name}, "ISO_IR 192")
    identifier: DataSet = {}
    profile = sets(*names, romanised=scripts)
    shown, quirks = present(row, row, view_of(profile, identifier, calling="CT1", today=DAY))
    declared = charset.character_sets(bytes(shown[0x00080005][1]))  # type: ignore[arg-type]
    for vr, value in shown.values():
        assert isinstance(value, bytes)
        text, faithful = charset.decode_checked(value, vr, declared)
        assert faithful
        assert "?" not in text
    assert shown[0x00100020][1] == b"4711"
    if name.strip(" ^\0"):
        assert shown[0x00100010][1] or quirks


# -- values a scanner insists on --


def filling(keyword: str, text: str = "", source: FillSource | str | None = None) -> Profile:
    known = tag(source) if source is not None and not isinstance(source, FillSource) else source
    return Profile(fill=(Fill(tag=tag(keyword), text=text, source=known),))


ORDER: Values = {
    "AccessionNumber": "A1",
    "PatientID": "4711",
    "StudyInstanceUID": "",
    "ReferringPhysicianName": "",
    "RequestedProcedureDescription": "",
    "RequestedProcedureID": "",
    "ScheduledProcedureStepSequence": [
        {"ScheduledProcedureStepDescription": "THORAX", "ScheduledStationAETitle": "", "ScheduledProcedureStepID": ""}
    ],
}


@pytest.mark.parametrize(
    ("keyword", "text", "source", "value"),
    [
        ("ReferringPhysicianName", "UNKNOWN", None, "UNKNOWN"),
        ("RequestedProcedureDescription", "", "ScheduledProcedureStepDescription", "THORAX"),
        ("RequestedProcedureID", "", "AccessionNumber", "A1"),
    ],
)
def test_what_a_scanner_insists_on_is_filled(keyword: str, text: str, source: str | None, value: str) -> None:
    shown, quirks = presented(filling(keyword, text, source), data_set(ORDER))
    assert str(shown[keyword].value) == value
    assert quirks == {Quirk.FILLED}


def test_values_inside_the_step_are_filled_too() -> None:
    shown, _ = presented(
        filling("ScheduledStationAETitle", source=FillSource.CALLING_AE), data_set(ORDER), calling="XR1"
    )
    assert shown.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "XR1"
    shown, _ = presented(filling("ScheduledProcedureStepID", source="AccessionNumber"), data_set(ORDER))
    assert shown.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID == "A1"


def test_only_what_is_asked_for_and_empty_is_filled() -> None:
    row = data_set({**ORDER, "ReferringPhysicianName": "Real^Doctor"})
    shown, quirks = presented(filling("ReferringPhysicianName", "UNKNOWN"), row)
    assert (str(shown.ReferringPhysicianName), quirks) == ("Real^Doctor", set())
    shown, quirks = presented(filling("ReferringPhysicianName", "X"), row, answer=data_set({"PatientID": "4711"}))
    assert ("ReferringPhysicianName" in shown, quirks) == (False, set())


def test_a_value_is_not_copied_where_it_would_have_to_be_cut() -> None:
    row = data_set({**ORDER, "AccessionNumber": "A" * 26})
    shown, quirks = presented(filling("RequestedProcedureID", source="AccessionNumber"), row)
    assert (shown.RequestedProcedureID or "", quirks) == ("", set())


def test_a_study_uid_is_made_once_for_an_order_and_never_for_two_patients() -> None:
    made = derived_study(data_set(ORDER))
    assert made.startswith("2.25.")
    assert pydicom.uid.UID(made).is_valid
    assert derived_study(data_set(ORDER)) == made
    assert derived_study(data_set({**ORDER, "PatientID": "4712"})) != made
    assert derived_study(data_set({**ORDER, "AccessionNumber": ""})) == ""
    assert derived_study(data_set({**ORDER, "StudyInstanceUID": "1.2.3"})) == ""
    shown, _ = presented(filling("StudyInstanceUID", source=FillSource.DERIVED), data_set(ORDER))
    assert made == shown.StudyInstanceUID
