"""A scanner profile: how one make and model asks for its worklist, and what it can take as an answer.

Promises:

* A profile is data. It changes how a query is understood and how a row is shown, never which patient a row
  is of: `FILLABLE` says what may stand where a row is empty, and no name, birth date, sex, weight or
  Patient ID is among it.
* `adapt` rewrites only the matching keys that the profile declares and says which habits it met. The query it
  gives is one that the standard knows, so matching, the index and a RIS need to know nothing of profiles.
* A declared habit finds more rows, never fewer, and nothing is done that is not declared: a key is a prefix
  only where the scanner is known to cut that key at that length.

Fuzzy matching of names (PS3.4 K.5.1.2) is not offered in negotiation, so it is never applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.keys import DateSpan, date_spans, time_spans
from gateway.domain.transliteration import Script
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    SCHEDULED_STATION_AE_TITLE,
    SPS_SEQUENCE,
    SPS_START_DATE,
    SPS_START_TIME,
    DataSet,
    Decode,
    Element,
    all_values,
    decoded,
)

GENERIC: Final = "generic"
"""The profile of a scanner of which nothing is known."""
AS_ASKED: Final = "query"
"""Stands in a list of character sets for those that the query declares."""
AS_RECEIVED: Final = "row"
"""The same for those of the row as its source sent it."""


class Above(StrEnum):
    """What is done when more rows match than a scanner takes."""

    NEAREST = "nearest"
    """Those nearest to now are answered, and an alarm says so."""
    REFUSE = "refuse"
    """None: A700 (PS3.4 K.4.1.1.4)."""


class PersonNames(StrEnum):
    """Which component groups of a name are sent (PS3.5 6.2.1.1)."""

    ALL = "all"
    ALPHABETIC = "alphabetic"
    """The first alone, for consoles that show "=" as it is."""


class Quirk(StrEnum):
    """What a profile did to a query or an answer: names for logs and counters."""

    KEY_IGNORED = "key-ignored"
    CLOCK_WIDENED = "clock-widened"
    KEY_CUT_SHORT = "key-cut-short"
    ZEROS_BOTH_WAYS = "zeros-both-ways"
    FAMILY_NAME_ALONE = "family-name-alone"
    STATION_ALIAS = "station-alias"
    MODALITY_ALIAS = "modality-alias"
    FILLED = "filled"
    FOLDED = "folded"
    """Latin letters and marks in plainer forms."""
    ROMANISED = "romanised"
    NAME_GROUPS_LEFT_OUT = "name-groups-left-out"
    NAME_SHORTENED = "name-shortened"
    NAME_UNREADABLE = "name-unreadable"
    """A type 1 name that no set of the scanner holds: the profile's words stand for it."""
    TEXT_LEFT_OUT = "text-left-out"
    """A text that no set of the scanner holds: sent empty, its row is not."""
    CHARSET_GUESSED = "charset-guessed"
    """The row's text did not fit what the row declares."""
    CAPPED = "capped"
    REFUSED = "refused"
    ANSWERED_AGAIN = "answered-again"
    """The same bytes as a moment ago, to a console that polls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What stands for an empty value that the scanner insists on."""

    tag: int
    text: str = ""
    """A constant; or one of the sources below."""
    source: FillSource | int | None = None
    """Where the value is taken from: a source, or the tag of another value of the row."""


class FillSource(StrEnum):
    """Values that are no constants and no other value of the row."""

    CALLING_AE = "@calling-ae"
    """The AE title of the scanner that asks: the row is on its list."""
    TODAY = "@today"
    """The site's day."""
    DERIVED = "@derived"
    """A UID made of the order's accession number and patient, the same each time."""


