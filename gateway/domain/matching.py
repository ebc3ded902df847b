"""Worklist queries: a C-FIND identifier compiled once, then compared with row after row (PS3.4 K.6.1.2.2, C.2.2.2).

Promises:

* Every key is applied here, whoever supplied the rows: a RIS may ignore optional keys (K.2.2.1.1.2).
* Compiling and matching never raise for what the identifier or the row contains, and take time
  linear in both. A key that can't be read finds only rows with the same text.
* Adding a key never adds rows. The one exception is the standard's own: a range of start dates
  beside a range of start times means one period from the first moment to the last (Table K.6-1).
* A row that matches is never missed by the `prefilter`.

Not used for matching, as field practice or K.2.2.1.1.2 allows: Specific Character Set, Query/Retrieve
Level and its neighbours, Timezone Offset, group lengths, private elements, and VRs that are neither
text, DA, TM, UI nor SQ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeAlias

from gateway.domain.keys import (
    DateKey,
    DateSpan,
    Test,
    TextKey,
    TimeKey,
    TimeSpan,
    UidKey,
    date_spans,
    name_key,
    stored_date,
    stored_time,
    text_key,
    time_spans,
)
from gateway.domain.transliteration import Script
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    ADMISSION_ID,
    HIDDEN,
    MAX_DEPTH,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    QUERY_RETRIEVE_LEVEL,
    REQUESTED_PROCEDURE_ID,
    SCHEDULED_STATION_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    SPS_ID,
    SPS_SEQUENCE,
    SPS_START_DATE,
    SPS_START_TIME,
    SPS_STATUS,
    STUDY_INSTANCE_UID,
    TIMEZONE_OFFSET_FROM_UTC,
    DataSet,
    Decode,
    Value,
    all_values,
    decoded,
    items,
    status_of,
)

_RETRIEVE_AE_TITLE: Final = 0x00080054
_QUERY_RETRIEVE_VIEW: Final = 0x00080053
_NOT_KEYS: Final = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        QUERY_RETRIEVE_LEVEL,
        _QUERY_RETRIEVE_VIEW,
        _RETRIEVE_AE_TITLE,
        TIMEZONE_OFFSET_FROM_UTC,
    }
)
_TEXT: Final = frozenset({"AE", "AS", "CS", "DS", "IS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_SINGLE: Final = frozenset({ACCESSION_NUMBER, PATIENT_ID, MODALITY})
"""VM 1, and a column of the index: a second stored value is junk, here as there."""
_VR: Final = {
    MODALITY: "CS",
    ACCESSION_NUMBER: "SH",
    PATIENT_NAME: "PN",
    PATIENT_ID: "LO",
    STUDY_INSTANCE_UID: "UI",
    SCHEDULED_STATION_AE_TITLE: "AE",
    SPS_START_DATE: "DA",
    SPS_START_TIME: "TM",
    SPS_STATUS: "CS",
}
"""The keys that decide what a scanner sees keep their VR, whatever a query claims (UN is seen)."""
PATIENT_KEYS: Final = frozenset(
    {ACCESSION_NUMBER, PATIENT_NAME, PATIENT_ID, STUDY_INSTANCE_UID, ADMISSION_ID, REQUESTED_PROCEDURE_ID}
)


TagPath: TypeAlias = tuple[int, ...]
"""A key by its tags, from the outermost sequence in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilter:
    """Conditions for an index that keep every row the query matches, and more. None: no condition.

    Compare with `RowColumns`: the Modality is one of, the StationAETitles hold one of, start_date is
    between the two, inclusive. Only exact values are here; they are in the columns' own notation.
    """

    AccessionNumber: str | None = None
    PatientID: str | None = None
    date_from: date | None = None
    date_to: date | None = None
    Modality: tuple[str, ...] | None = None
    StationAETitles: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Keys:
    """The matching keys of one identifier or sequence item."""

    tests: tuple[tuple[int, Test], ...]
    period: _Period | None

    def __bool__(self) -> bool:
        return bool(self.tests) or self.period is not None

    def matches(self, source: DataSet, decode: Decode) -> bool:
        for tag, test in self.tests:
            element = source.get(tag)
            if element is None or not test(element[1], decode):
                return False
        return self.period is None or self.period.holds(source)

    def failing(self, source: DataSet, decode: Decode) -> list[TagPath]:
        """Every key that does not hold; a period counts as its date. Empty exactly if `matches`."""
        failed: list[TagPath] = []
        for tag, test in self.tests:
            element = source.get(tag)
            if element is None or not test(element[1], decode):
                inner = test.failing(element[1], decode) if element and isinstance(test, _SequenceKey) else [()]
                failed += ((tag, *path) for path in inner)
        if self.period is not None and not self.period.holds(source):
            failed.append((SPS_START_DATE,))
        return failed

    def tags(self) -> frozenset[int]:
        return frozenset(tag for tag, _ in self.tests)

    def test(self, tag: int) -> Test | None:
        return next((test for found, test in self.tests if found == tag), None)


