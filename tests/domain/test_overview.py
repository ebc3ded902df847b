"""An old worklist is told beside the images, and decides how the box looks only if nothing worse stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.model import InstanceState, SourceName
from gateway.domain.overview import Alarm, Mood, Overview, Towards, WorklistSource, sentence

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def source(age: timedelta | None) -> WorklistSource:
    success = None if age is None else NOW - age
    return WorklistSource(name=SourceName("main"), last_attempt=NOW, last_success=success, last_error="", rows=3)


def overview(*, age: timedelta | None = timedelta(seconds=12), refresh: timedelta = timedelta(seconds=30)) -> Overview:
    return Overview(
        now=NOW,
        instances=dict.fromkeys(InstanceState, 0) | {InstanceState.DELIVERED: 2},
        quarantined=0,
        destinations=[],
        worklist=[source(age)],
        refresh={"main": refresh},
        alarms=[],
        strangers=[],
    )


def test_fresh_and_safe_is_well() -> None:
    assert sentence(overview()) == "All 2 images are safe at their destinations."
    assert overview().mood is Mood.WELL


@pytest.mark.parametrize(
    ("age", "told"),
    [(timedelta(hours=3, minutes=2), "The worklist of main is 3 h old."), (None, "The worklist of main never came.")],
)
def test_an_old_list_is_told_beside_the_images(age: timedelta | None, told: str) -> None:
    old = overview(age=age)
    assert sentence(old) == f"All 2 images are safe at their destinations. {told}"
    assert old.mood is Mood.WAITING


def test_a_list_that_is_asked_for_seldom_is_not_old_in_between() -> None:
    assert overview(age=timedelta(minutes=50), refresh=timedelta(hours=1)).mood is Mood.WELL
    assert overview(age=timedelta(minutes=50), refresh=timedelta(minutes=1)).mood is Mood.WAITING


def test_a_ris_that_was_removed_from_the_configuration_is_no_worry() -> None:
    assert replace(overview(age=timedelta(days=3)), refresh={}).mood is Mood.WELL


def test_a_ris_that_was_never_asked_is_named() -> None:
    assert replace(overview(), worklist=[]).never_asked == ["main"]


def test_what_needs_a_person_comes_before_what_waits() -> None:
    alarm = Alarm(code="no-route", subject="routing", since=NOW, last=NOW, count=1, cleared_at=None)
    waiting = Towards(
        name="pacs", configured=True, waiting=2, sent=0, refused=0, oldest=NOW - timedelta(hours=3), last_status=""
    )
    assert replace(overview(), destinations=[waiting]).mood is Mood.WAITING
    worst = replace(overview(), destinations=[waiting], alarms=[alarm])
    assert worst.mood is Mood.PERSON
    assert sentence(worst) == "1 alarm needs a person: no-route."