_WORDS: Final = frozenset(
    {
        *(0x00080090, 0x00321032, 0x00400006),  # physicians: referring, requesting, performing
        *(0x00321060, 0x00400007, 0x00401002),  # descriptions of procedure and step, reason
        *(0x00400010, 0x00400011, 0x00401003),  # station name, location, priority
    }
)
"""What a constant may stand for: words for people, that name no patient, order or dose."""
FILLABLE: Final[Mapping[int, frozenset[FillSource | int]]] = {
    0x0020000D: frozenset({FillSource.DERIVED}),
    0x00400001: frozenset({FillSource.CALLING_AE}),
    0x00400002: frozenset({FillSource.TODAY}),
    0x00401001: frozenset({ACCESSION_NUMBER}),
    0x00400009: frozenset({0x00401001, ACCESSION_NUMBER}),
    0x00321060: frozenset({0x00400007}),
    0x00400007: frozenset({0x00321060}),
}
"""Sources by what they may fill, beside the constants that `may_be_words` allows."""


def may_be_words(tag: int) -> bool:
    """Whether a constant may fill this value."""
    return tag in _WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The habits of one make and model; the defaults are those of a scanner without any."""

    name: str = GENERIC
    character_sets: tuple[str, ...] = (AS_ASKED, AS_RECEIVED, "ISO_IR 100", "ISO_IR 192")
    """What the scanner can read, best first: values of (0008,0005), several parted by a backslash."""
    romanised: frozenset[Script] = frozenset()
    """Scripts written in Latin letters where no set holds them. Latin itself is always folded."""
    unreadable_name: str = "NAME NOT READABLE"
    """Stands for a patient's name of which nothing can be shown: ASCII, it must not be empty (type 1)."""
    person_names: PersonNames = PersonNames.ALL
    name_length: int = 64
    """Characters of a component group that are sent (PS3.5 6.2)."""
    max_answers: int = 1000
    above: Above = Above.NEAREST
    clock_days: int = 0
    """A date key this near to today finds today as well: the console's clock is that wrong."""
    ignored: frozenset[int] = frozenset()
    """Keys that match everything, wherever they stand in the query."""
    cut: tuple[tuple[int, int], ...] = ()
    """(tag, characters): a key of exactly this length may be the beginning of a longer value."""
    zero_padded: tuple[tuple[int, int], ...] = ()
    """(tag, digits): a number is the same with its leading zeros up to this length and without them."""
    family_name_alone: bool = False
    """A name key of one component without wildcard finds the family name, whatever follows."""
    station_aliases: frozenset[str] = frozenset()
    """AE titles, upper case, that mean the scanner itself as a key or on an order."""
    modality_aliases: frozenset[str] = frozenset()
    """Modalities that the scanner does not tell apart."""
    fill: tuple[Fill, ...] = ()
    polling: timedelta = timedelta()
    """For how long the same question gets the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query as it is meant."""

    identifier: DataSet
    quirks: frozenset[Quirk]


def adapt(identifier: DataSet, profile: Profile, *, calling: str, today: date, decode: Decode) -> Asked:
    """The query that this scanner means. `calling` is its AE title, `today` the site's day.

    An identifier that meets no declared habit comes back as it is.
    """
    quirks: set[Quirk] = set()
    changed: dict[int, Element] = {}
    for tag, (vr, value) in identifier.items():
        if not isinstance(value, bytes):
            if tag == SPS_SEQUENCE and value:
                steps = [adapt(item, profile, calling=calling, today=today, decode=decode) for item in value]
                if any(step.quirks for step in steps):
                    quirks.update(*(step.quirks for step in steps))
                    changed[tag] = Element(vr, [step.identifier for step in steps])
            continue
        key = decoded(value, vr, decode)
        if not key.strip("*"):
            continue
        if tag in profile.ignored:
            changed[tag] = Element(vr, b"")
            quirks.add(Quirk.KEY_IGNORED)
        elif (habit := _HABITS.get(tag)) and (meant := habit(key, profile, _Around(calling, today, identifier))):
            changed[tag] = Element(vr, _rewritten(value, key, meant[0]))
            quirks.add(meant[1])
    if not changed:
        return Asked(identifier=identifier, quirks=frozenset())
    return Asked(identifier={**identifier, **changed}, quirks=frozenset(quirks))


