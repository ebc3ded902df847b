"""One cause is one incident, and what is not one cause is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.fleet import BoxId, SiteName
from gateway.domain.incidents import BOX_LOST, TOGETHER, BoxAlarm, correlate
from gateway.domain.issue import Severity

T0 = datetime(2026, 1, 1, 10, 42, tzinfo=UTC)


def alarm(
    number: int = 1, *, site: str = "north", code: str = "destination-unreachable", inst: str = "pacs", after: float = 0
) -> BoxAlarm:
    return BoxAlarm(
        site=SiteName(site),
        box=BoxId(f"box-{number}"),
        code=code,
        instance=inst,
        severity=Severity.ERROR,
        since=T0 + timedelta(seconds=after),
    )


def test_one_pacs_at_two_hundred_boxes_is_one_incident() -> None:
    alarms = [alarm(number, after=number * 30) for number in range(200)]
    (found,) = correlate(alarms, [])
    assert (len(found.joining), found.number, found.opened_at) == (200, 0, T0)


def test_its_consequences_are_part_of_it() -> None:
    codes = ("destination-unreachable", "delivery-late", "peer-no-answer")
    assert len(correlate([alarm(place, code=code) for place, code in enumerate(codes)], [])) == 1


def test_another_instance_is_another_incident() -> None:
    assert len(correlate([alarm(1), alarm(2, inst="archive")], [])) == 2


def test_the_same_name_at_another_site_is_the_same_thing_only_if_it_failed_with_it() -> None:
    assert len(correlate([alarm(1), alarm(2, site="south", after=60)], [])) == 1
    assert len(correlate([alarm(1), alarm(2, site="south", after=600)], [])) == 2


def test_who_comes_later_joins_what_is_open() -> None:
    (first,) = correlate([alarm(1)], [])
    open_one = replace(first, number=7, joining=())
    (found,) = correlate([alarm(2, after=7200)], [open_one])
    assert (found.number, len(found.joining)) == (7, 1)
    assert correlate([], [open_one]) == []


@pytest.mark.parametrize("code", ["disk-full", "clock-off"])
def test_what_is_about_the_box_itself_is_of_one_box(code: str) -> None:
    assert len(correlate([alarm(1, code=code, inst="box"), alarm(2, code=code, inst="box")], [])) == 2


def test_boxes_that_are_lost_together_have_one_cause() -> None:
    lost = [alarm(number, site=f"site-{number % 3}", code=BOX_LOST, inst="box", after=number) for number in range(60)]
    late = alarm(99, code=BOX_LOST, inst="box", after=60 + 2 * TOGETHER.total_seconds())
    assert [len(one.joining) for one in correlate([*lost, late], [])] == [60, 1]


def test_the_highest_severity_is_that_of_the_incident() -> None:
    worse = replace(alarm(2), severity=Severity.CRITICAL)
    (found,) = correlate([alarm(1), worse, replace(alarm(3), severity=Severity.INFO)], [])
    assert found.severity is Severity.CRITICAL
