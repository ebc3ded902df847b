"""Matching as PS3.4 C.2.2.2 and K.6.1.2.2 say, and as scanners need it."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import elements
from gateway.domain.matching import Query, compile_query
from gateway.domain.transliteration import Script
from gateway.domain.worklist import DataSet, Element, columns, items
from tests.domain.rows import dataset, query, row, utf8

AE, DA, TM, MOD, SPSID, STATUS = "_00400001", "_00400002", "_00400003", "_00080060", "_00400009", "_00400020"
PN, PID, ACC, UID, RPID = "_00100010", "_00100020", "_00080050", "_0020000D", "_00401001"


def finds(identifier: DataSet, stored: DataSet) -> bool:
    return compile_query(identifier, utf8).matches(stored, utf8)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({PID: ""}, True),
        ({PID: "*"}, True),
        ({PID: "PID1"}, True),
        ({PID: " PID1 \0"}, True),
        ({PID: "pid1"}, False),
        ({PID: "PID"}, False),
        ({PID: "PID*"}, True),
        ({PID: "P?D?"}, True),
        ({PID: "PID?1"}, False),
        ({ACC: "ACC1"}, True),
        ({ACC: "ACC1\\ACC2"}, True),
        ({UID: "1.2.4\\1.2.3"}, True),
        ({UID: "1.2"}, False),
        ({UID: "1.2.*"}, False),
        ({UID: "*"}, True),
        ({RPID: "RP2"}, False),
        ({"_00080052": "STUDY"}, True),
        ({"_00080005": "ISO_IR 100"}, True),
        ({"_00080201": "+0100"}, True),
        ({"_00090010": "ACME"}, True),
    ],
)
def test_a_key_beside_the_step(key: dict[str, str], expected: bool) -> None:
    assert finds(query(**key), row()) is expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({}, True),
        ({AE: ""}, True),
        ({AE: "CT1"}, True),
        ({AE: "ct2 "}, True),
        ({AE: "CT3"}, False),
        ({AE: "CT3\\CT2"}, True),
        ({AE: "CT*"}, True),
        ({MOD: "ct"}, True),
        ({MOD: "MR"}, False),
        ({MOD: "CT\\MR"}, True),
        ({DA: "20260706"}, True),
        ({DA: "2026.07.06"}, True),
        ({DA: "20260706103000"}, True),
        ({DA: "20260707"}, False),
        ({DA: "*"}, True),
        ({DA: "-"}, True),
        ({DA: "00000000"}, True),
        ({DA: "19000101-99991231"}, True),
        ({DA: "20260706-"}, True),
        ({DA: "-20260705"}, False),
        ({DA: "20260701-20260706"}, True),
        ({DA: "2026.07.01-2026.07.05"}, False),
        ({DA: "20260707-20260701"}, False),
        ({DA: "tomorrow"}, False),
        ({DA: "20261332"}, False),
        ({TM: "10"}, True),
        ({TM: "1030"}, True),
        ({TM: "10:30:00"}, True),
        ({TM: "103001"}, False),
        ({TM: "1000-1800"}, True),
        ({TM: "-1029"}, False),
        ({TM: "-1030"}, True),
        ({TM: "1031-"}, False),
        ({TM: "2500"}, False),
        ({DA: "20260706", TM: "1031-1800"}, False),
        ({DA: "20260705-20260707", TM: "103000"}, True),
        ({DA: "20260705-20260707", TM: "0800"}, False),
        ({SPSID: "SPS?"}, True),
        ({SPSID: "SPS2"}, False),
        ({MOD: "CT", AE: "CT1", DA: "20260706", SPSID: "SPS2"}, False),
    ],
)
def test_a_key_of_the_step(key: dict[str, str], expected: bool) -> None:
    assert finds(query(key), row()) is expected


@pytest.mark.parametrize(
    ("day", "at", "expected"),
    [
        ("20260705", "095959", False),
        ("20260705", "100000", True),
        ("20260706", "030000", True),  # at night, outside 10-18 h: the two ranges are one period
        ("20260707", "180000", True),
        ("20260707", "180100", False),
        ("20260708", "120000", False),
        ("20260706", "", False),
    ],
)
def test_ranges_of_date_and_time_are_one_period(day: str, at: str, expected: bool) -> None:
    key = {DA: "20260705-20260707", TM: "1000-1800"}
    assert finds(query(key), row({DA: day, TM: at})) is expected


def test_a_range_of_times_without_a_date_is_a_time_of_day() -> None:
    assert finds(query({DA: "", TM: "1000-1800"}), row({DA: "20200101"}))
    assert not finds(query({DA: "", TM: "1000-1800"}), row({TM: "0900"}))


def test_the_whole_day_is_any_time_even_an_unknown_one() -> None:
    for whole in ("000000-235959", "0000-2359", "000000-", "-235959.999999"):
        assert finds(query({DA: "20260701-20260730", TM: whole}), row({TM: ""})), whole


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Müller^Änne", True),
        ("MULLER^ANNE", True),
        ("müller^änne^^^", True),
        ("Mu\u0308ller*", True),
        ("MULLER", False),
        ("muller^*", True),
        ("*^anne", True),
        ("*^anne^*", True),
        ("Muller, Anne", True),
        ("muller anne", True),
        ("muller a*", True),
        ("anne muller", False),
        ("山田*", True),
        ("=山田^太郎", True),
        ("*=山田*", True),
        ("*=鈴木*", False),
        ("やまだ^たろう", True),
        ("やまた^たろう", False),
        ("*", True),
        ("*^*", True),
        ("*=*", True),
        ("^^^", True),
        ("Maier*", False),
        ("M?ller^*", True),
    ],
)
def test_a_name(key: str, expected: bool) -> None:
    assert finds(query(_00100010=key), row()) is expected


def test_trailing_components_and_letters_of_their_own() -> None:
    assert finds(query(_00100010="SMITH^*"), row(_00100010="Smith"))
    assert finds(query(_00100010="smith"), row(_00100010="SMITH^^^^"))
    assert finds(query(_00100010="Sorensen^Lukasz"), row(_00100010="Sørensen^Łukasz"))
    assert finds(query(_00100010="STRASSE"), row(_00100010="Straße"))


def test_a_name_is_found_by_its_romanised_form_where_that_is_shown() -> None:
    stored = row(_00100010="Соколова^Вера")  # noqa: RUF001
    for key in ("SOKOLOVA^VERA", "sokolova*", "Соколова*"):
        asked = compile_query(query(_00100010=key), utf8, romanised=frozenset({Script.CYRILLIC}))
        assert asked.matches(stored, utf8), key
    assert not finds(query(_00100010="sokolova*"), stored)
    asked = compile_query(query(_00100010="sokolova*"), utf8, romanised=frozenset({Script.GREEK}))
    assert not asked.matches(stored, utf8)


@pytest.mark.parametrize("key", [{PID: "*x*"}, {PID: "?*"}, {PID: "x"}, {UID: "1"}, {PN: "A*"}])
def test_an_unknown_value_matches_only_universal_keys(key: dict[str, str]) -> None:
    tag = next(iter(key))
    assert not finds(query(**key), row(**{tag: ""}))
    assert finds(query(**{tag: "*"}), row(**{tag: ""}))
    absent = {t: e for t, e in row().items() if t != int(tag[1:], 16)}
    assert not finds(query(**key), absent)


@pytest.mark.parametrize("key", [{DA: "20260706"}, {TM: "10"}, {TM: "-1200"}, {AE: "CT1"}, {MOD: "?*"}])
def test_an_unknown_value_of_the_step_matches_only_universal_keys(key: dict[str, str]) -> None:
    tag = next(iter(key))
    assert not finds(query(key), row({tag: ""}))
    assert finds(query({tag: "*"}), row({tag: ""}))


def test_a_sequence_without_matching_keys_is_universal() -> None:
    universal: list[list[DataSet]] = [[], [{}], [dataset(_00400002="", _00080060="*")]]
    for steps in universal:
        assert finds(dataset(_00400100=steps), row())
        assert finds(dataset(_00400100=steps), dataset(_00100020="PID1"))
    assert not finds(query({MOD: "CT"}), dataset(_00100020="PID1"))


def test_a_nested_sequence() -> None:
    codes = dataset(_00400100=[dataset(_00400008=[dataset(_00080100="HEAD")])])
    other = dataset(_00400100=[dataset(_00400008=[dataset(_00080100="FOOT")])])
    assert finds(codes, codes)
    assert not finds(codes, other)


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "CANCELED", "CANCELLED", "HELD", "completed "])
def test_what_is_done_is_hidden_unless_asked_for(status: str) -> None:
    stored = row({STATUS: status})
    assert not finds(query({STATUS: ""}), stored)
    assert not finds(query(), stored)
    assert finds(query({STATUS: status}), stored)
    assert finds(query({STATUS: "??*"}), stored)
    assert not finds(query({STATUS: "SCHEDULED"}), stored)


@pytest.mark.parametrize("status", ["", "SCHEDULED", "ARRIVED", "READY", "STARTED"])
def test_what_is_to_do_is_shown(status: str) -> None:
    assert finds(query(), row({STATUS: status}))


def test_each_side_has_its_own_character_set() -> None:
    def latin(value: bytes, _: str) -> str:
        return value.decode("latin-1")

    asked = {0x00100010: Element("PN", "Müller*".encode("latin-1"))}
    assert compile_query(asked, latin).matches(row(), utf8)


def test_a_value_its_character_set_cannot_explain_costs_no_row() -> None:
    broken = {**row(), 0x00100010: Element("PN", b"M\xfcller")}
    assert finds(query(_00100020="PID1"), broken)
    assert finds({0x00100010: Element("PN", b"M\xfcller")}, broken)


def test_a_claimed_vr_does_not_weaken_a_key() -> None:
    assert not finds({0x00100020: Element("UN", b"PID2")}, row())


def test_the_data_sets_of_the_wire_are_taken_as_they_are() -> None:
    identifier = {0x00400100: elements.Element("SQ", [{0x00080060: elements.Element("CS", b"CT")}])}
    again = elements.parse(elements.encode(identifier, elements.IMPLICIT_LITTLE), elements.IMPLICIT_LITTLE)
    assert finds(again, row())


def test_a_deep_query_is_no_danger() -> None:
    deep: DataSet = dataset(_00100020="x")
    for _ in range(5000):
        deep = {0x00400100: Element("SQ", [deep])}
    assert finds(deep, row())


def test_prefilter_has_exact_values_only() -> None:
    plain = compile_query(
        query({AE: "ct1", MOD: "ct\\MR", DA: "20260705-20260707", TM: "10-12"}, _00100020="P1", _00080050="A1"), utf8
    ).prefilter
    assert (plain.PatientID, plain.AccessionNumber) == ("P1", "A1")
    assert (plain.date_from, plain.date_to) == (date(2026, 7, 5), date(2026, 7, 7))
    assert (plain.Modality, plain.StationAETitles) == (("CT", "MR"), ("CT1",))
    wild = compile_query(query({AE: "CT?", MOD: "*", DA: "20260705-"}, _00100020="P*", _00080050=""), utf8).prefilter
    assert (wild.PatientID, wild.AccessionNumber, wild.Modality, wild.StationAETitles) == (None,) * 4
    assert (wild.date_from, wild.date_to) == (date(2026, 7, 5), None)


def test_the_keys_that_fail_are_named_from_the_outside_in() -> None:
    asked = compile_query(query({AE: "CT9", MOD: "CT", DA: "20260101-20260102", TM: "08-09"}, _00100020="OTHER"), utf8)
    assert asked.failing(row(), utf8) == [(0x00100020,), (0x00400100, 0x00400001), (0x00400100, 0x00400002)]
    assert asked.failing(dataset(_00100020="OTHER"), utf8) == [(0x00400100,)]
    two = query(_00100020="PID1")
    two = {**two, 0x00400100: Element("SQ", [dataset(**{AE: "CT9", MOD: "MR"}), dataset(**{AE: "CT1", MOD: "MR"})])}
    assert compile_query(two, utf8).failing(row(), utf8) == [(0x00400100, 0x00080060)]  # of the nearest alternative


def test_patient_based() -> None:
    def is_patient_based(identifier: DataSet) -> bool:
        return compile_query(identifier, utf8).is_patient_based

    assert is_patient_based(query({DA: "20260706"}, _00080050="A1"))
    assert is_patient_based(query({SPSID: "S1"}))
    assert not is_patient_based(query({DA: "20260706", AE: "CT1", MOD: "CT"}, _00080050="", _00100010="*"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [("20260706", True), ("20260701-20260731", True), ("20260630-", False), ("", False), ("20260630", False)],
)
def test_covers(key: str, expected: bool) -> None:
    assert compile_query(query({DA: key}), utf8).covers(date(2026, 7, 1), date(2026, 7, 31)) is expected


# --- properties -----------------------------------------------------------------------------

names = st.text("AaBbÄäßéŁ山ガｶﾞ *?^=, \u0301", max_size=8)
ids = st.text("AB1*? ", max_size=5)
days = st.dates(date(2026, 7, 1), date(2026, 7, 9)).map(lambda d: d.strftime("%Y%m%d"))
clock = st.one_of(
    st.times().map(lambda t: t.strftime("%H%M%S")), st.sampled_from(["10", "1030", "235960", "100000.5", ""])
)
junk = st.text("0123456789-.:*?\\ x", max_size=12)
TOP: dict[str, Any] = {PN: names, PID: ids, ACC: ids, UID: st.text("12.\\", max_size=5), RPID: ids}
IN_STEP: dict[str, Any] = {
    AE: st.text("ctCT1\\ ", max_size=6),
    DA: days | junk,
    TM: clock | junk,
    MOD: st.sampled_from(["CT", "MR", "mr", "CT\\MR", ""]),
    SPSID: ids,
}
rows = st.builds(lambda top, step: row(step, **top), st.fixed_dictionaries(TOP), st.fixed_dictionaries(IN_STEP))


def spans(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return values | st.builds(lambda a, b: f"{a}-{b}", values, values) | junk


Asked = tuple[DataSet, dict[str, str], dict[str, str]]


@st.composite
def meetings(draw: st.DrawFn) -> Asked:
    """A row and the keys of a query, most of them near the row's own values, or nothing would ever match."""
    values = draw(st.fixed_dictionaries({**TOP, **IN_STEP}))

    def key(tag: str, strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        own = values[tag]
        near = [own, "", own + "*", "*" + own[-2:], own[:1] + "*", own + "-", "-" + own, "20260702-20260706", "08-21"]
        return st.sampled_from(near) | spans(strategy) if tag in {DA, TM} else st.sampled_from(near[:5]) | strategy

    def keys(group: dict[str, Any]) -> dict[str, str]:
        return draw(st.fixed_dictionaries({}, optional={tag: key(tag, strategy) for tag, strategy in group.items()}))

    stored = row({tag: values[tag] for tag in IN_STEP}, **{tag: values[tag] for tag in TOP})
    return stored, keys(TOP), keys(IN_STEP)


@given(rows)
def test_universal_returns_all(stored: DataSet) -> None:
    everything = query(dict.fromkeys(IN_STEP, ""), **dict.fromkeys(TOP, ""))
    assert finds(everything, stored)


@given(rows, st.sampled_from([*TOP, *IN_STEP]))
def test_a_value_of_a_row_finds_that_row(stored: DataSet, tag: str) -> None:
    number = int(tag[1:], 16)
    step: Any = stored[0x00400100][1][0]
    source: Any = step if tag in IN_STEP else stored
    key = {number: source[number]}
    identifier = {0x00400100: Element("SQ", [key])} if tag in IN_STEP else key
    written = bytes(source[number][1])
    if (tag == DA and b"-" in written) or (tag == TM and b"-" in written):
        return  # not a value of DA or TM: as a key it is a range
    assert finds(identifier, stored)


@given(meetings())
def test_adding_a_key_never_adds_rows(asked: Asked) -> None:
    stored, top, step = asked
    if not finds(query(step, **top), stored):
        return
    for tag in top:
        assert finds(query(step, **{t: v for t, v in top.items() if t != tag}), stored)
    for tag in step:
        if tag == DA and TM in step:
            continue  # the standard's own exception: two ranges are one period
        assert finds(query({t: v for t, v in step.items() if t != tag}, **top), stored)


@given(meetings(), st.sampled_from(["SCHEDULED", "HELD"]))
def test_some_key_fails_exactly_if_the_row_does_not_match(asked: Asked, status: str) -> None:
    stored, top, step = asked
    (its_step,) = items(stored, 0x00400100)
    stored = {**stored, 0x00400100: Element("SQ", [{**its_step, 0x00400020: Element("CS", status.encode())}])}
    compiled = compile_query(query(step, **top), utf8)
    assert compiled.matches(stored, utf8) is not (compiled.hides(stored) or bool(compiled.failing(stored, utf8)))


@given(meetings())
def test_the_prefilter_keeps_what_matches(asked: Asked) -> None:
    stored, top, step = asked
    compiled: Query = compile_query(query(step, **top), utf8)
    if not compiled.matches(stored, utf8):
        return
    have, need = columns(stored, utf8), compiled.prefilter
    assert need.PatientID in {None, have.PatientID}
    assert need.AccessionNumber in {None, have.AccessionNumber}
    assert need.Modality is None or have.Modality in need.Modality
    assert need.StationAETitles is None or set(have.StationAETitles) & set(need.StationAETitles)
    assert need.date_from is None or (have.start_date is not None and have.start_date >= need.date_from)
    assert need.date_to is None or (have.start_date is not None and have.start_date <= need.date_to)


@given(st.times(), st.times(), st.times())
def test_a_time_range_is_what_it_says(low: time, high: time, at: time) -> None:
    low, high, at = (t.replace(microsecond=0) for t in (low, high, at))
    key = f"{low:%H%M%S}-{high:%H%M%S}"
    whole = low == time(0) and high >= time(23, 59)
    assert finds(query({TM: key}), row({TM: f"{at:%H%M%S}"})) is (low <= at <= high or whole)


@given(st.dictionaries(st.sampled_from([0x00100010, 0x00100020, 0x00400002, 0x00400003, 0x00400100, 0x0020000D]),
                       st.tuples(st.sampled_from(["PN", "DA", "TM", "UI", "SQ", "UN", "CS", "OB"]),
                                 st.binary(max_size=12) | st.just([]))))  # fmt: skip
def test_no_identifier_and_no_row_raises(strange: dict[int, Any]) -> None:
    finds(strange, row())
    finds({0x00400100: ("SQ", [strange])}, row())
    finds(query({DA: "20260706", TM: "10"}, _00100010="A*", _00100020="P?"), strange)
    columns(strange, utf8)
