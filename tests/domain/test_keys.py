"""One key and one value: patterns, names, dates and times."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import Wildcard, date_spans, fold, time_spans
from gateway.domain.worklist import date_of, time_span


def reference(pattern: str, text: str) -> bool:
    """Wildcard matching by dynamic programming: row[j] is whether the pattern so far matches text[:j]."""
    line = [True] + [False] * len(text)
    for character in pattern:
        if character == "*":
            following = [any(line[: j + 1]) for j in range(len(line))]
        else:
            following = [False] + [line[j] and character in {"?", text[j]} for j in range(len(text))]
        line = following
    return line[-1]


@given(st.text("ab*?", max_size=10), st.text("ab", max_size=12))
def test_a_pattern_means_what_the_reference_says(pattern: str, text: str) -> None:
    assert Wildcard.compile(pattern).matches(text) is reference(pattern, text)


@given(st.lists(st.text("ab?", max_size=4), min_size=3, max_size=5), st.text("ab", max_size=16))
def test_a_pattern_of_many_stars(parts: list[str], text: str) -> None:
    pattern = "*".join(parts)
    assert Wildcard.compile(pattern).matches(text) is reference(pattern, text)


@given(st.text("ab?*", max_size=12))
def test_a_pattern_finds_itself(pattern: str) -> None:
    assert Wildcard.compile(pattern).matches(pattern)


class Counted(str):
    """A text that counts how often a character of it is looked at."""

    __slots__ = ("looks",)
    looks: int

    def __getitem__(self, index: object) -> str:
        part = super().__getitem__(index)  # type: ignore[index]  # as str does
        self.looks += len(part)
        return part


@pytest.mark.parametrize("pattern", ["*a?" * 60 + "b", "*" + "a?" * 100 + "b*", "*?" * 150 + "b", "*a?a*" * 40 + "b*"])
def test_a_hostile_pattern_reads_the_text_once(pattern: str) -> None:
    text = Counted("a" * 400)
    text.looks = 0
    Wildcard.compile(pattern).matches(text)
    assert text.looks <= 2 * len(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MÜLLER", "muller"),
        ("\uff33mith", "smith"),
        ("ガ", "ガ"),
        ("한글", "한글"),
        ("İsa", "isa"),
        ("Ångström", "angstrom"),
    ],
)
def test_fold(name: str, expected: str) -> None:
    assert fold(name) == expected
    assert fold(unicodedata.normalize("NFD", name)) == expected


@given(st.dates())
def test_every_date_is_read(day: date) -> None:
    plain = day.isoformat().replace("-", "")
    assert date_of(plain) == date_of(day.isoformat().replace("-", ".")) == date_of(plain + "1200") == day


@pytest.mark.parametrize(
    "value", ["", "2026", "202607", "20260230", "2026070", "202607061", "2026-07-06", "x" * 8, "२०२६०७०६"]
)
def test_what_is_no_date(value: str) -> None:
    assert date_of(value) is None


@pytest.mark.parametrize(
    ("value", "first", "length"),
    [
        ("00", 0, 3_600_000_000),
        ("0001", 60_000_000, 60_000_000),
        ("000001", 1_000_000, 1_000_000),
        ("000001.5", 1_500_000, 100_000),
        ("00:00:01.000002", 1_000_002, 1),
        ("235960", 86_399_000_000, 1_000_000),
        ("20260706000001+0100", 1_000_000, 1_000_000),
    ],
)
def test_a_time_is_as_long_as_its_precision(value: str, first: int, length: int) -> None:
    assert time_span(value) == (first, first + length - 1)


@pytest.mark.parametrize("value", ["", "1", "100", "24", "1060", "100061", "1000.5", "100000.1234567", "noon", "१०"])
def test_what_is_no_time(value: str) -> None:
    assert time_span(value) is None


def test_spans_tell_universal_from_unreadable() -> None:
    assert date_spans("") == date_spans("00000000") == date_spans("-") == date_spans("*-*") == ()
    assert date_spans("20260706-x") is None
    assert time_spans("") == time_spans("-") == time_spans("000000-235959") == ()
    assert time_spans("10-x") is None
