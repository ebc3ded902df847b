"""A worklist row: what it must hold, how a scanner's answer is made of it, and how long it lives.

Promises (PS3.4 K.2.2.1.2, K.6.1.2.2):

* A row is one Scheduled Procedure Step: a data set with exactly one item in (0040,0100).
* `project` answers with every key that was requested and adds nothing but (0008,0005).
* A row never lives for ever (`expired`), and age alone decides how much it is trusted (`freshness`).
* Nothing here raises for what a row or a query contains: what can't be read counts as unknown.

Data sets are those of `gateway.dicom.elements`, seen through their shape alone. A `Decode` turns the
bytes of a value into text; the query and each row have one of their own, for each has its own
Specific Character Set. Matching is in `matching`, the questions we ask a RIS in `upstream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, TypeVar

Value: TypeAlias = "bytes | Sequence[DataSet]"
DataSet: TypeAlias = "Mapping[int, tuple[str, Value]]"
"""Elements (VR, value) by tag. The value is bytes as received, padding included, or the items of a sequence."""
Decode: TypeAlias = Callable[[bytes, str], str]
"""(value, VR) -> text in the character set of the data set the value came from."""


class Element(NamedTuple):
    """One data element that we made."""

    vr: str
    value: Value


SPECIFIC_CHARACTER_SET: Final = 0x00080005
ACCESSION_NUMBER: Final = 0x00080050
ISSUER_OF_ACCESSION_NUMBER_SEQUENCE: Final = 0x00080051
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
MODALITY: Final = 0x00080060
TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021
STUDY_INSTANCE_UID: Final = 0x0020000D
ADMISSION_ID: Final = 0x00380010
SCHEDULED_STATION_AE_TITLE: Final = 0x00400001
SPS_START_DATE: Final = 0x00400002
SPS_START_TIME: Final = 0x00400003
SPS_ID: Final = 0x00400009
SPS_STATUS: Final = 0x00400020
LOCAL_NAMESPACE_ENTITY_ID: Final = 0x00400031
UNIVERSAL_ENTITY_ID: Final = 0x00400032
SPS_SEQUENCE: Final = 0x00400100
SPS_COMMENTS: Final = 0x00400400
REQUESTED_PROCEDURE_ID: Final = 0x00401001

DONE: Final = frozenset({"COMPLETED", "DISCONTINUED", "CANCELED", "CANCELLED"})
HIDDEN: Final = DONE | {"HELD"}
"""States of a step that a scanner is not shown unless it asks for a state."""
MAX_DEPTH: Final = 16
"""Nested keys below this depth are neither matched nor projected: no real query has them."""


def text(dataset: DataSet, tag: int, decode: Decode | None = None) -> str:
    """The value without its padding; "" if it is absent, empty or a sequence. Without `decode`: Latin-1."""
    element = dataset.get(tag)
    if element is None or not isinstance(element[1], bytes):
        return ""
    return decoded(element[1], element[0], decode)


def decoded(value: bytes, vr: str, decode: Decode | None = None) -> str:
    """The text of a value without its padding. Bytes the character set can't explain are read as
    Latin-1: equal bytes stay equal, and one bad field costs no row."""
    if not value:
        return ""
    if decode is not None:
        try:
            return decode(value, vr).strip(" \0")
        except ValueError:
            pass
    return value.decode("latin-1").strip(" \0")


def items(dataset: DataSet, tag: int) -> Sequence[DataSet]:
    """The items of a sequence; none if it is absent or not a sequence."""
    element = dataset.get(tag)
    return () if element is None or isinstance(element[1], bytes) else element[1]


def first_value(value: str) -> str:
    return value.partition("\\")[0].strip(" \0")


def all_values(value: str) -> tuple[str, ...]:
    """The non-empty values of a multi-valued text, each without padding."""
    return tuple(part for part in (part.strip(" \0") for part in value.split("\\")) if part)


def date_of(value: str) -> date | None:
    """A DA value. YYYY.MM.DD (PS3.5 6.2, retired form) and the date of a DT value are read too; else None."""
    digits = value.strip(" \0").replace(".", "", 2) if value[4:5] == "." else value.strip(" \0")
    if len(digits) > 8:
        digits = digits[:8] if len(digits) >= 10 and digits[8:10].isdecimal() else ""
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


SECOND: Final = 1_000_000
DAY: Final = 24 * 3600 * SECOND
"""In microseconds, the unit of a time span."""


def time_span(value: str) -> tuple[int, int] | None:
    """The first and last microsecond of the day that a TM value stands for: "10" is all of the hour.

    HH:MM:SS (retired form) and the time of a DT value are read too; a leap second is the 59th; else None.
    """
    digits, _, fraction = value.partition("+")[0].strip(" \0").replace(":", "").partition(".")
    if len(digits) in {10, 12, 14} and date_of(digits[:8]):
        digits = digits[8:]
    whole = digits + fraction
    if len(digits) not in {2, 4, 6} or not (whole.isascii() and whole.isdigit()) or len(fraction) > 6:
        return None
    if fraction and len(digits) != 6:
        return None
    hour, minute, second = int(digits[:2]), int(digits[2:4] or 0), min(int(digits[4:6] or 0), 59)
    if hour > 23 or minute > 59 or int(digits[4:6] or 0) > 60:
        return None
    unit = {2: 3600, 4: 60, 6: 1}[len(digits)] * SECOND
    if fraction:
        unit = 10 ** (6 - len(fraction))
    start = (hour * 3600 + minute * 60 + second) * SECOND + int(fraction.ljust(6, "0") or 0)
    return start, start + unit - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RowColumns:
    """The values of a row by which it is found; "" and None where they are unknown.

    Modality, StationAETitles and status are upper-cased, so that they compare equal to a `Prefilter`.
    Date and time are the site's civil time, as scheduled.
    """

    PatientID: str
    PatientName: str
    AccessionNumber: str
    StudyInstanceUID: str
    RequestedProcedureID: str
    ScheduledProcedureStepID: str
    start_date: date | None
    start_time: time | None
    Modality: str
    StationAETitles: tuple[str, ...]
    status: str


def columns(row: DataSet, decode: Decode) -> RowColumns:
    """The columns of a row, read from its first scheduled procedure step."""
    step: DataSet = next(iter(items(row, SPS_SEQUENCE)), {})
    span = time_span(first_value(text(step, SPS_START_TIME)))
    return RowColumns(
        PatientID=first_value(text(row, PATIENT_ID, decode)),
        PatientName=text(row, PATIENT_NAME, decode),
        AccessionNumber=first_value(text(row, ACCESSION_NUMBER, decode)),
        StudyInstanceUID=first_value(text(row, STUDY_INSTANCE_UID)),
        RequestedProcedureID=first_value(text(row, REQUESTED_PROCEDURE_ID, decode)),
        ScheduledProcedureStepID=first_value(text(step, SPS_ID, decode)),
        start_date=date_of(first_value(text(step, SPS_START_DATE))),
        start_time=None if span is None else time_at(span[0]),
        Modality=first_value(text(step, MODALITY, decode)).upper(),
        StationAETitles=tuple(value.upper() for value in all_values(text(step, SCHEDULED_STATION_AE_TITLE, decode))),
        status=status_of(step),
    )


def time_at(microseconds: int) -> time:
    """The time of day that is so many microseconds after midnight."""
    seconds, rest = divmod(microseconds, SECOND)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, rest)


def status_of(step: DataSet) -> str:
    """Scheduled Procedure Step Status, upper-cased; "" if unknown."""
    return first_value(text(step, SPS_STATUS)).upper()


def split_steps(row: DataSet) -> list[DataSet]:
    """One row for each scheduled procedure step: some RISs answer several in one response."""
    steps = items(row, SPS_SEQUENCE)
    if len(steps) < 2:
        return [row]
    return [{**row, SPS_SEQUENCE: Element("SQ", [step])} for step in steps]


def merge_key(row: DataSet) -> str:
    """The identity of a scheduled procedure step: the same step has the same key wherever it came from.

    (StudyInstanceUID, RequestedProcedureID, ScheduledProcedureStepID), or where the study has no UID
    (issuer | AccessionNumber, ScheduledProcedureStepID). "" if it has neither: `validate_row` says so.
    Never patient and time: two steps may share them. A backslash can't be part of any of these values.
    """
    step: DataSet = next(iter(items(row, SPS_SEQUENCE)), {})
    step_id = first_value(text(step, SPS_ID))
    study = first_value(text(row, STUDY_INSTANCE_UID))
    if study:
        return "\\".join(("study", study, first_value(text(row, REQUESTED_PROCEDURE_ID)), step_id))
    accession = first_value(text(row, ACCESSION_NUMBER))
    if accession:
        return "\\".join(("accession", issuer_of_accession(row), accession, step_id))
    return ""


def study_step(key: str) -> tuple[str, str] | None:
    """(StudyInstanceUID, ScheduledProcedureStepID) of a merge key; None if it has not both."""
    kind, *values = key.split("\\")
    return (values[0], values[2]) if kind == "study" and values[2] else None


def issuer_of_accession(row: DataSet) -> str:
    """The universal, else the local entity ID of who gave the accession number; "" if unknown."""
    item: DataSet = next(iter(items(row, ISSUER_OF_ACCESSION_NUMBER_SEQUENCE)), {})
    return first_value(text(item, UNIVERSAL_ENTITY_ID)) or first_value(text(item, LOCAL_NAMESPACE_ENTITY_ID))


def validate_row(row: DataSet) -> list[str]:
    """Why a row can't be kept, as field, shape and remedy, never a value; empty if it can.

    Only what makes a row useless counts: a row with a missing type 1 value is still a patient who waits.
    """
    reasons = []
    steps = len(items(row, SPS_SEQUENCE))
    if steps != 1:
        reasons.append(
            f"ScheduledProcedureStepSequence (0040,0100): {steps} items instead of 1; let the RIS send one step a row"
        )
    if not merge_key(row):
        reasons.append(
            "StudyInstanceUID (0020,000D), AccessionNumber (0008,0050): both empty; let the RIS send one of them"
        )
    if not text(row, PATIENT_ID) and not text(row, PATIENT_NAME):
        reasons.append("PatientID (0010,0020), PatientName (0010,0010): both empty; let the RIS send them")
    return reasons


def project(identifier: DataSet, row: DataSet) -> DataSet:
    """The answer to a query: every requested key with the row's value, empty where the row has none.

    The row's Specific Character Set is added. A sequence that was requested empty, or with an empty
    item, is returned whole; else each of its items is projected to the nested keys. Not returned:
    group lengths, Query/Retrieve Level, and a Timezone Offset or private element the row doesn't have
    (an empty offset is not valid, PS3.3 C.12.1.1.8; an empty private creator claims nothing).
    """
    answer = _projected(identifier, row, 0)
    if SPECIFIC_CHARACTER_SET in row:
        answer[SPECIFIC_CHARACTER_SET] = Element(*row[SPECIFIC_CHARACTER_SET])
    return dict(sorted(answer.items()))


def _projected(keys: DataSet, source: DataSet, depth: int) -> dict[int, Element]:
    answer = {}
    for tag, (vr, wanted) in sorted(keys.items()):
        if tag in {SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL} or tag & 0xFFFF == 0:
            continue
        found = source.get(tag)
        if isinstance(wanted, bytes) and vr != "SQ":
            if found is not None:
                answer[tag] = Element(*found)
            elif tag != TIMEZONE_OFFSET_FROM_UTC and not tag & 0x10000:
                answer[tag] = Element(vr, b"")
            continue
        nested = {} if isinstance(wanted, bytes) else {tag: element for item in wanted for tag, element in item.items()}
        whole = items(source, tag)
        if nested and depth < MAX_DEPTH:
            whole = [_projected(nested, item, depth + 1) for item in whole]
        answer[tag] = Element("SQ", list(whole))
    return answer


def dated(row: DataSet, as_of: str) -> DataSet:
    """The row with `as_of` (ASCII) before the comment of its step, so that a person sees its age; "": as it is.

    The only place for it: name, identifiers and descriptions end up in images.
    """
    steps = items(row, SPS_SEQUENCE)
    if not as_of or not steps:
        return row
    _, comment = steps[0].get(SPS_COMMENTS, ("LT", b""))
    said = comment.strip(b" ") if isinstance(comment, bytes) else b""
    whole = as_of.encode("ascii") + (b"; " + said if said else b"")
    return {**row, SPS_SEQUENCE: Element("SQ", [{**steps[0], SPS_COMMENTS: Element("LT", whole)}, *steps[1:]])}


def expired(start: date | None, status: str, today: date, keep_days: int) -> bool:
    """Whether a row leaves the copy: by schedule and status, never by a failed refresh.

    A step that is done stays one day past its schedule, for images that come over night; any other
    stays `keep_days`. `today` is the site's day. Without a start only a done row expires: give the
    day the row was last confirmed instead.
    """
    done = status.upper() in DONE
    if start is None:
        return done
    return (today - start).days > (min(keep_days, 1) if done else keep_days)


class Freshness(StrEnum):
    """How far the copy of one source may be trusted."""

    FRESH = "fresh"
    """Answer from the copy without asking."""
    STALE = "stale"
    """Ask; answer from the copy if that fails."""
    EXPIRED = "expired"
    """Not served."""


def freshness(confirmed_at: datetime | None, now: datetime, *, fresh_for: timedelta, max_stale: timedelta) -> Freshness:
    """The freshness of what a source confirmed at that time (None: never). A stamp further in the future
    than `fresh_for` comes from a clock that was wrong: it is stale, so it is asked for and still served."""
    if confirmed_at is None:
        return Freshness.EXPIRED
    age = now - confirmed_at
    if abs(age) <= fresh_for:
        return Freshness.FRESH
    return Freshness.EXPIRED if age > max_stale else Freshness.STALE


Row = TypeVar("Row")


class Start(NamedTuple):
    """When a step is scheduled, on the site's clock; None where it is unknown."""

    day: date | None
    at: time | None
    identity: str
    """Tells steps of one moment apart."""


def nearest_first(rows: Iterable[Row], now: datetime, *, of: Callable[[Row], Start]) -> list[Row]:
    """The rows, the one nearest to now first: what a capped answer should hold.

    `now` carries the site's wall clock. A row without a time is as near as its day; rows without a date
    are last. The order depends on the rows alone, not on the order in which they came.
    """
    moment = now.replace(tzinfo=None)

    def place(row: Row) -> tuple[float, float, str]:
        start = of(row)
        if start.day is None:
            return float("inf"), 0.0, start.identity
        begin = datetime.combine(start.day, start.at or time.min)
        end = begin if start.at else datetime.combine(start.day, time.max)
        ahead = max(begin - moment, moment - end, timedelta()).total_seconds()
        return ahead, (begin - moment).total_seconds(), start.identity

    return sorted(rows, key=place)
