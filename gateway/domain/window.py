"""When a destination may be sent to: times of day at the site, "22:00-06:00, 12:00-13:00". Pure.

Promises: a span that ends before it begins goes past midnight. A change between winter and summer time never
swallows a span: one that would lie in the hour that is left out begins when that hour is over, and lasts as long
as it is written; an hour that comes twice belongs to a span whole. All moments are UTC-aware.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

LOOKED_BACK: Final = timedelta(days=8)
"""How far `open_since` counts: whoever asks for more has waited for longer than any alarm needs."""
_SPAN: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))", re.ASCII)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Times of day; none: always."""

    spans: tuple[tuple[time, time], ...] = ()

    def is_open(self, at: datetime, zone: tzinfo) -> bool:
        return not self.spans or any(begins <= at < ends for begins, ends in self._moments(at, at, zone))

    def opens(self, at: datetime, zone: tzinfo) -> datetime:
        """`at` if it is open then, else the next moment it is."""
        if self.is_open(at, zone):
            return at
        return min(begins for begins, _ in self._moments(at, at + 2 * _DAY, zone) if begins > at)

    def open_since(self, since: datetime, at: datetime, zone: tzinfo) -> timedelta:
        """How long it was open from `since` to `at`, of the last eight days: what waits for longer than that is late
        through no window."""
        if not self.spans:
            return at - since
        since = max(since, at - LOOKED_BACK)
        total, reached = timedelta(0), since
        for begins, ends in sorted(self._moments(since, at, zone)):
            counted = max(begins, reached), min(ends, at)  # spans may overlap
            if counted[0] < counted[1]:
                total, reached = total + (counted[1] - counted[0]), counted[1]
        return total

    def _moments(self, first: datetime, last: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
        """Each span that may touch the time from `first` to `last`, as moments."""
        day = first.astimezone(zone).date() - _DAY
        while day <= last.astimezone(zone).date():
            for begin, end in self.spans:
                begins = _moment(day, begin, zone)
                ends = _moment(day if begin < end else day + _DAY, end, zone, second=True)
                written = datetime.combine(day if begin < end else day + _DAY, end) - datetime.combine(day, begin)
                yield begins, ends if begins < ends else begins + written
            day += _DAY


def parse_window(text: str) -> Window:
    """Read "always", or spans of times of day with commas between. Raises ValueError with what is wrong."""
    if text == "always":
        return Window()
    spans = []
    for part in text.split(","):
        found = _SPAN.fullmatch(part.strip())
        if found is None:
            raise ValueError('is neither "always" nor times of day')
        hour, minute = (found[3], found[4]) if found[3] else ("00", "00")
        begin, end = time(int(found[1]), int(found[2])), time(int(hour), int(minute))
        if begin == end:
            raise ValueError("begins when it ends")
        spans.append((begin, end))
    return Window(tuple(spans))


def _moment(day: date, at: time, zone: tzinfo, *, second: bool = False) -> datetime:
    """A time of day as a moment; of an hour that comes twice the first or the second. A time that is left out is as
    far behind the change as it is written behind its beginning."""
    return datetime.combine(day, at.replace(fold=int(second)), zone).astimezone(UTC)
