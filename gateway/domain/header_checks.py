"""What a study's headers tell by themselves, without any order.

Promises: every check is a function of the headers, the policy and when the images came; the same headers give the
same findings in any order. Nothing here decides: what a finding leads to is in `identity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import combinations
from typing import Final

from gateway.domain import likeness
from gateway.domain.admission import same_ae
from gateway.domain.checks import Code, finding
from gateway.domain.identity_model import CheckPolicy, Finding, Header, Naming, Relation, Study
from gateway.domain.keys import Wildcard, fold
from gateway.domain.order_model import Identifier, PatientKey
from gateway.domain.worklist import date_of, time_at, time_span

SHOWN_IN_PIXELS: Final = frozenset({"US", "SC", "XA", "RF", "ES", "XC", "DOC", "ECG", "OT"})
"""Modalities whose pictures often show the patient's name."""
_UNCORRECTABLE: Final = ("1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.7")
"""SOP classes of encapsulated documents, structured reports and secondary capture."""
_OLDEST: Final = date(1990, 1, 1)
_OFFSET: Final = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)", re.ASCII)
_AGE_UNITS: Final = {"D": 1.0, "W": 7.0, "M": 30.44, "Y": 365.25}
_AGE_SLACK: Final = 400.0
"""Days by which an age may be off: it is rounded, or of the day of the order."""


def check_headers(study: Study, policy: CheckPolicy) -> list[Finding]:
    """Every finding of the headers alone."""
    found = [*_between(study.headers, study.patients)]
    for header in study.headers:
        for check in _EACH:
            found += check(header, study, policy)
    return found


def is_test_patient(header: Header, policy: CheckPolicy) -> bool:
    """Whether it is a phantom, a quality check or a test: by PatientName or PatientID."""
    patterns = _patterns(policy.test_patients)
    return any(
        pattern.matches(fold(text)) for text in (header.PatientName, header.PatientID.value) for pattern in patterns
    )


@lru_cache(maxsize=8)
def _patterns(words: tuple[str, ...]) -> tuple[Wildcard, ...]:
    return tuple(Wildcard.compile(fold(word)) for word in words)


def may_show_identity(header: Header) -> bool:
    """Whether the picture or document may name the patient where no header reaches."""
    return (
        header.has_burned_in_text
        or header.Modality.upper() in SHOWN_IN_PIXELS
        or header.SOPClassUID.startswith(_UNCORRECTABLE)
    )


def is_group_case(header: Header) -> bool:
    """Whether it is of several orders at once (IHE RAD TF-1 3.3.3): then it rightly has no accession number."""
    asked = {likeness.canonical(one.accession.value) for one in header.requests} - {""}
    return not header.accession.value and len(asked) > 1


# -- between the headers of one study --


def _between(headers: tuple[Header, ...], patients: frozenset[Naming]) -> Iterator[Finding]:
    """No majority vote: images of one study that name two patients are two patients."""
    for one, other in combinations(headers, 2):
        if _two_numbers(one, other, patients):
            yield finding(
                Code.TWO_PATIENTS_IN_STUDY, "PatientID", has=max(_ids(one, other)), expected=min(_ids(one, other))
            )
        if _relation(likeness.name, one.PatientName, other.PatientName) is Relation.DIFFERENT:
            yield _changes("PatientName", one.PatientName, other.PatientName)
        if _relation(likeness.birth_date, one.PatientBirthDate, other.PatientBirthDate) is Relation.DIFFERENT:
            yield _changes("PatientBirthDate", one.PatientBirthDate, other.PatientBirthDate)
        mine, theirs = one.accession, other.accession
        if mine.value and theirs.value and not likeness.same_number(mine, theirs):
            yield _changes("AccessionNumber", mine.value, theirs.value)


def _relation(compare: Callable[[str, str], Relation], one: str, other: str) -> Relation:
    """The milder of both directions: neither header is the one that is right."""
    there = compare(one, other)
    return there if there is not Relation.DIFFERENT else compare(other, one)


def _ids(one: Header, other: Header) -> tuple[str, str]:
    return one.PatientID.value, other.PatientID.value


def _two_numbers(one: Header, other: Header, patients: frozenset[Naming]) -> bool:
    """Whether both have a PatientID and nothing says that these are one patient's."""
    mine, theirs = one.PatientID, other.PatientID
    if not mine.value or not theirs.value or likeness.same_number(mine, theirs):
        return False
    return known_as(mine, patients).isdisjoint(known_as(theirs, patients))


def known_as(number: Identifier, patients: frozenset[Naming]) -> frozenset[PatientKey]:
    """The patients that a number of a header may stand for, as far as the books know."""
    return frozenset(each.patient for each in patients if likeness.is_number_of(number, each.number))


def _changes(attribute: str, one: str, other: str) -> Finding:
    low, high = sorted((one, other))
    return finding(Code.IDENTITY_CHANGES, attribute, has=high, expected=low)


