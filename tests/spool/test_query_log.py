"""The query log: every question with what became of it, bounded in every direction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gateway.domain.explain import Stage
from gateway.spool import Spool, query_log
from gateway.spool.query_log import IDENTIFIER_KEPT, LoggedQuery, QueryOutcome
from tests.spool.objects import START

QUERY = LoggedQuery(
    calling_ae="CT1",
    first_asked=START,
    last_asked=START,
    count=1,
    identifier=b"\x08\x00",
    meant=b"\x10\x00",
    status=0,
    looked_at=9,
    dropped={Stage.STATION: 5, Stage.STATUS: 1},
    quirks={"folded": 2},
    answered=3,
    sources={"main": "answered", "other": "deadline"},
    age=timedelta(seconds=12, milliseconds=250),
    slowest=timedelta(milliseconds=3),
)


def write(spool: Spool, *queries: LoggedQuery, **tally: int) -> None:
    counted = {QueryOutcome(outcome): count for outcome, count in tally.items()}
    spool.db.write(lambda c: query_log.record(c, queries, tally=counted), rebuildable=True).result()


def test_a_question_comes_back_as_it_was_written(spool: Spool) -> None:
    unanswered = replace(QUERY, last_asked=START + timedelta(seconds=1), status=None, age=None, dropped={}, sources={})
    write(spool, QUERY, unanswered)
    assert query_log.latest(spool.db.read(), " ct1", limit=9) == (unanswered, QUERY)
    assert query_log.latest(spool.db.read(), "CT2", limit=9) == ()


def test_what_is_counted_on_is_written_over(spool: Spool) -> None:
    write(spool, QUERY)
    again = replace(QUERY, last_asked=START + timedelta(seconds=40), count=5, slowest=timedelta(seconds=1))
    gone = replace(again, calling_ae="MR1")
    spool.db.write(lambda c: query_log.recount(c, [again, gone])).result()
    assert query_log.latest(spool.db.read(), "CT1", limit=9) == (again,)
    assert query_log.latest(spool.db.read(), "MR1", limit=9) == ()  # what was erased stays erased
    write(spool, QUERY)  # a clock that stands still, or an entry begun twice
    assert query_log.latest(spool.db.read(), "CT1", limit=9)[0].count == 6


def test_an_endless_identifier_is_not_kept(spool: Spool) -> None:
    write(
        spool, replace(QUERY, identifier=bytes(IDENTIFIER_KEPT)), replace(QUERY, identifier=bytes(IDENTIFIER_KEPT + 1))
    )
    assert sorted(len(one.identifier) for one in query_log.latest(spool.db.read(), "CT1", limit=9)) == [
        0,
        IDENTIFIER_KEPT,
    ]


def test_the_last_question_of_each_scanner(spool: Spool) -> None:
    later = replace(
        QUERY, first_asked=START + timedelta(minutes=2), last_asked=START + timedelta(minutes=2), answered=0
    )
    other = replace(QUERY, calling_ae="MR1")
    assert query_log.askers(spool.db.read()) == ()
    write(spool, later, QUERY, other)
    assert query_log.askers(spool.db.read()) == (later, other)


def test_it_is_bounded_by_age_and_by_scanner(spool: Spool) -> None:
    asked = [
        replace(QUERY, first_asked=START + timedelta(minutes=n), last_asked=START + timedelta(minutes=n))
        for n in range(9)
    ]
    write(spool, *asked, replace(QUERY, calling_ae="MR1"))
    assert spool.db.write(lambda c: query_log.trim(c, "CT1", kept=4)).result() == 5
    assert query_log.latest(spool.db.read(), "CT1", limit=99) == tuple(reversed(asked[5:]))
    assert spool.db.write(lambda c: query_log.forget(c, before=START + timedelta(minutes=6))).result() == 2
    assert len(query_log.latest(spool.db.read(), "CT1", limit=99)) == 3
    assert query_log.latest(spool.db.read(), "MR1", limit=99) == ()


def test_outcomes_are_counted_for_ever(spool: Spool) -> None:
    write(spool, QUERY, answered=2, empty=1)
    write(spool, answered=3)
    counted = {"answered": 5, "empty": 1, "cancelled": 0, "refused": 0}
    assert query_log.tally(spool.db.read()) == counted
    fates = [(0, 1), (0, 0), (0xFE00, 1), (None, 1), (0xC001, 0), (0xA700, 0)]
    assert [replace(QUERY, status=status, answered=answered).outcome for status, answered in fates] == [
        *("answered", "empty", "cancelled", "cancelled", "refused", "refused")
    ]
