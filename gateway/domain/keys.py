"""One matching key, compiled from a query and compared with the value of a row (PS3.4 C.2.2.2).

Promises:

* Compiling never raises for what the key contains. A date or time that can't be read is compared as
  text, so it finds only a row that holds the same text.
* Comparing takes time linear in the stored value, whatever the pattern: no regular expressions.
* An unknown (empty) stored value matches no key; universal keys are not compiled (`None`).

Wider than the standard, because scanners are (a query may find more, never less, than its letter says):
wildcards and several values (one of them must match) work in every text VR, AE and CS ignore case, PN
ignores case, accents and how components are separated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeAlias

from gateway.domain.transliteration import LETTERS, PUNCTUATION, Script, transliterate
from gateway.domain.worklist import (
    DAY,
    Decode,
    Value,
    all_values,
    date_of,
    decoded,
    first_value,
    time_span,
)

CASELESS: Final = frozenset({"AE", "CS"})
UNSPLIT: Final = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash is a character (PS3.5 6.2)."""
_COMBINING: Final = range(0x0300, 0x0370)
"""Accents. Marks of other scripts (Japanese voicing, Indic vowels) tell names apart and stay."""
_PLAIN: Final = str.maketrans({**LETTERS, **PUNCTUATION})
_SEPARATORS: Final = str.maketrans({"^": " ", ",": " "})


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A pattern of `*` (any text, also none) and `?` (one character), PS3.4 C.2.2.2.4."""

    segments: tuple[str, ...]
    """What stands between the stars; one segment means there is no star."""
    least: int
    """The shortest text that can match."""

    @classmethod
    def compile(cls, pattern: str) -> Wildcard:
        head, *tail = pattern.split("*")
        if not tail:
            return cls((head,), len(head))
        segments = (head, *(part for part in tail[:-1] if part), tail[-1])
        return cls(segments, sum(map(len, segments)))

    def matches(self, text: str) -> bool:
        if len(text) < self.least:
            return False
        first, last = self.segments[0], self.segments[-1]
        if len(self.segments) == 1:
            return len(text) == len(first) and _fits(first, text, 0)
        end = len(text) - len(last)
        if not (_fits(first, text, 0) and _fits(last, text, end)):
            return False
        at = len(first)
        for segment in self.segments[1:-1]:
            at = _after(segment, text, at, end)
            if at < 0:
                return False
        return True


def _fits(segment: str, text: str, at: int) -> bool:
    if "?" not in segment:
        return text.startswith(segment, at)
    return all(a in {b, "?"} for a, b in zip(segment, text[at : at + len(segment)], strict=True))


def _after(segment: str, text: str, at: int, end: int) -> int:
    """Where the first occurrence of a segment in text[at:end] ends; -1 if there is none."""
    if "?" not in segment:
        found = text.find(segment, at, end)
        return found + len(segment) if found >= 0 else -1
    # Shift-And: one bit for each prefix of the segment that ends here, so no text is read twice.
    joker = sum(1 << i for i, character in enumerate(segment) if character == "?")
    masks: dict[str, int] = {}
    for i, character in enumerate(segment):
        masks[character] = masks.get(character, joker) | 1 << i
    goal, state = 1 << (len(segment) - 1), 0
    for i in range(at, end):
        state = ((state << 1) | 1) & masks.get(text[i], joker)
        if state & goal:
            return i + 1
    return -1


def fold(name: str) -> str:
    """A name without case, accents and typographer's marks, so that an operator finds it from any keyboard."""
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKD", name.casefold()).casefold().translate(_PLAIN)
    return unicodedata.normalize("NFC", "".join(c for c in plain if ord(c) not in _COMBINING))


Test: TypeAlias = Callable[[Value, Decode], bool]
"""Whether the stored value matches the key."""


@dataclass(frozen=True, slots=True)
class TextKey:
    """Single value, wildcard and list matching of any text VR."""

    vr: str
    patterns: tuple[Wildcard, ...]
    first_only: bool
    """The element has VM 1, so only the first stored value counts."""

    def __call__(self, value: Value, decode: Decode) -> bool:
        if not isinstance(value, bytes):
            return False
        stored = decoded(value, self.vr, decode)
        if self.vr in CASELESS:
            stored = stored.upper()
        values = (stored,) if self.vr in UNSPLIT else (first_value(stored),) if self.first_only else all_values(stored)
        return any(pattern.matches(text) for text in values for pattern in self.patterns)


def text_key(key: str, vr: str, *, first_only: bool) -> TextKey | None:
    """None if the key is universal: empty, or nothing but stars."""
    if vr in CASELESS:
        key = key.upper()
    parts = (key,) if vr in UNSPLIT else all_values(key)
    if not parts or any(not part.strip("*") for part in parts):
        return None
    return TextKey(vr, tuple(map(Wildcard.compile, parts)), first_only)


@dataclass(frozen=True, slots=True)
class UidKey:
    """List of UID matching, PS3.4 C.2.2.2.2: equal to one of them."""

    wanted: frozenset[str]

    def __call__(self, value: Value, _: Decode) -> bool:
        return isinstance(value, bytes) and not self.wanted.isdisjoint(all_values(decoded(value, "UI")))


@dataclass(frozen=True, slots=True)
class _NamePattern:
    components: Wildcard
    carets: int
    words: Wildcard
    """The same with component separators as spaces: finds "A, B" and "A B" in "A^B"."""