@dataclass(frozen=True, slots=True)
class _Period:
    """A range of dates and a range of times as one period (Table K.6-1, Scheduled Procedure Step Start Time)."""

    dates: DateSpan
    times: TimeSpan

    def holds(self, step: DataSet) -> bool:
        day, moment = step.get(SPS_START_DATE), step.get(SPS_START_TIME)
        if day is None or moment is None:
            return False
        stored, at = stored_date(day[1]), stored_time(moment[1])
        if stored is None or at is None:
            return False
        return (self.dates.low, self.times.low) <= (stored, at) <= (self.dates.high, self.times.high)


@dataclass(frozen=True, slots=True)
class _SequenceKey:
    """Sequence matching, PS3.4 C.2.2.2.6: some item of the row matches the item of the key.

    Several items in a key are not allowed; each is an alternative.
    """

    alternatives: tuple[_Keys, ...]

    def __call__(self, value: Value, decode: Decode) -> bool:
        if isinstance(value, bytes):
            return False
        return any(keys.matches(item, decode) for item in value for keys in self.alternatives)

    def failing(self, value: Value, decode: Decode) -> list[TagPath]:
        """What fails between the item and the alternative that come nearest to each other; `[()]` without an item."""
        found = [] if isinstance(value, bytes) else value
        tried = (keys.failing(item, decode) for item in found for keys in self.alternatives)
        return min(tried, key=len, default=[()])


@dataclass(frozen=True, slots=True)
class Query:
    """What a scanner asked for."""

    keys: _Keys
    prefilter: Prefilter
    is_patient_based: bool
    """It names a patient, an order or a study (IHE RAD-5), rather than a station's day."""
    asks_status: bool
    """The state of the step is a matching key, so no state is hidden."""

    def matches(self, row: DataSet, decode: Decode) -> bool:
        """Whether the row belongs in the answer; `decode` reads the row's character set.

        A step that is done or held is hidden unless the query asks for a state.
        """
        return not self.hides(row) and self.keys.matches(row, decode)

    def hides(self, row: DataSet) -> bool:
        """Whether the row is left out for the state of its step alone, whatever the keys say."""
        return not self.asks_status and any(status_of(step) in HIDDEN for step in items(row, SPS_SEQUENCE))

    def failing(self, row: DataSet, decode: Decode) -> list[TagPath]:
        """Every key that keeps the row out of the answer, for a person who asks why; empty if none does."""
        return self.keys.failing(row, decode)

    def covers(self, window_from: date, window_to: date) -> bool:
        """Whether every row the query can match starts within these days, inclusive."""
        low, high = self.prefilter.date_from, self.prefilter.date_to
        if low is None or high is None:
            return False
        return low > high or (window_from <= low and high <= window_to)


def compile_query(identifier: DataSet, decode: Decode, *, romanised: frozenset[Script] = frozenset()) -> Query:
    """The query of an identifier; `decode` reads the identifier's character set.

    `romanised` are the scripts that whoever asks is shown in Latin letters: names are found by these too.
    """
    keys = _compile(identifier, _Reading(decode, romanised), 0)
    steps = _steps(keys)
    return Query(
        keys=keys,
        prefilter=_prefilter(keys, steps, identifier, decode),
        is_patient_based=not PATIENT_KEYS.isdisjoint(keys.tags()) or (bool(steps) and _all_have(SPS_ID, steps)),
        asks_status=SPS_STATUS in keys.tags() or (bool(steps) and _all_have(SPS_STATUS, steps)),
    )


