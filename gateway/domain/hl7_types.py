"""HL7's times as the points in time they are (TS and DTM, HL7 v2.5.1 section 2A.22).

Nothing is made up: text that is no time is None. A time without an offset is the site's; one that the
site's clocks left out, or had twice, is used and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final

_MOMENT: Final = re.compile(
    r"(\d{4})(?:[-./]?(\d{2})(?:[-./]?(\d{2})"
    r"(?:[T ]?(\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,6})\d*)?)?)?)?)?)? ?(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)


class Precision(IntEnum):
    """How much of a moment was told; what was not is the beginning of it."""

    YEAR = 1
    MONTH = 2
    DAY = 3
    TIME = 4


class Adjusted(StrEnum):
    """What was done to a local time so that it is one."""

    NO = ""
    GAP = "gap"
    """The clocks skipped it: moved forward by as much."""
    OVERLAP = "overlap"
    """The clocks had it twice: the first is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in time as a message wrote it."""

    at: datetime
    """At the site, aware of its zone: its date and time are those of DA and TM. Compare it in UTC."""
    precision: Precision
    adjusted: Adjusted

    @property
    def utc(self) -> datetime:
        """For comparing and keeping."""
        return self.at.astimezone(UTC)


@lru_cache(maxsize=1024)  # the messages of one second have one time, and the steps of a day few
def moment(text: str, zone: tzinfo) -> Moment | None:
    """Read YYYY[MM[DD[HH[MM[SS[.S...]]]]]][+/-ZZZZ], or what an ISO 8601 clock writes; None if it is neither.

    Without an offset it is a time of `zone`, the site's.
    """
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    *fields, fraction, offset = found.groups()
    told = [int(field) for field in fields if field is not None]
    year, month, day, hour, minute, second = (*told, *(0, 1, 1, 0, 0, 0)[len(told) :])
    try:
        as_told = datetime(
            year, month, day, hour, minute, second, int((fraction or "").ljust(6, "0")), tzinfo=_zone(offset) or zone
        )
        once = offset is None and as_told.utcoffset() == as_told.replace(fold=1).utcoffset()
        at = as_told if once and 1 < year < 9999 else as_told.astimezone(UTC).astimezone(zone)
    except (ValueError, OverflowError):  # no such day, hour or offset
        return None
    precision = Precision(min(len(told), Precision.TIME))
    return Moment(at=at, precision=precision, adjusted=Adjusted.NO if offset or once else _adjusted(as_told, at))


def _zone(offset: str | None) -> tzinfo | None:
    if offset is None:
        return None
    if offset == "Z":
        return UTC
    sign = -1 if offset[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:])))


def _adjusted(as_told: datetime, at: datetime) -> Adjusted:
    if at.replace(tzinfo=None) != as_told.replace(tzinfo=None):
        return Adjusted.GAP
    return Adjusted.OVERLAP if as_told.utcoffset() != as_told.replace(fold=1).utcoffset() else Adjusted.NO