@dataclass(frozen=True, slots=True)
class NameKey:
    """PN matching: any component group of the key finds any component group of the row.

    Case, accents and trailing empty components don't count; `A^B`, `A B` and `A, B` are the same.
    """

    patterns: tuple[_NamePattern, ...]
    romanised: frozenset[Script]
    """Scripts in which a stored name is also found by its Latin letters."""

    def __call__(self, value: Value, decode: Decode) -> bool:
        if not isinstance(value, bytes):
            return False
        return any(self._finds_name(name) for name in all_values(decoded(value, "PN", decode)))

    def _finds_name(self, name: str) -> bool:
        if any(map(self._finds, _groups(fold(name)))):
            return True
        if not self.romanised or name.isascii():
            return False
        return any(map(self._finds, _groups(fold(transliterate(name, scripts=self.romanised).text))))

    def _finds(self, group: str) -> bool:
        words = _words(group)
        for pattern in self.patterns:
            # `A^*` is to find "A": the stored name gets the empty components that the pattern speaks of.
            padded = group + "^" * (pattern.carets - group.count("^"))
            if pattern.components.matches(group) or pattern.components.matches(padded):
                return True
            if pattern.words.matches(words):
                return True
        return False


def name_key(key: str, romanised: frozenset[Script] = frozenset()) -> NameKey | None:
    """None if the key is universal: nothing but stars and separators."""
    patterns = []
    for name in all_values(key):
        if not name.strip("*^= "):
            return None
        # A group of stars in a key with other groups, as in `*=X*`, would find everything.
        groups = [group for group in _groups(fold(name)) if group.strip("*^ ")]
        patterns += [
            _NamePattern(Wildcard.compile(group), group.count("^"), Wildcard.compile(_words(group))) for group in groups
        ]
    return NameKey(tuple(patterns), romanised) if patterns else None


def _groups(name: str) -> list[str]:
    parts = ("^".join(c.strip(" \0") for c in group.split("^")).rstrip("^") for group in name.split("="))
    return [part for part in parts if part]


def _words(group: str) -> str:
    return " ".join(group.translate(_SEPARATORS).split())


@dataclass(frozen=True, slots=True)
class DateSpan:
    """A single date, or a range that is open where a bound is missing."""

    low: date
    high: date
    is_range: bool


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """First and last microsecond of the day, both inclusive."""

    low: int
    high: int
    is_range: bool


OPEN_BOUNDS: Final = frozenset({"", "*", "00000000", "99999999"})
"""What scanners send for "no bound"; the zeros are also sent for "any date"."""
_ANY_SINCE: Final = date(1900, 1, 1)
"""Without an end, scanners mean "any date" by this first day or an earlier one."""
_UTC_OFFSET: Final = re.compile(r"(?<=\d{10})((?:\d\d){0,2}(?:\.\d+)?)[+-]\d{4}(?=\s*(?:-|$))")
"""Of a DT value that stands in a DA key; its minus sign is no range."""


def date_spans(key: str) -> tuple[DateSpan, ...] | None:
    """The dates a DA key stands for; () if it is universal, None if it can't be read.

    A range from 1900 or before without an end (or to 99991231) is universal: scanners send it for "any",
    and rows without a date must not vanish for it.
    """
    spans = []
    for part in all_values(key):
        low, dash, high = (piece.strip() for piece in _UTC_OFFSET.sub(r"\1", part).partition("-"))
        if {low, high} <= OPEN_BOUNDS:
            return ()
        first = date.min if low in OPEN_BOUNDS else date_of(low)
        last = first if not dash else date.max if high in OPEN_BOUNDS else date_of(high)
        if first is None or last is None:
            return None
        if dash and first <= _ANY_SINCE and last == date.max:
            return ()
        spans.append(DateSpan(first, last, bool(dash)))
    return tuple(spans)


def time_spans(key: str) -> tuple[TimeSpan, ...] | None:
    """The times a TM key stands for; () if it is universal, None if it can't be read.

    A range that is the whole day is universal: scanners send 000000-235959 for "any", and rows
    without a time must not vanish for it.
    """
    spans = []
    for part in all_values(key):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if {low, high} <= {"", "*"}:
            return ()
        first = (0, 0) if low in {"", "*"} else time_span(low)
        last = first if not dash else (0, DAY - 1) if high in {"", "*"} else time_span(high)
        if first is None or last is None:
            return None
        if dash and first[0] == 0 and last[1] >= DAY - 60_000_000:
            return ()
        spans.append(TimeSpan(first[0], last[1], bool(dash)))
    return tuple(spans)


@dataclass(frozen=True, slots=True)
class DateKey:
    """Single value and range matching of DA, PS3.4 C.2.2.2.5."""

    spans: tuple[DateSpan, ...]

    def __call__(self, value: Value, _: Decode) -> bool:
        stored = stored_date(value)
        return stored is not None and any(span.low <= stored <= span.high for span in self.spans)


@dataclass(frozen=True, slots=True)
class TimeKey:
    """Single value and range matching of TM: the time of day, whatever the date."""

    spans: tuple[TimeSpan, ...]

    def __call__(self, value: Value, _: Decode) -> bool:
        stored = stored_time(value)
        return stored is not None and any(span.low <= stored <= span.high for span in self.spans)


def stored_date(value: Value) -> date | None:
    return date_of(first_value(decoded(value, "DA"))) if isinstance(value, bytes) else None


def stored_time(value: Value) -> int | None:
    """Microseconds since midnight at which the stored time begins."""
    span = time_span(first_value(decoded(value, "TM"))) if isinstance(value, bytes) else None
    return None if span is None else span[0]