@dataclass(frozen=True, slots=True)
class _Around:
    """What a habit may look at beside the key itself."""

    calling: str
    today: date
    beside: DataSet
    """The data set or item that the key stands in."""


def _rewritten(value: bytes, key: str, meant: str) -> bytes:
    """The new key. What is appended to a text is ASCII, so the bytes of its character set stay."""
    stem = key.rstrip("^")
    if meant.startswith(stem):
        return value.strip(b" \0").rstrip(b"^") + meant[len(stem) :].encode("ascii")
    return meant.encode("ascii")


_Habit = Callable[[str, Profile, _Around], "tuple[str, Quirk] | None"]


def _number(tag: int) -> _Habit:
    """A key that may be cut, or that has lost or gained its leading zeros."""

    def habit(key: str, profile: Profile, _: _Around) -> tuple[str, Quirk] | None:
        if len(key) == dict(profile.cut).get(tag) and not _has_wildcard(key):
            return key + "*", Quirk.KEY_CUT_SHORT
        digits = dict(profile.zero_padded).get(tag, 0)
        same = sorted({key.lstrip("0") or "0", key, key.zfill(digits)})
        if len(key) > digits or not (key.isascii() and key.isdigit()) or len(same) == 1:
            return None
        return "\\".join(same), Quirk.ZEROS_BOTH_WAYS

    return habit


def _family_name(key: str, profile: Profile, _: _Around) -> tuple[str, Quirk] | None:
    family = key.rstrip("^")
    if not profile.family_name_alone or _has_wildcard(family) or any(mark in family for mark in "^=, "):
        return None
    return family + "^*", Quirk.FAMILY_NAME_ALONE


def _station(key: str, profile: Profile, around: _Around) -> tuple[str, Quirk] | None:
    itself = profile.station_aliases | {around.calling.strip().upper()}
    return _alias(key, itself, Quirk.STATION_ALIAS) if profile.station_aliases else None


def _modality(key: str, profile: Profile, _: _Around) -> tuple[str, Quirk] | None:
    return _alias(key, profile.modality_aliases, Quirk.MODALITY_ALIAS)


def _alias(key: str, same: Collection[str], quirk: Quirk) -> tuple[str, Quirk] | None:
    values = {value.upper() for value in all_values(key)}
    known = {title for title in same if title.isascii()}
    if not key.isascii() or values.isdisjoint(known) or values >= known:
        return None
    return "\\".join(sorted(values | known)), quirk


def _clock(key: str, profile: Profile, around: _Around) -> tuple[str, Quirk] | None:
    spans = date_spans(key)
    if not profile.clock_days or not spans or len(spans) != 1:
        return None
    low, high = spans[0].low, spans[0].high
    near = timedelta(days=profile.clock_days)
    if low <= around.today <= high or not (low - around.today <= near and around.today - high <= near):
        return None
    return _widened(spans[0], around), Quirk.CLOCK_WIDENED


def _widened(span: DateSpan, around: _Around) -> str:
    """The days and today. Beside a range of times a single date stays single, or both would become one period."""
    low, high = min(span.low, around.today), max(span.high, around.today)
    if not span.is_range and _names_times(around.beside):
        return "\\".join(_da(low + timedelta(days=n)) for n in range((high - low).days + 1))
    return f"{'' if low == date.min else _da(low)}-{'' if high == date.max else _da(high)}"


def _names_times(item: DataSet) -> bool:
    element = item.get(SPS_START_TIME)
    return element is not None and isinstance(element[1], bytes) and time_spans(decoded(element[1], "TM")) != ()


def _da(day: date) -> str:
    return day.isoformat().replace("-", "")


def _has_wildcard(key: str) -> bool:
    return any(mark in key for mark in "*?\\")


_HABITS: Final[Mapping[int, _Habit]] = {
    ACCESSION_NUMBER: _number(ACCESSION_NUMBER),
    PATIENT_ID: _number(PATIENT_ID),
    PATIENT_NAME: _family_name,
    SCHEDULED_STATION_AE_TITLE: _station,
    MODALITY: _modality,
    SPS_START_DATE: _clock,
}
