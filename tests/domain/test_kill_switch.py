"""When automatic corrections stop: each cause at its limit and one beyond it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.kill_switch import Cause, Corrected, Limits, Stop, stops
from gateway.domain.model import AETitle, SourceName

NOW = datetime(2026, 7, 6, 10, 0, tzinfo=UTC)
LIMITS = Limits()
QUIET = Corrected(
    calling_ae=AETitle("CT1"), studies=100, corrected=4, studies_before=2000, corrected_before=100
)  # a baseline of 5 %
MAIN, EPIC = SourceName("main"), SourceName("epic")


def causes(*scanners: Corrected, most: int = 0, ages: tuple[float, ...] = (0.0,)) -> tuple[Stop, ...]:
    heard = [(source, NOW - timedelta(hours=age)) for source, age in zip((MAIN, EPIC), ages, strict=False)]
    return stops(scanners, most_to_one_patient=most, heard=heard, limits=LIMITS, now=NOW)


@pytest.mark.parametrize(
    ("scanner", "does_stop"),
    [
        pytest.param(QUIET, False, id="a common day"),
        pytest.param(replace(QUIET, corrected=15), False, id="three times the baseline"),
        pytest.param(replace(QUIET, corrected=16), True, id="more than three times"),
        pytest.param(replace(QUIET, studies=4, corrected=4), False, id="all of few is chance"),
        pytest.param(replace(QUIET, studies=5, corrected=5), True, id="all of enough is not"),
        pytest.param(replace(QUIET, studies_before=199, corrected_before=199, corrected=7), True, id="no baseline yet"),
        pytest.param(
            replace(QUIET, corrected_before=0, corrected=6), False, id="a scanner that needed none: the floor"
        ),
        pytest.param(replace(QUIET, corrected_before=0, corrected=7), True, id="and more than the floor allows"),
        pytest.param(replace(QUIET, studies=0, corrected=0), False, id="nothing came"),
    ],
)
def test_a_rate_stops_beyond_three_times_its_baseline(scanner: Corrected, does_stop: bool) -> None:
    assert causes(scanner) == ((Stop(cause=Cause.RATE, subject="CT1"),) if does_stop else ())


def test_a_patient_who_collects_corrections_stops_them_unnamed() -> None:
    assert causes(most=5) == ()
    assert causes(most=6) == (Stop(cause=Cause.PATIENT, subject=""),)


def test_silent_sources_stop_only_when_none_is_heard() -> None:
    assert causes(ages=(25, 1)) == ()
    assert causes(ages=(24, 24)) == ()
    assert [stop.subject for stop in causes(ages=(25, 25))] == [EPIC, MAIN]
    assert causes(ages=()) == ()


def test_only_the_silence_of_a_source_ends_by_itself() -> None:
    assert {cause for cause in Cause if not cause.waits_for_a_person} == {Cause.FEED}
