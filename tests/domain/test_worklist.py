"""Rows: what is answered, how they are told apart, how long they are kept."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import elements
from gateway.domain.worklist import (
    DONE,
    DataSet,
    Element,
    Freshness,
    RowColumns,
    Start,
    columns,
    dated,
    expired,
    freshness,
    items,
    merge_key,
    nearest_first,
    project,
    split_steps,
    text,
    validate_row,
)
from tests.domain.rows import ROW, STEP, dataset, row, utf8

STEPS = 0x00400100


def test_every_requested_key_is_answered_and_nothing_else() -> None:
    asked = dataset(_00100010="x*", _00100030="", _00401400="", _00400100=[dataset(_00080060="MR", _00400010="")])
    answer = project(asked, row())
    assert set(answer) == {0x00100010, 0x00100030, 0x00401400, STEPS}
    assert answer[0x00100010][1] == ROW["_00100010"].encode()
    assert answer[0x00100030] == ("DA", b"")
    (step,) = items(answer, STEPS)
    assert step == {0x00080060: ("CS", b"CT"), 0x00400010: ("LO", b"")}


@pytest.mark.parametrize("steps", [[], [{}]])
def test_a_sequence_requested_empty_is_answered_whole(steps: list[DataSet]) -> None:
    assert list(items(project({STEPS: Element("SQ", steps)}, row()), STEPS)) == list(items(row(), STEPS))


def test_a_sequence_the_row_does_not_have_is_answered_empty() -> None:
    assert project(dataset(_00081110=[dataset(_00081150="")]), row()) == {0x00081110: ("SQ", [])}


def test_the_character_set_of_the_row_is_added_and_the_query_s_is_not() -> None:
    asked = dataset(_00080005="ISO_IR 100", _00100020="")
    assert project(asked, row(_00080005="ISO_IR 192"))[0x00080005] == ("CS", b"ISO_IR 192")
    assert 0x00080005 not in project(asked, row())


def test_what_is_not_answered() -> None:
    asked = dataset(_00080052="STUDY", _00100000="4", _00080201="", _00090010="ACME", _00100020="")
    assert set(project(asked, row())) == {0x00100020}
    assert project(asked, row(_00080201="+0100"))[0x00080201] == ("SH", b"+0100")


def test_an_answer_is_in_tag_order_and_can_be_encoded() -> None:
    asked = dataset(_00400100=[{}], _00100020="", _00080050="")
    answer = project(asked, row(_00080005="ISO_IR 192"))
    assert list(answer) == sorted(answer)
    wire = {tag: elements.Element(vr, value) for tag, (vr, value) in answer.items()}  # type: ignore[arg-type]
    assert (
        elements.parse(elements.encode(wire, elements.EXPLICIT_LITTLE), elements.EXPLICIT_LITTLE).keys() == wire.keys()
    )


def test_columns() -> None:
    assert columns(row({"_00400001": "ct1 \\CT2", "_00080060": "ct", "_00400020": "ready"}), utf8) == RowColumns(
        PatientID="PID1",
        PatientName=ROW["_00100010"],
        AccessionNumber="ACC1",
        StudyInstanceUID="1.2.3",
        RequestedProcedureID="RP1",
        ScheduledProcedureStepID="SPS1",
        start_date=date(2026, 7, 6),
        start_time=time(10, 30),
        Modality="CT",
        StationAETitles=("CT1", "CT2"),
        status="READY",
    )


def test_columns_of_nothing() -> None:
    empty = columns({}, utf8)
    assert (empty.PatientID, empty.start_date, empty.start_time, empty.StationAETitles) == ("", None, None, ())


def test_the_same_step_has_the_same_key_wherever_it_came_from() -> None:
    assert merge_key(row()) == merge_key(row({"_00400002": "20260801", "_00400009": "SPS1 "}, _0020000D="1.2.3\0"))
    others = [row({"_00400009": "SPS2"}), row(_00401001="RP2"), row(_0020000D="1.2.4")]
    assert len({merge_key(other) for other in [row(), *others]}) == 4


def test_without_a_study_the_accession_counts_with_its_issuer() -> None:
    plain = row(_0020000D="")
    issued = [{**plain, 0x00080051: Element("SQ", [dataset(_00400031=name)])} for name in ("A", "B")]
    assert len({merge_key(other) for other in [plain, *issued]}) == 3
    assert merge_key(row(_0020000D="", _00080050="")) == ""


def test_rows_that_can_be_kept() -> None:
    assert validate_row(row()) == []
    assert validate_row(row({"_00400002": "", "_00400001": ""}, _00100020="", _00080050="")) == []


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (dataset(**ROW), "ScheduledProcedureStepSequence"),
        (dataset(**ROW, _00400100=[]), "ScheduledProcedureStepSequence"),
        (dataset(**ROW, _00400100=[dataset(**STEP)] * 2), "ScheduledProcedureStepSequence"),
        (row(_0020000D="", _00080050=" "), "StudyInstanceUID"),
        (row(_00100010="", _00100020=""), "PatientID"),
    ],
)
def test_rows_that_cannot(broken: DataSet, field: str) -> None:
    (reason,) = validate_row(broken)
    assert reason.startswith(field)
    assert "PID1" not in reason


def test_several_steps_in_one_answer_become_rows() -> None:
    several = dataset(**ROW, _00400100=[dataset(**STEP), dataset(**{**STEP, "_00400009": "SPS2"})])
    parts = split_steps(several)
    assert [validate_row(part) for part in parts] == [[], []]
    assert [text(items(part, STEPS)[0], 0x00400009) for part in parts] == ["SPS1", "SPS2"]
    assert split_steps(row()) == [row()]


TODAY = date(2026, 7, 6)


@pytest.mark.parametrize(
    ("days_ago", "status", "expected"),
    [
        (0, "COMPLETED", False),
        (1, "COMPLETED", False),
        (2, "completed", True),
        (-3, "CANCELED", False),
        (7, "SCHEDULED", False),
        (8, "SCHEDULED", True),
        (8, "", True),
        (7, "HELD", False),
        (-400, "SCHEDULED", False),
    ],
)
def test_rows_expire_by_schedule_and_status(days_ago: int, status: str, expected: bool) -> None:
    assert expired(TODAY - timedelta(days=days_ago), status, TODAY, 7) is expected


def test_a_row_without_a_start_expires_only_when_done() -> None:
    assert expired(None, "DISCONTINUED", TODAY, 7)
    assert not expired(None, "", TODAY, 7)


@given(st.dates(), st.sampled_from(["", "HELD", "SCHEDULED", *DONE]), st.integers(0, 1000))
def test_no_row_with_a_start_lives_for_ever(start: date, status: str, keep_days: int) -> None:
    if start < date.max - timedelta(days=keep_days + 2):
        assert expired(start, status, start + timedelta(days=keep_days + 2), keep_days)
    assert not expired(start, status, start, keep_days)


NOW = datetime(2026, 7, 6, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=20), Freshness.FRESH),
        (timedelta(seconds=21), Freshness.STALE),
        (timedelta(hours=24), Freshness.STALE),
        (timedelta(hours=25), Freshness.EXPIRED),
        (timedelta(seconds=-5), Freshness.FRESH),
        (timedelta(days=-400), Freshness.STALE),
    ],
)
def test_freshness(age: timedelta, expected: Freshness) -> None:
    limits = {"fresh_for": timedelta(seconds=20), "max_stale": timedelta(hours=24)}
    assert freshness(NOW - age, NOW, **limits) is expected
    assert freshness(None, NOW, **limits) is Freshness.EXPIRED


def scheduled(day: str, at: str, step: str) -> RowColumns:
    return columns(row({"_00400002": day, "_00400003": at, "_00400009": step}), utf8)


def start(column: RowColumns) -> Start:
    return Start(column.start_date, column.start_time, column.ScheduledProcedureStepID)


def test_nearest_first() -> None:
    # Noon on the site's wall clock: the zone is the site's, not UTC
    now = datetime(2026, 7, 6, 12, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
    expected = [
        scheduled("20260706", "", "today, no time"),
        scheduled("20260706", "1155", "five before"),
        scheduled("20260706", "1210", "ten after"),
        scheduled("20260706", "0800", "four hours"),
        scheduled("20260707", "", "tomorrow, no time"),
        scheduled("20260707", "0830", "tomorrow"),
        scheduled("", "", "a"),
        scheduled("", "", "b"),
    ]
    for seed in range(20):
        shuffled = random.Random(seed).sample(expected, len(expected))
        assert nearest_first(shuffled, now, of=start) == expected


def test_a_row_s_age_is_seen_in_the_comment_of_its_step_and_nowhere_else() -> None:
    plain: DataSet = {0x00100010: ("PN", b"TEST^A "), STEPS: ("SQ", [{0x00400400: ("LT", b"Fasting ")}])}
    shown = dated(plain, "AS OF 08:14")
    assert shown[0x00100010] == plain[0x00100010]
    assert items(shown, STEPS)[0] == {0x00400400: ("LT", b"AS OF 08:14; Fasting")}
    assert items(dated({STEPS: ("SQ", [{}])}, "AS OF 08:14"), STEPS)[0][0x00400400][1] == b"AS OF 08:14"
    assert dated(plain, "") is plain
    assert dated({}, "AS OF 08:14") == {}
