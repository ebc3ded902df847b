"""When it is open, over midnight and over the changes of summer time; checked against the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.window import Window, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)
MOMENTS = st.integers(0, 364 * 86400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
TIMES = st.times().map(lambda at: at.replace(second=0, microsecond=0, tzinfo=None))
SPANS = st.tuples(TIMES, TIMES).filter(lambda span: span[0] != span[1])
WINDOWS = st.lists(SPANS, min_size=1, max_size=3).map(lambda spans: Window(tuple(spans)))


def berlin(*at: int, fold: int = 0) -> datetime:
    return datetime(*at, fold=fold, tzinfo=BERLIN).astimezone(UTC)  # type: ignore[misc, arg-type]


def minutes_open(window: Window, since: datetime, hours: int) -> int:
    return sum(window.is_open(since + MINUTE * n, BERLIN) for n in range(hours * 60))


def test_a_night_goes_past_midnight() -> None:
    night = parse_window("22:00-06:00")
    assert [night.is_open(berlin(2026, 7, 6, hour), BERLIN) for hour in (5, 6, 21, 22, 23)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert night.opens(berlin(2026, 7, 6, 12), BERLIN) == berlin(2026, 7, 6, 22)
    assert night.opens(berlin(2026, 7, 6, 23), BERLIN) == berlin(2026, 7, 6, 23)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("22:00-06:00", 7 * 60 + 120),
        ("02:00-03:00", 60),
        ("02:15-02:45", 30),
        ("02:30-04:00", 30),
        ("01:00-24:00", 120 + 22 * 60),
    ],
)
def test_the_night_of_summer_time_has_every_span(text: str, minutes: int) -> None:
    """Clocks go from 02:00 to 03:00 on 29 March 2026; counted to the midnight after."""
    assert minutes_open(parse_window(text), berlin(2026, 3, 28, 22), 25) == minutes


def test_an_hour_that_comes_twice_belongs_to_a_span_whole() -> None:
    """Clocks go from 03:00 back to 02:00 on 25 October 2026."""
    assert minutes_open(parse_window("02:00-03:00"), berlin(2026, 10, 25), 12) == 120
    assert minutes_open(parse_window("01:30-02:30"), berlin(2026, 10, 25), 12) == 120


@given(WINDOWS, MOMENTS)
def test_it_is_open_when_it_says_it_opens_and_not_before(window: Window, at: datetime) -> None:
    opens = window.opens(at, BERLIN)
    assert at <= opens <= at + timedelta(hours=26)
    assert window.is_open(opens, BERLIN)
    assert opens == at or not window.is_open(opens - timedelta(seconds=1), BERLIN)


@given(WINDOWS, MOMENTS)
def test_away_from_the_changes_it_is_what_the_wall_clock_says(window: Window, at: datetime) -> None:
    days = [
        at.astimezone(BERLIN).utcoffset() == (at + timedelta(days=n)).astimezone(BERLIN).utcoffset() for n in (-2, 2)
    ]
    wall = at.astimezone(BERLIN).time()
    said = any(b <= wall < e if b < e else wall >= b or wall < e for b, e in window.spans)
    assert not all(days) or window.is_open(at, BERLIN) == said


@given(WINDOWS, MOMENTS, st.integers(0, 72))
def test_the_time_it_was_open_is_the_sum_of_its_minutes(window: Window, at: datetime, hours: int) -> None:
    at = at.replace(second=0, microsecond=0)
    counted = window.open_since(at - timedelta(hours=hours), at, BERLIN)
    assert counted == MINUTE * minutes_open(window, at - timedelta(hours=hours), hours)


def test_always_counts_all_of_the_time() -> None:
    at = datetime(2026, 7, 6, tzinfo=UTC)
    assert parse_window("always") == Window()
    assert Window().is_open(at, BERLIN)
    assert Window().open_since(at - timedelta(days=30), at, BERLIN) == timedelta(days=30)


@pytest.mark.parametrize("text", ["", "never", "22-06", "22:00-22:00", "24:00-01:00", "22:00-06:00,", "2:00-3:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is neither|begins when"):
        parse_window(text)


def test_several_spans_and_the_end_of_the_day() -> None:
    assert parse_window("12:00-13:00, 18:00-24:00").spans == ((time(12), time(13)), (time(18), time(0)))
