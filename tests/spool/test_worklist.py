"""The copy of the worklists: replaced as a whole, never emptied by silence, and a superset on lookup."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model import SourceName
from gateway.spool import Connection, Spool, removals, worklist
from gateway.spool.db import _connect, migrate
from gateway.spool.times import to_text
from gateway.spool.worklist import WorklistKeys, WorklistRow
from tests.spool.objects import START, Clock

MAIN = SourceName("main")
ROW = WorklistRow(
    source=MAIN,
    key="2.25.7|1",
    PatientID="P1",
    PatientName="TEST^ONE",
    AccessionNumber="A1",
    StudyInstanceUID="2.25.7",
    RequestedProcedureID="R1",
    ScheduledProcedureStepID="1",
    start_date="20260301",
    start_time="0800",
    Modality="CT",
    ScheduledStationAETitle="CT1\\CT2",
    status="SCHEDULED",
    dataset=b"\x08\x00",
)


WINDOW = ("20260228", "20260310")


def fill(
    spool: Spool,
    clock: Clock,
    *rows: WorklistRow,
    source: SourceName = MAIN,
    window: tuple[str, str] | None = WINDOW,
) -> int:
    return spool.db.write(lambda c: worklist.replace_source(c, source, rows=rows, now=clock(), window=window)).result()


def keys(spool: Spool) -> list[str]:
    return [each.row.key for each in worklist.rows(spool.db.read(), WorklistKeys(), limit=999)]


def test_a_row_comes_back_as_it_was_received(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW)
    clock.pass_(minutes=1)
    fill(spool, clock, changed := replace(ROW, status="ARRIVED", dataset=b"\xff\x00"))
    (stored,) = worklist.rows(spool.db.read(), WorklistKeys(), limit=9)
    assert stored.row == changed
    assert (stored.first_seen, stored.last_confirmed, stored.missed) == (START, clock(), 0)


def test_a_row_goes_when_it_is_absent_twice_in_a_row(spool: Spool, clock: Clock) -> None:
    other = replace(ROW, key="other")
    fill(spool, clock, ROW, other)
    assert fill(spool, clock, other) == 0
    assert keys(spool) == ["2.25.7|1", "other"]
    fill(spool, clock, ROW, other)  # back: the count begins anew
    assert fill(spool, clock, other) == 0
    assert fill(spool, clock, other) == 1
    assert keys(spool) == ["other"]


def test_an_answer_that_says_the_same_writes_next_to_nothing(spool: Spool, clock: Clock) -> None:
    """A refresh every half minute must not write the whole worklist to the disk every half minute."""
    rows = [replace(ROW, key=str(number)) for number in range(50)]
    fill(spool, clock, *rows)

    def again(c: Connection) -> int:
        before = c.total_changes
        worklist.replace_source(c, MAIN, rows=rows, now=clock(), window=WINDOW)
        return c.total_changes - before

    clock.pass_(minutes=1)
    assert spool.db.write(again).result() == 1  # that of the source itself
    (one, *_) = worklist.candidates(spool.db.read(), WorklistKeys(), batch=1)
    assert worklist.attested(spool.db.read())[MAIN].confirmed(one[0]) == to_text(clock())
    clock.pass_(hours=7)
    assert spool.db.write(again).result() == 51  # now and then the rows say it themselves


def test_an_answer_without_a_row_confirms_none(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW)
    confirmed = to_text(clock())
    clock.pass_(minutes=1)
    fill(spool, clock)
    ((row,),) = worklist.candidates(spool.db.read(), WorklistKeys(), batch=9)
    assert worklist.attested(spool.db.read())[MAIN].confirmed(row) == confirmed


@pytest.mark.parametrize(
    ("window", "start_date"),
    [(None, "20260301"), (("20260302", "20260310"), "20260301"), (WINDOW, "")],
    ids=["not whole", "another day", "no date"],
)
def test_only_what_was_asked_for_can_be_absent(
    spool: Spool, clock: Clock, window: tuple[str, str] | None, start_date: str
) -> None:
    fill(spool, clock, replace(ROW, start_date=start_date))
    for _ in range(3):
        assert fill(spool, clock, replace(ROW, key="other", start_date="20260305"), window=window) == 0
    assert sorted(keys(spool)) == ["2.25.7|1", "other"]


def test_a_narrower_answer_adds_and_freshens_nothing_else(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW)
    clock.pass_(minutes=1)
    other = replace(ROW, key="other")
    spool.db.write(lambda c: worklist.merge_answer(c, MAIN, rows=[other], now=clock())).result()
    assert keys(spool) == ["2.25.7|1", "other"]
    (source,) = worklist.sources(spool.db.read())
    assert (source.last_success, source.rows) == (START, 1)


def test_an_empty_answer_removes_nothing_and_is_a_success(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW)
    clock.pass_(minutes=1)
    for _ in range(5):
        assert fill(spool, clock) == 0
    assert keys(spool) == ["2.25.7|1"]
    (source,) = worklist.sources(spool.db.read())
    assert (source.last_success, source.rows, source.last_error) == (clock(), 0, "")


def test_a_failure_touches_no_row_and_is_remembered(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW)
    clock.pass_(minutes=1)
    for _ in range(3):
        spool.db.write(lambda c: worklist.record_failure(c, MAIN, error="timeout", now=clock())).result()
    new = SourceName("new")
    spool.db.write(lambda c: worklist.record_failure(c, new, error="refused", now=clock())).result()
    assert keys(spool) == ["2.25.7|1"]
    main, never = worklist.sources(spool.db.read())
    assert (main.last_success, main.last_attempt, main.last_error, main.rows) == (START, clock(), "timeout", 1)
    assert (never.name, never.last_success, never.last_error) == ("new", None, "refused")


def test_one_source_does_not_touch_another(spool: Spool, clock: Clock) -> None:
    second = SourceName("second")
    fill(spool, clock, ROW)
    for _ in range(3):
        fill(spool, clock, replace(ROW, source=second), source=second)
    assert len(keys(spool)) == 2
    with pytest.raises(ValueError, match="one source at a time"):
        fill(spool, clock, ROW, source=second)


def test_rows_expire_by_schedule_and_status(spool: Spool, clock: Clock) -> None:
    fill(
        spool,
        clock,
        ROW,
        replace(ROW, key="undated", start_date=""),
        replace(ROW, key="tomorrow", start_date="20260302"),
        replace(ROW, key="done", start_date="20260309", status="COMPLETED"),
    )
    expire = lambda c: worklist.expire(  # noqa: E731
        c,
        started_before="20260302",
        confirmed_before=clock() - timedelta(hours=24),
        now=clock(),
        settled_before=clock(),
        statuses=["COMPLETED"],
    )
    assert spool.db.write(expire).result() == 1  # the source confirmed the others just now
    clock.pass_(hours=25)
    assert spool.db.write(expire).result() == 2
    assert keys(spool) == ["tomorrow"]
    gone = removals.of_order(spool.db.read(), {"AccessionNumber": "a1", "PatientID": "P1"})
    assert sorted(one.reason for one in gone) == ["done", "expired", "expired"]
    assert removals.of_order(spool.db.read(), {"AccessionNumber": "A1", "PatientID": "P2"}) == []
    spool.db.write(lambda c: removals.forget(c, before=clock())).result()
    assert [one.reason for one in removals.of_order(spool.db.read(), {"StudyInstanceUID": "2.25.7"})] == ["expired"] * 2


@pytest.mark.parametrize("field", ["key", "start_date"])
def test_a_row_that_cannot_be_kept_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        _ = replace(ROW, key="") if field == "key" else replace(ROW, start_date="2026.03.01")


words = st.sampled_from(["", "A1", "a1", "A2", "CT", "CT1", "ct2", "A1 ", "A1\0"])
days = st.sampled_from(["", "20260228", "20260301", "20260302"])


@st.composite
def rows(draw: st.DrawFn) -> WorklistRow:
    return replace(
        ROW,
        key=str(draw(st.integers(0, 10**9))),
        AccessionNumber=draw(words),
        PatientID=draw(words),
        StudyInstanceUID=draw(words),
        Modality=draw(words),
        start_date=draw(days),
        ScheduledStationAETitle="\\".join(draw(st.lists(words, max_size=3))),
    )


@st.composite
def queries(draw: st.DrawFn) -> WorklistKeys:
    value = st.none() | words | st.sampled_from(["A*", "?1", "CT\\CT1"])
    day = st.none() | days
    return WorklistKeys(
        AccessionNumber=draw(value),
        PatientID=draw(value),
        StudyInstanceUID=draw(value),
        Modality=draw(value),
        ScheduledStationAETitle=draw(value),
        start_from=draw(day),
        start_to=draw(day),
    )


def certainly_matches(row: WorklistRow, query: WorklistKeys) -> bool:
    """Single value and range matching of PS3.4 C.2.2.2, for the keys without a wildcard or a list."""

    def same(stored: str, wanted: str | None) -> bool:
        exact = (wanted or "").strip(" \0")
        return not exact or bool(set("*?\\") & set(exact)) or exact in [v.strip(" ") for v in stored.split("\\")]

    return (
        same(row.AccessionNumber, query.AccessionNumber)
        and same(row.PatientID, query.PatientID)
        and same(row.StudyInstanceUID, query.StudyInstanceUID)
        and same(row.Modality, query.Modality)
        and same(row.ScheduledStationAETitle, query.ScheduledStationAETitle)
        and (not query.start_from or row.start_date >= query.start_from)
        and (not query.start_to or row.start_date <= query.start_to)
    )


@given(copy=st.lists(rows(), max_size=8, unique_by=lambda row: row.key), query=queries())
def test_no_row_that_matches_is_left_out(copy: list[WorklistRow], query: WorklistKeys) -> None:
    c = _memory()
    worklist.replace_source(c, MAIN, rows=copy, now=START, window=WINDOW)
    found = {each.row.key for each in worklist.rows(c, query, limit=999)}
    c.close()
    assert {row.key for row in copy if certainly_matches(row, query)} <= found


def test_the_prefilter_does_filter(spool: Spool, clock: Clock) -> None:
    fill(spool, clock, ROW, replace(ROW, key="other", AccessionNumber="A2", start_date="20260305", Modality="MR"))
    for query in (
        WorklistKeys(AccessionNumber="a1"),
        WorklistKeys(start_to="20260304"),
        WorklistKeys(start_from="20260228", start_to="20260301"),
        WorklistKeys(Modality="CT"),
        WorklistKeys(source=MAIN, AccessionNumber="A1"),
    ):
        assert [each.row.key for each in worklist.rows(spool.db.read(), query, limit=9)] == [ROW.key]
    assert worklist.rows(spool.db.read(), WorklistKeys(ScheduledStationAETitle="CT"), limit=9) == ()
    assert len(worklist.rows(spool.db.read(), WorklistKeys(), limit=1)) == 1


def test_a_long_list_does_not_keep_others_from_what_came_meanwhile(spool: Spool, clock: Clock) -> None:
    many = [replace(ROW, key=str(number)) for number in range(worklist.FEW + 1)]
    fill(spool, clock, *many)
    listing = worklist.candidates(spool.db.read(), WorklistKeys(PatientID="P1"), batch=100)
    seen = len(next(listing))
    new = replace(ROW, key="new", PatientID="P2")
    spool.db.write(lambda c: worklist.merge_answer(c, MAIN, rows=[new], now=clock())).result()
    ((found,),) = worklist.candidates(spool.db.read(), WorklistKeys(PatientID="P2"), batch=9)
    assert found.key == "new"
    assert seen + sum(map(len, listing)) == len(many)


def _memory() -> Connection:
    from pathlib import Path

    c = _connect(Path(":memory:"))
    migrate(c, now=Clock())
    return c


def test_candidates_are_the_same_rows_in_short(spool: Spool, clock: Clock) -> None:
    spool.db.write(lambda c: worklist.merge_answer(c, ROW.source, rows=[ROW], now=clock())).result()
    ((candidate,),) = worklist.candidates(spool.db.read(), WorklistKeys(PatientID=ROW.PatientID), batch=9)
    assert candidate[:4] == (ROW.source, ROW.key, ROW.dataset, ROW.digest)