def _steps(keys: _Keys) -> tuple[_Keys, ...]:
    test = keys.test(SPS_SEQUENCE)
    return test.alternatives if isinstance(test, _SequenceKey) else ()


def _all_have(tag: int, alternatives: Iterable[_Keys]) -> bool:
    return all(tag in keys.tags() for keys in alternatives)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the values of an identifier are read, and names compared."""

    decode: Decode
    romanised: frozenset[Script]


def _compile(identifier: DataSet, reading: _Reading, depth: int) -> _Keys:
    tests: dict[int, Test] = {}
    for tag, (vr, value) in identifier.items():
        if tag in _NOT_KEYS or tag & 0xFFFF == 0 or tag & 0x10000:
            continue
        test = _compile_key(tag, _VR.get(tag, vr), value, reading, depth)
        if test is not None:
            tests[tag] = test
    period = _period(tests)
    if period is not None:
        del tests[SPS_START_DATE], tests[SPS_START_TIME]
    return _Keys(tuple(tests.items()), period)


def _compile_key(tag: int, vr: str, value: Value, reading: _Reading, depth: int) -> Test | None:
    if not isinstance(value, bytes):
        return _compile_items(value, reading, depth)
    key = decoded(value, vr, reading.decode)
    if vr == "PN":
        return name_key(key, reading.romanised)
    if vr == "UI":
        wanted = frozenset(all_values(key))
        return None if not wanted or "*" in wanted else UidKey(wanted)
    if vr == "DA":
        dates = date_spans(key)
        return text_key(key, vr, first_only=False) if dates is None else DateKey(dates) if dates else None
    if vr == "TM":
        times = time_spans(key)
        return text_key(key, vr, first_only=False) if times is None else TimeKey(times) if times else None
    return text_key(key, vr, first_only=tag in _SINGLE) if vr in _TEXT else None


def _compile_items(value: Iterable[DataSet], reading: _Reading, depth: int) -> _SequenceKey | None:
    """None if the key is universal: no item, or one without any matching key in it."""
    if depth >= MAX_DEPTH:
        return None
    alternatives = tuple(_compile(item, reading, depth + 1) for item in value)
    return _SequenceKey(alternatives) if alternatives and all(alternatives) else None


def _period(tests: dict[int, Test]) -> _Period | None:
    """Combined only if both keys are ranges; a single date or time is a condition of its own."""
    dates, times = tests.get(SPS_START_DATE), tests.get(SPS_START_TIME)
    if not isinstance(dates, DateKey) or not isinstance(times, TimeKey):
        return None
    if len(dates.spans) != 1 or len(times.spans) != 1:
        return None
    if not (dates.spans[0].is_range and times.spans[0].is_range):
        return None
    return _Period(dates.spans[0], times.spans[0])


def _prefilter(keys: _Keys, steps: tuple[_Keys, ...], identifier: DataSet, decode: Decode) -> Prefilter:
    def one(tag: int) -> str | None:
        values = _exact(keys, tag)
        return values[0] if values is not None and len(values) == 1 else None

    step = steps[0] if len(steps) == 1 else None
    if step is None:
        return Prefilter(AccessionNumber=one(ACCESSION_NUMBER), PatientID=one(PATIENT_ID))
    spans = _days(step)
    low, high = (
        min((span.low for span in spans), default=date.min),
        max((span.high for span in spans), default=date.max),
    )
    return Prefilter(
        AccessionNumber=one(ACCESSION_NUMBER),
        PatientID=one(PATIENT_ID),
        date_from=None if low == date.min else low,
        date_to=None if high == date.max else high,
        Modality=_exact(step, MODALITY),
        StationAETitles=_exact(step, SCHEDULED_STATION_AE_TITLE),
    )


def _days(step: _Keys) -> tuple[DateSpan, ...]:
    if step.period is not None:
        return (step.period.dates,)
    test = step.test(SPS_START_DATE)
    return test.spans if isinstance(test, DateKey) else ()


def _exact(keys: _Keys, tag: int) -> tuple[str, ...] | None:
    """The values of a text key that holds no wildcard."""
    test = keys.test(tag)
    if not isinstance(test, TextKey):
        return None
    values = tuple(pattern.segments[0] for pattern in test.patterns if len(pattern.segments) == 1)
    return values if len(values) == len(test.patterns) and not any("?" in value for value in values) else None
