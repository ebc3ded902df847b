"""When room is made on the disk, and how long it holds out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.disk import Disk, Watermarks, ingest_rate, sentence

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MARKS = Watermarks(high=0.85, low=0.75, keep=HOUR, warning=DAY)
GB = 10**9


def disk(*, free: int, confirmed: int = 0, ingest: float | None = None) -> Disk:
    return Disk(at=NOW, free=free, total=100 * GB, reserve=5 * GB, confirmed=confirmed, ingest=ingest)


@pytest.mark.parametrize(("free", "excess"), [(15 * GB, 0), (15 * GB - 1, 10 * GB + 1), (100 * GB, 0), (0, 25 * GB)])
def test_room_is_made_above_the_high_mark_and_down_to_the_low_one(free: int, excess: int) -> None:
    assert MARKS.excess(free=free, total=100 * GB) == excess


@given(free=st.integers(0, 10**13), total=st.integers(1, 10**13))
def test_room_that_is_made_ends_the_need_for_it(free: int, total: int) -> None:
    excess = MARKS.excess(free=min(free, total), total=total)
    assert excess >= 0
    assert MARKS.excess(free=min(free, total) + excess, total=total) == 0


def test_the_faster_of_the_measured_times_counts() -> None:
    assert ingest_rate({HOUR: 36 * GB, DAY: 86 * GB}) == pytest.approx(10_000_000)
    assert ingest_rate({HOUR: 0, DAY: 86_400}) == pytest.approx(1)
    assert ingest_rate({HOUR: 0, DAY: 0}) is None


def test_what_is_confirmed_counts_as_room_and_the_reserve_does_not() -> None:
    assert disk(free=15 * GB, confirmed=26 * GB, ingest=GB / 3600).holds_out == timedelta(hours=36)
    assert disk(free=4 * GB, ingest=GB).holds_out == timedelta(0)
    assert disk(free=4 * GB).is_full
    assert disk(free=15 * GB, ingest=1e-9).holds_out == timedelta(days=3650)


def test_a_forecast_without_a_measured_rate_is_none_and_is_said_so() -> None:
    assert disk(free=15 * GB).holds_out is None
    assert sentence(disk(free=15 * GB, confirmed=GB), holds_out="") == (
        "15.0 GB of 100.0 GB are free; 1.0 GB of images are confirmed everywhere and may be let go."
        " Nothing was received lately, so it is not known how long there is room."
    )
