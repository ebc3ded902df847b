"""When a study will be there: by what was measured, or not told at all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.domain.model import DestinationName
from gateway.domain.transit import Pace, Transit

PACS = DestinationName("pacs")


def transit(*, waiting: int, ahead: int = 0, rate: float | None) -> Transit:
    return Transit(
        destination=PACS,
        images=10,
        size=1000,
        waiting_images=1 if waiting else 0,
        waiting_size=waiting,
        sent_images=0,
        confirmed_images=0,
        refused_images=0,
        ahead_size=ahead,
        rate=rate,
    )


@pytest.mark.parametrize(
    ("waiting", "ahead", "rate", "seconds"),
    [
        (100, 0, 10.0, 10.0),
        (100, 900, 10.0, 100.0),
        (100, 0, None, None),
        (100, 0, 0.0, None),
        (0, 0, None, 0.0),
        (10**15, 0, 1.0, None),
    ],
)
def test_arrival(waiting: int, ahead: int, rate: float | None, seconds: float | None) -> None:
    arrives_in = transit(waiting=waiting, ahead=ahead, rate=rate).arrives_in
    assert arrives_in == (None if seconds is None else timedelta(seconds=seconds))


def test_a_pace_of_nothing_is_not_known() -> None:
    assert Pace(destination=PACS, size=600, seconds=60.0).rate == pytest.approx(10)
    assert Pace(destination=PACS, size=0, seconds=60.0).rate is None
