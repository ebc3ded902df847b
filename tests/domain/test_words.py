"""A command that quotes a stranger is safe to paste; ages are in the unit a person would use."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.words import admission, age

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@given(title=st.text(st.characters(min_codepoint=0, max_codepoint=0x2FF), max_size=18))
def test_a_pasted_command_names_the_caller_and_nothing_else(title: str) -> None:
    command = admission(title)
    if command:
        assert "\n" not in command
        assert [word for word in shlex.split(command) if word != "--"] == ["gateway", "peers", "add", title]


@pytest.mark.parametrize("title", ["'; reboot #", "$(reboot)", "`reboot`", "-x", 'a"b'])
def test_titles_made_to_be_pasted(title: str) -> None:
    assert shlex.split(admission(title))[-1] == title


@pytest.mark.parametrize("title", ["", "\x1b[2J", "M\u00dcR", "CT\\1", "x" * 17, " CT1"])
def test_what_is_no_title_is_not_offered(title: str) -> None:
    assert admission(title) == ""


@pytest.mark.parametrize(
    ("ago", "words"),
    [(0, "0 s"), (12, "12 s"), (59.9, "59 s"), (60, "1 min"), (7260, "2 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_ages(ago: float, words: str) -> None:
    assert age(NOW - timedelta(seconds=ago), NOW) == words