# -- of each header --


def _untouchable(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    if header.is_deidentified:
        yield finding(Code.DEIDENTIFIED, "PatientIdentityRemoved")
    if is_test_patient(header, policy):
        yield finding(Code.TEST_PATIENT)
    if header.is_signed:
        yield finding(Code.SIGNED)


def _form(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    """What is wrong with the object, whoever it is of."""
    for keyword in header.undecodable:
        yield finding(Code.CHARACTER_SET_WRONG, keyword)
    for keyword in header.invalid:
        yield finding(Code.VALUE_INVALID, keyword)
    for keyword in header.missing:
        yield finding(Code.TYPE_1_MISSING, keyword)
    if header.uids_disagree:
        yield finding(Code.UIDS_DISAGREE, "SOPInstanceUID")
    if header.pixels_disagree:
        yield finding(Code.PIXELS_DISAGREE, "SOPInstanceUID")


def _constants(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    for ae, wanted in policy.constants.items():
        for keyword, value in wanted.items() if any(same_ae(ae, one) for one in study.calling_aes) else ():
            if getattr(header, keyword) != value:
                yield finding(Code.CONSTANT_DIFFERS, keyword, has=getattr(header, keyword), expected=value)


def _clock(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    """A clock that is ahead, off by an hour (summer time), or at its first day. Old images may be old."""
    days = [(name, date_of(getattr(header, name))) for name in ("StudyDate", "SeriesDate", "AcquisitionDate")]
    received = study.first_received.astimezone(_zone(header, policy))
    for name, day in days:
        if day is not None and (day < _OLDEST or day > received.date() + timedelta(days=1)):
            yield finding(Code.CLOCK_WRONG, name, has=getattr(header, name))
            return
    span = time_span(header.StudyTime)
    if days[0][1] is None or span is None:
        return
    begun = datetime.combine(days[0][1], time_at(span[0]), received.tzinfo)
    if begun > study.last_received + policy.clock:
        yield finding(Code.CLOCK_WRONG, "StudyTime", has=header.StudyTime)


def _zone(header: Header, policy: CheckPolicy) -> tzinfo:
    offset = _OFFSET.fullmatch(header.TimezoneOffsetFromUTC.strip())
    if offset is None:
        return policy.zone
    away = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(-away if offset[1] == "-" else away)


def _person(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    """Age against birth date, and what was left over from the patient before."""
    born, day = date_of(header.PatientBirthDate), date_of(header.StudyDate)
    age = header.PatientAge.strip().upper()
    if born and day and len(age) == 4 and age[:3].isascii() and age[:3].isdigit() and age[3] in _AGE_UNITS:
        days = int(age[:3]) * _AGE_UNITS[age[3]]
        if abs((day - born).days - days) > _AGE_SLACK:
            yield finding(Code.AGE_IMPLAUSIBLE, "PatientAge", has=age, expected=header.PatientBirthDate)
    before = study.before
    if before is None or likeness.canonical(before.PatientID) == likeness.canonical(header.PatientID.value):
        return
    measures = (header.PatientSize.strip(), header.PatientWeight.strip())
    if all(measures) and measures == (before.PatientSize.strip(), before.PatientWeight.strip()):
        yield finding(Code.MEASURES_OF_PREVIOUS, "PatientWeight", has=header.PatientWeight)


def _elsewhere(header: Header, study: Study, policy: CheckPolicy) -> Iterator[Finding]:
    """Where else the patient or the order is named, in the images and in their header."""
    if is_group_case(header):
        yield finding(Code.GROUP_CASE, "AccessionNumber")
    for item in header.requests:
        both = header.accession.value and item.accession.value
        if both and not likeness.same_number(header.accession, item.accession):
            yield finding(
                Code.OTHER_IDENTITY_INSIDE, "RequestAttributesSequence",
                has=item.accession.value, expected=header.accession.value,
            )  # fmt: skip
    mine = known_as(header.PatientID, study.patients)
    for other in header.OtherPatientIDs:
        theirs = known_as(other, study.patients)
        if mine and theirs and mine.isdisjoint(theirs):
            yield finding(Code.OTHER_IDENTITY_INSIDE, "OtherPatientIDsSequence", has=other.value)
    number = likeness.canonical(header.PatientID.value)
    for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
        if len(number) >= 4 and number in likeness.canonical(getattr(header, keyword)):
            yield finding(Code.IDENTITY_IN_TEXT, keyword)
    if header.has_private_copy:
        yield finding(Code.IDENTITY_IN_TEXT)
    if may_show_identity(header):
        yield finding(Code.IDENTITY_IN_IMAGE)


_EACH: Final[tuple[Callable[[Header, Study, CheckPolicy], Iterable[Finding]], ...]] = (
    _untouchable,
    _form,
    _constants,
    _clock,
    _person,
    _elsewhere,
)
