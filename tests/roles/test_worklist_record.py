"""What is written down of a scanner's questions: each with its fate, a console that polls once a minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from gateway.domain.explain import Stage
from gateway.domain.model import AETitle, SourceName
from gateway.domain.profile import Profile
from gateway.roles.worklist import Retention
from gateway.roles.worklist.record import Record
from gateway.roles.worklist.watch import Watch
from gateway.simulate.acceptor import hosted
from gateway.spool import audit, query_log, removals, served, worklist
from gateway.spool.query_log import LoggedQuery, QueryOutcome
from tests.cli.site import Site
from tests.domain.rows import row
from tests.roles.test_explain import Scene
from tests.roles.worklist_front import MAIN, Front, answered
from tests.spool.objects import START
from tests.spool.test_query_log import QUERY
from tests.spool.test_served import SHOWN

DAY = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def log(site: Site) -> tuple[LoggedQuery, ...]:
    """The questions of CT1, latest first."""
    site.write(lambda _: None)  # what is written behind the answers is written
    return query_log.latest(site.spool.db.read(), "CT1", limit=99)


def test_a_question_is_kept_with_its_keys_its_fate_and_what_was_shown(site: Site) -> None:
    front = Front(site, profile=Profile(station_aliases=frozenset({"ROOM1"})))
    with hosted(front):
        scene = Scene(site, front)
        held = scene.order({"_00400020": "HELD"}, _00080050="A2", _0020000D="1.2.4")
        other = scene.order({"_00400001": "CT2"}, _00080050="A3", _0020000D="1.2.5")
        answered(site, scene.order(), held, other)
        site.clock.pass_(seconds=12)
        assert scene.ask(ScheduledStationAETitle="CT1", Modality="CT") == ["A1"]
    (one,) = log(site)
    assert (one.status, one.outcome, one.answered, one.count) == (0, QueryOutcome.ANSWERED, 1, 1)
    assert one.dropped[Stage.STATUS] == 1
    assert one.looked_at >= 2
    assert one.first_asked == one.last_asked == site.clock()
    asked = dcmread(BytesIO(one.identifier), force=True)
    assert asked.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1"
    meant = dcmread(BytesIO(one.meant), force=True)
    assert "ROOM1" in meant.ScheduledProcedureStepSequence[0].ScheduledStationAETitle
    assert one.quirks["station-alias"] == 1
    (snapshot,) = served.served_to(site.spool.db.read(), AETitle("CT1"), since=one.first_asked)
    assert (snapshot.AccessionNumber, snapshot.PatientID) == ("A1", "PID1")
    assert snapshot.transfer_syntax == ImplicitVRLittleEndian
    shown = dcmread(BytesIO(snapshot.dataset), force=True)
    assert shown.AccessionNumber == "A1"
    assert "SpecificCharacterSet" in shown  # as shown, not as the RIS sent it
    assert query_log.tally(site.spool.db.read())[QueryOutcome.ANSWERED] == 1


def test_a_row_that_is_shown_in_spite_of_a_conflict_is_kept_as_such(site: Site) -> None:
    with hosted(front := Front(site)):
        scene = Scene(site, front)
        answered(site, scene.order())
        assert scene.ask(ScheduledStationAETitle="CT1") == ["A1"]
        other = scene.order({"_00400001": "CT2"}, _00100020="SOMEONE ELSE")
        answered(site, other, source=SourceName("second"))
        assert scene.ask(ScheduledStationAETitle="CT1") == ["A1"]  # the same response again, and the conflict is new
    (shown,) = served.served_to(site.spool.db.read(), AETitle("CT1"), since=site.clock())
    assert (shown.source, shown.conflict, shown.count) == ("main", "second", 2)


def test_an_empty_answer_of_a_box_without_a_ris_is_in_the_log(site: Site) -> None:
    with hosted(front := Front(site)):
        scene = Scene(site, front)
        assert scene.ask() == []
    (one,) = log(site)
    assert (one.outcome, one.answered, one.sources, one.age) == (QueryOutcome.EMPTY, 0, {}, None)


def made(site: Site) -> Record:
    return Record(site.spool, now=site.clock, retention=Retention(queries=7 * DAY, served=7 * DAY))


def ask(record: Record, site: Site, *, answered: int = 1, calling: str = "CT1") -> None:
    """One question of a console, answered at once."""
    now = site.clock()
    entry = replace(
        QUERY, calling_ae=calling, first_asked=now, last_asked=now, answered=answered, dropped={}, sources={}
    )
    record._add(entry, [SHOWN._replace(key=f"k{number}") for number in range(answered)], None)


def test_a_console_that_polls_costs_one_entry_a_minute(site: Site) -> None:
    record = made(site)
    began = site.clock()
    for _ in range(25):
        ask(record, site)
        site.clock.pass_(seconds=5)
    assert [one.count for one in log(site)] == [1, 12, 12]  # counted on when the next was begun
    record.flush()
    first, *_, last = reversed(log(site))
    assert (first.count, first.first_asked, first.last_asked) == (12, began, began + timedelta(seconds=55))
    assert sum(one.count for one in log(site)) == 25
    assert last.count == 1
    assert query_log.tally(site.spool.db.read())[QueryOutcome.ANSWERED] == 25
    (snapshot,) = served.served_to(site.spool.db.read(), AETitle("CT1"), since=began)
    assert snapshot.count == 3


def test_an_entry_tells_the_latest_counts(site: Site) -> None:
    record = made(site)
    for looked_at in (5, 7):
        now = site.clock()
        entry = replace(QUERY, first_asked=now, last_asked=now, looked_at=looked_at, dropped={Stage.KEY: looked_at})
        record._add(entry, [SHOWN], None)
        site.clock.pass_(seconds=5)
    record.flush()
    (one,) = log(site)
    assert (one.count, one.looked_at, one.dropped) == (2, 7, {Stage.KEY: 7})


def test_another_answer_or_scanner_is_another_entry(site: Site) -> None:
    record = made(site)
    ask(record, site)
    ask(record, site, answered=2)
    ask(record, site, calling="MR1")
    assert sorted(one.answered for one in log(site)) == [1, 2]
    assert len(query_log.latest(site.spool.db.read(), "MR1", limit=9)) == 1


def test_what_is_counted_is_written_within_seconds_and_at_the_end(site: Site) -> None:
    record = made(site)
    ask(record, site)
    ask(record, site)
    assert [one.count for one in log(site)] == [1]
    record.flush()
    assert [one.count for one in log(site)] == [2]
    record.flush()  # nothing new: nothing is written
    assert [one.count for one in log(site)] == [2]


def test_the_record_is_forgotten_in_time(site: Site) -> None:
    record = made(site)
    ask(record, site)
    answered(site, row())
    for _ in range(2):
        answered(site, row(_0020000D="1.2.9"))
    site.clock.pass_(days=6)
    site.write(record.forget)
    c = site.spool.db.read()
    assert len(log(site)) == len(served.served_to(c, AETitle("CT1"), since=START)) == 1
    assert len(removals.of_order(c, {"PatientID": "PID1"})) == 1
    site.clock.pass_(days=2)
    site.write(record.forget)
    assert log(site) == served.served_to(c, AETitle("CT1"), since=START) == ()
    assert removals.of_order(c, {"PatientID": "PID1"}) == []


def test_one_scanner_cannot_fill_the_books(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.roles.worklist.record.TRIM_EVERY", 10)
    monkeypatch.setattr("gateway.roles.worklist.record.OPEN", 5)
    monkeypatch.setattr(query_log.trim, "__kwdefaults__", {"kept": 20})
    record = made(site)
    for number in range(100):
        site.clock.pass_(milliseconds=1)
        ask(record, site, answered=number % 50)
    assert len(record._open) == 5
    assert 20 <= len(log(site)) <= 30


def test_an_unreadable_question_is_logged_and_answered_c001(site: Site) -> None:
    record = made(site)
    record.unreadable("CT1 ", status=0xC001, asked=site.clock())
    (one,) = log(site)
    assert (one.calling_ae, one.status, one.outcome, one.identifier) == ("CT1", 0xC001, QueryOutcome.REFUSED, b"")


def test_a_silent_ris_raises_one_alarm_that_its_answer_ends(site: Site) -> None:
    rests: dict[SourceName, datetime | None] = {MAIN: None}
    watch = Watch(site.spool, refresh={MAIN: timedelta(seconds=30)}, resting=lambda: rests, now=site.clock)

    def alarms() -> list[tuple[str, str, int]]:
        watch.look()
        standing = site.write(audit.active_alarms)
        return [(one.code, one.subject, one.count) for one in standing]

    assert alarms() == []  # it has had no time to answer yet
    site.clock.pass_(minutes=11)
    assert alarms() == alarms() == [("worklist-stale", "main", 1)]
    answered(site, row())
    assert alarms() == []
    site.clock.pass_(minutes=11)
    rests[MAIN] = site.clock() + timedelta(seconds=40)
    assert alarms() == [("worklist-stale", "main", 1)]
    (source,) = worklist.sources(site.spool.db.read())
    assert source.resting_until == rests[MAIN]
    gone = Watch(site.spool, refresh={}, resting=dict, now=site.clock)
    gone.look()
    assert site.write(audit.active_alarms) == ()  # a RIS that is not configured any more
