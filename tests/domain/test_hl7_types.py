"""Times of messages: offsets, the site's zone, and the two hours a year that are none or twice."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.hl7_types import Adjusted, Precision, moment

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "utc", "local", "precision"),
    [
        ("20260304081500", "2026-03-04T07:15:00", "20260304 081500", Precision.TIME),
        ("20260304081500+0100", "2026-03-04T07:15:00", "20260304 081500", Precision.TIME),
        ("20260304081500.1234-0500", "2026-03-04T13:15:00.123400", "20260304 141500", Precision.TIME),
        ("202607040815", "2026-07-04T06:15:00", "20260704 081500", Precision.TIME),
        ("2026030408", "2026-03-04T07:00:00", "20260304 080000", Precision.TIME),
        ("20260304", "2026-03-03T23:00:00", "20260304 000000", Precision.DAY),
        ("202603", "2026-02-28T23:00:00", "20260301 000000", Precision.MONTH),
        ("2026", "2025-12-31T23:00:00", "20260101 000000", Precision.YEAR),
        ("2026-03-04 10:30", "2026-03-04T09:30:00", "20260304 103000", Precision.TIME),
        ("2026-03-04T10:30:00Z", "2026-03-04T10:30:00", "20260304 113000", Precision.TIME),
        ("20260304231500-0500", "2026-03-05T04:15:00", "20260305 051500", Precision.TIME),
    ],
)
def test_moments(text: str, utc: str, local: str, precision: Precision) -> None:
    found = moment(text, BERLIN)
    assert found is not None
    assert found.utc == datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert found.at.strftime("%Y%m%d %H%M%S") == local
    assert (found.precision, found.adjusted) == (precision, Adjusted.NO)


def test_an_hour_the_clocks_skip_is_moved_forward() -> None:
    found = moment("202603290230", BERLIN)
    assert found is not None
    assert found.at.strftime("%H%M") == "0330"
    assert found.adjusted is Adjusted.GAP


def test_an_hour_the_clocks_have_twice_is_the_first() -> None:
    found = moment("202610250230", BERLIN)
    assert found is not None
    assert found.utc.hour == 0
    assert found.adjusted is Adjusted.OVERLAP
    told = moment("202610250230+0100", BERLIN)
    assert told is not None
    assert told.utc.hour == 1
    assert told.adjusted is Adjusted.NO


@pytest.mark.parametrize("text", ["", "26", "20261304", "20260230", "2026030425", "2026030408+9900", "soon", "00000000",
                                  "9999123123-1200", "\uff12\uff10\uff12\uff16"])  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    assert moment(text, BERLIN) is None
